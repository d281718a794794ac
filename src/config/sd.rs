//! The section `service_discovery`, from YAML to [`ServiceDiscovery`].

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

/// The maximum number of variables, and of facts, that become labels.
const MAX_EXPOSED: usize = 50;

/// The help for a host matcher with `==`, and for any other defect.
const MATCHERS: [&str; 2] = [
    r#"`==` is not an operator: use `=`, as in __meta_ansible_fact_distribution="Debian""#,
    r#"write matchers as in Alertmanager: __meta_ansible_fact_distribution="Debian", __meta_ansible_host=~"web.*""#,
];

/// Checks the variables and facts that become labels, and every file.
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
                    Some(
                        "they would overwrite each other: use a different path for each".to_owned(),
                    ),
                );
            }
            files.push(Arc::new(file));
        }
    }
    ServiceDiscovery { exposed, files }
}

/// The kind of a list of exposed names.
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
                format!("{name:?} is not a valid variable name"),
                "use letters, digits and _, not starting with a digit",
            ));
        }
        // Ansible's names for passwords: ansible_password, ansible_ssh_pass, ansible_become_pass …
        (name.starts_with("ansible_") && name.contains("pass")).then(|| {
            (
                format!("the variable {name:?} holds a password"),
                "everyone with access to Prometheus can read the labels of targets: remove it",
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
                format!("{path:?} is not a valid fact path"),
                "write names separated by dots, as in default_ipv4.address or ansible_local.site.rack",
            )
        })
    },
};

fn exposed(list: Spanned<Vec<Scalar>>, kind: &Kind, report: &mut Report<'_>) -> Vec<String> {
    if list.value.len() > MAX_EXPOSED {
        report.add(
            place(list.referenced),
            format!(
                "{} has {} names; at most {MAX_EXPOSED} are allowed",
                kind.key,
                list.value.len()
            ),
            Some(
                "each one becomes a label of every host: keep those that you use for relabeling or filtering".to_owned(),
            ),
        );
    }
    let mut labels = HashSet::new();
    for name in &list.value {
        if let Some((message, help)) = (kind.defect)(&name.value) {
            report_defect(report, name, message, help);
        } else if !labels.insert((kind.label)(&name.value)) {
            let label = (kind.label)(&name.value);
            report_defect(
                report,
                name,
                format!("the label {label} would be set twice"),
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
                let message = format!("port is not a valid port: {:?}", typed.value);
                report_defect(report, &typed, message, "write a number from 1 to 65535");
            }
            port
        }),
        scheme: typed.scheme.and_then(|typed| {
            let scheme = typed.value.parse::<Scheme>().ok();
            if scheme.is_none() {
                let message = format!("scheme is {:?}", typed.value);
                report_defect(report, &typed, message, "write http or https");
            }
            scheme
        }),
        metrics_path: typed.metrics_path.map(|typed| {
            if !is_metrics_path(&typed.value) {
                report_defect(
                    report,
                    &typed,
                    format!("metrics_path is not a valid path: {:?}", typed.value),
                    "write a path that begins with /, as in /metrics; set parameters as labels: labels: {__param_NAME: VALUE}",
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
        report_defect(
            report,
            path,
            format!("{:?} is not a valid targets file", path.value),
            "Prometheus reads only files that end in .json, .yml or .yaml: path: /etc/prometheus/targets/promansible.json",
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
            Some("list at least one group, or remove the key to include every host".to_owned()),
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
            report_defect(report, text, "this matcher is empty", MATCHERS[1]);
        }
        Err(MatcherError::UnknownLabel { label, known }) => {
            let meant = nearest(&label, &known);
            let meant = meant.map_or_else(String::new, |label| format!("did you mean {label}? "));
            report_defect(
                report,
                text,
                format!("no host has a label {label:?}"),
                &format!(
                    "{meant}service_discovery.vars and .facts define the labels: {}",
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
            let message = format!("{:?} is not a valid label for these targets", name.value);
            report_defect(report, &name, message, help);
        }
        (name.value, value.value)
    });
    labels.collect()
}

fn report_defect(report: &mut Report<'_>, value: &Scalar, message: impl Into<String>, help: &str) {
    report.add(place(value.referenced), message, Some(help.to_owned()));
}
