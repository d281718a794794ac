//! The hosts that a run must not touch any more.

use std::collections::BTreeMap;

use crate::model::alert::Alert;
use crate::model::inventory::{Inventory, resolve_label, resolve_name};
use crate::model::run::Run;

/// The hosts that have left the inventory since the decision, each with why. Ansible might read such a name as
/// something else: as a group's, or, for `localhost`, as the controller's.
pub(super) fn gone(run: &Run, inventory: &Inventory) -> BTreeMap<String, String> {
    if run.work.controller {
        return BTreeMap::new();
    }
    let gone = run.hosts.iter().filter_map(|host| {
        let unresolved = resolve_name(inventory, host).err()?;
        let why = format!("the inventory changed since it was decided: {unresolved}");
        Some((host.clone(), why))
    });
    gone.collect()
}

/// The hosts whose alerts' label names them no longer, each with why. An address may have become another host's while the
/// run waited.
pub(super) fn moved(
    label: &str,
    inventory: &Inventory,
    alerts: &[(Alert, Vec<String>)],
) -> BTreeMap<String, String> {
    let mut moved = BTreeMap::new();
    for (alert, hosts) in alerts {
        let (Some(value), [host]) = (alert.labels.get(label), hosts.as_slice()) else {
            continue;
        };
        let why = match resolve_label(inventory, value) {
            Ok(found) if found == host => continue,
            Ok(found) => format!("its alert's {label} is {found}'s"),
            Err(unresolved) => unresolved.to_string(),
        };
        let why = format!("the inventory changed since it was decided: {why}");
        moved.insert(host.clone(), why);
    }
    moved
}
