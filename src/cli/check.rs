//! `promansible check`.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;

use super::terminal::Ink;
use super::words::count;
use super::{Failure, colored, print};
use crate::config::{self, Ansible, Binding, Config, Guards, Web};
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
    let of_collections = match config.roles.collection.len() {
        0 => String::new(),
        n => format!(", {} of collections", count(n as u64, "role")),
    };
    print(&format!(
        "{}: good ({}, {}, {}{of_collections})\n",
        file.display(),
        count(config.bindings.len() as u64, "binding"),
        count(config.roles.alert.len() as u64, "alert role"),
        count(config.roles.routine.len() as u64, "routine role")
    ))?;
    let missing = missing_programs(&config.ansible, std::env::var_os("PATH"));
    if !missing.is_empty() {
        warn(&format!(
            "no {} in PATH: want ansible.bin_dir to name the folder that holds Ansible's programs",
            missing.join(" and no ")
        ));
    }
    if let Some(warning) = unheard(&config) {
        warn(&warning);
    }
    Ok(())
}

fn warn(warning: &str) {
    let mut stderr = std::io::stderr();
    let sign = Ink::Yellow.paint("warning:", colored(&stderr));
    let _ = writeln!(stderr, "{sign} {warning}");
}

/// The bindings that care whether their alert resolved, where nobody can be asked.
fn unheard(config: &Config) -> Option<String> {
    if config.alertmanager.is_some() {
        return None;
    }
    let usual = Guards::VERIFY_WITHIN;
    let cares = |binding: &&Arc<Binding>| {
        binding.steps.len() > 1 || binding.steps.iter().any(|step| step.verify_within != usual)
    };
    let names = config.bindings.iter().filter(cares);
    let names = names.map(|binding| binding.name.as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        return None;
    }
    Some(format!(
        "no alertmanager, and whether their alerts resolved matters to the bindings {names}: a verdict may stay \
         unknown, and a next step waits for the next notification: want alertmanager: {{url: http://127.0.0.1:9093}}"
    ))
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
