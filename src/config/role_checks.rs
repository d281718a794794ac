//! What roles declare in their `meta/promansible.yml`: which of their findings are figures, and which of their options
//! are nothing for the API.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::config::About;
use crate::config::error::{ConfigErrors, Report, place};
use crate::config::read::read;
use crate::config::spanned::{Pairs, Scalar, parse};
use crate::model::findings::{Check, Checks, Declared};

/// The file of a role, in its folder.
const FILE: &str = "meta/promansible.yml";

const MAX_CHECKS: usize = 50;
const MAX_LABELS: usize = 5;
const MAX_NAME_CHARS: usize = 60;

/// Prometheus reads a meaning into these.
const SUFFIXES: [&str; 5] = ["_total", "_count", "_sum", "_bucket", "_info"];

/// What promansible itself says of checks.
const OWN_NAMES: [&str; 3] = [
    "timestamp_seconds",
    "values_rejected",
    "values_rejected_total",
];

/// Labels that promansible or Prometheus sets, and the key of the figure itself.
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

/// A check's name as first declared.
struct First {
    check: Check,
    file: String,
}

/// What all roles declare.
#[derive(Debug, Default)]
pub(super) struct OfRoles {
    /// The checks.
    pub(super) checks: Declared,
    /// The variables that are not taken over the API, each with a role that says so.
    pub(super) not_over_api: BTreeMap<String, String>,
}

/// What these roles declare; what is wrong with that is noted with the file that it is in.
pub(super) fn look(roles: &[About], report: &mut Report<'_>) -> OfRoles {
    let mut reader = Reader::default();
    let mut declared = OfRoles::default();
    for about in roles {
        let path = about.folder.join(FILE);
        // Most roles have none.
        if matches!(path.try_exists(), Ok(false)) {
            continue;
        }
        let OfRole { checks, marks } = match reader.read(&path, about) {
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

/// What one role declares.
struct OfRole {
    checks: Checks,
    marks: Vec<String>,
}

/// Reads one role's file after the other.
#[derive(Default)]
struct Reader {
    first: BTreeMap<String, First>,
}

impl Reader {
    fn read(&mut self, path: &Path, about: &About) -> Result<OfRole, ConfigErrors> {
        let file = path.display().to_string();
        let text = read(path, &file)?;
        self.build(&file, &text, about)
    }

    fn build(&mut self, file: &str, text: &str, about: &About) -> Result<OfRole, ConfigErrors> {
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
            wrong(
                &mut report,
                name,
                format!("a role has at most {MAX_CHECKS} checks, and this is one more"),
                "put figures of one kind under one name, and tell them apart by labels",
            );
        }
        let mut checks = Checks::new();
        for (name, typed) in typed {
            let check = check(&name, typed.unwrap_or_default(), &mut report);
            self.compare(file, &name, &check, &mut report);
            checks.insert(name.value, check);
        }
        report.finish(OfRole { checks, marks })
    }

    /// Roles that have a check of the same name share its metric, so they must mean the same.
    fn compare(&mut self, file: &str, name: &Scalar, check: &Check, report: &mut Report<'_>) {
        let Some(first) = self.first.get(&name.value) else {
            let first = First {
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
            (false, true) => "another help",
            (true, false) => "other labels",
            (false, false) => "another help and other labels",
        };
        wrong(
            report,
            name,
            format!("the check {:?} has {differs} in {}", name.value, first.file),
            "both roles share one metric: give the check the same help and labels in both files, or another name in one",
        );
    }
}

/// A host could then answer with a variable that sends the next task to another host.
fn no_injected_facts(typed: Option<Spanned<bool>>, report: &mut Report<'_>) {
    let Some(typed) = typed.filter(|typed| typed.value) else {
        return;
    };
    report.add(
        place(typed.referenced),
        "injected_facts cannot be switched on: with facts as variables, root on one managed host is root on the others",
        Some(
            "read facts as ansible_facts['distribution'], not as ansible_distribution, and remove this line"
                .to_owned(),
        ),
    );
}

/// The options that are not taken over the API.
fn marks(typed: Vec<Scalar>, about: &About, report: &mut Report<'_>) -> Vec<String> {
    for name in typed.iter().filter(|name| !about.has(&name.value)) {
        wrong(
            report,
            name,
            format!(
                "not_over_api names {:?}, which is neither an option nor a default of {}",
                name.value, about.name
            ),
            "name options as meta/argument_specs.yml does",
        );
    }
    typed.into_iter().map(|name| name.value).collect()
}

fn check(name: &Scalar, typed: CheckText, report: &mut Report<'_>) -> Check {
    if let Some((message, help)) = defect_of_name(&name.value) {
        wrong(report, name, message, help);
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
            format!("{name:?} is not the name of a check"),
            "use a-z, 0-9 and _, and a letter first, as in dns_answer_seconds",
        ));
    }
    if name.len() > MAX_NAME_CHARS {
        return Some((
            format!(
                "the name of a check has at most {MAX_NAME_CHARS} characters, and this one has {}",
                name.len()
            ),
            "shorten it: promansible_check_ comes before it, and the role is a label",
        ));
    }
    if OWN_NAMES.contains(&name) {
        return Some((
            format!("promansible_check_{name} is promansible's own"),
            "give the check another name",
        ));
    }
    let suffix = SUFFIXES.iter().find(|suffix| name.ends_with(**suffix))?;
    Some((
        format!("a check is a gauge, and a gauge's name does not end with {suffix}"),
        "say what it is and end with the unit, as in queue_messages or dns_answer_seconds",
    ))
}

fn help(name: &Scalar, typed: Option<Scalar>, report: &mut Report<'_>) -> String {
    let want = "write a sentence for /metrics: help: \"How long the resolver took to answer.\"";
    let Some(help) = typed else {
        let message = format!("the check {:?} has no help", name.value);
        wrong(report, name, message, want);
        return String::new();
    };
    let is_sentence = help.value.ends_with('.')
        && help.value.contains(char::is_alphabetic)
        && !help.value.contains(char::is_control);
    if !is_sentence {
        let message = "the help of a check is a sentence in one line, with a full stop";
        wrong(report, &help, message, want);
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
                "a check has at most {MAX_LABELS} labels of its own, and these are {}",
                typed.value.len()
            ),
            Some("keep those that tell its figures apart".to_owned()),
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
            wrong(
                report,
                &label,
                format!("{name:?} is not the name of a label"),
                "use letters, digits and _, and no digit first",
            );
        } else if name.starts_with("__") || OWN_LABELS.contains(&name.as_str()) {
            wrong(
                report,
                &label,
                format!("a check cannot have the label {name:?}: it has a meaning already"),
                "give the label another name; each figure has role and host anyway",
            );
        } else if labels.contains(name) {
            wrong(
                report,
                &label,
                format!("the label {name:?} stands twice"),
                "keep one of them",
            );
        }
        labels.push(label.value);
    }
    labels
}

fn wrong(report: &mut Report<'_>, value: &Scalar, message: impl Into<String>, help: &str) {
    report.add(place(value.referenced), message, Some(help.to_owned()));
}

#[cfg(test)]
mod tests;
