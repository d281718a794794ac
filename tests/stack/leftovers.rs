//! What is still there when nothing should be.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that should not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its number.
    pub pid: i32,
    /// Its command line.
    pub command: String,
}

/// The processes that have to do with this folder: they work in it, or their command line or environment names it.
pub fn of_folder(dir: &Path) -> Vec<Leftover> {
    let needle = dir.as_os_str().as_bytes();
    processes(|proc| {
        let works_there = fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        works_there
            || contains(&proc.join("cmdline"), needle)
            || contains(&proc.join("environ"), needle)
    })
}

/// The processes of any run of the promansible whose files lie in this folder.
pub fn of_runs(dir: &Path) -> Vec<Leftover> {
    let needle = dir.as_os_str().as_bytes();
    processes(|proc| {
        let environment = proc.join("environ");
        contains(&environment, b"PROMANSIBLE_RUN=") && contains(&environment, needle)
    })
}

/// Ends what [`of_folder`] finds; a session's remains on the "remote" host are nobody's child.
pub fn end(dir: &Path) {
    for leftover in of_folder(dir) {
        let _ = kill(Pid::from_raw(leftover.pid), Signal::SIGKILL);
    }
}

fn processes(wanted: impl Fn(&Path) -> bool) -> Vec<Leftover> {
    let own = i32::try_from(std::process::id()).expect("Linux's process ids fit into i32");
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .filter(|(pid, proc)| *pid != own && wanted(proc))
        .map(|(pid, proc)| Leftover {
            pid,
            command: fs::read(proc.join("cmdline"))
                .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
                .unwrap_or_default(),
        })
        .collect()
}

fn contains(file: &Path, needle: &[u8]) -> bool {
    fs::read(file).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}
