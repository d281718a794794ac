//! Checks the service that starts promansible. It reads systemd's files instead of running systemctl: they suffice, and no
//! process is started.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::finding::{Area, Finding};

const UNIT: &str = "promansible.service";

/// The folders of units; the first that contains the unit wins.
const FOLDERS: [&str; 4] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// The cgroup of the unit, which exists while it is active.
const CGROUPS: [&str; 2] = [
    "sys/fs/cgroup/system.slice/promansible.service",
    "sys/fs/cgroup/systemd/system.slice/promansible.service",
];

const SUPERVISOR: &str = "etc/supervisor/conf.d/promansible.conf";

pub(super) fn check() -> Vec<Finding> {
    check_below(Path::new("/"), &user())
}

/// Returns the limit of open files that the unit sets, if any.
pub(super) fn open_files() -> Option<u64> {
    let unit = Unit::read(Path::new("/"))?;
    let limit = unit.value("LimitNOFILE")?;
    let hard = limit.rsplit(':').next().unwrap_or(limit);
    if hard == "infinity" {
        return Some(u64::MAX);
    }
    hard.parse().ok()
}

/// Returns the user that runs this process.
fn user() -> String {
    let user = User::from_uid(Uid::effective()).ok().flatten();
    user.map_or_else(|| Uid::effective().to_string(), |user| user.name)
}

fn check_below(root: &Path, user: &str) -> Vec<Finding> {
    let area = Area::Service;
    let Some(unit) = Unit::read(root) else {
        if root.join(SUPERVISOR).is_file() {
            return vec![area.ok("supervisor", "the program promansible is configured")];
        }
        return vec![area.warning(
            UNIT,
            "there is no such unit: promansible does not start at boot",
            "install config/systemd/promansible.service, see docs/installation.md",
        )];
    };
    let shown = unit.path.display().to_string();
    if unit.text.is_empty() {
        return vec![area.warning(
            UNIT,
            format!("{shown} is masked or empty"),
            format!("systemctl unmask {UNIT}"),
        )];
    }
    let mut findings = vec![area.ok(UNIT, format!("installed as {shown}"))];
    findings.push(if is_enabled(root) {
        area.ok("at boot", "enabled")
    } else {
        area.warning(
            "at boot",
            "not enabled: promansible does not start at boot",
            format!("systemctl enable {UNIT}"),
        )
    });
    let active = CGROUPS.iter().any(|group| root.join(group).is_dir());
    findings.push(if active {
        area.ok("now", "active")
    } else {
        area.warning(
            "now",
            "not active",
            format!("systemctl start {UNIT}; `journalctl -u promansible -n 50` shows why it ended"),
        )
    });
    let runs_as = unit.value("User").unwrap_or("root");
    if runs_as != user {
        findings.push(area.warning(
            "user",
            format!("the service runs as {runs_as}, but this check runs as {user}: keys, known hosts and permissions may differ"),
            format!("run `sudo -u {runs_as} promansible doctor` in the service's working directory ({})", unit.value("WorkingDirectory").unwrap_or("/")),
        ));
    }
    findings
}

struct Unit {
    path: PathBuf,
    /// The text of the unit, followed by that of its drop-ins: the last value of a key wins.
    text: String,
}

impl Unit {
    fn read(root: &Path) -> Option<Self> {
        let mut folders = FOLDERS.iter().map(|folder| root.join(folder).join(UNIT));
        let path = folders.find(|path| path.symlink_metadata().is_ok())?;
        let mut text = fs::read_to_string(&path).unwrap_or_default();
        for folder in FOLDERS.iter().rev() {
            let dropped = fs::read_dir(root.join(folder).join(format!("{UNIT}.d")));
            let mut files: Vec<PathBuf> = dropped
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|e| e == "conf"))
                .collect();
            files.sort();
            for file in files {
                text.push('\n');
                text.push_str(&fs::read_to_string(file).unwrap_or_default());
            }
        }
        Some(Self { path, text })
    }

    fn value(&self, key: &str) -> Option<&str> {
        let mut values = self.text.lines().filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then_some(value.trim())
        });
        values.next_back().filter(|value| !value.is_empty())
    }
}

/// Whether a target wants or requires the unit.
fn is_enabled(root: &Path) -> bool {
    let entries = fs::read_dir(root.join(FOLDERS[0]));
    let folders = entries.into_iter().flatten().flatten();
    folders
        .map(|entry| entry.path())
        .filter(|path| {
            let ending = path.extension().and_then(|e| e.to_str());
            matches!(ending, Some("wants" | "requires" | "upholds"))
        })
        .any(|path| path.join(UNIT).symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_unit_is_checked_by_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let levels = || {
            let found = check_below(dir.path(), "promansible").into_iter();
            let found = found.map(|f| (f.subject, f.level));
            found.collect::<Vec<_>>()
        };
        assert_eq!(levels(), [(UNIT.to_owned(), Level::Warning)]);
        fs::create_dir_all(at("etc/supervisor/conf.d")).unwrap();
        fs::write(at(SUPERVISOR), "").unwrap();
        assert_eq!(levels(), [("supervisor".to_owned(), Level::Ok)]);

        let folder = at("etc/systemd/system");
        fs::create_dir_all(folder.join("multi-user.target.wants")).unwrap();
        fs::write(
            folder.join(UNIT),
            "[Service]\nUser=nobody\nLimitNOFILE=1:2\n",
        )
        .unwrap();
        let both = |level| ["at boot", "now"].map(|subject| (subject.to_owned(), level));
        let found = levels();
        assert_eq!(found[1..3], both(Level::Warning));
        assert_eq!(found[3], ("user".to_owned(), Level::Warning));

        symlink(
            folder.join(UNIT),
            folder.join("multi-user.target.wants").join(UNIT),
        )
        .unwrap();
        fs::create_dir_all(at(CGROUPS[0])).unwrap();
        fs::create_dir_all(folder.join(format!("{UNIT}.d"))).unwrap();
        fs::write(
            folder.join(format!("{UNIT}.d/user.conf")),
            "[Service]\nUser = promansible\n",
        )
        .unwrap();
        let found = levels();
        assert_eq!(found[1..], both(Level::Ok));
    }
}
