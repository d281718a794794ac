//! What Prometheus answers at `/api/v1/rules` → its alerting rules.

use std::time::Duration;

use serde::Deserialize;

use super::rule::{Rule, SourceKind};
use crate::config::format_duration;
use crate::model::alert::LabelSet;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    #[serde(default)]
    file: String,
    #[serde(default)]
    rules: Vec<Told>,
}

/// The alerts of a rule are left out: they may be many, and Alertmanager tells them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    query: String,
    #[serde(default)]
    duration: f64,
    #[serde(default)]
    labels: LabelSet,
    #[serde(default)]
    annotations: LabelSet,
    state: Option<String>,
    health: Option<String>,
    #[serde(default)]
    last_error: String,
}

/// Reads the alerting rules of an answer.
///
/// *Errors*: it is none, in a sentence.
///
/// *Source*: Prometheus's `web/api/v1/api.go`, `RuleDiscovery`.
pub fn parse_rules_answer(body: &[u8]) -> Result<Vec<Rule>, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|e| format!("its answer is not that of Prometheus's /api/v1/rules: {e}"))?;
    let Some(data) = answer.data else {
        return Err(if answer.error.is_empty() {
            "its answer holds no data".to_owned()
        } else {
            format!("it says: {}", answer.error)
        });
    };
    let mut rules = Vec::new();
    for group in data.groups {
        let alerting = group.rules.into_iter();
        let alerting = alerting.filter(|told| told.kind == "alerting" && !told.name.is_empty());
        rules.extend(alerting.map(|told| Rule {
            name: told.name,
            kind: SourceKind::Prometheus,
            file: group.file.clone(),
            line: None,
            group: group.name.clone(),
            expr: told.query,
            hold: hold(told.duration),
            labels: told.labels,
            annotations: told.annotations,
            state: told.state,
            health: told.health,
            last_error: Some(told.last_error).filter(|error| !error.is_empty()),
        }));
    }
    Ok(rules)
}

fn hold(seconds: f64) -> Option<String> {
    let hold = Duration::try_from_secs_f64(seconds).ok()?;
    (!hold.is_zero()).then(|| format_duration(hold))
}
