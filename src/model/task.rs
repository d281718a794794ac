//! The result of one task on one host.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::findings::Findings;

/// A task result reported by Ansible's callback plugin during a run.
///
/// *Shape* in the store and the API: `{"at", "host", "role", "task", "action", "status", "duration_seconds", "message",
/// "findings"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskEvent {
    /// The time of the report.
    pub at: DateTime<Utc>,
    pub host: String,
    /// The role of the task, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    pub task: String,
    /// The name of the module.
    pub action: String,
    pub status: TaskStatus,
    /// The duration on the host.
    #[serde(default)]
    pub duration_seconds: f64,
    /// The message of the task, truncated to a few hundred characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The findings that the role reports with this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Findings>,
}

/// The status of a task on a host, in Ansible's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// The task succeeded without changes.
    Ok,
    /// The task succeeded and changed something.
    Changed,
    /// The condition of the task was false.
    Skipped,
    Failed,
    /// The task failed, and the play ignores the error.
    Ignored,
    /// The host could not be reached.
    Unreachable,
}

impl TaskStatus {
    /// Returns Ansible's name of the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Changed => "changed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Ignored => "ignored",
            Self::Unreachable => "unreachable",
        }
    }
}
