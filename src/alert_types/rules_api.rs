//! Parses the alerting rules of a Prometheus response from `/api/v1/rules`.

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
    rules: Vec<ApiRule>,
}

/// A rule, without its alerts: there may be many, and Alertmanager sends them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiRule {
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

/// Returns the alerting rules of a response.
///
/// *Errors*: the end of a sentence that says why the body is not such a response.
///
/// *Source*: Prometheus's `web/api/v1/api.go`, `RuleDiscovery`.
pub fn parse_rules_answer(body: &[u8]) -> Result<Vec<Rule>, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|e| format!("its answer is not that of Prometheus's /api/v1/rules: {e}"))?;
    let Some(data) = answer.data else {
        return Err(if answer.error.is_empty() {
            "its answer contains no data".to_owned()
        } else {
            format!("it reported: {}", answer.error)
        });
    };
    let mut rules = Vec::new();
    for group in data.groups {
        let alerting = group.rules.into_iter();
        let alerting = alerting.filter(|rule| rule.kind == "alerting" && !rule.name.is_empty());
        rules.extend(alerting.map(|rule| Rule {
            name: rule.name,
            kind: SourceKind::Prometheus,
            file: group.file.clone(),
            line: None,
            group: group.name.clone(),
            expr: rule.query,
            hold: hold(rule.duration),
            labels: rule.labels,
            annotations: rule.annotations,
            state: rule.state,
            health: rule.health,
            last_error: Some(rule.last_error).filter(|error| !error.is_empty()),
        }));
    }
    Ok(rules)
}

fn hold(seconds: f64) -> Option<String> {
    let hold = Duration::try_from_secs_f64(seconds).ok()?;
    (!hold.is_zero()).then(|| format_duration(hold))
}
