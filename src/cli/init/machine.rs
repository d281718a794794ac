//! What is to be known of this machine: its name, this program, and where Ansible is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::cli::Failure;
use crate::model::inventory::is_exact;

/// The name that every machine has.
const LOCALHOST: &str = "localhost";

/// The groups that every inventory has: no host is named so.
const GROUPS: [&str; 2] = ["all", "ungrouped"];

/// Folders that every `PATH` has, also that of systemd's services.
const USUAL: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// This machine.
#[derive(Debug)]
pub(super) struct Machine {
    /// Its name, as an inventory can have it.
    pub(super) host: String,
    /// Where this program is.
    pub(super) executable: PathBuf,
    /// The folder of `PATH` that holds Ansible's programs.
    pub(super) ansible: Option<PathBuf>,
    /// Whether a shell finds this program by its name.
    in_path: bool,
}

impl Machine {
    /// Looks at the machine that this runs on.
    pub(super) fn look() -> Result<Self, Failure> {
        let executable = std::env::current_exe()
            .map_err(|e| Failure::new(format!("cannot find out where promansible is: {e}")))?;
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = folders(&path).find(|dir| dir.join("promansible").is_file());
        let found = found.and_then(|dir| dir.join("promansible").canonicalize().ok());
        Ok(Self {
            host: host(name.trim()).to_owned(),
            in_path: found.is_some_and(|found| executable.canonicalize().is_ok_and(|e| e == found)),
            ansible: ansible(&path),
            executable,
        })
    }

    /// How this program is called in a shell.
    pub(super) fn program(&self) -> String {
        if self.in_path {
            return "promansible".to_owned();
        }
        shell_word(&self.executable.display().to_string())
    }

    /// The folder of Ansible's programs, if a service would not find them.
    pub(super) fn unusual_ansible(&self) -> Option<&Path> {
        let dir = self.ansible.as_deref()?;
        (!USUAL.iter().any(|usual| dir == Path::new(usual))).then_some(dir)
    }
}

/// The name of a machine, if it can be the name of a host in an inventory.
fn host(name: &str) -> &str {
    if is_exact(name) && !GROUPS.contains(&name) {
        return name;
    }
    LOCALHOST
}

fn folders(path: &OsStr) -> impl Iterator<Item = PathBuf> {
    // What a relative folder means depends on where one is.
    std::env::split_paths(path).filter(|dir| dir.is_absolute())
}

fn ansible(path: &OsStr) -> Option<PathBuf> {
    folders(path).find(|dir| {
        let programs = ["ansible-playbook", "ansible-inventory"];
        programs.iter().all(|program| dir.join(program).is_file())
    })
}

/// A word as a shell takes it for one.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+@:,%=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_whose_name_no_inventory_takes_is_localhost() {
        assert_eq!(host("web1"), "web1");
        assert_eq!(host("web1.example.org"), "web1.example.org");
        for name in ["", "(none)", "web 1", "-x", "all", "a:b"] {
            assert_eq!(host(name), LOCALHOST, "{name}");
        }
    }

    #[test]
    fn a_shell_takes_a_word_for_one() {
        assert_eq!(shell_word("/etc/promansible"), "/etc/promansible");
        assert_eq!(shell_word("/srv/my files"), "'/srv/my files'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }
}
