//! The key `target`, from YAML to [`Target`].

use std::collections::HashSet;

use serde_saphyr::Spanned;

use super::Target;
use super::error::{Report, place};
use super::raw::{TargetMap, TargetText};
use super::spanned::Scalar;

/// Reads the target. Returns the default if it is missing, or after reporting a defect.
pub(super) fn target(typed: Option<Spanned<TargetText>>, report: &mut Report<'_>) -> Target {
    const FORMS: &str =
        "write one of: {alerting_host: instance}, {group: NAME}, {hosts: [NAME]}, controller";
    let Some(Spanned {
        value, referenced, ..
    }) = typed
    else {
        return Target::default();
    };
    let map = match value {
        TargetText::Word(word) if word == "controller" => return Target::Controller,
        other @ (TargetText::Word(_) | TargetText::List) => {
            let shown = match other {
                TargetText::Word(word) => format!("{word:?}"),
                _ => "a list".to_owned(),
            };
            report.add(
                place(referenced),
                format!("{shown} is not a target"),
                Some(FORMS.to_owned()),
            );
            return Target::default();
        }
        TargetText::Map(map) => map,
    };
    match *map {
        TargetMap {
            alerting_host: Some(label),
            group: None,
            hosts: None,
        } => {
            if label.value.is_empty() {
                report.add(
                    place(label.referenced),
                    "alerting_host is empty",
                    Some(
                        "set the label that contains the host: {alerting_host: instance}"
                            .to_owned(),
                    ),
                );
            }
            Target::AlertingHost { label: label.value }
        }
        TargetMap {
            alerting_host: None,
            group: Some(group),
            hosts: None,
        } => {
            exact_name(&group, "group", report);
            Target::Group(group.value)
        }
        TargetMap {
            alerting_host: None,
            group: None,
            hosts: Some(hosts),
        } => {
            if hosts.value.is_empty() {
                report.add(
                    place(hosts.referenced),
                    "hosts is empty, so nothing would ever run",
                    Some("list at least one inventory host: {hosts: [web1]}".to_owned()),
                );
            }
            let mut seen = HashSet::new();
            for host in &hosts.value {
                exact_name(host, "host", report);
                if !seen.insert(&host.value) {
                    report.add(
                        place(host.referenced),
                        format!("the host {:?} is listed twice", host.value),
                        Some("remove one".to_owned()),
                    );
                }
            }
            Target::Hosts(hosts.value.into_iter().map(|host| host.value).collect())
        }
        _ => {
            report.add(
                place(referenced),
                "a target must have exactly one kind",
                Some(FORMS.to_owned()),
            );
            Target::default()
        }
    }
}

/// The help for a name that is not exact.
pub(super) const EXACT_NAME: &str = "write the name as it is in the inventory; patterns are never expanded (every host: {group: all})";

/// Whether a text is a single name that Ansible cannot interpret as a pattern, an option or a file.
pub(super) fn is_exact_name(name: &str, kind: &str) -> bool {
    let pattern = |c: char| c.is_whitespace() || c.is_control() || "*?[]!&~,;{}".contains(c);
    // A host name may be an IPv6 address; in a group name, a colon joins two groups.
    let colon = kind == "group" && name.contains(':');
    !(name.is_empty() || name.starts_with(['-', '@']) || name.contains(pattern) || colon)
}

/// Reports a name that is not exact.
pub(super) fn exact_name(name: &Scalar, kind: &str, report: &mut Report<'_>) {
    if !is_exact_name(&name.value, kind) {
        report.add(
            place(name.referenced),
            format!("{:?} is not the exact name of a {kind}", name.value),
            Some(format!("{EXACT_NAME}, so list each {kind} separately")),
        );
    }
}
