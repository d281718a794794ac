//! The machine that the figures are from.

use std::fs;
use std::path::Path;

use super::disk;

/// Cores, memory, kernel, and the file system that the stores lie on.
pub(crate) fn line() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!(
        "{cores} cores, load {load}, Linux {}, {} ({}), promansible {}",
        read("/proc/sys/kernel/osrelease").trim(),
        file_system(Path::new(disk::FOLDER)),
        std::env::consts::ARCH,
        promansible::util::build::LONG,
    )
}

/// The type of the file system with the longest mount point above the path.
///
/// *Source*: `proc_pid_mountinfo(5)`.
fn file_system(path: &Path) -> String {
    read("/proc/self/mountinfo")
        .lines()
        .filter_map(|line| {
            let (mount, source) = line.split_once(" - ")?;
            let point = mount.split(' ').nth(4)?;
            path.starts_with(point)
                .then(|| (point.len(), source.split(' ').next().unwrap_or("?")))
        })
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "?".to_owned(), |(_, kind)| kind.to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
