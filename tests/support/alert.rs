//! What Alertmanager sends.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

/// An alert as Alertmanager tells it.
#[derive(Debug, Clone)]
pub struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    since: u32,
    resolved: bool,
}

/// A firing alert of this name on this host.
pub fn alert(name: &str, instance: &str) -> Alert {
    Alert {
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        since: 0,
        resolved: false,
    }
    .label("alertname", name)
    .label("instance", instance)
}

impl Alert {
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.labels.remove(name);
        self
    }

    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Another episode.
    pub fn since(mut self, minute: u32) -> Self {
        self.since = minute;
        self
    }

    pub fn resolved(mut self) -> Self {
        self.resolved = true;
        self
    }

    pub fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.labels.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    pub fn json(&self) -> Value {
        json!({
            "status": if self.resolved { "resolved" } else { "firing" },
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": format!("2026-01-02T03:{:02}:05.123Z", self.since),
            "endsAt": if self.resolved { "2026-01-02T05:00:00Z" } else { "0001-01-01T00:00:00Z" },
            "generatorURL": "http://prometheus:9090/graph",
            "fingerprint": self.fingerprint(),
        })
    }
}

/// A webhook body, with the fields that newer Alertmanagers add.
pub fn notification(alerts: &[Alert]) -> Vec<u8> {
    body(alerts).to_string().into_bytes()
}

pub fn body(alerts: &[Alert]) -> Value {
    json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"A\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "promansible",
        "groupLabels": {"alertname": "A"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "notification_reason": "first",
        "routeLabels": {"a": "b"},
        "alerts": alerts.iter().map(Alert::json).collect::<Vec<_>>(),
    })
}
