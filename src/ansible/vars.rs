//! Builds the extra variables of a run.
//!
//! There are two kinds of text, which are never mixed. Text from the configuration is trusted and may be a template. Text
//! from an alert or an ad-hoc run is wrapped so that Ansible does not evaluate it: permission to start runs must not become
//! permission to execute anything else.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::model::alert::LabelSet;
use crate::model::run::{CONTROLLER, Trigger};

use super::spec::{AlertData, BuildError, Spec};
use crate::model::inventory::{inert, is_exact, untemplated};
use crate::util::names::role_defect;

/// Returns the extra variables: those that control `run.yml`, and those for the roles.
///
/// *Shape*: `promansible_hosts`, `_controller`, `_become`, `_gather_facts`, `_roles`, `_rounds` (`[1, 2, …]`: the alerts
/// after the first), `_alerts_by_host` (`{host: [alert]}`), `_run` (`{id, trigger, binding}`).
pub(super) fn build(spec: &Spec<'_>) -> Result<Value, BuildError> {
    let work = spec.work;
    let mut hosts: Vec<&str> = Vec::new();
    let mut seen = BTreeSet::new();
    for host in spec.hosts {
        if !is_exact(host) {
            return Err(BuildError::HostName(host.clone()));
        }
        if seen.insert(host.as_str()) {
            hosts.push(host);
        }
    }
    if hosts.is_empty() {
        return Err(BuildError::NoHosts);
    }
    if work.controller && hosts != [CONTROLLER] {
        return Err(BuildError::Controller(spec.hosts.to_vec()));
    }
    if work.roles.is_empty() {
        return Err(BuildError::NoRoles);
    }
    if let Some(role) = work.roles.iter().find(|role| role_defect(role).is_some()) {
        return Err(BuildError::RoleName(role.clone()));
    }
    if let Some(host) = spec
        .alerts
        .keys()
        .find(|host| !seen.contains(host.as_str()))
    {
        return Err(BuildError::StrayAlerts(host.clone()));
    }

    let mut vars = Map::new();
    for (name, value) in &work.vars {
        if !is_identifier(name) || name.starts_with("promansible_") {
            return Err(BuildError::VariableName(name.clone()));
        }
        let value = if work.inert_vars || spec.trigger == Trigger::Manual {
            inert(value)
        } else {
            value.clone()
        };
        vars.insert(name.clone(), value);
    }
    vars.insert("promansible_hosts".into(), json!(hosts));
    vars.insert("promansible_controller".into(), work.controller.into());
    vars.insert("promansible_become".into(), work.r#become.into());
    vars.insert("promansible_gather_facts".into(), work.gather_facts.into());
    vars.insert("promansible_roles".into(), json!(work.roles));
    let further: Vec<usize> = (1..rounds(spec)).collect();
    vars.insert("promansible_rounds".into(), json!(further));
    vars.insert(
        "promansible_alerts_by_host".into(),
        alerts_by_host(spec, &hosts)?,
    );
    vars.insert(
        "promansible_run".into(),
        json!({"id": spec.run, "trigger": spec.trigger.as_str(), "binding": spec.binding.map(untemplated)}),
    );
    Ok(Value::Object(vars))
}

/// Returns how often the roles run on the host with the most alerts.
pub(super) fn rounds(spec: &Spec<'_>) -> usize {
    spec.alerts.values().map(Vec::len).max().unwrap_or(0).max(1)
}

fn alerts_by_host(spec: &Spec<'_>, hosts: &[&str]) -> Result<Value, BuildError> {
    // Without any alert, a role still finds an empty `promansible_alert`, and runs once.
    let none = spec.alerts.values().all(Vec::is_empty);
    let blank = json!([{"status": "", "labels": {}, "annotations": {}, "startsAt": "", "fingerprint": "", "generatorURL": ""}]);
    let mut by_host = Map::new();
    for &host in hosts {
        let alerts = if none {
            blank.clone()
        } else {
            let alerts = spec.alerts.get(host).map_or(&[][..], Vec::as_slice);
            alerts
                .iter()
                .map(|alert| alert_value(host, alert))
                .collect::<Result<_, _>>()?
        };
        by_host.insert(host.to_owned(), alerts);
    }
    Ok(Value::Object(by_host))
}

fn alert_value(host: &str, alert: &AlertData) -> Result<Value, BuildError> {
    let labels = |set: &LabelSet| -> Result<Value, BuildError> {
        let mut map = Map::new();
        for (name, value) in set {
            if name.starts_with("__") {
                return Err(BuildError::ReservedLabel {
                    host: host.to_owned(),
                    name: name.clone(),
                });
            }
            map.insert(name.clone(), untemplated(value));
        }
        Ok(Value::Object(map))
    };
    Ok(json!({
        "status": untemplated(alert.status.as_str()),
        "labels": labels(&alert.labels)?,
        "annotations": labels(&alert.annotations)?,
        "startsAt": untemplated(&alert.starts_at),
        "fingerprint": untemplated(&alert.fingerprint),
        "generatorURL": untemplated(&alert.generator_url),
    }))
}

fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
