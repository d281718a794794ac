//! `promansible supervise`: the process between promansible and one run. It outlives a kill -9 of promansible just long
//! enough to end the run, and it ends only after everything that the run started has.
//!
//! Ansible's workers leave its process group (`setsid`), so a group is not enough: the supervisor makes itself the parent
//! of every orphan below it (child subreaper) and counts the run as ended when the kernel says that it has no child.

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

/// How long descendants have to end between TERM and KILL, if the grace is not shorter.
const AFTER_TERM: Duration = Duration::from_secs(2);
/// How long to go on killing; only a process that the kernel holds, or another user's, lives on.
const KILLING: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// How the line begins that names processes which outlived the program.
pub(super) const LEFT_PROCESSES: &str = "promansible: the roles left processes";

/// What to supervise.
#[derive(Debug, Clone)]
pub struct Supervise {
    /// How long the program has to end after it was interrupted.
    pub grace: Duration,
    /// The run's folder, removed at the end.
    pub dir: PathBuf,
    /// The program.
    pub program: OsString,
    /// Its arguments.
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
    /// The exit codes of env(1) and of shells: not found, not executable, our own failure.
    fn code(&self) -> u8 {
        match self {
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Start { .. } => 126,
            Self::Control(_) | Self::Prepare(_) => 125,
        }
    }
}

/// Runs the program to its end, and everything that it started.
///
/// A byte or the end of standard input, or INT, TERM, HUP or QUIT, stops it: INT to the program's group, after the grace
/// TERM to every descendant, shortly after that KILL. What is left when the program has ended by itself is ended alike,
/// from TERM on. The exit code is the program's, 128 + signal if one killed it; 125 to 127 if it could not be started.
pub fn supervise(what: &Supervise) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(SuperviseError::from)
        .and_then(|runtime| runtime.block_on(run(what)));
    // A folder that is gone already is what we want.
    let _ = std::fs::remove_dir_all(&what.dir);
    ExitCode::from(ended.unwrap_or_else(|error| {
        say(&format!("promansible: {error}"));
        error.code()
    }))
}

/// Where the run is on its way to its end.
enum Phase {
    Running,
    Interrupted { until: Instant },
    Terminated { until: Instant },
}

async fn run(what: &Supervise) -> Result<u8, SuperviseError> {
    let after_term = AFTER_TERM.min(what.grace);
    // A signal that is ignored stays ignored in children, one that is caught does not: Ansible must hear INT even if
    // promansible was started with nohup or from a script's background.
    let mut stops = Stops::install()?;
    let mut children = signal(SignalKind::child())?;
    // Fails only for the leader of a group, which is no harm: then we already are on our own.
    let _ = setsid();
    set_child_subreaper(true).map_err(io::Error::from)?;
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let mut control = pipe::Receiver::from_owned_fd(stdin).map_err(SuperviseError::Control)?;

    #[allow(clippy::disallowed_methods)] // here is where processes are started
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
                    // What is left has been asked already.
                    break (kill_child(child, &mut children).await, Duration::ZERO);
                }
                signal_all(&process_tree::descendants()?, Signal::SIGTERM);
                phase = Phase::Terminated { until: Instant::now() + after_term };
            }
        }
    };
    if matches!(phase, Phase::Running) {
        tell_of_leftovers()?;
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

/// A role that starts a service must have it started by the system's service manager: as a child of a task it ends here.
/// ssh's shared connections are no news.
fn tell_of_leftovers() -> io::Result<()> {
    reap_orphans();
    let left = process_tree::descendants()?.into_iter();
    let left = left.map(|pid| (pid, process_tree::name(pid)));
    let told: Vec<String> = left
        .filter(|(_, name)| name != "ssh")
        .map(|(pid, name)| format!("{name} ({pid})"))
        .collect();
    if !told.is_empty() {
        say(&format!(
            "{LEFT_PROCESSES} on this machine, which end with the run: {}",
            told.join(", ")
        ));
    }
    Ok(())
}

/// Ends what the program left behind: ssh's shared connections, and whatever a task sent to the background.
async fn end_rest(patience: Duration) -> Result<(), SuperviseError> {
    let start = Instant::now();
    let mut asked = BTreeSet::new();
    loop {
        // What forks and ends all the time can be missed by a look at all processes. That there is no child cannot.
        if matches!(reap_orphans(), Reaped::NothingIsLeft) {
            return Ok(());
        }
        let left = process_tree::descendants()?;
        let age = start.elapsed();
        if age > patience + KILLING {
            say(&format!(
                "promansible: these processes of the run could not be ended: {left:?}"
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

/// What there was to reap.
enum Reaped {
    /// The program, with this exit code.
    Program(u8),
    /// Others at most; some child still lives.
    SomeAreLeft,
    /// No child is left, and so no descendant: an orphan would be a child.
    NothingIsLeft,
}

/// Reaps every child that has ended, up to the program.
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
            // An orphan, or a signal while we waited.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Reaped::NothingIsLeft,
        }
    }
}

fn reap_orphans() -> Reaped {
    // No process has this number.
    reap(Pid::from_raw(-1))
}

/// What is said goes where the program's errors go: with a run that is kept with its output, and what lists the inventory
/// prints nothing else there.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The signals that stop a supervisor.
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
