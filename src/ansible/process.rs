//! Starts a supervisor, and passes on the output and events of its processes until all of them have ended.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::Folder;
use super::StartError;
use super::events::{Decoder, Event, Stats};
use super::process_tree;
use super::progress::ProgressSender;
use crate::util::supervisor::catch_panic;
use crate::util::test_faults;

/// How many items wait for a slow reader before the run has to wait.
const QUEUE: usize = 32;
const CHUNK_BYTES: usize = 16 * 1024;
/// The capacity of a pipe. *Units*: bytes.
const PIPE_BYTES: usize = 1 << 20;
/// How long to wait for more output after the supervisor has ended, while the pipe is empty but not closed.
const LINGER: Duration = Duration::from_millis(200);

/// The process ids of running supervisors. Any other child of promansible is an orphan of a supervisor that was killed.
static SUPERVISORS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Makes this process the parent of the orphans of a supervisor that is killed, so that they can be ended.
///
/// For promansible itself, once at its start. After that, no child may be started in any other way.
pub fn adopt_orphans() -> io::Result<()> {
    set_child_subreaper(true).map_err(io::Error::from)
}

/// A running supervisor.
pub(super) struct Supervisor {
    pub(super) child: Child,
    pid: i32,
}

impl Supervisor {
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        // Locked meanwhile, so that `sweep` does not take the child for an orphan.
        let mut supervisors = SUPERVISORS.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.expect("a child that was not awaited yet has a process id");
        supervisors.insert(pid);
        Ok(Self { child, pid })
    }

    /// Waits until the supervisor has ended. *Cancel safety*: may be dropped and called again.
    pub(super) async fn wait(&mut self) -> io::Result<std::process::ExitStatus> {
        let status = self.child.wait().await;
        Self::forget(self.pid);
        status
    }

    /// Removes an ended supervisor from [`SUPERVISORS`].
    fn forget(pid: i32) {
        SUPERVISORS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&pid);
    }

    /// Ends the processes that a killed supervisor left behind. `marker` is the marker of its run.
    pub(super) async fn sweep(marker: String) {
        let swept = tokio::task::spawn_blocking(move || {
            process_tree::sweep_run(&marker)?;
            process_tree::end_adopted(|| {
                SUPERVISORS
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone()
            })
        });
        match swept.await {
            Ok(Ok(swept)) if swept.survivors.is_empty() => {}
            Ok(Ok(swept)) => {
                tracing::error!(pids = ?swept.survivors, "processes of a run cannot be ended");
            }
            Ok(Err(e)) => tracing::error!(error = %e, "processes of a run cannot be looked for"),
            Err(e) => tracing::error!(error = %e, "processes of a run cannot be looked for"),
        }
    }
}

/// A run that is under way.
#[derive(Debug)]
pub struct Started {
    /// The supervisor's process id.
    pub pid: u32,
    /// The progress, in order. [`Progress::Ended`] is the last item and is sent exactly once, in any case.
    ///
    /// A reader that is slow slows the run down. Dropping it stops the run.
    pub progress: mpsc::Receiver<Progress>,
    /// Ends the run.
    pub stop: Stop,
}

/// The progress of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// An event from the callback plugin.
    Event(Event),
    /// A piece of Ansible's output, split anywhere.
    Output(Bytes),
    /// The run has ended: its processes have ended and its folder is removed.
    Ended(Ending),
}

/// How the processes of a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    /// The exit code of `ansible-playbook`, 128 + signal if one killed it; `None` if its supervisor was killed.
    pub code: Option<i32>,
    /// The signal that killed the supervisor.
    pub signal: Option<i32>,
    /// Ansible's statistics, if it got that far.
    pub stats: Option<Stats>,
    /// The number of invalid event lines.
    pub junk_lines: u64,
    /// How many bytes of output were dropped, because the run was being stopped and the reader did not read.
    pub lost_bytes: u64,
    /// Set if promansible itself failed, so that nothing is known of what the run did: any of its tasks may have begun.
    pub failure: Option<String>,
}

/// A handle that ends a run, gently first. Clones end the same run.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// Requests the end of the run, and returns at once. May be called at any time and more than once.
    pub fn now(&self) {
        self.0.send_replace(true);
    }
}

/// Starts the supervisor in a prepared folder.
pub(super) fn start(
    folder: Folder,
    exe: &Path,
    grace: Duration,
    marker: String,
    hosts: &[String],
) -> Result<Started, StartError> {
    let events = match make_fifo(&folder) {
        Ok(events) => events,
        Err(source) => {
            folder.remove();
            return Err(StartError::Folder {
                dir: folder.dir,
                source,
            });
        }
    };
    let (child, control, output) = match spawn(&folder, exe, grace) {
        Ok(started) => started,
        Err(source) => {
            folder.remove();
            return Err(StartError::Spawn {
                exe: exe.to_owned(),
                source,
            });
        }
    };
    let (sender, progress) = mpsc::channel(QUEUE);
    let last = sender.clone();
    let (stop, stopped) = watch::channel(false);
    let pid = child.child.id().unwrap_or_default();
    let pump = Pump {
        outlet: ProgressSender {
            sender,
            stopped,
            control: Some(control),
            stuck: false,
            lost_bytes: 0,
        },
        events,
        decoder: Decoder::new(hosts.iter().cloned()),
        stats: None,
    };
    let (run, number) = (marker.clone(), child.pid);
    let pumping = test_faults::exposed("run processes", pump.run(child, output, folder, marker));
    tokio::spawn(async move {
        let Err(why) = catch_panic(pumping).await else {
            return;
        };
        tracing::error!(
            error = why.as_str(),
            "the task that reads a run's output and events panicked: the run is ended"
        );
        // Its supervisor ends too, because its standard input was closed. But nothing waits for it any more.
        Supervisor::sweep(run).await;
        Supervisor::forget(number);
        let ending = Ending {
            failure: Some(why),
            ..Ending::default()
        };
        let _ = last.send(Progress::Ended(ending)).await;
    });
    Ok(Started {
        pid,
        progress,
        stop: Stop(Arc::new(stop)),
    })
}

/// Creates the FIFO for events. It is opened for reading and writing: so opening it does not wait for a writer, and it does
/// not reach its end when a writer closes it.
fn make_fifo(folder: &Folder) -> io::Result<pipe::Receiver> {
    let path = folder.dir.join("events");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
    pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(path)
}

#[allow(clippy::disallowed_methods)] // processes are started only in crate::ansible
fn spawn(
    folder: &Folder,
    exe: &Path,
    grace: Duration,
) -> io::Result<(Supervisor, ChildStdin, pipe::Receiver)> {
    let (output, writer) = io::pipe()?;
    let output = pipe::Receiver::from_owned_fd(OwnedFd::from(output))?;
    let mut command = supervisor(folder, exe, grace);
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = Supervisor::spawn(&mut command)?;
    let control = child
        .child
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("the supervisor has no standard input"))?;
    Ok((child, control, output))
}

/// Returns the command of the supervisor, without the redirection of its output. The supervisor stops when its standard
/// input ends.
#[allow(clippy::disallowed_methods)] // processes are started only in crate::ansible
pub(super) fn supervisor(folder: &Folder, exe: &Path, grace: Duration) -> Command {
    let mut command = Command::new(exe);
    command
        .arg("supervise")
        .arg(format!("--grace={}", grace.as_millis()))
        .arg("--dir")
        .arg(&folder.dir)
        .arg("--")
        .arg(&folder.line.program)
        .args(&folder.line.args)
        .env_clear()
        .envs(&folder.line.env)
        .current_dir(&folder.line.cwd)
        .stdin(Stdio::piped());
    command
}

struct Pump {
    outlet: ProgressSender,
    events: pipe::Receiver,
    decoder: Decoder,
    stats: Option<Stats>,
}

impl Pump {
    async fn run(
        mut self,
        mut child: Supervisor,
        mut output: pipe::Receiver,
        folder: Folder,
        marker: String,
    ) {
        let mut received = vec![0; CHUNK_BYTES];
        let mut written = BytesMut::new();
        let mut open = true;
        let status = loop {
            written.reserve(CHUNK_BYTES);
            tokio::select! {
                status = child.wait() => break status,
                () = self.outlet.stop_asked() => self.outlet.stop(),
                Ok(n) = self.events.read(&mut received) => self.decode(&received[..n]).await,
                read = output.read_buf(&mut written), if open => {
                    open = read.is_ok_and(|n| n > 0);
                    self.outlet.output(written.split().freeze()).await;
                }
            }
        };
        let code = status
            .as_ref()
            .ok()
            .and_then(std::process::ExitStatus::code);
        if code.is_none() {
            // Its processes can be found only in /proc now.
            Supervisor::sweep(marker).await;
        }
        // Read what is left in the pipes, but not more: a process that survived SIGKILL may go on writing.
        let mut rest = PIPE_BYTES;
        while let Ok(n @ 1..) = self.events.try_read(&mut received) {
            self.decode(&received[..n]).await;
            rest = rest.saturating_sub(n);
            if rest == 0 {
                break;
            }
        }
        rest = PIPE_BYTES;
        while open && rest > 0 {
            written.reserve(CHUNK_BYTES);
            let read = timeout(LINGER, output.read_buf(&mut written)).await;
            open = matches!(read, Ok(Ok(1..)));
            rest = rest.saturating_sub(written.len());
            self.outlet.output(written.split().freeze()).await;
        }
        let removed = tokio::task::spawn_blocking(move || folder.remove()).await;
        if let Err(e) = removed {
            tracing::error!(error = %e, "a run's folder could not be removed");
        }
        self.decoder.finish();
        let ending = Ending {
            code,
            signal: status.ok().and_then(|status| status.signal()),
            stats: self.stats,
            junk_lines: self.decoder.junk(),
            lost_bytes: self.outlet.lost_bytes,
            failure: None,
        };
        // Fails only if the receiver was dropped.
        let _ = self.outlet.sender.send(Progress::Ended(ending)).await;
    }

    async fn decode(&mut self, bytes: &[u8]) {
        for event in self.decoder.feed(bytes) {
            if let Event::Stats(stats) = &event {
                let all = self.stats.get_or_insert_default();
                all.extend(stats.iter().map(|(host, counts)| (host.clone(), *counts)));
            }
            self.outlet.deliver(Progress::Event(event)).await;
        }
    }
}
