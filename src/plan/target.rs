//! From a target and an alert to exact inventory names. Nothing is ever widened: what is unclear is an error.

use crate::config::{Binding, Config, Target};
use crate::model::alert::{Alert, Status};
use crate::model::inventory::{Inventory, Unresolved, resolve_group, resolve_label, resolve_name};
use crate::model::run::{CONTROLLER, Skip};

/// The exact inventory names that a target means, for an alert if there is one: at least one.
///
/// *Errors*: those of the lookups, and `missing_label` where the target asks for an alert's label that is not there.
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

/// The first target of these alerts that the inventory does not have: an unknown host or group, or an empty one. With `wider`,
/// only one that this other inventory has.
pub fn unfound(
    config: &Config,
    inventory: &Inventory,
    wider: Option<&Inventory>,
    alerts: &[Alert],
) -> Option<Unresolved> {
    let firing = alerts.iter().filter(|alert| alert.status == Status::Firing);
    let mut missing = firing.flat_map(|alert| {
        bindings(config, alert).filter_map(move |binding| {
            let lost = hosts(&binding.target, inventory, Some(alert)).err()?;
            let there = |wider| hosts(&binding.target, wider, Some(alert)).is_ok();
            (is_missing(&lost) && wider.is_none_or(there)).then_some(lost)
        })
    });
    missing.next()
}

/// The bindings that an alert is for.
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

/// The same, narrowed to these hosts: all, where none is named. Those of the target stay in their order.
///
/// *Errors*: those of [`hosts`], and `outside_limit` where nothing is left.
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
