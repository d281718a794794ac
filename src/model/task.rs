//! What is told of one task on one host.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::findings::Findings;

/// One thing that Ansible's callback told us while a run was under way, in its order.
///
/// *Shape* in the store and the API: `{"at", "host", "role", "task", "action", "status", "duration_seconds", "message",
/// "findings"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskEvent {
    /// When it was told.
    pub at: DateTime<Utc>,
    /// The host.
    pub host: String,
    /// The role that the task belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The task's name.
    pub task: String,
    /// The module.
    pub action: String,
    /// How the task ended on the host.
    pub status: TaskStatus,
    /// How long it took there.
    #[serde(default)]
    pub duration_seconds: f64,
    /// What the task said, cut to a few hundred characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the role reports of the host by this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Findings>,
}

/// How a task ended on a host, in Ansible's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// It ended well and changed nothing.
    Ok,
    /// It ended well and changed something.
    Changed,
    /// Its condition did not hold.
    Skipped,
    /// It failed.
    Failed,
    /// It failed, and the play says to go on.
    Ignored,
    /// The host did not answer.
    Unreachable,
}

impl TaskStatus {
    /// Its name.
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
