//! Runs and their outcomes, and the types that all modules share.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use crate::model::skip::{Skip, SkippedHost};
pub use crate::model::task::{TaskEvent, TaskStatus};
use crate::model::verdict::Verdicts;

/// Variables for a role, as JSON.
pub type Vars = serde_json::Map<String, serde_json::Value>;

/// The number of a run, counted from 1 and never reused in one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The cause of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// An alert that a binding matched.
    Alert,
    /// A scheduled time.
    Schedule,
    /// A person.
    Manual,
}

impl Trigger {
    /// Every trigger, for metrics that must exist at zero.
    pub const ALL: [Self; 3] = [Self::Alert, Self::Schedule, Self::Manual];

    /// Returns the label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Schedule => "schedule",
            Self::Manual => "manual",
        }
    }
}

/// The outcome of a run, for one host or as a whole.
///
/// Ordered by severity: the outcome of a run is the worst of its hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every task succeeded.
    Successful,
    /// A host could not be reached.
    Unreachable,
    /// A task failed, or Ansible reported nothing for the host.
    Failed,
    /// A person canceled the run, or its alerts resolved before it started.
    Canceled,
    /// promansible stopped or was killed during the run.
    Interrupted,
    /// The run exceeded its timeout and was terminated.
    Timeout,
}

impl Outcome {
    /// Every outcome, for metrics that must exist at zero.
    pub const ALL: [Self; 6] = [
        Self::Successful,
        Self::Failed,
        Self::Unreachable,
        Self::Timeout,
        Self::Canceled,
        Self::Interrupted,
    ];

    /// Returns the label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Successful => "successful",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The run waits for its batch window, its hosts or a free slot.
    Queued,
    /// `ansible-playbook` is running.
    Running,
    /// The run has an outcome.
    Finished,
}

impl State {
    /// Returns the name in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
        }
    }
}

/// The work of a run, without its hosts: everything that must be equal for two alerts to share a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // switches of Ansible's, independent of each other
pub struct Work {
    /// The roles in order.
    pub roles: Vec<String>,
    /// Whether the run is on the controller instead of inventory hosts.
    #[serde(default)]
    pub controller: bool,
    /// Variables for the roles. Those from the configuration file are trusted and may be templates.
    #[serde(default)]
    pub vars: Vars,
    /// Whether the variables are data that Ansible must not evaluate: all variables from the API are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inert_vars: bool,
    /// Whether tasks run as another user.
    pub r#become: bool,
    /// Whether facts are gathered before the first role.
    pub gather_facts: bool,
    /// Whether the run only reports what would change (`--check --diff`).
    #[serde(default)]
    pub check: bool,
    /// The maximum duration.
    #[serde(rename = "timeout_seconds", with = "seconds")]
    pub timeout: Duration,
    /// Whether the run may overlap with another run on the same host.
    #[serde(default)]
    pub allow_overlap: bool,
    /// Whether the run is queued again after an interruption.
    #[serde(default)]
    pub rerun_on_interrupt: bool,
    /// The selection of tasks, and Ansible's verbosity.
    #[serde(flatten)]
    pub narrowing: Narrowing,
}

/// The selection of the roles' tasks (`--tags`, `--skip-tags`), and Ansible's verbosity (`-v`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narrowing {
    /// Only tasks with one of these tags or the tag `always`; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// No tasks with one of these tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_tags: Vec<String>,
    /// The number of `-v` options, from 0 to 4.
    #[serde(default, skip_serializing_if = "is_default")]
    pub verbosity: u8,
}

/// The host name of the controller.
pub const CONTROLLER: &str = "localhost";

/// A run: one `ansible-playbook` process for roles × hosts, with one trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub trigger: Trigger,
    /// The binding that created the run, if an alert triggered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// The schedule that created the run, or that a person started manually.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The scheduled time that the run is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// The user, token or certificate that requested the run, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    pub work: Work,
    /// The exact inventory names of the hosts, in the requested order.
    pub hosts: Vec<String>,
    /// Host → name of its machine, if it differs: several inventory names may be one machine. Set at the start of the
    /// run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub machines: BTreeMap<String, String>,
    pub state: State,
    /// The time of the decision.
    pub created_at: DateTime<Utc>,
    /// The earliest start: the end of the batch window, or the retry of a start that failed before any task.
    pub ready_at: DateTime<Utc>,
    /// The number of failed starts: Ansible ended before any task began.
    #[serde(default, skip_serializing_if = "is_default")]
    pub vain_starts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// The outcome; `None` until the run is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The result on each host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub results: BTreeMap<String, HostResult>,
    /// The reason for the outcome, if the outcome alone does not explain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The step of the binding, if an alert triggered the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<RemediationStep>,
    /// The approval, if the run needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// The skipped hosts, with reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spared: Vec<SkippedHost>,
    /// The verdicts on its episodes.
    #[serde(default, skip_serializing_if = "Verdicts::is_empty")]
    pub verdicts: Verdicts,
    /// Whether this is the binding's `on_resolved` run: its alerts have resolved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_resolved: bool,
    /// The run that this one repeats, after an interruption or on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<RunId>,
    /// The replica that may execute the run; `None` means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The size of Ansible's output, stored or not. *Units*: bytes.
    #[serde(default)]
    pub output_bytes: u64,
    /// The number of events dropped because of `runs.events_limit`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub events_dropped: u64,
}

/// The step of a binding that a run executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemediationStep {
    /// The number of the step, from 1.
    pub step: u32,
    /// The number of steps in the binding.
    pub steps: u32,
    /// How long its alerts may take to resolve after the run.
    #[serde(rename = "verify_within_seconds", with = "seconds")]
    pub verify_within: Duration,
    /// Whether the run tests a suspended role on one host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probe: bool,
}

/// The approval of a run by a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// When the request for approval expires.
    pub until: DateTime<Utc>,
    /// The user who approved the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The time of the approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

impl Approval {
    /// Returns whether the approval is still pending.
    pub const fn is_wanted(&self) -> bool {
        self.at.is_none()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Ansible's statistics for one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostResult {
    /// The outcome on this host.
    pub outcome: Outcome,
    /// Tasks that succeeded, with or without changes.
    #[serde(default)]
    pub ok: u64,
    /// Tasks that changed something.
    #[serde(default)]
    pub changed: u64,
    /// Tasks that failed.
    #[serde(default)]
    pub failed: u64,
    /// The number of times the host could not be reached.
    #[serde(default)]
    pub unreachable: u64,
    /// Tasks that were skipped.
    #[serde(default)]
    pub skipped: u64,
    /// The first error, from Ansible or promansible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl HostResult {
    /// Creates a result without any counts.
    pub fn bare(outcome: Outcome, message: Option<String>) -> Self {
        Self {
            outcome,
            ok: 0,
            changed: 0,
            failed: 0,
            unreachable: 0,
            skipped: 0,
            message,
        }
    }
}

/// The label value of a decision to run.
pub const RUN: &str = "run";

/// Serializes a duration as a JSON number of seconds.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes seconds.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(value.as_secs_f64())
    }

    /// Reads seconds; a negative or infinite number is an error.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(value).map_err(serde::de::Error::custom)
    }
}
