//! The namespaces that everything happens in.
//!
//! The program starts itself again as the second process of a process namespace, with mounts, a network and a cgroup of
//! its own. When it ends, however it ends, the kernel ends every process there, and with them go all mounts and links.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::stack::Failure;
use crate::stack::process::{command, find, run};

/// Set in the environment of the second start: the cgroup's folder.
const CGROUP: &str = "PROMANSIBLE_TEST_CGROUP";

/// Whether this is the second start.
pub fn are_ours() -> bool {
    env::var_os(CGROUP).is_some()
}

/// The folder of the cgroup that is ours.
pub fn cgroup() -> PathBuf {
    PathBuf::from(env::var_os(CGROUP).expect("this is the second start"))
}

/// Starts this program again in namespaces of its own, and ends as it ends.
pub fn run_in_ours() -> ExitCode {
    match start_again() {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn start_again() -> Result<ExitCode, Failure> {
    let io = |e: std::io::Error| Failure::new(format!("starting in namespaces: {e}"));
    if !nix::unistd::geteuid().is_root() {
        // sudo's own end of the work is this same function.
        let status = command(find(&["sudo"])?)
            .args(["--preserve-env=PATH,HOME", "--"])
            .arg(env::current_exe().map_err(io)?)
            .args(env::args_os().skip(1))
            .status()
            .map_err(io)?;
        return Ok(code(status));
    }
    let cgroup = match (can_make(), Cgroup::make()) {
        (Ok(_), Ok(cgroup)) => cgroup,
        (Err(why), _) | (_, Err(why)) => {
            eprintln!(
                "roles: left out, because root may not make hosts here, as in a container without privileges: {why}"
            );
            return Ok(ExitCode::SUCCESS);
        }
    };
    // The first process of a namespace must collect the children of all others: a shell does.
    let status = command(find(&["unshare"])?)
        .args(["--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc"])
        .args(["--kill-child", "--"])
        .args(["sh", "-c", "mkdir -p /run/netns; mount -t tmpfs netns /run/netns; ip link set lo up; \"$@\"; exit $?", "sh"])
        .arg(env::current_exe().map_err(io)?)
        .args(env::args_os().skip(1))
        .env(CGROUP, &cgroup.0)
        .status()
        .map_err(io)?;
    Ok(code(status))
}

/// Whether namespaces, an overlay of this machine and a cgroup mount are to be had at all.
fn can_make() -> Result<String, Failure> {
    const PROBE: &str = "dir=$(mktemp -d) && trap 'umount -R \"$dir\"; rmdir \"$dir\"' EXIT && mount -t tmpfs probe \"$dir\" && \
        mkdir \"$dir/u\" \"$dir/w\" \"$dir/m\" \"$dir/c\" && mount -t cgroup2 probe \"$dir/c\" && \
        mount -t overlay -o \"lowerdir=/,upperdir=$dir/u,workdir=$dir/w\" probe \"$dir/m\" && \
        ip link add probe0 type bridge && ip link add probe1 type veth peer name probe2";
    let mut unshare = command(find(&["unshare"])?);
    unshare.args(["--net", "--mount", "--uts", "--ipc", "--cgroup", "--pid"]);
    run(unshare.args([
        "--fork",
        "--mount-proc",
        "--kill-child",
        "--",
        "sh",
        "-c",
        PROBE,
    ]))
}

fn code(status: std::process::ExitStatus) -> ExitCode {
    if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A cgroup that goes when this is dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make() -> Result<Self, Failure> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mount = mounts
            .lines()
            .find(|line| line.contains(" - cgroup2 "))
            .and_then(|line| line.split(' ').nth(4))
            .ok_or_else(|| Failure::new("there is no cgroup2 mount: systemd cannot run without"))?;
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let dir = Path::new(mount)
            .join(own.unwrap_or_default())
            .join(format!("promansible-test-{}", std::process::id()));
        fs::create_dir(&dir)
            .map_err(|e| Failure::new(format!("making the cgroup {}: {e}", dir.display())))?;
        Ok(Self(dir))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What was killed a moment ago may still be in it.
        for _ in 0..50 {
            if remove(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        eprintln!("the cgroup {} could not be removed", self.0.display());
    }
}

fn remove(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

/// Runs a command line of `ip`, in the network that is ours.
pub fn ip(arguments: &str) -> Result<String, Failure> {
    run(command(find(&["ip"])?).args(arguments.split_whitespace()))
}
