//! `promansible check`.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;

use super::Failure;
use super::colored;
use super::format::count;
use super::print;
use super::terminal::Ink;
use crate::ansible::{config_file, ineffective};
use crate::auth::Auth;
use crate::config::{self, Ansible, Binding, Config, Guards, Web, missing_roles};
use crate::util::secret_file::{self, SecretFileError};

/// Check a configuration file, without a server.
#[derive(Debug, Subcommand)]
pub(super) enum Check {
    /// Check a configuration file; the exit code is 1 if it has errors.
    Config {
        /// The configuration file.
        file: PathBuf,
    },
    /// Check a file for --web.config.file, and the certificates and keys that it names; the exit code is 1 if there are
    /// errors.
    WebConfig {
        /// The web configuration file.
        file: PathBuf,
    },
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Config { file } => config(&file),
            Self::WebConfig { file } => {
                Auth::open(Some(file.clone()), &Web::default(), false)?;
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
            "{} not found in PATH: set ansible.bin_dir to the folder that contains Ansible's programs",
            missing.join(" and ")
        ));
    }
    for warning in warnings(&config, file) {
        warn(&warning);
    }
    Ok(())
}

/// Returns warnings about settings that are valid and probably not meant so.
pub(super) fn warnings(config: &Config, file: &Path) -> Vec<String> {
    let mut warnings: Vec<String> = missing_alertmanager(config).into_iter().collect();
    warnings.extend(quoted(config));
    warnings.extend(missing_roles(config));
    warnings.extend(without_effect(&config.ansible));
    if let Err(e @ SecretFileError::WorldWritable(_)) = secret_file::check(file) {
        warnings.push(e.to_string());
    }
    warnings
}

/// Returns the matchers whose value is in single quotes, which are part of the value.
fn quoted(config: &Config) -> impl Iterator<Item = String> {
    let matchers = config.bindings.iter().flat_map(|binding| {
        let matchers = binding.matchers.iter();
        matchers.map(move |matcher| (binding.name.as_str(), matcher))
    });
    let in_quotes = |value: &str| {
        let inner = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
        inner.map(str::to_owned)
    };
    matchers.filter_map(move |(binding, matcher)| {
        let inner = in_quotes(matcher.value())?;
        let name = matcher.name();
        Some(format!(
            "the binding {binding}: the single quotes around the value of {name} are part of the value, as in Alertmanager: \
             use double quotes, as in {name}=\"{inner}\""
        ))
    })
}

/// Returns the settings in `ansible.cfg` that promansible overrides.
fn without_effect(ansible: &Ansible) -> Vec<String> {
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).ok()?;
        Some((file, text))
    };
    let Some((file, text)) = config_file(ansible).and_then(read) else {
        return Vec::new();
    };
    let keys = ineffective(ansible, &text).into_iter();
    let warnings = keys.map(|key| {
        format!(
            "{}:{}: {} has no effect, because {} overrides it: {}",
            file.display(),
            key.line,
            key.key,
            key.by,
            key.help
        )
    });
    warnings.collect()
}

/// Warns a person, who may go on.
pub(super) fn warn(warning: &str) {
    let mut stderr = std::io::stderr();
    let sign = Ink::Yellow.paint("warning:", colored(&stderr));
    let _ = writeln!(stderr, "{sign} {warning}");
}

/// Returns a warning about bindings that depend on whether their alerts resolved, if no Alertmanager can be queried.
fn missing_alertmanager(config: &Config) -> Option<String> {
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
        "alertmanager is not configured, but bindings depend on whether their alerts resolved ({names}): a verdict may stay \
         unknown, and a next step waits for the next notification: set alertmanager: {{url: http://127.0.0.1:9093}}"
    ))
}

/// Returns the programs that a run would not find here. The server may have another `PATH`, so this is not a defect of
/// the file.
pub(super) fn missing_programs(ansible: &Ansible, path: Option<OsString>) -> Vec<&'static str> {
    let mut programs = vec!["ansible-playbook", "ansible-inventory"];
    if ansible.bin_dir.is_some() {
        programs.clear();
    }
    // As in a run, the PATH of the configuration takes precedence.
    let configured = ansible.environment.get("PATH").map(OsString::from);
    let path = configured.or(path).unwrap_or_default();
    programs.retain(|program| !std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    programs
}
