//! Checks the inventory, as Ansible reads it, and selects the hosts to log in to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::finding::{Area, Finding};
use crate::ansible::Description;
use crate::cli::format::count;
use crate::cli::local_ansible::LocalAnsible;
use crate::config::format_duration;
use crate::model::inventory::{EnrolledHost, Host, Inventory, is_exact};

/// The time limit for reading the inventory, because a person is waiting; `ansible.inventory_timeout` may be longer.
const LIMIT: Duration = Duration::from_mins(1);

/// The number of hosts to log in to by default.
const HOSTS: usize = 20;

pub(super) async fn check(
    local: &LocalAnsible,
    described: Option<&Description>,
    enrolled: &[Arc<EnrolledHost>],
) -> (Option<Inventory>, Vec<Finding>) {
    let area = Area::Inventory;
    let remedy = "try `ansible-inventory --list -i SOURCE` as the user that runs promansible";
    let listed = match tokio::time::timeout(LIMIT, local.ansible.list()).await {
        Ok(Ok(listed)) => listed,
        Err(_) => {
            let why = format!(
                "not read within {}: the hosts are not checked",
                format_duration(LIMIT)
            );
            let remedy = format!("an inventory script may be waiting for something: {remedy}");
            return (None, vec![area.warning("sources", why, remedy)]);
        }
        Ok(Err(e)) => return (None, vec![area.error("sources", e.to_string(), remedy)]),
    };
    let inventory = match Inventory::parse(&listed.json) {
        Ok(inventory) => inventory,
        Err(e) => return (None, vec![area.error("sources", e.to_string(), remedy)]),
    };
    let mut findings = Vec::new();
    if !listed.warnings.is_empty() {
        findings.push(area.warning("sources", listed.warnings, "correct the source"));
    }
    let inventory = inventory.read_by(described.map(|of| of.version));
    let inventory = inventory.with_enrolled(enrolled);
    if inventory.is_empty() {
        findings.push(area.error(
            "hosts",
            "the inventory is empty: every alert is skipped as unknown_host",
            "add the hosts to a source of ansible.inventory",
        ));
        return (None, findings);
    }
    let groups = inventory.groups().count() as u64;
    findings.push(area.ok(
        "hosts",
        format!(
            "{} in {}",
            count(inventory.len() as u64, "host"),
            count(groups, "group")
        ),
    ));
    let unsafe_names: Vec<&str> = inventory
        .hosts()
        .map(Host::name)
        .filter(|name| !is_exact(name) || inventory.is_group(name))
        .collect();
    if !unsafe_names.is_empty() {
        findings.push(area.warning(
            "names",
            format!("no role can run on {}", unsafe_names.join(", ")),
            "rename them: use letters, digits, `.`, `_` and `-`, and not the name of a group",
        ));
    }
    (Some(inventory), findings)
}

/// Selects the hosts to log in to, and returns findings about the selection.
pub(super) fn choose(inventory: &Inventory, limit: &[String]) -> (Vec<String>, Vec<Finding>) {
    let can_run = |name: &&str| is_exact(name) && !inventory.is_group(name);
    let mut findings = Vec::new();
    if limit.is_empty() {
        let all: Vec<&str> = inventory.hosts().map(Host::name).filter(can_run).collect();
        let chosen: Vec<String> = all
            .iter()
            .take(HOSTS)
            .map(|&name| name.to_owned())
            .collect();
        if chosen.len() < all.len() {
            findings.push(Area::Hosts.ok(
                "selection",
                format!(
                    "the first {HOSTS} of {} hosts; --limit HOST-OR-GROUP selects others",
                    all.len()
                ),
            ));
        }
        return (chosen, findings);
    }
    let (mut chosen, mut seen) = (Vec::new(), BTreeSet::new());
    for name in limit {
        let hosts = match (inventory.host(name), inventory.group_hosts(name)) {
            (_, Some(hosts)) => hosts,
            (Some(host), None) => vec![host.name()],
            (None, None) => {
                findings.push(Area::Hosts.error(
                    name,
                    "neither a host nor a group of the inventory",
                    "correct --limit, or add it to the inventory; while a server is running, doctor does not see enrolled hosts",
                ));
                continue;
            }
        };
        for host in hosts.into_iter().filter(can_run) {
            if seen.insert(host) {
                chosen.push(host.to_owned());
            }
        }
    }
    (chosen, findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_chosen_by_name_and_group_and_by_default_the_first_twenty() {
        let hosts: Vec<String> = (1..=25).map(|n| format!("h{n:02}")).collect();
        let listed = serde_json::json!({"all": {"hosts": hosts}, "web": {"hosts": ["h03", "h01"]}});
        let inventory = Inventory::parse(listed.to_string().as_bytes()).unwrap();
        let (chosen, findings) = choose(&inventory, &[]);
        assert_eq!((chosen.len(), findings.len()), (20, 1));
        let limit = ["web", "h25", "h03", "gone"].map(str::to_owned);
        let (chosen, findings) = choose(&inventory, &limit);
        assert_eq!(chosen.len(), 3, "{chosen:?}");
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].subject, "gone");
    }
}
