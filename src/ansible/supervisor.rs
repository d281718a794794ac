//! `promansible supervise`: the process between promansible and one run. If promansible is killed, the supervisor ends the
//! run and then exits. It exits only when all processes of the run have ended, or cannot be killed.
//!
//! Ansible's workers leave its process group (`setsid`), so a process group is not sufficient: the supervisor becomes the
//! parent of all orphans among its descendants (child subreaper), and the run has ended when the kernel reports that it has
//! no child.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use super::process_tree;
use super::start_error;

/// How long descendants may take to end between SIGTERM and SIGKILL, unless the grace period is shorter.
const AFTER_TERM: Duration = Duration::from_secs(2);
/// How long SIGKILL is repeated. Only a process that is blocked in the kernel, or belongs to another user, survives that.
const KILLING: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// The beginning of the line that names processes which outlived the program.
pub(super) const LEFT_PROCESSES: &str = "promansible: the roles left processes";

/// The options of `promansible supervise`.
#[derive(Debug, Clone)]
pub struct Supervise {
    /// How long the program may take to end after it was interrupted.
    pub grace: Duration,
    /// The folder of the run, removed at the end.
    pub dir: PathBuf,
    /// The program.
    pub program: OsString,
    pub args: Vec<OsString>,
}

#[derive(Debug, thiserror::Error)]
enum SuperviseError {
    #[error("standard input must be a pipe whose other end promansible holds: {0}")]
    Control(io::Error),
    #[error("cannot prepare to supervise: {0}")]
    Prepare(#[from] io::Error),
    #[error("cannot start {}: {}", .program.display(), start_error::why(.program, .source))]
    Start { program: PathBuf, source: io::Error },
}

impl SuperviseError {
    /// Returns the exit code, as env(1) and shells do: 127 if not found, 126 if not executable, 125 for an own failure.
    fn code(&self) -> u8 {
        match self {
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Start { .. } => 126,
            Self::Control(_) | Self::Prepare(_) => 125,
        }
    }
}

/// Runs the program, and returns when it and all its descendants have ended.
///
/// A byte on standard input or its end, or SIGINT, SIGTERM, SIGHUP or SIGQUIT, stops the program: SIGINT to its process
/// group; after the grace period SIGTERM to every descendant; shortly after that SIGKILL. Descendants that are left when
/// the program ends by itself get SIGTERM and SIGKILL in the same way. The exit code is that of the program, 128 + signal
/// if a signal killed it, or 125 to 127 if it could not be started.
pub fn supervise(what: &Supervise) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(SuperviseError::from)
        .and_then(|runtime| runtime.block_on(run(what)));
    // It may be removed already.
    let _ = std::fs::remove_dir_all(&what.dir);
    ExitCode::from(ended.unwrap_or_else(|error| {
        say(&format!("promansible: {error}"));
        error.code()
    }))
}

/// The phase of the run.
enum Phase {
    Running,
    Interrupted { until: Instant },
    Terminated { until: Instant },
}

async fn run(what: &Supervise) -> Result<u8, SuperviseError> {
    let after_term = AFTER_TERM.min(what.grace);
    // An ignored signal stays ignored in children, a caught one does not: Ansible must receive SIGINT even if promansible
    // was started with nohup or in the background of a script.
    let mut stops = Stops::install()?;
    let mut children = signal(SignalKind::child())?;
    // Fails only for the leader of a process group, which does no harm: then it is in its own group already.
    let _ = setsid();
    set_child_subreaper(true).map_err(io::Error::from)?;
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let mut control = pipe::Receiver::from_owned_fd(stdin).map_err(SuperviseError::Control)?;

    #[allow(clippy::disallowed_methods)] // processes are started only in crate::ansible
    let child = Command::new(&what.program)
        .args(&what.args)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|source| SuperviseError::Start {
            program: what.program.clone().into(),
            source,
        })?;
    let child = Pid::from_raw(i32::try_from(child.id()).expect("a process id fits into pid_t"));

    let mut phase = Phase::Running;
    let mut byte = [0];
    let (status, patience) = loop {
        if let Reaped::Program(status) = reap(child) {
            break (status, after_term);
        }
        let until = match phase {
            Phase::Running => None,
            Phase::Interrupted { until } | Phase::Terminated { until } => Some(until),
        };
        tokio::select! {
            _ = children.recv() => {}
            _ = control.read(&mut byte), if until.is_none() => phase = interrupt(child, what.grace),
            () = stops.recv(), if until.is_none() => phase = interrupt(child, what.grace),
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                if matches!(phase, Phase::Terminated { .. }) {
                    // The descendants have got SIGTERM already.
                    break (kill_child(child, &mut children).await, Duration::ZERO);
                }
                signal_all(&process_tree::descendants()?, Signal::SIGTERM);
                phase = Phase::Terminated { until: Instant::now() + after_term };
            }
        }
    };
    if matches!(phase, Phase::Running) {
        report_leftovers()?;
    }
    end_rest(patience).await?;
    Ok(status)
}

fn interrupt(child: Pid, grace: Duration) -> Phase {
    let _ = killpg(child, Signal::SIGINT);
    Phase::Interrupted {
        until: Instant::now() + grace,
    }
}

async fn kill_child(child: Pid, children: &mut Signals) -> u8 {
    let until = Instant::now() + KILLING;
    process_tree::send(child.as_raw(), Signal::SIGKILL);
    loop {
        if let Reaped::Program(status) = reap(child) {
            return status;
        }
        tokio::select! {
            _ = children.recv() => {}
            () = sleep_until(until) => return 128 + 9,
        }
    }
}

/// Reports the processes that the roles left running, because they are ended now: a role must start a service through the
/// service manager, not as a child of a task. ssh's shared connections are expected, and not reported.
fn report_leftovers() -> io::Result<()> {
    reap_orphans();
    let left = process_tree::descendants()?.into_iter();
    let left = left.map(|pid| (pid, process_tree::name(pid)));
    let reported: Vec<String> = left
        .filter(|(_, name)| name != "ssh")
        .map(|(pid, name)| format!("{name} ({pid})"))
        .collect();
    if !reported.is_empty() {
        say(&format!(
            "{LEFT_PROCESSES} on this machine, which end with the run: {}",
            reported.join(", ")
        ));
    }
    Ok(())
}

/// Ends the processes that the program left behind: ssh's shared connections, and background processes of tasks.
async fn end_rest(patience: Duration) -> Result<(), SuperviseError> {
    let start = Instant::now();
    let mut asked = BTreeSet::new();
    loop {
        // A process that keeps forking and exiting can be missed in a snapshot. A parent without a child cannot.
        if matches!(reap_orphans(), Reaped::NothingIsLeft) {
            return Ok(());
        }
        let left = process_tree::descendants()?;
        let age = start.elapsed();
        if age > patience + KILLING {
            say(&format!(
                "promansible: these processes of the run could not be killed: {left:?}"
            ));
            return Ok(());
        }
        if age >= patience {
            signal_all(&left, Signal::SIGKILL);
        } else {
            for &pid in left.difference(&asked) {
                process_tree::send(pid, Signal::SIGTERM);
            }
            asked.extend(left);
        }
        sleep(PAUSE).await;
    }
}

fn signal_all(pids: &BTreeSet<i32>, signal: Signal) {
    for &pid in pids {
        process_tree::send(pid, signal);
    }
}

/// The result of reaping children.
enum Reaped {
    /// The program has ended, with this exit code.
    Program(u8),
    /// Some child still runs.
    SomeAreLeft,
    /// No child is left, and so no descendant: an orphan would have become a child.
    NothingIsLeft,
}

/// Reaps children that have ended, until the program is reaped or none is left to reap.
fn reap(program: Pid) -> Reaped {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == program => {
                return Reaped::Program(u8::try_from(code).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                return Reaped::Program(128 + u8::try_from(signal as i32).unwrap_or(0));
            }
            Ok(WaitStatus::StillAlive) => return Reaped::SomeAreLeft,
            // An orphan was reaped, or a signal interrupted the call.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Reaped::NothingIsLeft,
        }
    }
}

fn reap_orphans() -> Reaped {
    // No process has this id.
    reap(Pid::from_raw(-1))
}

/// Writes a line to standard error, as the program does: for a run, it is stored with the output; for a listing of the
/// inventory, it is kept apart from the JSON.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The signals that stop the supervisor.
struct Stops([Signals; 4]);

impl Stops {
    fn install() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::quit())?,
        ]))
    }

    async fn recv(&mut self) {
        let [int, term, hup, quit] = &mut self.0;
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
