//! `promansible completions` and `promansible man`, generated from the definition of the command line.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man as Page;

use super::Cli;
use super::Failure;
use super::print;
use crate::util::build;

/// Print shell completions.
#[derive(Debug, Args)]
#[command(after_help = WHERE)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

const WHERE: &str = "\
Where the shells search for completions:
  bash  ~/.local/share/bash-completion/completions/promansible
  zsh   _promansible in a folder of $fpath: /usr/local/share/zsh/site-functions
  fish  ~/.config/fish/completions/promansible.fish

For example:
  promansible completions fish >~/.config/fish/completions/promansible.fish";

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "promansible", &mut text);
        print(&String::from_utf8_lossy(&text))
    }
}

/// Write the man pages to a folder, or print promansible(1).
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder, created if missing; without it, promansible(1) is printed.
    folder: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut command = Cli::command();
        command.build();
        if let Some(folder) = self.folder {
            fs::create_dir_all(&folder).map_err(|e| {
                Failure::new(format!(
                    "cannot create the folder {}: {e}",
                    folder.display()
                ))
            })?;
            return write(&command, &folder);
        }
        print(&render(&command)?.1)
    }
}

/// Writes the pages of a command and of its subcommands.
fn write(command: &Command, folder: &Path) -> Result<(), Failure> {
    let (name, page) = render(command)?;
    let file = folder.join(name);
    fs::write(&file, page)
        .map_err(|e| Failure::new(format!("cannot write {}: {e}", file.display())))?;
    command
        .get_subcommands()
        .try_for_each(|subcommand| write(subcommand, folder))
}

/// Returns the page of a command, and the name of its file.
fn render(command: &Command) -> Result<(String, String), Failure> {
    let mut command = command.clone();
    if command.get_version().is_some() {
        // The output of `--version` is too long for the footer of a page.
        command = command.version(build::VERSION);
    }
    let page = Page::new(command)
        .source(concat!("promansible ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands")
        // An empty date would be omitted from the heading, and the following fields would move.
        .date(" ");
    let mut text = Vec::new();
    page.render(&mut text)?;
    // The text after the options has lines of its own, which would be joined.
    let text = String::from_utf8_lossy(&text).replace(".SH EXTRA\n", ".SH NOTES\n.nf\n");
    Ok((page.get_filename(), text))
}
