//! The server under test: the release binary on a free port, its files in a folder on the real disk.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::client::Client;
use super::{Failure, alerts, disk, fake};

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_promansible");

/// Longer than any start or stop on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(30);

/// The files of a server: configuration, inventory, store, log, and the socket that its plays report to.
pub(crate) struct Site {
    folder: TempDir,
    /// A socket's path must be short.
    _short: TempDir,
    /// Where the fake Ansible tells that it was started.
    pub(crate) spawned: UnixDatagram,
}

impl Site {
    /// Makes a site with these `runs` (a YAML flow map) and `bindings` (a YAML list).
    pub(crate) fn new(runs: &str, bindings: &str) -> Result<Self, Failure> {
        let folder = tempfile::tempdir_in(disk::FOLDER)?;
        let short = tempfile::tempdir()?;
        let socket = short.path().join("spawned");
        let spawned = UnixDatagram::bind(&socket)?;
        spawned.set_read_timeout(Some(LIMIT))?;
        let site = Self {
            folder,
            _short: short,
            spawned,
        };
        fake::install(&site.bin_dir())?;
        let hosts: Vec<String> = (0..alerts::HOSTS).map(alerts::host).collect();
        fs::write(site.inventory(), hosts.join("\n"))?;
        let playbook =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config/tree/playbook");
        let config = format!(
            "ansible:
  bin_dir: {}
  playbook_dir: {}
  inventory: [{}]
  environment: {{{}: {}}}
storage:
  path: {}
  retention: {{size: 64GiB}}
runs: {runs}
guards: {{attempts: {{max: 0}}, storm: {{max_hosts: 0}}, circuit: {{failures: 0}}}}
bindings:
{bindings}
",
            site.bin_dir().display(),
            playbook.display(),
            site.inventory().display(),
            fake::SOCKET,
            socket.display(),
            site.store().display(),
        );
        fs::write(site.config(), config)?;
        Ok(site)
    }

    pub(crate) fn bin_dir(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    pub(crate) fn inventory(&self) -> PathBuf {
        self.folder.path().join("hosts")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("promansible.yml")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("promansible.redb")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

/// A server that runs; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    /// From the exec to the first 200 of `/-/ready`.
    pub(crate) ready_after: Duration,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(site: &Site) -> Result<Self, Failure> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = File::options().append(true).create(true).open(site.log())?;
        let begin = Instant::now();
        let child = Command::new(BINARY)
            .arg("serve")
            .arg(format!("--config.file={}", site.config().display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(site.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut server = Self {
            child,
            port,
            ready_after: Duration::ZERO,
        };
        loop {
            let ready = Client::connect(port).and_then(|mut client| client.get("/-/ready"));
            if ready.is_ok_and(|answer| answer.status == 200) {
                server.ready_after = begin.elapsed();
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server ended with {status}; {}", last_lines(site)).into());
            }
            if begin.elapsed() > LIMIT {
                return Err(format!("the server is not ready; {}", last_lines(site)).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the inventory was read by this process, so that nothing of the start is left to do.
    pub(crate) fn settle(&self) -> Result<(), Failure> {
        let begin = Instant::now();
        let mut client = Client::connect(self.port)?;
        while client.metric("promansible_inventory_last_reload_successful")? < 1.0 {
            if begin.elapsed() > LIMIT {
                return Err("the inventory is not read".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // What follows is written, and the disk is at rest.
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    }

    /// Stops it as a service manager does.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        self.end(Signal::SIGTERM)
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(self) -> Result<(), Failure> {
        self.end(Signal::SIGKILL)
    }

    fn end(mut self, signal: Signal) -> Result<(), Failure> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begin.elapsed() > LIMIT {
                return Err(format!("the server does not end at {signal}").into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// How long all of its threads have been on a CPU.
    ///
    /// *Source*: `/proc/PID/task/TID/schedstat`, whose first number is nanoseconds.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end in between.
            let stat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            nanos += stat
                .split(' ')
                .next()
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// What it holds in memory, in bytes: `VmRSS`, and `VmHWM`, the most that it ever was.
    ///
    /// *Source*: `proc_pid_status(5)`.
    pub(crate) fn memory(&self) -> Result<(u64, u64), Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kibibytes = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"))
                .and_then(|number| number.parse::<u64>().ok())
                .ok_or(format!("no {name} in the process's status"))
        };
        Ok((kibibytes("VmRSS:")? << 10, kibibytes("VmHWM:")? << 10))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_lines(site: &Site) -> String {
    let log = fs::read_to_string(site.log()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    format!(
        "its log ends:\n{}",
        lines[lines.len().saturating_sub(5)..].join("\n")
    )
}
