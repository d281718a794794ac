//! What an administrator is told of the inventory, in the log.

use chrono::{DateTime, Utc};

use crate::config::{Config, Target};
use crate::model::inventory::{Conflict, Inventory, resolve_group, resolve_name};
use crate::services::inventory_watcher::status::Shrunk;

/// Which ansible-core reads it, and what that means for alerts.
pub(super) fn tell_of_version(version: Option<(u32, u32)>) {
    let told = version.map(|(major, minor)| format!("{major}.{minor}"));
    tracing::info!(version = told, "ansible-core asked");
    if Inventory::default().read_by(version).templates_twice() {
        tracing::warn!(
            "this ansible-core, or one that does not tell its version, may take an alert's text for a template: \
             an alert with text that could be one is skipped as template_text"
        );
    }
}

/// `by` is of when the inventory is by which alerts are decided meanwhile, if there is one.
pub(super) fn tell_of_trouble(why: &str, by: Option<DateTime<Utc>>) {
    if let Some(by) = by {
        tracing::error!(
            error = why,
            "the inventory cannot be read; until it can, no run starts, and alerts are decided by the one of {by}"
        );
    } else {
        tracing::error!(
            error = why,
            "the inventory cannot be read; until it can, no alert is taken and no run starts"
        );
    }
}

/// How many names a line of the log holds.
const NAMES: usize = 10;

pub(super) fn tell_of_doubt(hosts: usize, shrunk: &Shrunk) {
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
        "the inventory has lost these hosts at once: until {} it is not believed, scrape targets and facts stay, and runs on          them wait (ansible.inventory_shrink)",
        shrunk.believed_at
    );
}

/// A host that takes no part although somebody enrolled it is told of once.
pub(super) fn warn_of_conflicts(before: &[Conflict], now: &[Conflict]) {
    for conflict in now.iter().filter(|conflict| !before.contains(conflict)) {
        tracing::warn!(
            host = conflict.name,
            why = conflict.why,
            "an enrolled host takes no part: remove it, or rename one of them"
        );
    }
}

/// A target that the inventory does not have is no defect of the configuration, for it may be on its way; but until it
/// comes, every alert for it is skipped.
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
            tracing::warn!(binding = binding.name, reason = unresolved.reason.as_str(), why = %unresolved, "this binding's target cannot be found");
        }
    }
}
