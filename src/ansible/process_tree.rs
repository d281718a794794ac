//! Finds the processes of runs in Linux's `/proc`, and ends them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::sys::prctl::get_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::ansible::environment::{LISTING, MARKER};

/// How long processes may take to end after SIGTERM.
const GENTLY: Duration = Duration::from_secs(2);
/// How long SIGKILL is repeated. Only a process that is blocked in the kernel, or belongs to another user, survives that.
const AT_MOST: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    /// The start time, which distinguishes it from a later process with the same id. *Units*: clock ticks since boot.
    started: u64,
    is_zombie: bool,
}

/// The result of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// The processes that were found.
    pub processes: BTreeSet<i32>,
    /// Those that could not be ended.
    pub survivors: BTreeSet<i32>,
    /// The number of folders that were removed.
    pub folders: usize,
}

/// Ends the processes that earlier runs of this store left behind, and removes their folders under `runs_dir`.
///
/// To be called at the start, before the first run. Blocks for at most about twelve seconds; if nothing is left, for
/// milliseconds.
///
/// *Errors*: `/proc` or `runs_dir` cannot be read. A process that cannot be ended is not an error, but is in the result.
pub fn sweep(store: &str, runs_dir: &Path) -> io::Result<Swept> {
    let mut swept = end_marked(&format!("{MARKER}={store}:"), false)?;
    let entries = match fs::read_dir(runs_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(swept),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        // Other files do not belong to promansible, even if they should not be here.
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.parse::<u64>().is_ok() || name.starts_with(LISTING));
        if ours && entry.file_type()?.is_dir() {
            // Another user's file in it must not keep promansible from starting. It does no harm: folder names are not used
            // twice.
            match fs::remove_dir_all(entry.path()) {
                Ok(()) => swept.folders += 1,
                Err(e) => {
                    tracing::warn!(folder = %entry.path().display(), error = %e, "the folder of an earlier run cannot be removed");
                }
            }
        }
    }
    Ok(swept)
}

/// Ends the processes of one run, found by its marker.
pub(super) fn sweep_run(marker: &str) -> io::Result<Swept> {
    end_marked(&format!("{MARKER}={marker}"), true)
}

/// Ends the processes with this marker in their environment. If `exact` is false, `mark` is the beginning of the entry.
fn end_marked(mark: &str, exact: bool) -> io::Result<Swept> {
    end(|processes| marked(processes, mark.as_bytes(), exact))
}

/// Ends orphans whose supervisor was killed: all children of this process that are not supervisors. Does nothing unless
/// this process adopts orphans.
pub(super) fn end_adopted(supervisors: impl Fn() -> BTreeSet<i32>) -> io::Result<Swept> {
    if !get_child_subreaper().unwrap_or(false) {
        return Ok(Swept::default());
    }
    let own = Pid::this().as_raw();
    end(|processes| {
        // Called after the snapshot, so that every supervisor in the snapshot is in this set.
        let supervisors = supervisors();
        let adopted = |p: &&Process| p.parent == own && !supervisors.contains(&p.pid);
        let adopted: Vec<i32> = processes.iter().filter(adopted).map(|p| p.pid).collect();
        for pid in &adopted {
            let _ = waitpid(Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG));
        }
        adopted.into_iter().collect()
    })
}

/// Sends SIGTERM to the found processes and their descendants, waits, then sends SIGKILL until all have ended. A process
/// that was found once is remembered: when its parent dies, there may be no other way to find it.
fn end(find: impl Fn(&[Process]) -> BTreeSet<i32>) -> io::Result<Swept> {
    let start = Instant::now();
    let mut swept = Swept::default();
    let mut known: BTreeMap<i32, u64> = BTreeMap::new();
    loop {
        let processes = snapshot()?;
        let mut found = find(&processes);
        let same = |p: &&Process| known.get(&p.pid) == Some(&p.started);
        found.extend(processes.iter().filter(same).map(|p| p.pid));
        for root in found.clone() {
            found.extend(below(&processes, root));
        }
        for pid in self_and_ancestors(&processes) {
            found.remove(&pid);
        }
        let lives = |p: &&Process| found.contains(&p.pid) && !p.is_zombie;
        let left: BTreeMap<i32, u64> = processes
            .iter()
            .filter(lives)
            .map(|p| (p.pid, p.started))
            .collect();
        let age = start.elapsed();
        if left.is_empty() || age > GENTLY + AT_MOST {
            swept.survivors = left.into_keys().collect();
            return Ok(swept);
        }
        for (&pid, &started) in &left {
            let new = known.insert(pid, started) != Some(started);
            swept.processes.insert(pid);
            if age > GENTLY {
                send(pid, Signal::SIGKILL);
            } else if new {
                send(pid, Signal::SIGTERM);
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Returns the processes with this marker in their environment.
fn marked(processes: &[Process], mark: &[u8], exact: bool) -> BTreeSet<i32> {
    let roots = processes.iter().map(|p| p.pid).filter(|pid| {
        // The environment of another user's process cannot be read, and a zombie has none.
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|&b| b == 0).any(|entry| {
            if exact {
                entry == mark
            } else {
                entry.starts_with(mark)
            }
        })
    });
    roots.collect()
}

/// Returns this process and its ancestors. They are never ended, because a run may have restarted promansible.
fn self_and_ancestors(processes: &[Process]) -> Vec<i32> {
    let parent = |pid: &i32| processes.iter().find(|p| p.pid == *pid).map(|p| p.parent);
    std::iter::successors(Some(Pid::this().as_raw()), parent).collect()
}

/// Returns the living descendants of this process.
pub(super) fn descendants() -> io::Result<BTreeSet<i32>> {
    let mut processes = snapshot()?;
    processes.retain(|p| !p.is_zombie);
    Ok(below(&processes, Pid::this().as_raw()))
}

/// Returns the name of a process, for people.
pub(super) fn name(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().escape_debug().to_string()
}

/// Sends a signal. Errors are ignored: the process may have ended already, and one of another user is reported as a
/// survivor.
pub(super) fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

fn below(processes: &[Process], root: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for process in processes.iter().filter(|p| p.parent == parent) {
            if process.pid != root && found.insert(process.pid) {
                open.push(process.pid);
            }
        }
    }
    found
}

/// Returns all processes; one that ends meanwhile may be missing.
fn snapshot() -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        processes.extend(parse_stat(pid, &stat));
    }
    Ok(processes)
}

/// Parses `/proc/<pid>/stat`. The name in parentheses may contain anything, even parentheses, so the fields are counted
/// from its end.
///
/// *Source*: `proc_pid_stat(5)`.
fn parse_stat(pid: i32, stat: &[u8]) -> Option<Process> {
    let end = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    // state (3), ppid (4), …, starttime (22)
    let mut fields = rest.split_ascii_whitespace();
    Some(Process {
        pid,
        is_zombie: matches!(fields.next()?, "Z" | "X"),
        parent: fields.next()?.parse().ok()?,
        started: fields.nth(17)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_parentheses_and_spaces() {
        let stat = b"7 (a) Z 1 (b)) S 42 7 7 0 -1 4 1 0 0 0 1 2 3 4 20 0 1 0 8899 1 2";
        let process = parse_stat(7, stat).unwrap();
        assert_eq!((process.parent, process.started), (42, 8899));
        assert!(!process.is_zombie);
        assert_eq!(parse_stat(7, b"7 (a"), None);
        assert_eq!(parse_stat(7, b""), None);
    }

    #[test]
    fn descendants_are_found_through_every_generation() {
        let processes =
            [(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 99)].map(|(pid, parent)| Process {
                pid,
                parent,
                started: 0,
                is_zombie: false,
            });
        assert_eq!(below(&processes, 2), BTreeSet::from([3, 4]));
        assert_eq!(below(&processes, 1), BTreeSet::from([2, 3, 4, 5]));
        assert_eq!(below(&processes, 6), BTreeSet::new());
    }

    #[test]
    fn our_own_process_is_never_swept() {
        let processes = snapshot().unwrap();
        let own = Pid::this().as_raw();
        // Every process has PATH, we too; but we are of our own line.
        assert!(marked(&processes, b"PATH=", false).contains(&own));
        let line = self_and_ancestors(&processes);
        assert_eq!(line[0], own);
        assert!(line.len() > 1, "{line:?}");
    }
}
