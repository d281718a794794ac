//! An alerting rule, from a file or from Prometheus.

use serde::{Deserialize, Serialize};

use crate::model::alert::LabelSet;

/// The kind of source of an alert type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// A rule file that `prometheus.rule_files` names.
    RuleFile,
    /// The rules that Prometheus has loaded, from its API.
    Prometheus,
    /// Received alerts.
    Seen,
}

impl SourceKind {
    /// Returns the name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RuleFile => "rule_file",
            Self::Prometheus => "prometheus",
            Self::Seen => "seen",
        }
    }
}

/// An alerting rule. Rules from a file lack `state`, `health` and `last_error`, which only Prometheus knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The alert type: the `alertname` of its alerts.
    #[serde(skip)]
    pub name: String,
    pub kind: SourceKind,
    /// The file that defines it; for a rule from Prometheus, a file on its machine.
    pub file: String,
    /// The line in which it begins, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    pub group: String,
    pub expr: String,
    /// The value of `for`, as written: `5m`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// The labels that it sets; values may be templates.
    pub labels: LabelSet,
    /// The annotations that it sets; values may be templates.
    pub annotations: LabelSet,
    /// `inactive`, `pending` or `firing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `ok`, `err` or `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Why its last evaluation failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Returns whether the value of a label or annotation is a template, which has a value only when the rule fires.
pub fn is_template(value: &str) -> bool {
    value.contains("{{")
}
