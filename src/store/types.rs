//! What the operations of the store answer.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::disk::records::{Episode, RunEpisode};
use crate::model::alert::{Alert, EpisodeKey};
use crate::model::findings::Findings;
use crate::model::run::{HostResult, Outcome, Run, RunId};
use crate::plan::Choice;

/// What was made of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Every alert × binding, in order.
    pub decisions: Vec<AdmittedDecision>,
    /// Queued runs that ended because their last alert resolved.
    pub canceled: Vec<RunId>,
}

/// What was made of one alert × binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedDecision {
    /// The alert's place in the notification.
    pub alert: usize,
    /// The binding's name; empty where none matched.
    pub binding: String,
    /// The choice.
    pub choice: Choice,
    /// The run that now handles it.
    pub run: Option<RunId>,
}

/// A run that was handed to the caller, who must [`Store::finish`] it.
#[derive(Debug)]
pub struct Claimed {
    /// The run, now running.
    pub run: Run,
    /// The alerts that it is about, each with the hosts that it names.
    pub alerts: Vec<(Alert, Vec<String>)>,
    /// Becomes `Some(who)` when somebody cancels the run.
    pub cancel: watch::Receiver<Option<String>>,
}

/// The answer to [`Store::claim`].
#[derive(Debug)]
pub enum Claim {
    /// A run to start.
    Run(Box<Claimed>),
    /// Nothing can start now; look again at this time, or when [`Store::changed`] says so.
    Nothing {
        /// When the next batch window closes.
        next: Option<DateTime<Utc>>,
    },
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// As a whole.
    pub outcome: Outcome,
    /// On each host.
    pub results: BTreeMap<String, HostResult>,
    /// Why, where the outcome alone does not say it.
    pub message: Option<String>,
    /// What roles with declared checks reported, once for each role and host.
    pub findings: Vec<RoleFindings>,
}

/// What a role reported of a host in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleFindings {
    /// The role.
    pub role: String,
    /// The host.
    pub host: String,
    /// When it last reported.
    pub at: DateTime<Utc>,
    /// All that it reported.
    pub findings: Findings,
}

/// The answer to [`Store::cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canceled {
    /// It was queued and has ended as `canceled`.
    Ended,
    /// It is under way and is being ended.
    Ending,
}

/// What a run is told of an episode: used by readers of one run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct EpisodeOfRun {
    /// The alert's fingerprint.
    pub fingerprint: crate::model::alert::Fingerprint,
    /// When it began to fire.
    pub starts_at: DateTime<Utc>,
    /// What the run kept of it.
    #[serde(flatten)]
    pub of_run: RunEpisode,
    /// The episode, unless retention has taken it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub episode: Option<Episode>,
}

impl EpisodeOfRun {
    pub(super) fn new(key: EpisodeKey, of_run: RunEpisode, episode: Option<Episode>) -> Self {
        Self {
            fingerprint: key.fingerprint,
            starts_at: DateTime::from_timestamp_nanos(key.starts_at_nanos),
            of_run,
            episode,
        }
    }
}
