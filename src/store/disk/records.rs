//! What is kept of alerts, as JSON: a field can be added without rewriting a table.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::alert::{ALERTNAME, Alert, EpisodeKey, Fingerprint, LabelSet, StartsAt, Status};
use crate::model::findings::Findings;
use crate::model::run::{Outcome, RunId, Skip};
use crate::model::verdict::Verdict;
use crate::plan::{StepProgress, StepState};

/// One episode of an alert, as last heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// The alert's fingerprint.
    pub fingerprint: Fingerprint,
    /// Firing or resolved, as last heard and believed: see [`crate::plan::LATE`].
    pub status: Status,
    /// Its labels.
    pub labels: LabelSet,
    /// Its annotations, as first heard.
    pub annotations: LabelSet,
    /// When it began to fire.
    pub starts_at: StartsAt,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<DateTime<Utc>>,
    /// The rule's page.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub generator_url: String,
    /// Alertmanager's receiver.
    pub receiver: String,
    /// When it was first heard of.
    pub first_seen: DateTime<Utc>,
    /// When it was last heard of, to within ten minutes.
    pub last_seen: DateTime<Utc>,
    /// When it was heard that it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<DateTime<Utc>>,
    /// Binding → what was decided.
    #[serde(default)]
    pub decisions: BTreeMap<String, DecisionRecord>,
    /// When it is to be looked at again without a notification: the first of its decisions' times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
}

impl Episode {
    /// What names it.
    pub fn key(&self) -> EpisodeKey {
        EpisodeKey {
            fingerprint: self.fingerprint,
            // It was made of one that fits.
            starts_at_nanos: self.starts_at.timestamp_nanos_opt().unwrap_or_default(),
        }
    }
}

/// What was decided of an episode under one binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// `run`, or the reason for skipping.
    pub decision: String,
    /// The reason as a sentence; of a run, why the next step is not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
    /// Of a run, for which reason the next step is not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Skip>,
    /// When it is decided again, if nothing is heard before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// The run, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Whether that run goes, or went, without it: the episode resolved before, or a guard refused its start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
    /// The run of the binding's `on_resolved`, since the episode resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_resolved: Option<RunId>,
    /// Which of the binding's steps the run is, from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub step: u32,
    /// The host that the run is about, where it runs on the controller instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// How the run ended on the hosts of the episode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// When it is seen whether it helped, or when the next step is due after one that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_at: Option<DateTime<Utc>>,
    /// Whether that time has come and gone, so that nothing more is looked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub looked: bool,
    /// Whether it helped.
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
    /// One of now, with nothing known beyond it.
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

    /// The run that handles, or handled, the episode.
    pub fn handled_by(&self) -> Option<RunId> {
        self.run.filter(|_| !self.left_out)
    }

    /// Whether its run ended well, and it is yet to be seen whether that helped.
    pub fn awaits_verdict(&self) -> bool {
        self.outcome == Some(Outcome::Successful)
            && self.verify_at.is_some()
            && self.verdict.is_none()
    }

    /// Whether an episode that was last heard of then fires although its run has ended.
    pub(crate) fn fires_on(&self, heard: DateTime<Utc>) -> bool {
        self.ended_at.is_none_or(|ended| heard > ended)
    }

    /// How far an episode that was last heard of then has come.
    pub(crate) fn under(&self, heard: DateTime<Utc>, now: DateTime<Utc>) -> Option<StepProgress> {
        if self.handled_by().is_none() {
            // A later step that was refused: the ones before it stay done.
            return (self.step > 1).then_some(StepProgress {
                step: self.step - 1,
                standing: StepState::Next,
            });
        }
        let standing = match (self.outcome, self.verdict, self.verify_at) {
            (None, ..) => StepState::Open,
            (_, Some(Verdict::Effective), _) | (_, None, None) => StepState::Done,
            (_, None, Some(at)) if now < at => StepState::Open,
            // The next step is not run blindly.
            _ if !self.fires_on(heard) => StepState::Open,
            _ => StepState::Next,
        };
        Some(StepProgress {
            step: self.step,
            standing,
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

/// One episode that a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEpisode {
    /// The alert type, kept here because a run may outlive its episodes.
    pub alertname: String,
    /// The hosts that the run touches because of it.
    pub hosts: Vec<String>,
    /// Whether it resolved before the run began, so that the run left it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
}

impl RunEpisode {
    /// What a run has to do with an episode.
    pub(crate) fn new(episode: &Episode, hosts: Vec<String>, left_out: bool) -> Self {
        Self {
            alertname: episode.alertname().to_owned(),
            hosts,
            left_out,
        }
    }
}

/// An episode and what a run has to do with it.
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
    /// An episode that is heard of for the first time, and not known to have ended.
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

    /// The alert type.
    pub(crate) fn alertname(&self) -> &str {
        self.labels.get(ALERTNAME).map_or("", String::as_str)
    }

    /// When it is to be looked at again. What has resolved needs no look.
    pub(crate) fn next_look(&self) -> Option<DateTime<Utc>> {
        let firing = self.status == Status::Firing;
        let due = self
            .decisions
            .values()
            .filter_map(DecisionRecord::due_at)
            .min();
        due.filter(|_| firing)
    }

    /// The alert as its roles are to see it.
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

/// What a role reported of a host in one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reported {
    pub at: DateTime<Utc>,
    pub run: RunId,
    pub findings: Findings,
}
