//! The events that the store reports to the metrics.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::model::alert::Status;
use crate::model::facts::HostFacts;
use crate::model::findings::Findings;
use crate::model::run::Run;
use crate::model::verdict::Verdict;

/// An event that was committed to disk and is to be counted.
#[derive(Debug, Clone)]
pub enum MetricEvent {
    /// An alert arrived.
    Alert(Status),
    /// Alertmanager left this many alerts out of a notification.
    Truncated(u64),
    /// A decision was made for an alert and a binding.
    Decision {
        /// Empty if no binding matched.
        binding: String,
        /// `run` or the reason for skipping.
        decision: &'static str,
    },
    /// A row of the store could not be decoded and was moved to quarantine.
    Quarantined {
        table: String,
        /// The key in readable form.
        key: String,
        reason: String,
    },
    /// A run started.
    Started {
        roles: Vec<String>,
        /// The time in the queue.
        waited: Duration,
    },
    /// A role with declared checks reported on a host.
    Reported {
        role: String,
        host: String,
        at: DateTime<Utc>,
        /// All findings of one run.
        findings: Findings,
    },
    /// Facts of a host were gathered or imported.
    Facts(Box<HostFacts>),
    /// The facts of a host were deleted.
    FactsForgotten(String),
    /// A host left the inventory. Its facts are kept for a while in case the host returns.
    FactsHidden(String),
    /// A host returned to the inventory. Its facts were counted before.
    FactsBack(Box<HostFacts>),
    /// A host returned: restores the time of a role's last success there.
    SuccessBack {
        role: String,
        host: String,
        at: DateTime<Utc>,
    },
    /// A host returned: restores the last report of a role there.
    ReportBack {
        role: String,
        host: String,
        at: DateTime<Utc>,
        findings: Findings,
    },
    /// A run ended.
    Finished(Box<Run>),
    /// A host left the inventory.
    Forgotten {
        /// A role that succeeded there or reported on it.
        role: String,
        host: String,
    },
    /// Scheduled times passed without a run.
    ScheduleMissed {
        schedule: String,
        /// The number of missed times.
        times: u64,
    },
    /// A run got its verdict for an episode.
    Verdict {
        binding: String,
        roles: Vec<String>,
        verdict: Verdict,
    },
    /// The outbox was full, so its oldest message was dropped.
    MessageDropped {
        /// The notifiers that had already delivered it.
        settled: BTreeSet<String>,
    },
    /// An episode that had a run resolved.
    Resolved {
        binding: String,
        /// From the alert's start to its end.
        took: Duration,
    },
}
