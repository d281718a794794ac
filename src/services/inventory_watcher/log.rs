//! Log messages about the inventory.

use chrono::{DateTime, Utc};

use crate::config::{Config, Target};
use crate::model::inventory::{Conflict, Inventory, resolve_group, resolve_name};
use crate::services::inventory_watcher::status::Shrunk;

/// Logs the version of ansible-core that reads the inventory, and warns if it restricts alerts.
pub(super) fn log_version(version: Option<(u32, u32)>) {
    let detected = version.map(|(major, minor)| format!("{major}.{minor}"));
    tracing::info!(version = detected, "ansible-core version detected");
    if Inventory::default().read_by(version).templates_twice() {
        tracing::warn!(
            "this version of ansible-core, or one that cannot be detected, may evaluate an alert's text as a template: \
             alerts with text that could be a template are skipped as template_text"
        );
    }
}

/// `by` is the time of the inventory with which alerts are decided meanwhile, if there is one.
pub(super) fn log_trouble(why: &str, by: Option<DateTime<Utc>>) {
    if let Some(by) = by {
        tracing::error!(
            error = why,
            "the inventory cannot be read; until it can be read, no run starts, and alerts are decided with the inventory of {by}"
        );
    } else {
        tracing::error!(
            error = why,
            "the inventory cannot be read; until it can be read, no alert is accepted and no run starts"
        );
    }
}

/// How many host names one log line contains.
const NAMES: usize = 10;

pub(super) fn warn_of_doubt(hosts: usize, shrunk: &Shrunk) {
    let first: Vec<&str> = shrunk
        .missing
        .iter()
        .take(NAMES)
        .map(String::as_str)
        .collect();
    tracing::warn!(
        hosts,
        was = shrunk.hosts_before,
        missing = first.join(","),
        warnings = &*shrunk.warnings,
        "the inventory has lost these hosts at once: until {} it is not believed, their scrape targets and facts are kept, and their runs wait (ansible.inventory_shrink)",
        shrunk.believed_at
    );
}

/// Warns once of each enrolled host that is ignored.
pub(super) fn warn_of_conflicts(before: &[Conflict], now: &[Conflict]) {
    for conflict in now.iter().filter(|conflict| !before.contains(conflict)) {
        tracing::warn!(
            host = conflict.name,
            why = conflict.why,
            "an enrolled host is ignored: remove it, or rename one of the two hosts"
        );
    }
}

/// Warns of targets that the inventory does not have. That is no error of the configuration, because the hosts may be added
/// later; but until then every alert for such a target is skipped.
pub(super) fn warn_of_targets(config: &Config, inventory: &Inventory) {
    for binding in &config.bindings {
        let unresolved = match &binding.target {
            Target::Group(group) => resolve_group(inventory, group).err(),
            Target::Hosts(hosts) => hosts
                .iter()
                .find_map(|host| resolve_name(inventory, host).err()),
            Target::AlertingHost { .. } | Target::Controller => None,
        };
        if let Some(unresolved) = unresolved {
            tracing::warn!(binding = binding.name, reason = unresolved.reason.as_str(), why = %unresolved, "this binding's target cannot be resolved");
        }
    }
}
