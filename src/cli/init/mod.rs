//! `promansible init` and `promansible new`: the first files of a server, and of a role.

mod files;
mod machine;
mod new_role;
mod values;
mod write;

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use clap::Args;

use self::machine::Machine;
use self::write::NewFile;
use super::Failure;
use super::check::warn;
use super::format::count;
use super::print;

pub(super) use self::new_role::New;

/// Write a first configuration, an inventory with this machine, and two example roles.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Init {
    /// The folder to write to; it is created if it does not exist.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Only list the files that would be written.
    #[arg(long)]
    dry_run: bool,
}

const AFTER: &str = "\
No file is ever overwritten: if one of them exists, nothing is written, and the exit code is 1.

For example:
  promansible init /etc/promansible";

/// The purpose of each file, in the order of the output.
const SHOWN: [(&str, &str); 8] = [
    (files::CONFIG, "which roles run for which alerts, and when"),
    (files::INVENTORY, "the hosts; so far only this machine"),
    (files::WEB_CONFIG, "users and TLS; not in use yet"),
    (files::ALERTMANAGER, "for Alertmanager"),
    (files::PROMETHEUS, "for Prometheus"),
    (files::UNIT, "for systemd"),
    (
        "playbook/",
        "the roles first_look and check_disk_use, and the play that runs them",
    ),
    (files::README, "the purpose of each file"),
];

/// The maximum number of existing files in the error.
const MOST: usize = 10;

impl Init {
    pub(super) fn run(self) -> Result<(), Failure> {
        let dir = absolute(&self.dir)?;
        let machine = Machine::detect()?;
        let files = files::all(&dir, &machine)?;
        let taken = write::taken(&dir, &files)?;
        if !taken.is_empty() {
            return Err(refusal(&dir, &taken, files.len()));
        }
        if self.dry_run {
            return print(&listing(&dir, &files));
        }
        write::all(&dir, &files)?;
        print(&summary(&dir, &files, &machine))?;
        if machine.ansible.is_none() {
            warn(&format!(
                "ansible-playbook not found in PATH: install ansible-core, or set ansible.bin_dir in {}",
                files::CONFIG
            ));
        }
        Ok(())
    }
}

/// Returns the absolute path of a folder, which need not exist.
fn absolute(dir: &Path) -> Result<PathBuf, Failure> {
    let not_found = |e| Failure::new(format!("cannot find the folder {}: {e}", dir.display()));
    let path = std::path::absolute(dir).map_err(not_found)?;
    // The meaning of `..` depends on symbolic links, so let the system resolve it.
    if path.components().any(|part| part == Component::ParentDir) {
        return path.canonicalize().map_err(not_found);
    }
    // Removes a dot or a slash at the end.
    Ok(path.components().collect())
}

/// Returns the error for files that exist, with the remedy.
fn refusal(dir: &Path, taken: &[&Path], number: usize) -> Failure {
    let mut why = format!(
        "promansible: nothing was written: {} of {number} files exist in {}:\n",
        taken.len(),
        dir.display()
    );
    for path in taken.iter().take(MOST) {
        let _ = writeln!(why, "  {}", path.display());
    }
    if taken.len() > MOST {
        let _ = writeln!(why, "  and {} more", taken.len() - MOST);
    }
    why.push_str("use another folder (promansible init FOLDER), or move these files away first\n");
    Failure::new(why)
}

/// Returns the output of a dry run.
fn listing(dir: &Path, files: &[NewFile]) -> String {
    let number = count(files.len() as u64, "file");
    let mut text = format!("Would write {number} to {}:\n", dir.display());
    for file in files {
        let _ = writeln!(text, "  {:04o}  {}", file.mode, file.path.display());
    }
    text
}

/// Returns the list of written files, and the next commands.
fn summary(dir: &Path, files: &[NewFile], machine: &Machine) -> String {
    let number = count(files.len() as u64, "file");
    let mut text = format!("Wrote {number} to {}:\n", dir.display());
    for (path, what) in SHOWN {
        let _ = writeln!(text, "  {path:36} {what}");
    }
    let program = machine.program();
    let here = std::env::current_dir().is_ok_and(|here| here == dir);
    let enter = if here {
        String::new()
    } else {
        format!("cd {} && ", machine::shell_word(&dir.display().to_string()))
    };
    let _ = writeln!(
        text,
        "\nNext:\n  {enter}{program} check config {}\n  {program} serve\n  {program} run check_disk_use --target host:{}     # in a second terminal, while the server runs",
        files::CONFIG,
        machine.host
    );
    text
}
