//! Describes the installed Ansible, and checks that it reaches hosts. Changes nothing on this machine or the hosts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::command::{self, reach};
use super::list_inventory::{VERSION_TIMEOUT, folder_name, parse_version};
use super::{Ansible, Folder, ListError, StartError, Started, config_file, environment, process};
use crate::model::inventory::EnrolledHost;
use crate::util::blocking::in_place;

/// How long `ansible-playbook` may take to end after it was interrupted.
const GRACE: Duration = Duration::from_secs(2);

/// The output of `ansible-inventory --version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The version of ansible-core, such as `2.19.4`.
    pub core: String,
    /// The first two numbers of the version.
    pub version: (u32, u32),
    /// The version of its Python, and the path in parentheses.
    pub python: String,
    /// The folders that contain `ansible_collections`, including that of the package `ansible`.
    pub collections: Vec<PathBuf>,
}

/// The hosts to log in to.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'a> {
    /// Exact inventory names; at least one.
    pub hosts: &'a [String],
    /// Whether runs become root on the hosts.
    pub r#become: bool,
    /// The enrolled hosts, which are in none of the configured sources.
    pub enrolled: &'a [Arc<EnrolledHost>],
}

impl Ansible {
    /// Returns the version and the paths of Ansible; `None` if their format is unknown.
    ///
    /// *Cancel safety*: dropping the future ends the process and its tree.
    pub async fn describe(&self) -> Result<Option<Description>, ListError> {
        let output = self.ask(command::build_version, VERSION_TIMEOUT).await?;
        Ok(describe(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Logs in to hosts like a run: the tasks `login`, `python` (a ping) and `sudo` check one step each. Only failed tasks
    /// have events; the final statistics list the hosts that succeeded.
    ///
    /// As for [`Ansible::start`], dropping the result ends it.
    pub fn reach(&self, wanted: &Reach<'_>) -> Result<Started, StartError> {
        in_place(|| {
            let name = folder_name();
            let settings = self.settings_now();
            let paths = self.paths(&settings, &name);
            let text = config_file(&settings).and_then(|file| fs::read_to_string(file).ok());
            let has_extra_args = text.is_some_and(|text| text.contains("ssh_extra_args"));
            let line = reach::build(&settings, wanted, &paths, &name, has_extra_args)?;
            let marker = environment::marker(&self.store, &name);
            let folder = Folder::prepare(paths.dir, line)?;
            process::start(folder, &self.exe, GRACE, marker, wanted.hosts)
        })
    }
}

/// *Source*: `version()` in ansible-core's `cli/arguments/option_helpers.py`.
fn describe(printed: &str) -> Option<Description> {
    let (core, version) = parse_version(printed)?;
    let value = |key: &str| {
        let mut lines = printed.lines();
        lines.find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(" = "))
    };
    let python = value("python version").unwrap_or_default();
    let number = python.split(' ').next().unwrap_or_default();
    let python = match python.rsplit_once(" (") {
        Some((_, program)) if program.ends_with(')') => {
            format!("{number} ({program}")
        }
        _ => number.to_owned(),
    };
    let paths = value("ansible collection location").unwrap_or_default();
    let mut collections: Vec<PathBuf> = paths.split(':').map(PathBuf::from).collect();
    // The package `ansible` installs its collections beside ansible-core.
    let module = value("ansible python module location").map(Path::new);
    collections.extend(module.and_then(Path::parent).map(Path::to_owned));
    Some(Description {
        core: core.to_owned(),
        version,
        python,
        collections,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_and_the_paths_are_parsed() {
        let said = "ansible-inventory [core 2.19.4]
  config file = None
  ansible python module location = /v/lib/python3.11/site-packages/ansible
  ansible collection location = /h/.ansible/collections:/usr/share/ansible/collections
  python version = 3.11.2 (main, Apr 28 2025, 14:11:48) [GCC 12.2.0] (/v/bin/python3)
";
        let described = describe(said).unwrap();
        assert_eq!(
            (described.core.as_str(), described.version),
            ("2.19.4", (2, 19))
        );
        assert_eq!(described.python, "3.11.2 (/v/bin/python3)");
        let folders = [
            "/h/.ansible/collections",
            "/usr/share/ansible/collections",
            "/v/lib/python3.11/site-packages",
        ];
        assert_eq!(described.collections, folders.map(PathBuf::from));
        assert_eq!(
            describe("ansible-inventory [core 2.16.0]").unwrap().version,
            (2, 16)
        );
        assert_eq!(describe("ansible 2.9.27\n  python version = 3.7\n"), None);
    }
}
