//! Notifications as Alertmanager writes them, for tests that post them themselves.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

/// A firing alert: an episode of its own for each `fingerprint` and `starts_at`.
pub fn alert(fingerprint: u64, starts_at: DateTime<Utc>, labels: &[(&str, &str)]) -> Value {
    let labels: Map<String, Value> = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    json!({
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": "Made by a test."},
        "startsAt": starts_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://127.0.0.1/graph",
        "fingerprint": format!("{fingerprint:016x}"),
    })
}

/// A notification of these alerts.
pub fn notification(alerts: &[Value]) -> Value {
    json!({
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "promansible",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://127.0.0.1",
        "alerts": alerts,
    })
}
