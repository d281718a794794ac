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

/// Write a first configuration, with an inventory of this machine and two roles to read.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Init {
    /// The folder to write into, made if it is missing.
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

/// What the files are for, in the order in which they are shown.
const SHOWN: [(&str, &str); 8] = [
    (files::CONFIG, "which roles run for which alerts, and when"),
    (files::INVENTORY, "the hosts; so far only this machine"),
    (files::WEB_CONFIG, "users and TLS; not in use yet"),
    (files::ALERTMANAGER, "for Alertmanager"),
    (files::PROMETHEUS, "for Prometheus"),
    (files::UNIT, "for systemd"),
    (
        "playbook/",
        "the roles first_look and check_disk_use, and what runs them",
    ),
    (files::README, "what each file is for"),
];

/// How many files are listed that exist already.
const MOST: usize = 10;

impl Init {
    pub(super) fn run(self) -> Result<(), Failure> {
        let dir = absolute(&self.dir)?;
        let machine = Machine::look()?;
        let files = files::all(&dir, &machine)?;
        let taken = write::taken(&dir, &files)?;
        if !taken.is_empty() {
            return Err(refusal(&dir, &taken, files.len()));
        }
        if self.dry_run {
            return print(&listing(&dir, &files));
        }
        write::all(&dir, &files)?;
        print(&told(&dir, &files, &machine))?;
        if machine.ansible.is_none() {
            warn(&format!(
                "no ansible-playbook in PATH: install ansible-core, or name its folder in {}: ansible.bin_dir",
                files::CONFIG
            ));
        }
        Ok(())
    }
}

/// Where a folder is, also if it is not there yet.
fn absolute(dir: &Path) -> Result<PathBuf, Failure> {
    let not_found = |e| Failure::new(format!("cannot find the folder {}: {e}", dir.display()));
    let path = std::path::absolute(dir).map_err(not_found)?;
    // What `..` means depends on links: only the system knows.
    if path.components().any(|part| part == Component::ParentDir) {
        return path.canonicalize().map_err(not_found);
    }
    // Without a dot or a slash at its end.
    Ok(path.components().collect())
}

/// Why nothing is written, and what to do.
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
    why.push_str("want another folder (promansible init FOLDER), or move these files away first\n");
    Failure::new(why)
}

/// What would be written.
fn listing(dir: &Path, files: &[NewFile]) -> String {
    let number = count(files.len() as u64, "file");
    let mut text = format!("Would write {number} to {}:\n", dir.display());
    for file in files {
        let _ = writeln!(text, "  {:04o}  {}", file.mode, file.path.display());
    }
    text
}

/// What was written, and what to type next.
fn told(dir: &Path, files: &[NewFile], machine: &Machine) -> String {
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
        "\nNext:\n  {enter}{program} check config {}\n  {program} serve\n  {program} run check_disk_use --target host:{}     # in a second terminal, while it serves",
        files::CONFIG,
        machine.host
    );
    text
}
