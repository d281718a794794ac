//! `promansible new role`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::machine::shell_word;
use super::write::{self, NewFile};
use crate::cli::check::warn;
use crate::cli::print;
use crate::cli::{CONFIG_FILE, Failure};
use crate::config::{RoleKind, defect_of_name, parse_yaml};
use crate::util::names::{ROLE_HELP, role_defect};

/// Create the files of a new role.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum New {
    /// Create a role that runs as it is; comments in its tasks show what to replace.
    Role(Role),
}

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Role {
    /// The role's name, which is also the name of its folder.
    name: String,
    /// Create a routine role, for schedules, instead of an alert role.
    #[arg(long)]
    routine: bool,
    /// The playbook folder; by default, `ansible.playbook_dir` of the configuration.
    #[arg(long, value_name = "PLAYBOOK")]
    dir: Option<PathBuf>,
    /// The configuration file, which sets the playbook folder.
    #[arg(long = "config.file", value_name = "FILE", default_value = CONFIG_FILE)]
    config_file: PathBuf,
}

const AFTER: &str = "\
An existing role is never overwritten: nothing is written, and the exit code is 1.

For example:
  promansible new role restart_shop
  promansible new role check_backup --routine";

/// The name of the role in the templates, which are valid roles, so that they can be linted.
const TEMPLATE: &str = "my_role";

/// The maximum length of the prefix of variables, in characters: the name of a check has at most 60.
const MAX_PREFIX: usize = 50;

macro_rules! skeleton {
    ($kind:literal) => {
        [
            skeleton!($kind, "README.md"),
            skeleton!($kind, "defaults/main.yml"),
            skeleton!($kind, "meta/argument_specs.yml"),
            skeleton!($kind, "meta/main.yml"),
            skeleton!($kind, "meta/promansible.yml"),
            skeleton!($kind, "tasks/main.yml"),
            skeleton!($kind, "tasks/preflight.yml"),
        ]
    };
    ($kind:literal, $path:literal) => {
        (
            $path,
            include_str!(concat!("templates/new_role/", $kind, "/", $path)),
        )
    };
}

const ALERT: [(&str, &str); 7] = skeleton!("alert");
const ROUTINE: [(&str, &str); 7] = skeleton!("routine");

impl New {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let Self::Role(role) = self;
        role.run()
    }
}

impl Role {
    fn run(self) -> Result<(), Failure> {
        if let Some(why) = role_defect(&self.name) {
            return Err(Failure::new(format!(
                "{:?} is not a valid role name, because it {why}: {ROLE_HELP}",
                self.name
            )));
        }
        let playbook = self.playbook()?;
        let (kind, skeleton) = if self.routine {
            (RoleKind::Routine, ROUTINE)
        } else {
            (RoleKind::Alert, ALERT)
        };
        let folder = playbook.join(kind.as_str()).join("roles").join(&self.name);
        if folder.symlink_metadata().is_ok() {
            return Err(Failure::new(format!(
                "{} already exists, and nothing was written: use another name, or move it away first",
                folder.display()
            )));
        }
        let prefix = prefix(&self.name);
        let files =
            skeleton.map(|(path, text)| NewFile::new(path, fill(text, &self.name, &prefix)));
        write::all(&folder, &files)?;
        print(&summary(&self.name, kind, &folder))?;
        if !passes_lint(&self.name) {
            warn(&format!(
                "ansible-lint reports the name {:?} (role-name), because it expects a-z, 0-9 and _, with a letter first; the \
                 role's variables begin with {prefix}_",
                self.name
            ));
        }
        Ok(())
    }

    /// Returns the playbook folder for the role.
    fn playbook(&self) -> Result<PathBuf, Failure> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => playbook_dir(&self.config_file)?,
        };
        if dir.join("run.yml").is_file() {
            return Ok(dir);
        }
        Err(Failure::new(format!(
            "{} contains no run.yml: expected a playbook folder, as `promansible init` creates it",
            dir.display()
        )))
    }
}

/// The part of a configuration that is read. The rest may be invalid: a binding may name the role before it exists.
#[derive(Deserialize)]
struct ConfigText {
    ansible: Option<AnsibleText>,
}

#[derive(Deserialize)]
struct AnsibleText {
    playbook_dir: Option<PathBuf>,
}

fn playbook_dir(config: &Path) -> Result<PathBuf, Failure> {
    const HELP: &str = "use --dir PLAYBOOK or --config.file FILE";
    let file = config.display();
    let text = std::fs::read_to_string(config)
        .map_err(|e| Failure::new(format!("cannot read {file}: {e}; {HELP}")))?;
    let config: Option<ConfigText> = parse_yaml(&file.to_string(), &text).ok();
    let dir = config.and_then(|config| config.ansible?.playbook_dir);
    dir.ok_or_else(|| {
        Failure::new(format!(
            "cannot find ansible.playbook_dir in {file}; {HELP}"
        ))
    })
}

/// Fills a template with the role's name and the prefix of its variables.
fn fill(template: &str, name: &str, prefix: &str) -> String {
    let mut parts = template.split(TEMPLATE);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(if part.starts_with('_') { prefix } else { name });
        text.push_str(part);
    }
    text
}

/// Returns the prefix of the role's variables and checks: the role's name, if a variable may begin with it.
fn prefix(name: &str) -> String {
    let letter = |c: char| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
        _ => '_',
    };
    let prefix: String = name.chars().map(letter).take(MAX_PREFIX).collect();
    let is_good = prefix.starts_with(|c: char| c.is_ascii_lowercase())
        && defect_of_name(&format!("{prefix}_x")).is_none();
    if is_good {
        return prefix;
    }
    format!("role_{}", prefix.trim_matches('_'))
        .trim_end_matches('_')
        .to_owned()
}

/// Whether ansible-lint accepts the name (its rule role-name).
fn passes_lint(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(good)
}

fn summary(name: &str, kind: RoleKind, folder: &Path) -> String {
    let file = |path: &str| shell_word(&folder.join(path).display().to_string());
    let next = match kind {
        RoleKind::Alert => "binding",
        _ => "schedule",
    };
    format!(
        "Created the {} role {name} in {}.\n\nNext:\n  edit {}\n  promansible run {} --target host:HOST --check     # on a running server, which needs no restart\n  add a {next} to the configuration, as in {}\n",
        kind.as_str(),
        folder.display(),
        file("tasks/main.yml"),
        shell_word(name),
        file("README.md")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_begin_with_the_name_if_possible() {
        for (name, wanted) in [
            ("restart_shop", "restart_shop"),
            ("my_role_2", "my_role_2"),
            ("restart-shop", "restart_shop"),
            ("CheckDNS", "checkdns"),
            ("1st", "role_1st"),
            ("重启", "role"),
            ("ansible_x", "role_ansible_x"),
            ("promansible_x", "role_promansible_x"),
            ("_x", "role_x"),
        ] {
            assert_eq!(prefix(name), wanted, "{name}");
        }
        assert_eq!(prefix(&"a".repeat(255)).len(), MAX_PREFIX);
    }

    #[test]
    fn a_template_gets_the_name_and_the_prefix() {
        let made = fill("a my_role, my_role_x: my_role", "my_role-2", "my_role_2");
        assert_eq!(made, "a my_role-2, my_role_2_x: my_role-2");
    }

    #[test]
    fn names_that_ansible_lint_rejects_are_known() {
        for (name, is_accepted) in [("a_1", true), ("A", false), ("1a", false), ("a-b", false)] {
            assert_eq!(passes_lint(name), is_accepted, "{name}");
        }
    }
}
