//! Parses the alerting rules of a Prometheus rule file.
//!
//! Reads only the fields that are needed: validating the file is the job of Prometheus and promtool.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_saphyr::{MessageFormatter as _, Spanned, UserMessageFormatter};

use super::rule::{Rule, SourceKind};
use crate::model::alert::LabelSet;

/// Why a text is not a rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRuleFile {
    /// The position of the error. *Units*: line and column, from 1.
    pub place: Option<(u64, u64)>,
    pub message: String,
}

impl fmt::Display for BadRuleFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for BadRuleFile {}

#[derive(Deserialize)]
struct FileText {
    groups: Option<Vec<GroupText>>,
}

#[derive(Deserialize)]
struct GroupText {
    name: Option<String>,
    rules: Option<Vec<RuleText>>,
    /// The labels of every rule of the group, in newer versions of Prometheus.
    labels: Option<Labels>,
}

#[derive(Deserialize)]
struct RuleText {
    alert: Option<Spanned<String>>,
    expr: Option<String>,
    r#for: Option<String>,
    labels: Option<Labels>,
    annotations: Option<Labels>,
}

type Labels = BTreeMap<String, Option<String>>;

/// Returns the alerting rules of a rule file, in order; `file` becomes [`Rule::file`].
///
/// *Errors*: the text is not YAML, or does not have the structure of a rule file.
///
/// *Source*: Prometheus's `model/rulefmt/rulefmt.go`.
pub fn parse_rule_file(file: &str, text: &str) -> Result<Vec<Rule>, BadRuleFile> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 64, max_inclusion_depth: 0 },
        with_snippet: false,
    };
    // An empty file, or one with comments alone, has no groups.
    let typed: Option<FileText> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| bad(&error))?;
    let mut rules = Vec::new();
    for group in typed.and_then(|typed| typed.groups).into_iter().flatten() {
        let name = group.name.unwrap_or_default();
        let common = labels(group.labels);
        for typed in group.rules.into_iter().flatten() {
            let Some(alert) = typed.alert.filter(|alert| !alert.value.is_empty()) else {
                continue;
            };
            let mut set = common.clone();
            set.extend(labels(typed.labels));
            rules.push(Rule {
                line: Some(alert.referenced.line()),
                name: alert.value,
                kind: SourceKind::RuleFile,
                file: file.to_owned(),
                group: name.clone(),
                expr: typed.expr.unwrap_or_default().trim().to_owned(),
                hold: typed.r#for,
                labels: set,
                annotations: labels(typed.annotations),
                state: None,
                health: None,
                last_error: None,
            });
        }
    }
    Ok(rules)
}

/// Converts labels: Prometheus reads a missing value as an empty one.
fn labels(typed: Option<Labels>) -> LabelSet {
    let typed = typed.unwrap_or_default().into_iter();
    typed
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect()
}

fn bad(error: &serde_saphyr::Error) -> BadRuleFile {
    let error = error.without_snippet();
    let message = UserMessageFormatter.format_message(error).into_owned();
    BadRuleFile {
        place: error.location().map(|at| (at.line(), at.column())),
        // On one line, wherever it is shown.
        message: message.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
