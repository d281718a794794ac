//! A run and how it ends; a decision and its reasons. The words that every room shares.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use crate::model::skip::{Skip, SkippedHost};
pub use crate::model::task::{TaskEvent, TaskStatus};
use crate::model::verdict::Verdicts;

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
    AdHocRun,
}

impl Trigger {
    /// Every trigger, for metrics that must exist at zero.
    pub const ALL: [Self; 3] = [Self::Alert, Self::Schedule, Self::AdHocRun];

    /// Its label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Schedule => "schedule",
            Self::AdHocRun => "manual",
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
    /// Which of Ansible's tasks run, and how much it says of them.
    #[serde(flatten)]
    pub narrowing: Narrowing,
}

/// Which of the roles' tasks run (`--tags`, `--skip-tags`), and how much Ansible says of them (`-v`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narrowing {
    /// Only tasks with one of these tags, and those that are tagged `always`; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// No task with one of these tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_tags: Vec<String>,
    /// How many times `-v`, from 0 to 4.
    #[serde(default, skip_serializing_if = "is_default")]
    pub verbosity: u8,
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
    /// Who asked for it: a user, a token or a certificate, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    /// What it does.
    pub work: Work,
    /// The exact inventory names of the hosts it touches, in the order in which they were asked for.
    pub hosts: Vec<String>,
    /// Host → the name that stands for its machine, where that is another: several inventory names may be one machine.
    /// Known since it started.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub machines: BTreeMap<String, String>,
    /// Where it is on its way.
    pub state: State,
    /// When it was decided.
    pub created_at: DateTime<Utc>,
    /// It does not start before: its batch window is open until then, or a start that came to nothing is to be tried again.
    pub ready_at: DateTime<Utc>,
    /// How many of its starts came to nothing: Ansible ended before any task began.
    #[serde(default, skip_serializing_if = "is_default")]
    pub vain_starts: u32,
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
    /// What it has to do with the guards, if an alert made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<RemediationStep>,
    /// The consent that it needs, where it needs some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Hosts that it leaves out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spared: Vec<SkippedHost>,
    /// Whether it helped, by its episodes.
    #[serde(default, skip_serializing_if = "Verdicts::is_empty")]
    pub verdicts: Verdicts,
    /// Whether it is the binding's `on_resolved`: its alerts have resolved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_resolved: bool,
    /// The run that this one repeats: it was interrupted, or a person asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<RunId>,
    /// Which replica may execute it; `None` means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// How many bytes of output Ansible wrote, kept or not.
    #[serde(default)]
    pub output_bytes: u64,
    /// How many events were left out because of `runs.events_limit`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub events_dropped: u64,
}

/// A run as one step of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemediationStep {
    /// Which of the binding's steps it is, from 1.
    pub step: u32,
    /// Of how many.
    pub steps: u32,
    /// How long its alerts have to resolve after it.
    #[serde(rename = "verify_within_seconds", with = "seconds")]
    pub verify_within: Duration,
    /// Whether it tries an open role out, on one host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probe: bool,
}

/// A person's consent to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Until when it can be given.
    pub until: DateTime<Utc>,
    /// Who gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

impl Approval {
    /// Whether it is still to be given.
    pub const fn is_wanted(&self) -> bool {
        self.at.is_none()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
