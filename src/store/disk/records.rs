//! The stored records of alerts, as JSON: a field can be added without rewriting a table.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::alert::{ALERTNAME, Alert, EpisodeKey, Fingerprint, LabelSet, StartsAt, Status};
use crate::model::findings::Findings;
use crate::model::run::{Outcome, RunId, Skip};
use crate::model::verdict::Verdict;
use crate::plan::{StepProgress, StepState};

/// An episode of an alert, as last reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// The alert's fingerprint.
    pub fingerprint: Fingerprint,
    /// Firing or resolved, as last reported and believed: see [`crate::plan::LATE`].
    pub status: Status,
    pub labels: LabelSet,
    /// The annotations of the first notification.
    pub annotations: LabelSet,
    /// The start of the alert.
    pub starts_at: StartsAt,
    /// The end of the alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<DateTime<Utc>>,
    /// The URL of the alerting rule.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub generator_url: String,
    /// Alertmanager's receiver.
    pub receiver: String,
    /// The time of the first notification.
    pub first_seen: DateTime<Utc>,
    /// The time of the last notification, with a precision of ten minutes.
    pub last_seen: DateTime<Utc>,
    /// When a notification reported the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<DateTime<Utc>>,
    /// Binding → decision.
    #[serde(default)]
    pub decisions: BTreeMap<String, DecisionRecord>,
    /// When to decide again without a notification: the earliest time of its decisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
}

impl Episode {
    /// Returns the key of the episode.
    pub fn key(&self) -> EpisodeKey {
        EpisodeKey {
            fingerprint: self.fingerprint,
            // It comes from a `StartsAt`, which fits.
            starts_at_nanos: self.starts_at.timestamp_nanos_opt().unwrap_or_default(),
        }
    }
}

/// The decision on an episode under one binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// `run`, or the reason for skipping.
    pub decision: String,
    /// The reason as a sentence; for a run, the reason why the next step is not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    pub at: DateTime<Utc>,
    /// For a run, the reason why the next step is not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Skip>,
    /// When to decide again, unless a notification arrives earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// The run, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Whether the run does not handle the episode: it resolved before, or a guard refused the start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
    /// The binding's `on_resolved` run, after the episode resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_resolved: Option<RunId>,
    /// The step of the binding, from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub step: u32,
    /// The host that the run is about, if it runs on the controller instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The outcome of the run on the hosts of the episode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The end of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// When the verdict is due, or the next step after a failed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_at: Option<DateTime<Utc>>,
    /// Whether that time has passed and was handled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub looked: bool,
    /// The verdict on the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

const fn first() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature is serde's
const fn is_first(step: &u32) -> bool {
    *step == 1
}

impl DecisionRecord {
    /// Creates a record with only these values.
    pub(crate) fn new(decision: &str, why: Option<String>, at: DateTime<Utc>) -> Self {
        Self {
            decision: decision.to_owned(),
            why,
            at,
            refused: None,
            until: None,
            run: None,
            left_out: false,
            on_resolved: None,
            step: 1,
            about: None,
            outcome: None,
            ended_at: None,
            verify_at: None,
            looked: false,
            verdict: None,
        }
    }

    /// Returns the run that handles or handled the episode.
    pub fn handled_by(&self) -> Option<RunId> {
        self.run.filter(|_| !self.left_out)
    }

    /// Returns whether the run succeeded and has no verdict yet.
    pub fn awaits_verdict(&self) -> bool {
        self.outcome == Some(Outcome::Successful)
            && self.verify_at.is_some()
            && self.verdict.is_none()
    }

    /// Returns whether an episode that was reported firing at `heard` still fires after the end of its run.
    pub(crate) fn fires_on(&self, heard: DateTime<Utc>) -> bool {
        self.ended_at.is_none_or(|ended| heard > ended)
    }

    /// Returns the progress of an episode that was reported firing at `heard`.
    pub(crate) fn under(&self, heard: DateTime<Utc>, now: DateTime<Utc>) -> Option<StepProgress> {
        if self.handled_by().is_none() {
            // A refused later step: the earlier steps remain done.
            return (self.step > 1).then_some(StepProgress {
                step: self.step - 1,
                state: StepState::Next,
            });
        }
        let state = match (self.outcome, self.verdict, self.verify_at) {
            (None, ..) => StepState::Open,
            (_, Some(Verdict::Effective), _) | (_, None, None) => StepState::Done,
            (_, None, Some(at)) if now < at => StepState::Open,
            // The next step does not run without a notification after the end of this one.
            _ if !self.fires_on(heard) => StepState::Open,
            _ => StepState::Next,
        };
        Some(StepProgress {
            step: self.step,
            state,
        })
    }

    fn due_at(&self) -> Option<DateTime<Utc>> {
        let verify = self
            .verify_at
            .filter(|_| self.verdict.is_none() && !self.looked);
        match (self.until, verify) {
            (Some(until), Some(verify)) => Some(until.min(verify)),
            (one, other) => one.or(other),
        }
    }
}

/// An episode of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEpisode {
    /// The alert type, stored here because a run may outlive its episodes.
    pub alertname: String,
    /// The hosts of the run that belong to this episode.
    pub hosts: Vec<String>,
    /// Whether the episode resolved before the run started, so that the run does not handle it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
}

impl RunEpisode {
    /// Creates the record of an episode in a run.
    pub(crate) fn new(episode: &Episode, hosts: Vec<String>, left_out: bool) -> Self {
        Self {
            alertname: episode.alertname().to_owned(),
            hosts,
            left_out,
        }
    }
}

/// A change of an episode's record in a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunEpisodeChange {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) starts_at_nanos: i64,
    #[serde(flatten)]
    pub(crate) of_run: RunEpisode,
}

impl RunEpisodeChange {
    pub(crate) fn new(key: &EpisodeKey, of_run: RunEpisode) -> Self {
        Self {
            fingerprint: key.fingerprint,
            starts_at_nanos: key.starts_at_nanos,
            of_run,
        }
    }

    pub(crate) fn key(&self) -> EpisodeKey {
        EpisodeKey {
            fingerprint: self.fingerprint,
            starts_at_nanos: self.starts_at_nanos,
        }
    }

    pub(crate) fn alertname(&self) -> &str {
        &self.of_run.alertname
    }
}

impl Episode {
    /// Creates a new firing episode.
    pub(crate) fn new(alert: &Alert, receiver: &str, now: DateTime<Utc>) -> Self {
        Self {
            fingerprint: alert.fingerprint,
            status: Status::Firing,
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            starts_at: alert.starts_at,
            ends_at: None,
            generator_url: alert.generator_url.clone(),
            receiver: receiver.to_owned(),
            first_seen: now,
            last_seen: now,
            resolved_at: None,
            decisions: BTreeMap::new(),
            due_at: None,
        }
    }

    /// Returns the alert type.
    pub(crate) fn alertname(&self) -> &str {
        self.labels.get(ALERTNAME).map_or("", String::as_str)
    }

    /// Returns when to decide again; never for a resolved episode.
    pub(crate) fn next_look(&self) -> Option<DateTime<Utc>> {
        let firing = self.status == Status::Firing;
        let due = self
            .decisions
            .values()
            .filter_map(DecisionRecord::due_at)
            .min();
        due.filter(|_| firing)
    }

    /// Converts the episode to the alert that roles receive.
    pub(crate) fn alert(self) -> Alert {
        Alert {
            status: self.status,
            labels: self.labels,
            annotations: self.annotations,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            generator_url: self.generator_url,
            fingerprint: self.fingerprint,
        }
    }
}

/// The report of a role on a host in one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reported {
    pub at: DateTime<Utc>,
    pub run: RunId,
    pub findings: Findings,
}
