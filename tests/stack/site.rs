//! Something real that breaks and is repaired: a web site "on" one of the ssh hosts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::http;
use super::leftovers::{self, Leftover};
use super::process;
use super::wait::{Failure, free_port, wait_until};

const PROGRAM: &str = include_str!("site.py");
const START: &str = include_str!("site.sh");

/// A web site with its own start script. It is nobody's child: what starts it again, does so over ssh.
pub struct Site {
    /// The host that it belongs to.
    pub host: String,
    /// Its port on 127.0.0.1.
    pub port: u16,
    dir: PathBuf,
}

impl Site {
    /// Makes it in `dir` and starts it.
    pub fn start(host: &str, dir: &Path) -> Result<Self, Failure> {
        let io = |e: std::io::Error| Failure::new(format!("the site of {host}: {e}"));
        fs::create_dir_all(dir).map_err(io)?;
        let port = free_port()?;
        fs::write(dir.join("site.py"), PROGRAM).map_err(io)?;
        let owner = std::process::id();
        let settings = format!("name={host}\nport={port}\nowner={owner}\n");
        fs::write(dir.join("settings"), settings).map_err(io)?;
        let script = dir.join("start");
        fs::write(&script, START).map_err(io)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(io)?;
        let site = Self {
            host: host.to_owned(),
            port,
            dir: dir.to_owned(),
        };
        process::run(&mut process::command(&script))?;
        wait_until(
            Duration::from_secs(30),
            &format!("the site of {host} to answer"),
            || Ok(site.answers().then_some(())),
        )?;
        Ok(site)
    }

    /// The script that starts it.
    pub fn start_script(&self) -> PathBuf {
        self.dir.join("start")
    }

    /// The page that proves that it works.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Prometheus's `instance` of it: the host's name with a port, as an exporter's target has it.
    pub fn instance(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether it answers.
    pub fn answers(&self) -> bool {
        http::is_ok(self.port, "/")
    }

    /// Its process, if it runs.
    pub fn pid(&self) -> Option<i32> {
        let pid: i32 = fs::read_to_string(self.dir.join("pid"))
            .ok()?
            .parse()
            .ok()?;
        // The number can be somebody else's by now: it is ours only if it works in our folder.
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        (cwd == self.dir).then_some(pid)
    }

    /// Every process that works for it: the site itself, or a start script that is under way.
    pub fn processes(&self) -> Vec<Leftover> {
        leftovers::of_folder(&self.dir)
    }

    /// Breaks it: its process is killed. Returns the process's number.
    pub fn break_down(&self) -> Result<i32, Failure> {
        let pid = self
            .pid()
            .ok_or_else(|| Failure::new(format!("the site of {} does not run", self.host)))?;
        kill(Pid::from_raw(pid), Signal::SIGKILL)
            .map_err(|e| Failure::new(format!("kill {pid}: {e}")))?;
        wait_until(
            Duration::from_secs(30),
            "the killed site to be gone",
            || Ok(self.pid().is_none().then_some(())),
        )?;
        Ok(pid)
    }

    /// Makes its start script take a minute.
    pub fn make_slow(&self) -> Result<(), Failure> {
        self.flag("slow")
    }

    /// Makes its start script fail.
    pub fn block(&self) -> Result<(), Failure> {
        self.flag("blocked")
    }

    /// Lets its start script work again.
    pub fn unblock(&self) -> Result<(), Failure> {
        fs::remove_file(self.dir.join("blocked"))
            .map_err(|e| Failure::new(format!("the site of {}: {e}", self.host)))
    }

    fn flag(&self, name: &str) -> Result<(), Failure> {
        fs::write(self.dir.join(name), "")
            .map_err(|e| Failure::new(format!("the site of {}: {e}", self.host)))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.pid().is_some() {
            let _ = self.break_down();
        }
    }
}
