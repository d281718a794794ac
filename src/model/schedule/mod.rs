//! When routine work is due: cron expressions in time zones, and what is made of times that were missed. Pure.

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

/// What is done about a time that could not be kept: promansible was not running, a run was still under way, or the hosts
/// were not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// It is left out.
    #[default]
    Skip,
    /// However many were missed, one run makes up for them.
    Once,
    /// Each is made up for, oldest first.
    All,
}

impl Missed {
    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// When something is done.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The times, by the clock of `zone`.
    pub cron: Cron,
    /// Where that clock is.
    pub zone: Zone,
    /// Each start is put off by up to this, by an amount that is always the same for one time of one schedule.
    pub jitter: Duration,
    /// What is done about missed times.
    pub missed: Missed,
    /// How late a missed time may still be made up for.
    pub grace: Duration,
    /// Whether a run may begin while an earlier one is under way.
    pub allow_overlap: bool,
}

impl Timing {
    /// The first time after this one.
    pub fn after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cron.after(&self.zone, time)
    }

    /// The next times after this one, at most `count`.
    pub fn next(&self, time: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
        let first = self.after(time);
        std::iter::successors(first, |time| self.after(*time))
            .take(count)
            .collect()
    }
}

/// What is kept of a schedule between its times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Every time up to this one is settled: it had its run, or was missed.
    pub settled: DateTime<Utc>,
    /// The cron expression and zone that this is about. With others, what was missed is none of theirs.
    pub timing: String,
    /// Whether it was in force when it was last looked at.
    pub active: bool,
    /// Since when it is paused, and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Its last run, and the time that it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastRun>,
    /// How many times were missed so far.
    #[serde(default)]
    pub missed: u64,
    /// Why the last one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_missed: Option<String>,
}

/// A schedule's last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// The run.
    pub run: RunId,
    /// When it was queued.
    pub at: DateTime<Utc>,
    /// The time that it is for; `None` where a person asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
}

/// That a person stopped a schedule for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Who.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}

impl Progress {
    /// Of a schedule that is seen for the first time: nothing before `now` is its matter.
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
