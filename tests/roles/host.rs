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
    /// What it lies in, beside those of the other hosts.
    dir: PathBuf,
    /// Its first process, as we see it.
    pid: i32,
    process: Process,
    namespace: String,
    gateway: String,
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
        let (process, pid) = boot(dir, name, &namespace, &cgroup)?;
        let host = Self {
            name: name.to_owned(),
            address,
            dir: dir.to_owned(),
            pid,
            process,
            namespace,
            gateway: lan.controller(),
            cgroup,
        };
        host.wait_until_up()?;
        Ok(host)
    }

    fn wait_until_up(&self) -> Result<(), Failure> {
        wait_until(BOOT, &format!("the host {} to be up", self.name), || {
            Ok(self
                .sh("systemctl is-active --quiet sshd-of-host.service")
                .is_ok()
                .then_some(()))
        })
        .map_err(|failure| failure.with_logs([&self.process]))
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
        // Its network is the kernel's, which would go on to answer pings.
        let _ = ip(&format!("-netns {} address flush dev eth0", self.namespace));
        wait_until(BOOT, "the host to be off", || {
            Ok(self.process.exited().map(|_| ()))
        })
    }

    /// Turns it on again, as new: what was changed on it went with the power.
    pub fn turn_on(&mut self) -> Result<(), Failure> {
        configure(&self.namespace, &self.address, &self.gateway)?;
        (self.process, self.pid) = boot(&self.dir, &self.name, &self.namespace, &self.cgroup)?;
        self.wait_until_up()
    }

    /// The MAC address of its `eth0`, on or off.
    pub fn mac(&self) -> Result<String, Failure> {
        let said = ip(&format!("-netns {} -brief link show eth0", self.namespace))?;
        let mac = said.split_whitespace().nth(2);
        mac.map(str::to_owned)
            .ok_or_else(|| Failure::new(format!("no MAC address in {said:?}")))
    }

    /// Its network card while it is off: a process that ends with the magic packet for its MAC address.
    pub fn network_card(&self) -> Result<Process, Failure> {
        let script = "import socket, sys
card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
card.bind(('eth0', 0))
magic = b'\\xff' * 6 + bytes.fromhex(sys.argv[1].replace(':', '')) * 16
print('listening', flush=True)
while magic not in card.recv(2000):
    pass";
        let net = format!("--net=/run/netns/{}", self.namespace);
        let arguments = [&net, "python3", "-c", script, &self.mac()?].map(str::to_owned);
        let log = self.dir.join(format!("{}.card.log", self.name));
        let process = Process::start("network card", &find(&["nsenter"])?, &arguments, &[], &log)?;
        wait_until(BOOT, "the network card to listen", || {
            Ok(process.log().contains("listening").then_some(()))
        })?;
        Ok(process)
    }
}

/// Starts a host's system, and returns it with its first process.
fn boot(dir: &Path, name: &str, namespace: &str, cgroup: &Path) -> Result<(Process, i32), Failure> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/roles/host.sh");
    // Its cgroup becomes the root of its cgroups, so it must be in it before that namespace is made.
    let steps = format!(
        "echo $$ >'{}/cgroup.procs' && exec nsenter --net='/run/netns/{namespace}' \
         unshare --mount --uts --ipc --cgroup --pid --fork --kill-child \
         sh '{}' '{}' '{name}'",
        cgroup.display(),
        script.display(),
        dir.join(name).display(),
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
    .map_err(|status| Failure::new(format!("the host ended: {status}")).with_logs([&process]))?;
    Ok((process, pid))
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

    /// Its broadcast address.
    pub fn broadcast(&self) -> String {
        format!("10.77.{}.255", self.number)
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
        ip(&format!("-netns {namespace} link set eth0 up"))?;
        configure(namespace, &address, &self.controller())?;
        Ok(address)
    }
}

/// Gives `eth0` its address, and the way out.
fn configure(namespace: &str, address: &str, gateway: &str) -> Result<(), Failure> {
    ip(&format!(
        "-netns {namespace} address add {address}/24 dev eth0"
    ))?;
    ip(&format!(
        "-netns {namespace} route add default via {gateway}"
    ))?;
    Ok(())
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = ip(&format!("link delete {}", self.bridge));
    }
}
