//! Schedules of routine work: cron expressions in time zones, and the handling of missed times. Pure.

mod cron;
mod due;
mod fields;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::run::RunId;
use crate::util::zone::Zone;

pub use cron::{Cron, CronError};
pub use due::{Due, ON_TIME, due};

/// The handling of missed times: promansible was not running, an earlier run was still in progress, or the hosts were
/// not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// Missed times are skipped.
    #[default]
    Skip,
    /// One run makes up for all missed times.
    Once,
    /// Each missed time gets its own run, oldest first.
    All,
}

impl Missed {
    /// Returns the name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// The timing of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The times, in the zone `zone`.
    pub cron: Cron,
    pub zone: Zone,
    /// The maximum delay of a start. The actual delay is always the same for one time of one schedule.
    pub jitter: Duration,
    /// The handling of missed times.
    pub missed: Missed,
    /// How late a missed time may still be made up.
    pub grace: Duration,
    /// Whether a run may start while an earlier one is in progress.
    pub allow_overlap: bool,
}

impl Timing {
    /// Returns the first time after `time`.
    pub fn after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cron.after(&self.zone, time)
    }

    /// Returns up to `count` times after `time`.
    pub fn next(&self, time: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
        let first = self.after(time);
        std::iter::successors(first, |time| self.after(*time))
            .take(count)
            .collect()
    }
}

/// The stored progress of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Every time up to this one is settled: it had its run or was missed.
    pub settled: DateTime<Utc>,
    /// The cron expression and zone of this progress. After a change, earlier times do not count as missed.
    pub timing: String,
    /// Whether the schedule was active at the last check.
    pub active: bool,
    /// The pause, while the schedule is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// The last run, and its scheduled time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastRun>,
    /// The number of missed times so far.
    #[serde(default)]
    pub missed: u64,
    /// The reason for the last missed time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_missed: Option<String>,
}

/// A schedule's last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    pub run: RunId,
    /// When the run was queued.
    pub at: DateTime<Utc>,
    /// The scheduled time of the run; `None` if a person started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
}

/// The pause of a schedule by a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub by: String,
    pub at: DateTime<Utc>,
}

impl Progress {
    /// Starts the progress of a new schedule: times before `now` do not count.
    pub fn begin(timing: &Timing, now: DateTime<Utc>) -> Self {
        Self {
            settled: now,
            timing: timing.to_string(),
            active: true,
            paused: None,
            last: None,
            missed: 0,
            why_missed: None,
        }
    }
}

impl std::fmt::Display for Timing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.cron, self.zone)
    }
}
