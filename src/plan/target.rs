//! From a target and an alert to exact inventory names. Nothing is ever widened: what is unclear is an error.

use crate::alert::Alert;
use crate::config::Target;
use crate::inventory::{Inventory, Unresolved, resolve_group, resolve_label, resolve_name};
use crate::run::{CONTROLLER, Skip};

/// The hosts that a target means for an alert: at least one.
pub(super) fn hosts(
    target: &Target,
    inventory: &Inventory,
    alert: &Alert,
) -> Result<Vec<String>, Unresolved> {
    match target {
        Target::Controller => Ok(vec![CONTROLLER.to_owned()]),
        Target::AlertingHost { label } => {
            let value = alert.labels.get(label).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| Unresolved {
                reason: Skip::MissingLabel,
                why: format!("the alert has no label {label:?}, which is to name the host"),
            })?;
            Ok(vec![resolve_label(inventory, value)?.to_owned()])
        }
        Target::Group(group) => Ok(owned(resolve_group(inventory, group)?)),
        Target::Hosts(names) => names
            .iter()
            .map(|name| resolve_name(inventory, name).map(str::to_owned))
            .collect(),
    }
}

fn owned(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}
