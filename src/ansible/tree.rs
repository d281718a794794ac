//! Which processes are ours, and the end of them. Linux's `/proc` is where this is known from.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::environment::{LISTING, MARKER};

/// How long leftovers have to end after they were asked to.
const GENTLY: Duration = Duration::from_secs(2);
/// How long a sweep goes on killing before it gives up; only a process that the kernel holds, or another user's, lives on.
const AT_MOST: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
}

/// What a sweep found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// The processes that were left and were ended.
    pub processes: BTreeSet<i32>,
    /// Those among them that would not end.
    pub survivors: BTreeSet<i32>,
    /// How many run folders were left and were removed.
    pub folders: usize,
}

/// Ends whatever earlier runs of this store left behind: their processes, and their folders under `runs_dir`.
///
/// For the start, before the first run. It blocks, for at most about twelve seconds; without leftovers for milliseconds.
///
/// *Errors*: `/proc` or `runs_dir` cannot be read. A process that cannot be ended is no error, but in the answer.
pub fn sweep(store: &str, runs_dir: &Path) -> io::Result<Swept> {
    let mut swept = end_marked(&format!("{MARKER}={store}:"), false)?;
    let entries = match fs::read_dir(runs_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(swept),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        // Whatever else is there is not ours, even if it should not be there.
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.parse::<u64>().is_ok() || name.starts_with(LISTING));
        if ours && entry.file_type()?.is_dir() {
            // Another user's file in it must not keep promansible from starting: no folder's name is used twice.
            match fs::remove_dir_all(entry.path()) {
                Ok(()) => swept.folders += 1,
                Err(e) => {
                    tracing::warn!(folder = %entry.path().display(), error = %e, "an earlier run's folder stays");
                }
            }
        }
    }
    Ok(swept)
}

/// Ends the processes of one run, by its mark.
pub(super) fn sweep_run(marker: &str) -> io::Result<Swept> {
    end_marked(&format!("{MARKER}={marker}"), true)
}

/// Asks, waits, then kills until none is left. `exact` says whether the mark is the whole entry or its beginning.
fn end_marked(mark: &str, exact: bool) -> io::Result<Swept> {
    let start = Instant::now();
    let mut swept = Swept::default();
    loop {
        let left = marked(mark.as_bytes(), exact)?;
        let age = start.elapsed();
        if left.is_empty() || age > GENTLY + AT_MOST {
            swept.survivors = left;
            return Ok(swept);
        }
        for &pid in &left {
            let new = swept.processes.insert(pid);
            if age > GENTLY {
                send(pid, Signal::SIGKILL);
            } else if new {
                send(pid, Signal::SIGTERM);
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// The processes with this mark in their environment, and their descendants, but never ourselves nor those that we
/// descend from: promansible itself may have been started again by one of its own runs.
fn marked(mark: &[u8], exact: bool) -> io::Result<BTreeSet<i32>> {
    let processes = snapshot()?;
    let roots = processes.iter().map(|p| p.pid).filter(|pid| {
        // Another user's process cannot be read, and a zombie has none.
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|&b| b == 0).any(|entry| {
            if exact {
                entry == mark
            } else {
                entry.starts_with(mark)
            }
        })
    });
    let mut found: BTreeSet<i32> = roots.collect();
    for root in found.clone() {
        found.extend(below(&processes, root));
    }
    let mut own = Some(Pid::this().as_raw());
    while let Some(pid) = own {
        found.remove(&pid);
        own = processes.iter().find(|p| p.pid == pid).map(|p| p.parent);
    }
    Ok(found)
}

/// Every living descendant of this process.
pub(super) fn descendants() -> io::Result<BTreeSet<i32>> {
    Ok(below(&snapshot()?, Pid::this().as_raw()))
}

/// Sends a signal; that the process is gone already is fine, and that it is another user's shows as a survivor.
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

/// Every process that lives; one that ends while we look is left out, and so are zombies.
fn snapshot() -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some((state, parent)) = parse_stat(&stat)
            && state != b'Z'
            && state != b'X'
        {
            processes.push(Process { pid, parent });
        }
    }
    Ok(processes)
}

/// State and parent. The name in parentheses may hold anything, parentheses too, so it is read from its end.
///
/// *Source*: `proc_pid_stat(5)`.
fn parse_stat(stat: &[u8]) -> Option<(u8, i32)> {
    let end = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_parentheses_and_spaces() {
        assert_eq!(parse_stat(b"7 (a) Z 1 (b)) S 42 7 7 0"), Some((b'S', 42)));
        assert_eq!(parse_stat(b"7 (a"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn descendants_are_found_through_every_generation() {
        let processes = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 99)]
            .map(|(pid, parent)| Process { pid, parent });
        assert_eq!(below(&processes, 2), BTreeSet::from([3, 4]));
        assert_eq!(below(&processes, 1), BTreeSet::from([2, 3, 4, 5]));
        assert_eq!(below(&processes, 6), BTreeSet::new());
    }

    #[test]
    fn our_own_process_is_never_swept() {
        let processes = snapshot().unwrap();
        let own = Pid::this().as_raw();
        assert!(processes.iter().any(|p| p.pid == own));
        // Every process has PATH; we are not among what is found all the same.
        assert!(!marked(b"PATH=", false).unwrap().contains(&own));
    }
}
