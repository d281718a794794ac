//! One alerting rule, wherever it was read.

use serde::{Deserialize, Serialize};

use crate::model::alert::LabelSet;

/// Where an alert type is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// A rule file that `prometheus.rule_files` names.
    RuleFile,
    /// The rules that Prometheus has loaded, as it tells them.
    Prometheus,
    /// Alerts that came.
    Seen,
}

impl SourceKind {
    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RuleFile => "rule_file",
            Self::Prometheus => "prometheus",
            Self::Seen => "seen",
        }
    }
}

/// An alerting rule. What only Prometheus knows is missing from those that were read in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The alert type: the `alertname` of its alerts.
    #[serde(skip)]
    pub name: String,
    /// Where it was read.
    pub kind: SourceKind,
    /// The file that it stands in; of a rule that Prometheus told, on Prometheus's machine.
    pub file: String,
    /// The line that it begins in, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Its group.
    pub group: String,
    /// Its expression.
    pub expr: String,
    /// How long the expression must hold, as written: `5m`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// The labels that it sets; they may be templates.
    pub labels: LabelSet,
    /// The annotations that it sets; they may be templates.
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

/// Whether what a rule says of a label or annotation is known only when it fires.
pub fn is_template(value: &str) -> bool {
    value.contains("{{")
}
