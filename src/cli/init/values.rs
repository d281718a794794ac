//! The values for the placeholders of the templates, such as `@{host}`.

use std::path::Path;

use super::machine::Machine;
use crate::cli::Failure;
use crate::cli::serve;
use crate::config::{self, Config, Roles, format_duration, format_size};
use crate::http::WEBHOOK;
use crate::util::build;

/// The placeholders, by name, and their values.
pub(super) struct Values(Vec<(&'static str, String)>);

impl Values {
    /// Returns the values for this machine. Defaults come from the code, by loading a minimal configuration.
    pub(super) fn of(machine: &Machine) -> Result<Self, Failure> {
        let mut values = vec![
            ("host", machine.host.clone()),
            ("version", build::VERSION.to_owned()),
            ("listen", serve::LISTEN.to_owned()),
            ("port", port().to_owned()),
            ("webhook", format!("http://{}{WEBHOOK}", serve::LISTEN)),
            ("bin_dir", bin_dir(machine.unusual_ansible())?),
        ];
        values.extend(defaults(&minimal()?));
        Ok(Self(values))
    }

    /// Fills a template.
    pub(super) fn fill(&self, template: &str) -> String {
        let mut text = template.to_owned();
        for (name, value) in &self.0 {
            text = text.replace(&format!("@{{{name}}}"), value);
        }
        text
    }
}

fn port() -> &'static str {
    serve::LISTEN.rsplit(':').next().unwrap_or_default()
}

/// Returns the line of the configuration that sets the folder of Ansible's programs, if a service would not find them.
fn bin_dir(dir: Option<&Path>) -> Result<String, Failure> {
    let Some(dir) = dir else {
        return Ok("  # bin_dir: /opt/ansible/bin         # contains ansible-playbook; default: search PATH".to_owned());
    };
    // A JSON string is valid YAML.
    let dir = serde_json::to_string(&dir.to_string_lossy())?;
    Ok(format!(
        "  bin_dir: {dir}   # contains ansible-playbook; services have another PATH"
    ))
}

/// Loads a configuration without any optional key.
fn minimal() -> Result<Config, Failure> {
    let text = "ansible: {playbook_dir: playbook, inventory: [inventory]}\nbindings: []\n";
    let config = config::build("defaults", text, &Roles::default());
    config.map_err(|errors| Failure::new(errors.render(false)))
}

fn defaults(config: &Config) -> [(&'static str, String); 16] {
    let Config {
        ansible,
        storage,
        runs,
        guards,
        ..
    } = config;
    let attempts = guards.limits.attempts;
    [
        ("become", ansible.r#become.to_string()),
        ("forks", ansible.forks.to_string()),
        ("gather_facts", ansible.gather_facts.to_string()),
        ("storage_path", storage.path.display().to_string()),
        ("retention_time", format_duration(storage.retention_time)),
        ("retention_size", format_size(storage.retention_size_bytes)),
        ("max_concurrent", runs.max_concurrent.to_string()),
        ("timeout", format_duration(runs.timeout)),
        ("batch_window", format_duration(runs.batch_window)),
        ("mode", guards.mode.as_str().to_owned()),
        ("attempts_max", attempts.max.to_string()),
        ("attempts_per", format_duration(attempts.per)),
        ("attempts_then", attempts.then.as_str().to_owned()),
        ("storm_hosts", guards.storm.max_hosts.to_string()),
        ("storm_within", format_duration(guards.storm.within)),
        ("verify_within", format_duration(guards.verify_within)),
    ]
}
