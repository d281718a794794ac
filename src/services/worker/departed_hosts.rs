//! Finds the hosts that a claimed run must no longer touch.

use std::collections::BTreeMap;

use crate::model::alert::Alert;
use crate::model::inventory::{Inventory, resolve_label, resolve_name};
use crate::model::run::Run;

/// Returns the hosts that left the inventory since the decision, each with the reason. Ansible might read such a name as
/// something else: as a group, or, for `localhost`, as the controller.
pub(super) fn departed(run: &Run, inventory: &Inventory) -> BTreeMap<String, String> {
    if run.work.controller {
        return BTreeMap::new();
    }
    let departed = run.hosts.iter().filter_map(|host| {
        let unresolved = resolve_name(inventory, host).err()?;
        let why = format!("the inventory changed after the run was decided: {unresolved}");
        Some((host.clone(), why))
    });
    departed.collect()
}

/// Returns the hosts that the label of their alert no longer names, each with the reason. An address may have been
/// reassigned to another host while the run waited.
pub(super) fn reassigned(
    label: &str,
    inventory: &Inventory,
    alerts: &[(Alert, Vec<String>)],
) -> BTreeMap<String, String> {
    let mut reassigned = BTreeMap::new();
    for (alert, hosts) in alerts {
        let (Some(value), [host]) = (alert.labels.get(label), hosts.as_slice()) else {
            continue;
        };
        let why = match resolve_label(inventory, value) {
            Ok(found) if found == host => continue,
            Ok(found) => format!("its alert's {label} is now {found}"),
            Err(unresolved) => unresolved.to_string(),
        };
        let why = format!("the inventory changed after the run was decided: {why}");
        reassigned.insert(host.clone(), why);
    }
    reassigned
}
