//! A run and how it ends; a decision and its reasons. The words that every room shares.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use crate::task::{TaskEvent, TaskStatus};

/// Trusted variables for a role, as JSON.
pub type Vars = serde_json::Map<String, serde_json::Value>;

/// A run's number, counted up from 1 and never used twice in one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What made a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// An alert that a binding matched.
    Alert,
    /// A schedule's time.
    Schedule,
    /// A person.
    Manual,
}

impl Trigger {
    /// Every trigger, for metrics that must exist at zero.
    pub const ALL: [Self; 3] = [Self::Alert, Self::Schedule, Self::Manual];

    /// Its label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Schedule => "schedule",
            Self::Manual => "manual",
        }
    }
}

/// How a run ended, for one host or as a whole.
///
/// The order is the order of severity: a run as a whole ends as the worst of its hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every task ended well.
    Successful,
    /// A host could not be reached.
    Unreachable,
    /// A task failed, or Ansible said nothing of the host.
    Failed,
    /// It was ended by a person, or because its alerts resolved before it began.
    Canceled,
    /// promansible stopped, or was killed, while it ran.
    Interrupted,
    /// It was ended because its time was up.
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

    /// Its label value.
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

/// Where a run is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for its batch window, its hosts or a free place.
    Queued,
    /// `ansible-playbook` is under way.
    Running,
    /// It has an outcome.
    Finished,
}

impl State {
    /// Its name in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
        }
    }
}

/// What a run does, apart from where: everything that must be equal for two alerts to share one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // switches of Ansible's, independent of each other
pub struct Work {
    /// The roles, in their order.
    pub roles: Vec<String>,
    /// Whether it runs on the controller itself instead of inventory hosts.
    #[serde(default)]
    pub controller: bool,
    /// Variables for the roles. What stands in the configuration file is trusted and may be templates.
    #[serde(default)]
    pub vars: Vars,
    /// Whether they are data, which Ansible must not template: all that came over the API is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inert_vars: bool,
    /// Whether tasks run as another user.
    pub r#become: bool,
    /// Whether facts are gathered before the first role.
    pub gather_facts: bool,
    /// Whether only to say what would change (`--check --diff`).
    #[serde(default)]
    pub check: bool,
    /// How long it may take.
    #[serde(rename = "timeout_seconds", with = "seconds")]
    pub timeout: Duration,
    /// Whether it may meet another run on the same host.
    #[serde(default)]
    pub allow_overlap: bool,
    /// Whether it is queued again after an interruption.
    #[serde(default)]
    pub rerun_on_interrupt: bool,
}

/// The name that stands for the controller wherever a host is named.
pub const CONTROLLER: &str = "localhost";

/// One `ansible-playbook` process: roles × hosts, with one trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// What made it.
    pub trigger: Trigger,
    /// The binding that made it, if an alert did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// The schedule that made it, or whose work a person asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time of the schedule that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// What it does.
    pub work: Work,
    /// The exact inventory names of the hosts it touches, in the order in which they were asked for.
    pub hosts: Vec<String>,
    /// Where it is on its way.
    pub state: State,
    /// When it was decided.
    pub created_at: DateTime<Utc>,
    /// When its batch window closes: it does not start before.
    pub ready_at: DateTime<Utc>,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// How it ended; `None` until it is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// How it ended on each host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub results: BTreeMap<String, HostResult>,
    /// Why it ended so, where the outcome alone does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The interrupted run that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<RunId>,
    /// Which replica may execute it; `None` means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// How many bytes of output Ansible wrote, kept or not.
    #[serde(default)]
    pub output_bytes: u64,
    /// How many events were left out because of `runs.events_limit`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub events_dropped: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature is serde's
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What Ansible's statistics say of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostResult {
    /// How the run ended there.
    pub outcome: Outcome,
    /// Tasks that ended well, changed or not.
    #[serde(default)]
    pub ok: u64,
    /// Tasks that changed something.
    #[serde(default)]
    pub changed: u64,
    /// Tasks that failed.
    #[serde(default)]
    pub failed: u64,
    /// Times it could not be reached.
    #[serde(default)]
    pub unreachable: u64,
    /// Tasks that were skipped.
    #[serde(default)]
    pub skipped: u64,
    /// What went wrong first, in Ansible's or our words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl HostResult {
    /// A host that ended so, with nothing counted.
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

/// Why an alert × binding is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// No binding's matchers match the alert.
    NoBinding,
    /// The alert is resolved, or its episode already was.
    Resolved,
    /// This episode already has its run under this binding.
    Duplicate,
    /// The host that is named is not in the inventory.
    UnknownHost,
    /// More than one host of the inventory answers to the name.
    AmbiguousHost,
    /// The name is a group's.
    GroupName,
    /// The target's group is not in the inventory.
    UnknownGroup,
    /// The target's group has no hosts.
    EmptyTarget,
    /// The host's inventory name could be read as a pattern by Ansible.
    UnsafeHostName,
    /// The alert lacks the label that names the host.
    MissingLabel,
    /// A label or annotation has a name that Ansible keeps for itself (`__…`).
    ReservedLabel,
    /// The alert's text could be a template, and this ansible-core may take it for one.
    TemplateText,
    /// The queue is full; Alertmanager is told to come again.
    QueueFull,
}

impl Skip {
    /// Every reason, for metrics that must exist at zero.
    pub const ALL: [Self; 13] = [
        Self::NoBinding,
        Self::Resolved,
        Self::Duplicate,
        Self::UnknownHost,
        Self::AmbiguousHost,
        Self::GroupName,
        Self::UnknownGroup,
        Self::EmptyTarget,
        Self::UnsafeHostName,
        Self::MissingLabel,
        Self::ReservedLabel,
        Self::TemplateText,
        Self::QueueFull,
    ];

    /// Whether it says no more than that everything is as it should be.
    pub const fn is_routine(self) -> bool {
        matches!(self, Self::NoBinding | Self::Resolved | Self::Duplicate)
    }

    /// Its label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoBinding => "no_binding",
            Self::Resolved => "resolved",
            Self::Duplicate => "duplicate",
            Self::UnknownHost => "unknown_host",
            Self::AmbiguousHost => "ambiguous_host",
            Self::GroupName => "group_name",
            Self::UnknownGroup => "unknown_group",
            Self::EmptyTarget => "empty_target",
            Self::UnsafeHostName => "unsafe_host_name",
            Self::MissingLabel => "missing_label",
            Self::ReservedLabel => "reserved_label",
            Self::TemplateText => "template_text",
            Self::QueueFull => "queue_full",
        }
    }
}

/// The label value of a decision to run.
pub const RUN: &str = "run";

/// A duration as a JSON number of seconds.
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
