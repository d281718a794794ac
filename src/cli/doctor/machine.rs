//! Checks this machine: disk space, open files, the time zone.

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;

use super::finding::{Area, Finding};
use super::{service, store};
use crate::config::{Config, format_size};
use crate::util::zone::Zone;

/// The least free space in bytes: with less, the next commits fail.
const LEAST_BYTES: u64 = 64 << 20;

/// The number of open files other than connections: the store, pipes of runs, the server's own sockets.
const FILES_BESIDE: u64 = 128;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    vec![space(config), open_files(config), zone()]
}

fn space(config: &Config) -> Finding {
    let path = &config.storage.path;
    let folder = store::nearest(path.parent().unwrap_or(path));
    let subject = "disk of the store";
    let stat = match statvfs(&folder) {
        Ok(stat) => stat,
        Err(e) => {
            let why = format!("cannot be checked: {}", e.desc());
            return Area::Machine.warning(subject, why, "check storage.path");
        }
    };
    // Both are u64 on this platform, and narrower on others.
    #[allow(clippy::useless_conversion)]
    let free = u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size()));
    let size = std::fs::metadata(path).map_or(0, |meta| meta.len());
    // The file is up to twice as large as its data.
    let wanted = config.storage.retention_size_bytes.saturating_mul(2);
    judge_space(free, wanted.saturating_sub(size))
}

fn judge_space(free: u64, wanted: u64) -> Finding {
    let subject = "disk of the store";
    let free_text = format!("{} free", about(free));
    if free < LEAST_BYTES {
        return Area::Machine.error(
            subject,
            free_text,
            "free disk space: without it, notifications are rejected with 503",
        );
    }
    if free < wanted {
        return Area::Machine.warning(
            subject,
            format!("{free_text}, but the store may grow by {}", about(wanted)),
            "free disk space, or lower storage.retention.size",
        );
    }
    Area::Machine.ok(subject, free_text)
}

/// Formats a size, rounded down to at least two digits.
fn about(bytes: u64) -> String {
    let units = [1u64 << 30, 1 << 20, 1 << 10];
    let unit = units.into_iter().find(|unit| bytes >= 10 * unit);
    let unit = unit.unwrap_or(1);
    format_size(bytes / unit * unit)
}

fn open_files(config: &Config) -> Finding {
    let wanted = config.receiver.max_connections as u64 + FILES_BESIDE;
    let (limit, whose) = match service::open_files() {
        Some(limit) => (limit, "the service"),
        None => match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((_, hard)) => (hard, "this shell"),
            Err(e) => {
                let why = format!("unknown: {}", e.desc());
                return Area::Machine.warning("open files", why, "check `ulimit -Hn`");
            }
        },
    };
    judge_files(limit, wanted, whose)
}

fn judge_files(limit: u64, wanted: u64, whose: &str) -> Finding {
    let subject = "open files";
    if limit < wanted {
        return Area::Machine.error(
            subject,
            format!("the limit of {whose} is {limit}, but promansible may need {wanted}"),
            "raise the limit (LimitNOFILE= in the unit, or `ulimit -n`), or lower receiver.max_connections",
        );
    }
    let limit = if limit >= 1 << 30 {
        "infinity".to_owned()
    } else {
        limit.to_string()
    };
    Area::Machine.ok(subject, format!("the limit of {whose} is {limit}"))
}

fn zone() -> Finding {
    match Zone::local() {
        Ok(zone) => Area::Machine.ok(
            "time zone",
            format!("{zone}; schedules use their own `timezone`, UTC by default"),
        ),
        Err(why) => Area::Machine.warning(
            "time zone",
            why,
            "use named zones in the configuration (timezone, location) instead of `Local`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn little_space_is_a_warning_before_it_is_an_error() {
        assert_eq!(judge_space(10 << 30, 2 << 30).level, Level::Ok);
        assert_eq!(judge_space(10 << 30, 2 << 30).message, "10GiB free");
        assert_eq!(judge_space(1 << 30, 2 << 30).level, Level::Warning);
        assert_eq!(judge_space(1 << 20, 0).level, Level::Error);
        assert_eq!(about(12_345_678_901), "11GiB");
        assert_eq!(about(12_345_678), "11MiB");
        assert_eq!(judge_files(1024, 1152, "x").level, Level::Error);
        assert_eq!(judge_files(1152, 1152, "x").level, Level::Ok);
    }
}
