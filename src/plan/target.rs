//! Resolves a target and an alert to exact inventory names. Targets are never widened: ambiguity is an error.

use crate::config::{Binding, Config, Target};
use crate::model::alert::{Alert, Status};
use crate::model::inventory::{Inventory, Unresolved, resolve_group, resolve_label, resolve_name};
use crate::model::run::{CONTROLLER, Skip};

/// Returns the exact inventory names of a target, for an alert if there is one. The result is never empty.
///
/// *Errors*: those of the lookups, and `missing_label` if the alert lacks the label that the target uses.
pub fn hosts(
    target: &Target,
    inventory: &Inventory,
    alert: Option<&Alert>,
) -> Result<Vec<String>, Unresolved> {
    match target {
        Target::Controller => Ok(vec![CONTROLLER.to_owned()]),
        Target::AlertingHost { label } => {
            let value = alert.and_then(|alert| alert.labels.get(label));
            let value = value.filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| Unresolved {
                reason: Skip::MissingLabel,
                why: format!("the alert has no label {label:?} to name the host"),
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

/// Returns the first target of these alerts that is missing in the inventory: an unknown host or group, or an empty
/// group. With `wider`, only targets that the other inventory has.
pub fn unfound(
    config: &Config,
    inventory: &Inventory,
    wider: Option<&Inventory>,
    alerts: &[Alert],
) -> Option<Unresolved> {
    let firing = alerts.iter().filter(|alert| alert.status == Status::Firing);
    let mut missing = firing.flat_map(|alert| {
        bindings(config, alert).filter_map(move |binding| {
            let missing_target = hosts(&binding.target, inventory, Some(alert)).err()?;
            let exists = |wider| hosts(&binding.target, wider, Some(alert)).is_ok();
            (is_missing(&missing_target) && wider.is_none_or(exists)).then_some(missing_target)
        })
    });
    missing.next()
}

/// Iterates over the bindings that match an alert, up to the first with `stop`.
fn bindings<'a>(config: &'a Config, alert: &'a Alert) -> impl Iterator<Item = &'a Binding> {
    let matching = config.bindings.iter().map(AsRef::as_ref);
    let mut matching =
        matching.filter(|binding: &&Binding| binding.matchers.matches(&alert.labels));
    let mut stopped = false;
    std::iter::from_fn(move || {
        let binding = matching.next().filter(|_| !stopped)?;
        stopped = binding.stop;
        Some(binding)
    })
}

fn is_missing(unresolved: &Unresolved) -> bool {
    let missing = [Skip::UnknownHost, Skip::UnknownGroup, Skip::EmptyTarget];
    missing.contains(&unresolved.reason)
}

/// Like [`hosts`], restricted to the hosts in `limit` unless it is empty. Keeps the order of the target.
///
/// *Errors*: those of [`hosts`], and `outside_limit` if no host is left.
pub fn hosts_within(
    target: &Target,
    limit: &[String],
    inventory: &Inventory,
    alert: Option<&Alert>,
) -> Result<Vec<String>, Unresolved> {
    let mut hosts = hosts(target, inventory, alert)?;
    if limit.is_empty() {
        return Ok(hosts);
    }
    let first = hosts.first().cloned().unwrap_or_default();
    hosts.retain(|host| limit.contains(host));
    if hosts.is_empty() {
        return Err(Unresolved {
            reason: Skip::OutsideLimit,
            why: format!(
                "limit leaves no host: {first} is not one of {}",
                limit.join(", ")
            ),
        });
    }
    Ok(hosts)
}

fn owned(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}
