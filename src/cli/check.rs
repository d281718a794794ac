//! `promansible check`.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::terminal::Ink;
use super::words::count;
use super::{Failure, colored, print};
use crate::config::{self, Ansible, Web};
use crate::door::Door;

/// Check a file without a server.
#[derive(Debug, Subcommand)]
pub(super) enum Check {
    /// Check a configuration file; exit code 1 if it has defects.
    Config {
        /// The configuration.
        file: PathBuf,
    },
    /// Check a file for --web.config.file, with the certificates and keys that it names; exit code 1 if it has defects.
    WebConfig {
        /// The web configuration.
        file: PathBuf,
    },
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Config { file } => config(&file),
            Self::WebConfig { file } => {
                Door::open(Some(file.clone()), &Web::default(), false)?;
                print(&format!("{}: good\n", file.display()))
            }
        }
    }
}

fn config(file: &Path) -> Result<(), Failure> {
    let color = colored(&std::io::stderr());
    let config = config::load(file).map_err(|errors| Failure::new(errors.render(color)))?;
    print(&format!(
        "{}: good ({}, {}, {})\n",
        file.display(),
        count(config.bindings.len() as u64, "binding"),
        count(config.roles.alert.len() as u64, "alert role"),
        count(config.roles.routine.len() as u64, "routine role")
    ))?;
    let missing = missing_programs(&config.ansible, std::env::var_os("PATH"));
    if !missing.is_empty() {
        let _ = writeln!(
            std::io::stderr(),
            "{} no {} in PATH: want ansible.bin_dir to name the folder that holds Ansible's programs",
            Ink::Yellow.paint("warning:", color),
            missing.join(" and no ")
        );
    }
    Ok(())
}

/// What a run would not find here. The server may have another `PATH`, so that this is no defect of the file.
fn missing_programs(ansible: &Ansible, path: Option<OsString>) -> Vec<&'static str> {
    let mut programs = vec!["ansible-playbook", "ansible-inventory"];
    if ansible.bin_dir.is_some() {
        programs.clear();
    }
    // As for a run, the configuration's own PATH comes first.
    let configured = ansible.environment.get("PATH").map(OsString::from);
    let path = configured.or(path).unwrap_or_default();
    programs.retain(|program| !std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    programs
}
