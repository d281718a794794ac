//! Detects the name of this machine, and the paths of this program and of Ansible.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::cli::Failure;
use crate::model::inventory::is_exact;

/// The name used if the host name cannot be used.
const LOCALHOST: &str = "localhost";

/// The groups of every inventory, which cannot be names of hosts.
const GROUPS: [&str; 2] = ["all", "ungrouped"];

/// The folders in every `PATH`, including that of systemd's services.
const USUAL: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

#[derive(Debug)]
pub(super) struct Machine {
    /// The name of the machine, valid in an inventory.
    pub(super) host: String,
    /// The path of this program.
    pub(super) executable: PathBuf,
    /// The folder in `PATH` that contains Ansible's programs.
    pub(super) ansible: Option<PathBuf>,
    /// Whether a shell finds this program by its name.
    in_path: bool,
}

impl Machine {
    /// Detects the properties of this machine.
    pub(super) fn detect() -> Result<Self, Failure> {
        let executable = std::env::current_exe()
            .map_err(|e| Failure::new(format!("cannot determine the path of promansible: {e}")))?;
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

    /// Returns this program as a word of a shell command.
    pub(super) fn program(&self) -> String {
        if self.in_path {
            return "promansible".to_owned();
        }
        shell_word(&self.executable.display().to_string())
    }

    /// Returns the folder of Ansible's programs, if a service would not find them.
    pub(super) fn unusual_ansible(&self) -> Option<&Path> {
        let dir = self.ansible.as_deref()?;
        (!USUAL.iter().any(|usual| dir == Path::new(usual))).then_some(dir)
    }
}

/// Returns the machine's name if it is valid in an inventory, and `localhost` otherwise.
fn host(name: &str) -> &str {
    if is_exact(name) && !GROUPS.contains(&name) {
        return name;
    }
    LOCALHOST
}

fn folders(path: &OsStr) -> impl Iterator<Item = PathBuf> {
    // A relative folder depends on the working directory.
    std::env::split_paths(path).filter(|dir| dir.is_absolute())
}

fn ansible(path: &OsStr) -> Option<PathBuf> {
    folders(path).find(|dir| {
        let programs = ["ansible-playbook", "ansible-inventory"];
        programs.iter().all(|program| dir.join(program).is_file())
    })
}

/// Quotes a text as one word for a shell.
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
    fn a_name_that_is_invalid_in_an_inventory_becomes_localhost() {
        assert_eq!(host("web1"), "web1");
        assert_eq!(host("web1.example.org"), "web1.example.org");
        for name in ["", "(none)", "web 1", "-x", "all", "a:b"] {
            assert_eq!(host(name), LOCALHOST, "{name}");
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(shell_word("/etc/promansible"), "/etc/promansible");
        assert_eq!(shell_word("/srv/my files"), "'/srv/my files'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }
}
