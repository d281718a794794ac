//! Alert types: their sources and the bindings for them. Nothing in this module accesses a file or the network.

mod bound;
mod rule;
mod rule_file;
mod rules_api;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::config::Binding;

pub use bound::bindings_for;
pub use rule::{Rule, SourceKind, is_template};
pub use rule_file::{BadRuleFile, parse_rule_file};
pub use rules_api::parse_rules_answer;

/// The stored data of an alert type whose alerts were received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenType {
    /// The value of `alertname`.
    #[serde(skip)]
    pub name: String,
    /// When it was first received.
    pub first_seen: DateTime<Utc>,
    /// When it was last received, to within ten minutes.
    pub last_seen: DateTime<Utc>,
    /// The number of episodes since it was first received, including those that retention deleted.
    pub episodes: u64,
    /// The label `severity` of the last stored episode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
}

/// An alert type, from all sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlertType {
    /// The value of `alertname`.
    pub name: String,
    /// Its sources; at least one.
    pub sources: Vec<Source>,
    /// The values of `severity` in its rules; if they set none, the one of its last alert.
    pub severities: Vec<String>,
    /// The annotation of the first rule that has one; it may be a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The first annotation of its rules that is not a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook_url: Option<String>,
    /// The number of firing episodes.
    pub firing: u64,
    /// The number of episodes since it was first received.
    pub episodes: u64,
    /// When it was first received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<DateTime<Utc>>,
    /// When it was last received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<DateTime<Utc>>,
    /// The names of the bindings for it, in the order in which they are evaluated.
    pub bindings: Vec<String>,
}

/// A source of an alert type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    pub kind: SourceKind,
    /// The file and line of a rule file; the file and group that Prometheus names; `None` for received alerts.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Why Prometheus could not evaluate the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<&Rule> for Source {
    fn from(rule: &Rule) -> Self {
        let place = match rule.line {
            Some(line) => format!("{}:{line}", rule.file),
            None => format!("{}, group {}", rule.file, rule.group),
        };
        Self {
            kind: rule.kind,
            place: Some(place),
            error: rule.last_error.clone(),
        }
    }
}

/// Returns all alert types, sorted by name: those of rules, and those of received alerts. `firing` has the number of firing
/// episodes of each.
pub fn catalogue(
    rules: &[Arc<Rule>],
    seen: Vec<SeenType>,
    firing: &BTreeMap<String, u64>,
    bindings: &[Arc<Binding>],
) -> Vec<AlertType> {
    let mut known: BTreeMap<String, (Vec<&Rule>, Option<SeenType>)> = BTreeMap::new();
    for rule in rules {
        let entry = known.entry(rule.name.clone()).or_default();
        entry.0.push(rule);
    }
    for seen in seen {
        let entry = known.entry(seen.name.clone()).or_default();
        entry.1 = Some(seen);
    }
    // Stored types may have been dropped because there were too many; those that fire are known nevertheless.
    for name in firing.keys().filter(|name| !name.is_empty()) {
        known.entry(name.clone()).or_default();
    }
    known
        .into_iter()
        .map(|(name, (rules, seen))| {
            let firing = firing.get(&name).copied().unwrap_or_default();
            alert_type(name, &rules, seen.as_ref(), firing, bindings)
        })
        .collect()
}

/// Returns one alert type, from its rules, its stored data, the number of its firing episodes, and all bindings.
pub fn alert_type(
    name: String,
    rules: &[&Rule],
    seen: Option<&SeenType>,
    firing: u64,
    bindings: &[Arc<Binding>],
) -> AlertType {
    let mut sources: Vec<Source> = rules.iter().copied().map(Source::from).collect();
    if seen.is_some() || firing > 0 {
        sources.push(Source {
            kind: SourceKind::Seen,
            place: None,
            error: None,
        });
    }
    let set = rules.iter().filter_map(|rule| rule.labels.get("severity"));
    let set: BTreeSet<&String> = set.filter(|value| !is_template(value)).collect();
    let mut severities: Vec<String> = set.into_iter().cloned().collect();
    if severities.is_empty() {
        severities.extend(seen.and_then(|seen| seen.severity.clone()));
    }
    let annotations = |key| {
        rules
            .iter()
            .filter_map(move |rule| rule.annotations.get(key))
    };
    let labels: Vec<_> = rules.iter().map(|rule| &rule.labels).collect();
    let bindings = bindings_for(bindings, &name, &labels).into_iter();
    AlertType {
        sources,
        severities,
        summary: annotations("summary").next().cloned(),
        runbook_url: annotations("runbook_url")
            .find(|url| !is_template(url))
            .cloned(),
        firing,
        episodes: seen.map_or(0, |seen| seen.episodes),
        first_seen: seen.map(|seen| seen.first_seen),
        last_seen: seen.map(|seen| seen.last_seen),
        bindings: bindings.map(|binding| binding.name.clone()).collect(),
        name,
    }
}
