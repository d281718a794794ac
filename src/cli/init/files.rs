//! The files that `init` writes: templates beside this module, and shipped files.

use std::path::{Path, PathBuf};

use super::machine::Machine;
use super::values::Values;
use super::write::NewFile;
pub(super) use crate::cli::CONFIG_FILE as CONFIG;
use crate::cli::Failure;

pub(super) const README: &str = "config/README.md";
pub(super) const INVENTORY: &str = "config/inventory";
pub(super) const WEB_CONFIG: &str = "config/web.yml";
pub(super) const ALERTMANAGER: &str = "config/alertmanager.yml";
pub(super) const PROMETHEUS: &str = "config/prometheus.yml";
pub(super) const UNIT: &str = "config/systemd/promansible.service";

/// A path below the new folder, and the text of the file.
type Embedded = (&'static str, &'static str);

/// A template, written unchanged.
macro_rules! template {
    ($path:literal) => {
        ($path, include_str!(concat!("templates/", $path)))
    };
}

/// A shipped file, written unchanged.
macro_rules! shipped {
    ($path:literal) => {
        ($path, include_str!(concat!("../../../", $path)))
    };
}

/// Templates with placeholders.
const TEMPLATES: [Embedded; 6] = [
    (README, include_str!("templates/config/README.md")),
    (CONFIG, include_str!("templates/config/promansible.yml")),
    (INVENTORY, include_str!("templates/config/inventory")),
    (WEB_CONFIG, include_str!("templates/config/web.yml")),
    (
        ALERTMANAGER,
        include_str!("templates/config/alertmanager.yml"),
    ),
    (PROMETHEUS, include_str!("templates/config/prometheus.yml")),
];

/// The shipped unit, with the paths of the packages.
const SHIPPED_UNIT: &str = include_str!("../../../config/systemd/promansible.service");

/// Files that are written unchanged.
const PLAYBOOK: [Embedded; 33] = [
    shipped!("playbook/.ansible-lint"),
    shipped!("playbook/ansible.cfg"),
    shipped!("playbook/ping.yml"),
    shipped!("playbook/round.yml"),
    shipped!("playbook/run.yml"),
    shipped!("playbook/plugins/callback/promansible.py"),
    template!("playbook/alert/roles/first_look/README.md"),
    template!("playbook/alert/roles/first_look/defaults/main.yml"),
    template!("playbook/alert/roles/first_look/meta/argument_specs.yml"),
    template!("playbook/alert/roles/first_look/meta/main.yml"),
    template!("playbook/alert/roles/first_look/tasks/main.yml"),
    template!("playbook/alert/roles/first_look/tasks/preflight.yml"),
    template!("playbook/routine/roles/check_disk_use/README.md"),
    template!("playbook/routine/roles/check_disk_use/defaults/main.yml"),
    template!("playbook/routine/roles/check_disk_use/files/disk_use.py"),
    template!("playbook/routine/roles/check_disk_use/meta/argument_specs.yml"),
    template!("playbook/routine/roles/check_disk_use/meta/main.yml"),
    template!("playbook/routine/roles/check_disk_use/meta/promansible.yml"),
    template!("playbook/routine/roles/check_disk_use/tasks/main.yml"),
    template!("playbook/routine/roles/check_disk_use/tasks/preflight.yml"),
    shipped!("playbook/routine/roles/gather_facts/README.md"),
    shipped!("playbook/routine/roles/gather_facts/defaults/main.yml"),
    shipped!("playbook/routine/roles/gather_facts/meta/argument_specs.yml"),
    shipped!("playbook/routine/roles/gather_facts/meta/main.yml"),
    shipped!("playbook/routine/roles/gather_facts/tasks/main.yml"),
    shipped!("playbook/routine/roles/gather_facts/tasks/preflight.yml"),
    shipped!("playbook/routine/roles/ping/README.md"),
    shipped!("playbook/routine/roles/ping/defaults/main.yml"),
    shipped!("playbook/routine/roles/ping/meta/argument_specs.yml"),
    shipped!("playbook/routine/roles/ping/meta/main.yml"),
    shipped!("playbook/routine/roles/ping/meta/promansible.yml"),
    shipped!("playbook/routine/roles/ping/tasks/main.yml"),
    shipped!("playbook/routine/roles/ping/tasks/preflight.yml"),
];

/// Returns all files for a server in this folder on this machine.
pub(super) fn all(dir: &Path, machine: &Machine) -> Result<Vec<NewFile>, Failure> {
    let values = Values::of(machine)?;
    let filled = TEMPLATES.iter().map(|(path, text)| {
        let secret = *path == WEB_CONFIG;
        NewFile {
            path: PathBuf::from(path),
            mode: if secret { 0o600 } else { 0o644 },
            text: values.fill(text),
        }
    });
    let mut files: Vec<NewFile> = filled.collect();
    files.push(NewFile::new(UNIT, unit(dir, &machine.executable)?));
    let unchanged = PLAYBOOK.iter();
    files.extend(unchanged.map(|(path, text)| NewFile::new(*path, (*text).to_owned())));
    Ok(files)
}

/// Returns the shipped unit with the paths of this server.
fn unit(dir: &Path, executable: &Path) -> Result<String, Failure> {
    let dir = for_unit(dir)?;
    let executable = for_unit(executable)?;
    let config = quoted(&format!("--config.file={dir}/{CONFIG}"));
    let unit = SHIPPED_UNIT
        .replace(
            "WorkingDirectory=/etc/promansible\n",
            &format!("WorkingDirectory={}\n", dir.replace('%', "%%")),
        )
        .replace(
            "ExecStart=/usr/bin/promansible serve ",
            &format!("ExecStart={} serve ", quoted(executable)),
        )
        .replace(
            "--config.file=/etc/promansible/config/promansible.yml ",
            &format!("{config} "),
        );
    Ok(unit)
}

/// Checks that a path can be written in a unit.
fn for_unit(path: &Path) -> Result<&str, Failure> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(char::is_control));
    text.ok_or_else(|| {
        Failure::new(format!(
            "{} cannot be used in a systemd unit: use a path in UTF-8 without control characters",
            path.display()
        ))
    })
}

/// Quotes a word of a unit's command line.
///
/// *Source*: systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers".
fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_alphanumeric() || "/._-+@:,=%".contains(c);
    if word.chars().all(plain) {
        return word;
    }
    format!("\"{}\"", word.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn machine() -> Machine {
        Machine::detect().unwrap()
    }

    #[test]
    fn every_placeholder_is_filled_and_every_path_is_unique() {
        let files = all(Path::new("/srv/promansible"), &machine()).unwrap();
        for file in &files {
            assert!(!file.text.contains("@{"), "{}", file.path.display());
        }
        let paths: BTreeSet<&Path> = files.iter().map(|file| file.path.as_path()).collect();
        assert_eq!(paths.len(), files.len());
    }

    #[test]
    fn every_template_is_written() {
        fn count(dir: &Path) -> usize {
            let entries = std::fs::read_dir(dir).unwrap();
            entries
                .map(|entry| entry.unwrap().path())
                .map(|path| if path.is_dir() { count(&path) } else { 1 })
                .sum()
        }
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/init/templates");
        let skeletons = count(&templates.join("new_role"));
        let roles = PLAYBOOK
            .iter()
            .filter(|(path, _)| path.contains("/first_look/") || path.contains("/check_disk_use/"));
        assert_eq!(
            count(&templates) - skeletons,
            TEMPLATES.len() + roles.count()
        );
    }

    #[test]
    fn the_unit_has_the_paths_of_this_server() {
        let made = unit(Path::new("/srv/my 100%"), Path::new("/opt/promansible")).unwrap();
        for line in [
            "WorkingDirectory=/srv/my 100%%\n",
            "ExecStart=/opt/promansible serve \\\n    \"--config.file=/srv/my 100%%/config/promansible.yml\" \\\n    --storage.path=/var/lib/promansible/promansible.redb\n",
        ] {
            assert!(made.contains(line), "{line} in {made}");
        }
        // Not even in a comment.
        assert!(!made.contains("=/etc/promansible") && !made.contains("=/usr/bin"));
        assert!(unit(Path::new("/srv/a\nb"), Path::new("/opt/promansible")).is_err());
    }
}
