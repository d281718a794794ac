//! A child process that does not outlive its owner.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::wait::Failure;

/// How long a server may take to end on SIGTERM, where its owner is dropped.
const GRACE: Duration = Duration::from_secs(10);

/// The only place of the tests that makes a command.
#[allow(clippy::disallowed_methods)] // the tests start servers; each of them is ended by its guard
pub fn command(program: impl AsRef<Path>) -> Command {
    Command::new(program.as_ref())
}

/// A server in a process group of its own, with its output in a file.
///
/// It ends when this is dropped. Where the test is killed, so that nothing is dropped, the kernel ends it: `setpriv`
/// asks for that. The kernel watches the *thread* that started it, which must therefore live as long as the server.
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `program` with `arguments` and further environment variables; `log` is appended to.
    pub fn start(
        name: &str,
        program: &Path,
        arguments: &[String],
        environment: &[(&str, String)],
        log: &Path,
    ) -> Result<Self, Failure> {
        let failed =
            |e: std::io::Error| Failure::new(format!("{name} ({}): {e}", program.display()));
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(failed)?;
        let child = command("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(out.try_clone().map_err(failed)?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child,
            status: None,
        })
    }

    /// Its process id, which is also its process group's.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("Linux's process ids fit into i32")
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Sends it a signal, to it alone.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            // It can have ended in between; its zombie is ours, so the id is nobody else's.
            let _ = kill(Pid::from_raw(self.pid()), signal);
        }
    }

    /// Sends it a signal and waits for its end.
    pub fn end(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus, Failure> {
        self.signal(signal);
        let begin = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return Ok(status);
            }
            if begin.elapsed() > limit {
                let text = format!(
                    "{} still runs {} s after {signal}",
                    self.name,
                    limit.as_secs()
                );
                return Err(Failure::new(text).with_logs([&*self]));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The whole log.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map_or_else(
            |e| format!("({e})"),
            |b| String::from_utf8_lossy(&b).into_owned(),
        )
    }

    /// The last lines of its log, under a heading.
    pub fn tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        let mut text = format!("\n--- the end of {}'s log:", self.name);
        for line in &all[all.len().saturating_sub(lines)..] {
            text.push_str("\n    ");
            text.push_str(line);
        }
        if all.is_empty() {
            text.push_str("\n    (empty)");
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited().is_none() && self.end(Signal::SIGTERM, GRACE).is_err() {
            let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// The full path of the first of these programs that is installed.
pub fn find(names: &[&str]) -> Result<PathBuf, Failure> {
    let path = std::env::var("PATH").unwrap_or_default();
    // sshd is not in an ordinary user's PATH.
    let folders = path
        .split(':')
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"]);
    folders
        .flat_map(|folder| names.iter().map(move |name| Path::new(folder).join(name)))
        .find(|candidate| candidate.is_absolute() && candidate.is_file())
        .ok_or_else(|| {
            Failure::new(format!(
                "{} is not installed; tests/setup.sh test installs it",
                names[0]
            ))
        })
}

/// Runs a program to its end, and returns what it wrote.
///
/// *Errors*: what it said, where it did not end with 0.
pub fn run(command: &mut Command) -> Result<String, Failure> {
    feed(command, b"")
}

/// Runs a program to its end with this input, and returns what it wrote, errors last.
///
/// *Errors*: as for [`run`].
pub fn feed(command: &mut Command, input: &[u8]) -> Result<String, Failure> {
    let shown = format!("{command:?}");
    let failed = |e: std::io::Error| Failure::new(format!("{shown}: {e}"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // Small inputs only: a large one could fill both pipes. A program that reads none of it is no error.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(failed)?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        return Ok(said);
    }
    Err(Failure::new(format!("{shown}: {}\n{said}", output.status)))
}
