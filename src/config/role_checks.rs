//! Reads the `meta/promansible.yml` of roles: which of their findings are checks, and which of their options are not
//! accepted over the API.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::config::About;
use crate::config::error::{ConfigErrors, Report, place};
use crate::config::read::read;
use crate::config::spanned::{Pairs, Scalar, parse};
use crate::model::findings::{Check, Checks, Declared};

/// The path of the file in the folder of a role.
const FILE: &str = "meta/promansible.yml";

const MAX_CHECKS: usize = 50;
const MAX_LABELS: usize = 5;
const MAX_NAME_CHARS: usize = 60;

/// The suffixes that have a meaning in Prometheus.
const SUFFIXES: [&str; 5] = ["_total", "_count", "_sum", "_bucket", "_info"];

/// The metrics of promansible itself about checks.
const OWN_NAMES: [&str; 3] = [
    "timestamp_seconds",
    "values_rejected",
    "values_rejected_total",
];

/// Labels that promansible or Prometheus sets, and the key of the value itself.
const OWN_LABELS: [&str; 9] = [
    "role", "host", "le", "quantile", "instance", "job", "env", "type", "value",
];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleText {
    checks: Option<Pairs<Option<CheckText>>>,
    not_over_api: Option<Vec<Scalar>>,
    injected_facts: Option<Spanned<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckText {
    help: Option<Scalar>,
    labels: Option<Spanned<Vec<Scalar>>>,
}

/// The first declaration of a check.
struct FirstDeclaration {
    check: Check,
    file: String,
}

/// The declarations of all roles.
#[derive(Debug, Default)]
pub(super) struct OfRoles {
    /// The checks.
    pub(super) checks: Declared,
    /// The variables that are not accepted over the API, each with a role that declares that.
    pub(super) not_over_api: BTreeMap<String, String>,
}

/// Reads the declarations of these roles. Defects are reported with their file.
pub(super) fn look(roles: &[About], report: &mut Report<'_>) -> OfRoles {
    let mut reader = Reader::default();
    let mut declared = OfRoles::default();
    for about in roles {
        let path = about.folder.join(FILE);
        // Most roles have no such file.
        if matches!(path.try_exists(), Ok(false)) {
            continue;
        }
        let RoleDeclarations { checks, marks } = match reader.read(&path, about) {
            Ok(of_role) => of_role,
            Err(errors) => {
                report.include(errors);
                continue;
            }
        };
        let marks = marks.into_iter().map(|name| (name, about.name.clone()));
        declared.not_over_api.extend(marks);
        if !checks.is_empty() {
            // An alert role and a routine role may have the same name.
            let of_role = declared.checks.entry(about.name.clone()).or_default();
            of_role.extend(checks);
        }
    }
    declared
}

/// The declarations of one role.
struct RoleDeclarations {
    checks: Checks,
    marks: Vec<String>,
}

/// Reads the files of roles, one after the other.
#[derive(Default)]
struct Reader {
    first: BTreeMap<String, FirstDeclaration>,
}

impl Reader {
    fn read(&mut self, path: &Path, about: &About) -> Result<RoleDeclarations, ConfigErrors> {
        let file = path.display().to_string();
        let text = read(path, &file)?;
        self.build(&file, &text, about)
    }

    fn build(
        &mut self,
        file: &str,
        text: &str,
        about: &About,
    ) -> Result<RoleDeclarations, ConfigErrors> {
        let typed: Option<RoleText> = parse(file, text)?;
        let mut report = Report::new(file, text);
        let RoleText {
            checks: typed,
            not_over_api,
            injected_facts,
        } = typed.unwrap_or_default();
        no_injected_facts(injected_facts, &mut report);
        let marks = marks(not_over_api.unwrap_or_default(), about, &mut report);
        let typed = typed.unwrap_or_default().0;
        if let Some((name, _)) = typed.get(MAX_CHECKS) {
            report_defect(
                &mut report,
                name,
                format!("a role can have at most {MAX_CHECKS} checks"),
                "combine related values under one name, and distinguish them by labels",
            );
        }
        let mut checks = Checks::new();
        for (name, typed) in typed {
            let check = check(&name, typed.unwrap_or_default(), &mut report);
            self.compare(file, &name, &check, &mut report);
            checks.insert(name.value, check);
        }
        report.finish(RoleDeclarations { checks, marks })
    }

    /// Compares checks of the same name. Their roles share one metric, so they must mean the same.
    fn compare(&mut self, file: &str, name: &Scalar, check: &Check, report: &mut Report<'_>) {
        let Some(first) = self.first.get(&name.value) else {
            let first = FirstDeclaration {
                check: check.clone(),
                file: file.to_owned(),
            };
            self.first.insert(name.value.clone(), first);
            return;
        };
        let sorted = |check: &Check| {
            let mut labels = check.labels.clone();
            labels.sort();
            labels
        };
        let differs = match (
            first.check.help == check.help,
            sorted(&first.check) == sorted(check),
        ) {
            (true, true) => return,
            (false, true) => "a different help",
            (true, false) => "different labels",
            (false, false) => "a different help and different labels",
        };
        report_defect(
            report,
            name,
            format!("the check {:?} has {differs} in {}", name.value, first.file),
            "both roles share one metric: give the check the same help and labels in both files, or rename one of them",
        );
    }
}

/// Rejects `injected_facts: true`. A host could then return a variable that sends the next task to another host.
fn no_injected_facts(typed: Option<Spanned<bool>>, report: &mut Report<'_>) {
    let Some(typed) = typed.filter(|typed| typed.value) else {
        return;
    };
    report.add(
        place(typed.referenced),
        "injected_facts cannot be enabled: with facts as variables, root on one managed host could become root on the others",
        Some(
            "read facts as ansible_facts['distribution'], not as ansible_distribution, and remove this line"
                .to_owned(),
        ),
    );
}

/// Reads the options that are not accepted over the API.
fn marks(typed: Vec<Scalar>, about: &About, report: &mut Report<'_>) -> Vec<String> {
    for name in typed.iter().filter(|name| !about.has(&name.value)) {
        report_defect(
            report,
            name,
            format!(
                "not_over_api names {:?}, which is neither an option nor a default of {}",
                name.value, about.name
            ),
            "use the option names of meta/argument_specs.yml",
        );
    }
    typed.into_iter().map(|name| name.value).collect()
}

fn check(name: &Scalar, typed: CheckText, report: &mut Report<'_>) -> Check {
    if let Some((message, help)) = defect_of_name(&name.value) {
        report_defect(report, name, message, help);
    }
    Check {
        help: help(name, typed.help, report),
        labels: labels(typed.labels, report),
    }
}

fn defect_of_name(name: &str) -> Option<(String, &'static str)> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(good) {
        return Some((
            format!("{name:?} is not a valid check name"),
            "use a-z, 0-9 and _, starting with a letter, as in dns_answer_seconds",
        ));
    }
    if name.len() > MAX_NAME_CHARS {
        return Some((
            format!(
                "a check name can have at most {MAX_NAME_CHARS} characters, but this one has {}",
                name.len()
            ),
            "shorten it: promansible_check_ is put in front of it, and the role is a label",
        ));
    }
    if OWN_NAMES.contains(&name) {
        return Some((
            format!("promansible_check_{name} is a metric of promansible itself"),
            "choose another name for the check",
        ));
    }
    let suffix = SUFFIXES.iter().find(|suffix| name.ends_with(**suffix))?;
    Some((
        format!("a check is a gauge, and a gauge name must not end with {suffix}"),
        "name what it measures and end with the unit, as in queue_messages or dns_answer_seconds",
    ))
}

fn help(name: &Scalar, typed: Option<Scalar>, report: &mut Report<'_>) -> String {
    let want = "describe it for /metrics: help: \"How long the resolver took to answer.\"";
    let Some(help) = typed else {
        let message = format!("the check {:?} has no help", name.value);
        report_defect(report, name, message, want);
        return String::new();
    };
    let is_sentence = help.value.ends_with('.')
        && help.value.contains(char::is_alphabetic)
        && !help.value.contains(char::is_control);
    if !is_sentence {
        let message =
            "the help of a check must be one sentence on one line, ending with a full stop";
        report_defect(report, &help, message, want);
    }
    help.value
}

fn labels(typed: Option<Spanned<Vec<Scalar>>>, report: &mut Report<'_>) -> Vec<String> {
    let Some(typed) = typed else {
        return Vec::new();
    };
    if typed.value.len() > MAX_LABELS {
        report.add(
            place(typed.referenced),
            format!(
                "a check can have at most {MAX_LABELS} labels, but this one has {}",
                typed.value.len()
            ),
            Some("keep the labels that distinguish its values".to_owned()),
        );
    }
    let mut labels = Vec::new();
    for label in typed.value {
        let name = &label.value;
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(good)
        {
            report_defect(
                report,
                &label,
                format!("{name:?} is not a valid label name"),
                "use letters, digits and _, not starting with a digit",
            );
        } else if name.starts_with("__") || OWN_LABELS.contains(&name.as_str()) {
            report_defect(
                report,
                &label,
                format!("a check cannot have the label {name:?}: it is reserved"),
                "rename the label; every value has role and host anyway",
            );
        } else if labels.contains(name) {
            report_defect(
                report,
                &label,
                format!("the label {name:?} is listed twice"),
                "keep one of them",
            );
        }
        labels.push(label.value);
    }
    labels
}

fn report_defect(report: &mut Report<'_>, value: &Scalar, message: impl Into<String>, help: &str) {
    report.add(place(value.referenced), message, Some(help.to_owned()));
}

#[cfg(test)]
mod tests;
