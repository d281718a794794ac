//! The results of the store's operations.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::disk::records::{Episode, RunEpisode};
use crate::model::alert::{Alert, EpisodeKey};
use crate::model::findings::Findings;
use crate::model::run::{HostResult, Outcome, Run, RunId};
use crate::plan::Choice;

/// The decisions on a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The decisions for every alert × binding, in order.
    pub decisions: Vec<AdmittedDecision>,
    /// Queued runs that ended because their last alert resolved.
    pub canceled: Vec<RunId>,
}

/// The decision for one alert × binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedDecision {
    /// The index of the alert in the notification.
    pub alert: usize,
    /// The name of the binding; empty if none matched.
    pub binding: String,
    pub choice: Choice,
    /// The run that handles the alert now.
    pub run: Option<RunId>,
}

/// A claimed run. The caller must [`Store::finish`] it.
#[derive(Debug)]
pub struct Claimed {
    /// The run, in state running.
    pub run: Run,
    /// The run's alerts, each with its hosts.
    pub alerts: Vec<(Alert, Vec<String>)>,
    /// Becomes `Some(who)` when the run is canceled.
    pub cancel: watch::Receiver<Option<String>>,
}

/// The result of [`Store::claim`].
#[derive(Debug)]
pub enum Claim {
    /// A run to start.
    Run(Box<Claimed>),
    /// Nothing can start now. Try again at this time, or when [`Store::changed`] changes.
    Nothing {
        /// When the next batch window closes.
        next: Option<DateTime<Utc>>,
    },
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The outcome of the run.
    pub outcome: Outcome,
    /// The result on each host.
    pub results: BTreeMap<String, HostResult>,
    /// The reason, if the outcome alone does not explain it.
    pub message: Option<String>,
    /// The findings of roles with declared checks, once for each role and host.
    pub findings: Vec<RoleFindings>,
}

/// The findings of a role on a host in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleFindings {
    pub role: String,
    pub host: String,
    /// The time of the last report.
    pub at: DateTime<Utc>,
    /// All reported findings.
    pub findings: Findings,
}

/// The result of [`Store::cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canceled {
    /// The run was queued and has ended as `canceled`.
    Ended,
    /// The run is in progress and is being terminated.
    Ending,
}

/// An episode as seen from a run, for readers of one run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct EpisodeOfRun {
    /// The alert's fingerprint.
    pub fingerprint: crate::model::alert::Fingerprint,
    /// The start of the alert.
    pub starts_at: DateTime<Utc>,
    /// The run's record of the episode.
    #[serde(flatten)]
    pub of_run: RunEpisode,
    /// The episode, unless retention has deleted it.
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
