//! One host.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::namespaces::{cgroup, ip};
use crate::stack::process::{Process, command, feed, find};
use crate::stack::{Failure, wait_until};

/// How long a host may take to come up on a machine that is busy.
const BOOT: Duration = Duration::from_mins(1);

/// A Debian system with systemd, journald and sshd, and `eth0` in a LAN.
pub struct Host {
    /// Its name, also in the inventory.
    pub name: String,
    /// Its address in the LAN.
    pub address: String,
    /// Its first process, as we see it.
    pid: i32,
    process: Process,
    namespace: String,
    cgroup: PathBuf,
}

impl Host {
    /// Makes it and waits until it is up. `ssh` holds what its sshd needs.
    pub fn start(
        dir: &Path,
        ssh: &Path,
        name: &str,
        lan: &Lan,
        number: u8,
    ) -> Result<Self, Failure> {
        let io = |e: std::io::Error| Failure::new(format!("the host {name}: {e}"));
        let folder = dir.join(name);
        fs::create_dir(&folder).map_err(io)?;
        let its_ssh = dir.join(format!("{name}.ssh"));
        fs::create_dir(&its_ssh).map_err(io)?;
        for file in ["sshd_config", "host_key", "authorized_keys"] {
            fs::copy(ssh.join(file), its_ssh.join(file)).map_err(io)?;
        }
        let namespace = format!("{}-{number}", lan.bridge);
        let cgroup = cgroup().join(&namespace);
        fs::create_dir(&cgroup).map_err(io)?;
        let address = lan.plug_in(&namespace, number)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/roles/host.sh");
        // Its cgroup becomes the root of its cgroups, so it must be in it before that namespace is made.
        let steps = format!(
            "echo $$ >'{}/cgroup.procs' && exec nsenter --net='/run/netns/{namespace}' \
             unshare --mount --uts --ipc --cgroup --pid --fork --kill-child \
             sh '{}' '{}' '{name}'",
            cgroup.display(),
            script.display(),
            folder.display(),
        );
        let log = dir.join(format!("{name}.log"));
        let arguments = ["-c".to_owned(), steps];
        let mut process = Process::start(name, &find(&["sh"])?, &arguments, &[], &log)?;
        let pid = wait_until(BOOT, "the host's first process", || {
            match process.exited() {
                Some(status) => Ok(Some(Err(status))),
                None => Ok(only_child(process.pid()).map(Ok)),
            }
        })?
        .map_err(|status| {
            Failure::new(format!("the host ended: {status}")).with_logs([&process])
        })?;
        let host = Self {
            name: name.to_owned(),
            address,
            pid,
            process,
            namespace,
            cgroup,
        };
        wait_until(BOOT, &format!("the host {name} to be up"), || {
            Ok(host
                .sh("systemctl is-active --quiet sshd-of-host.service")
                .is_ok()
                .then_some(()))
        })
        .map_err(|failure| failure.with_logs([&host.process]))?;
        Ok(host)
    }

    /// Runs a script on it as root, and returns what it said.
    ///
    /// *Errors*: what it said, where it did not end with 0.
    pub fn sh(&self, script: &str) -> Result<String, Failure> {
        let pid = self.pid.to_string();
        let mut nsenter = command(find(&["nsenter"])?);
        nsenter.args(["--target", &pid]);
        nsenter.args([
            "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
        ]);
        nsenter.args(["--", "/usr/bin/env", "-i"]);
        nsenter.args([
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "HOME=/root",
        ]);
        nsenter.args(["sh", "-euc", script]);
        feed(&mut nsenter, b"")
    }

    /// Whether a script ends with 0 there.
    pub fn is_so(&self, script: &str) -> bool {
        self.sh(script).is_ok()
    }

    /// Writes a file on it, and the folders that lead to it.
    pub fn write(&self, path: &str, text: &str) -> Result<(), Failure> {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid));
        let path = root.join(path.trim_start_matches('/'));
        let io =
            |e: std::io::Error| Failure::new(format!("{} on {}: {e}", path.display(), self.name));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        fs::write(&path, text).map_err(io)
    }

    /// Writes a systemd unit and starts it.
    pub fn start_unit(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.write(&format!("/etc/systemd/system/{name}"), text)?;
        self.sh(&format!(
            "systemctl daemon-reload && systemctl start '{name}'"
        ))?;
        Ok(())
    }

    /// The end of what it logged to its console, for a failure.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Turns it off at once, as a power cut does.
    pub fn turn_off(&mut self) -> Result<(), Failure> {
        let pid = nix::unistd::Pid::from_raw(self.pid);
        // The first process takes all others with it.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        wait_until(BOOT, "the host to be off", || {
            Ok(self.process.exited().map(|_| ()))
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.turn_off();
        let _ = ip(&format!("netns delete {}", self.namespace));
        // It is removed with all others at the latest.
        let _ = fs::remove_dir(&self.cgroup);
    }
}

fn only_child(pid: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let child = children.split_whitespace().next()?.parse().ok()?;
    // Until it has started the script it is still the shell's.
    let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
    (name.trim() == "systemd").then_some(child)
}

/// A LAN: a bridge that has the first address of `10.77.<number>.0/24`, which is the controller's.
pub struct Lan {
    bridge: String,
    number: u8,
}

impl Lan {
    /// Makes it.
    pub fn new(number: u8) -> Result<Self, Failure> {
        let bridge = format!("lan{number}");
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("address add 10.77.{number}.1/24 dev {bridge}"))?;
        ip(&format!("link set {bridge} up"))?;
        Ok(Self { bridge, number })
    }

    /// The controller's address in it.
    pub fn controller(&self) -> String {
        format!("10.77.{}.1", self.number)
    }

    /// Makes a network namespace whose `eth0` is in this LAN, and returns its address.
    fn plug_in(&self, namespace: &str, number: u8) -> Result<String, Failure> {
        let address = format!("10.77.{}.{number}", self.number);
        let (bridge, port) = (&self.bridge, format!("{}p{number}", self.bridge));
        ip(&format!("netns add {namespace}"))?;
        ip(&format!(
            "link add {port} type veth peer name eth0 netns {namespace}"
        ))?;
        ip(&format!("link set {port} master {bridge} up"))?;
        ip(&format!("-netns {namespace} link set lo up"))?;
        ip(&format!(
            "-netns {namespace} address add {address}/24 dev eth0"
        ))?;
        ip(&format!("-netns {namespace} link set eth0 up"))?;
        ip(&format!(
            "-netns {namespace} route add default via {}",
            self.controller()
        ))?;
        Ok(address)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = ip(&format!("link delete {}", self.bridge));
    }
}
