//! What the store tells the metrics.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::model::alert::Status;
use crate::model::facts::HostFacts;
use crate::model::findings::Findings;
use crate::model::run::Run;
use crate::model::verdict::Verdict;

/// Something that is now on disk, to be counted.
#[derive(Debug, Clone)]
pub enum MetricEvent {
    /// An alert arrived.
    Alert(Status),
    /// Alertmanager left out so many alerts of a notification.
    Truncated(u64),
    /// An alert × binding was decided.
    Decision {
        /// The binding's name; empty where none matched.
        binding: String,
        /// `run` or the reason for skipping.
        decision: &'static str,
    },
    /// A row of the store could not be decoded and was set aside.
    Quarantined {
        /// Its table.
        table: String,
        /// Its key, as a person reads it.
        key: String,
        /// Why.
        reason: String,
    },
    /// A run started.
    Started {
        /// Its roles.
        roles: Vec<String>,
        /// How long it was queued.
        waited: Duration,
    },
    /// A role with declared checks reported of a host.
    Reported {
        /// The role.
        role: String,
        /// The host.
        host: String,
        /// When.
        at: DateTime<Utc>,
        /// All that it reported in one run.
        findings: Findings,
    },
    /// Facts of a host were gathered, or imported.
    Facts(Box<HostFacts>),
    /// The facts of a host went with it.
    FactsForgotten(String),
    /// A host left the inventory; its facts are kept for a while, in case it comes back.
    FactsHidden(String),
    /// It came back: its facts, which were counted before.
    FactsBack(Box<HostFacts>),
    /// The same for when a role last ended well there.
    SuccessBack {
        /// The role.
        role: String,
        /// The host.
        host: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// The same for what a role reported.
    ReportBack {
        /// The role.
        role: String,
        /// The host.
        host: String,
        /// When.
        at: DateTime<Utc>,
        /// All that it reported.
        findings: Findings,
    },
    /// A run ended.
    Finished(Box<Run>),
    /// A host left the inventory.
    Forgotten {
        /// A role that ended well there, or reported of it.
        role: String,
        /// The host.
        host: String,
    },
    /// Times of a schedule passed without a run.
    ScheduleMissed {
        /// The schedule.
        schedule: String,
        /// How many.
        times: u64,
    },
    /// It was seen whether a run helped in an episode.
    Verdict {
        /// The run's binding.
        binding: String,
        /// Its roles.
        roles: Vec<String>,
        /// What was seen.
        verdict: Verdict,
    },
    /// The outbox was full, so that its oldest message went untold.
    MessageDropped {
        /// The notifiers that had it.
        settled: BTreeSet<String>,
    },
    /// An episode that had a run resolved.
    Resolved {
        /// The run's binding.
        binding: String,
        /// From the alert's start to its end.
        took: Duration,
    },
}
