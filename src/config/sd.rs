//! `service_discovery` as typed → [`ServiceDiscovery`].

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_saphyr::Spanned;

use crate::model::alert::Matcher;
use crate::model::sd::{
    self, Endpoint, Exposed, Filter, MatcherError, Scheme, fact_label, is_metrics_path,
    label_defect, var_label,
};

use super::ServiceDiscovery;
use super::TargetsFile;
use super::bindings::no_matcher;
use super::error::{Place, Report, place};
use super::raw::{ServiceDiscoveryText, TargetsFileText};
use super::spanned::{Pairs, Scalar};
use super::target::exact_name;
use super::values::{is_identifier, is_usable};
use super::yaml::nearest;

/// As many variables or facts become labels at most.
const MAX_EXPOSED: usize = 50;

/// How a matcher of hosts looks, and one with `==`.
const MATCHERS: [&str; 2] = [
    r#"`==` is no operator: `=` compares, as in __meta_ansible_fact_distribution="Debian""#,
    r#"write it as for Alertmanager: __meta_ansible_fact_distribution="Debian", __meta_ansible_host=~"web.*""#,
];

/// Checks what becomes a label, and every file.
pub(super) fn check(typed: ServiceDiscoveryText, report: &mut Report<'_>) -> ServiceDiscovery {
    let defaults = Exposed::default();
    let exposed = Exposed {
        vars: typed
            .vars
            .map_or(defaults.vars, |list| self::exposed(list, &VARS, report)),
        facts: typed
            .facts
            .map_or(defaults.facts, |list| self::exposed(list, &FACTS, report)),
    };
    let mut paths: HashSet<PathBuf> = HashSet::new();
    let mut files = Vec::new();
    for typed in typed.files.unwrap_or_default() {
        let file = file(typed.value, place(typed.referenced), &exposed, report);
        if let Some((file, path)) = file {
            let same = std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone());
            if !paths.insert(same) {
                report.add(
                    place(path.referenced),
                    format!("two files have the path {:?}", path.value),
                    Some("each would undo the other: give each its own".to_owned()),
                );
            }
            files.push(Arc::new(file));
        }
    }
    ServiceDiscovery { exposed, files }
}

/// What a list of exposed things is a list of.
struct Kind {
    key: &'static str,
    noun: &'static str,
    label: fn(&str) -> String,
    defect: fn(&str) -> Option<(String, &'static str)>,
}

const VARS: Kind = Kind {
    key: "service_discovery.vars",
    noun: "variable",
    label: var_label,
    defect: |name| {
        if !is_identifier(name) {
            return Some((
                format!("{name:?} is not the name of a variable"),
                "use letters, digits and _, and no digit first",
            ));
        }
        // Ansible's own words for passwords: ansible_password, ansible_ssh_pass, ansible_become_pass …
        (name.starts_with("ansible_") && name.contains("pass")).then(|| {
            (
                format!("the variable {name:?} holds a password"),
                "targets can be read by everybody who may look at Prometheus: leave it out",
            )
        })
    },
};

const FACTS: Kind = Kind {
    key: "service_discovery.facts",
    noun: "fact",
    label: fact_label,
    defect: |path| {
        let bad = |part: &str| part.is_empty() || part.contains(char::is_control);
        path.split('.').any(bad).then(|| {
            (
                format!("{path:?} is not the path of a fact"),
                "write names with dots between, as in default_ipv4.address or ansible_local.site.rack",
            )
        })
    },
};

fn exposed(list: Spanned<Vec<Scalar>>, kind: &Kind, report: &mut Report<'_>) -> Vec<String> {
    if list.value.len() > MAX_EXPOSED {
        report.add(
            place(list.referenced),
            format!(
                "{} has {} names, and {MAX_EXPOSED} is the most",
                kind.key,
                list.value.len()
            ),
            Some(
                "each becomes a label of every host: keep what you relabel or filter by".to_owned(),
            ),
        );
    }
    let mut labels = HashSet::new();
    for name in &list.value {
        if let Some((message, help)) = (kind.defect)(&name.value) {
            wrong(report, name, message, help);
        } else if !labels.insert((kind.label)(&name.value)) {
            let label = (kind.label)(&name.value);
            wrong(
                report,
                name,
                format!("the label {label} would stand twice"),
                &format!(
                    "another {} becomes the same label: keep one of them",
                    kind.noun
                ),
            );
        }
    }
    list.value.into_iter().map(|name| name.value).collect()
}

fn file(
    typed: TargetsFileText,
    whole: Option<Place>,
    exposed: &Exposed,
    report: &mut Report<'_>,
) -> Option<(TargetsFile, Scalar)> {
    let filter = Filter {
        groups: groups(typed.groups, report),
        matchers: typed
            .matchers
            .unwrap_or_default()
            .iter()
            .flat_map(|text| matchers(text, exposed, report))
            .collect(),
    };
    let endpoint = Endpoint {
        port: typed.port.and_then(|typed| {
            let port = sd::port(&typed.value);
            if port.is_none() {
                let message = format!("port is not a port: {:?}", typed.value);
                wrong(report, &typed, message, "write a number from 1 to 65535");
            }
            port
        }),
        scheme: typed.scheme.and_then(|typed| {
            let scheme = typed.value.parse::<Scheme>().ok();
            if scheme.is_none() {
                let message = format!("scheme is {:?}", typed.value);
                wrong(report, &typed, message, "write http or https");
            }
            scheme
        }),
        metrics_path: typed.metrics_path.map(|typed| {
            if !is_metrics_path(&typed.value) {
                wrong(
                    report,
                    &typed,
                    format!("metrics_path is not a path: {:?}", typed.value),
                    "write it from the / on, as in /metrics; a parameter is a label: labels: {__param_NAME: VALUE}",
                );
            }
            typed.value
        }),
        labels: labels(typed.labels.unwrap_or_default(), report),
    };
    let Some(path) = typed.path else {
        report.add(
            whole,
            "this file has no path",
            Some("name the file that Prometheus watches: path: /etc/prometheus/targets/promansible.json".to_owned()),
        );
        return None;
    };
    check_path(&path, report);
    let file = TargetsFile {
        path: PathBuf::from(&path.value),
        filter,
        endpoint,
    };
    Some((file, path))
}

fn check_path(path: &Scalar, report: &mut Report<'_>) {
    let ending = Path::new(&path.value).extension();
    let known = ["json", "yml", "yaml"];
    if !is_usable(path) || !ending.is_some_and(|ending| known.iter().any(|known| ending == *known))
    {
        wrong(
            report,
            path,
            format!("{:?} is not a file of targets", path.value),
            "Prometheus watches files whose names end with .json, .yml or .yaml: path: /etc/prometheus/targets/promansible.json",
        );
    }
}

fn groups(typed: Option<Spanned<Vec<Scalar>>>, report: &mut Report<'_>) -> Vec<String> {
    let Some(typed) = typed else {
        return Vec::new();
    };
    if typed.value.is_empty() {
        report.add(
            place(typed.referenced),
            "groups is empty",
            Some("name at least one, or leave groups out for every host".to_owned()),
        );
    }
    for group in &typed.value {
        exact_name(group, "group", report);
    }
    typed.value.into_iter().map(|group| group.value).collect()
}

fn matchers(text: &Scalar, exposed: &Exposed, report: &mut Report<'_>) -> Vec<Matcher> {
    match sd::matchers(&text.value, exposed) {
        Ok(matchers) => return matchers,
        Err(MatcherError::Syntax(error)) => no_matcher(text, error, MATCHERS, report),
        Err(MatcherError::Empty) => {
            wrong(report, text, "this matcher is empty", MATCHERS[1]);
        }
        Err(MatcherError::UnknownLabel { label, known }) => {
            let meant = nearest(&label, &known);
            let meant = meant.map_or_else(String::new, |label| format!("did you mean {label}? "));
            wrong(
                report,
                text,
                format!("no host has a label {label:?}"),
                &format!(
                    "{meant}service_discovery.vars and .facts say which there are: {}",
                    known.join(", ")
                ),
            );
        }
    }
    Vec::new()
}

fn labels(typed: Pairs<Scalar>, report: &mut Report<'_>) -> Vec<(String, String)> {
    let labels = typed.0.into_iter().map(|(name, value)| {
        if let Some(help) = label_defect(&name.value) {
            let message = format!("{:?} cannot be a label of these targets", name.value);
            wrong(report, &name, message, help);
        }
        (name.value, value.value)
    });
    labels.collect()
}

fn wrong(report: &mut Report<'_>, value: &Scalar, message: impl Into<String>, help: &str) {
    report.add(place(value.referenced), message, Some(help.to_owned()));
}
