//! The guards that keep remediation from doing harm: limits on its frequency, its extent and its repeated failure.
//! Pure.
//!
//! [`Limits`], [`Storm`], [`Circuit`] and [`Mode`] come from the configuration. [`State`] is the memory: which steps
//! started
//! where and when ([`StartRecord`]), and the pause, holds and circuits ([`Holds`]). The state is checked at the
//! decision, and
//! again at the start, because a decision may be minutes old.

mod holds;
mod starts;
mod storm_window;
#[cfg(test)]
mod tests;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

pub use holds::{ALL, CircuitState, Hold, Holds, HostHold, Open, Pause, StormHold, Streak};
pub use starts::{Refused, StartHistory, StartRecord, StartRecords, may_start};
pub use storm_window::StormWindow;

/// How far a time may lie in the future before the clock counts as set back: concurrent callers do not arrive in order
/// of time.
const SET_BACK: TimeDelta = TimeDelta::seconds(5);

/// Whether runs change hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Runs change hosts.
    #[default]
    Run,
    /// Runs only report what they would change (`--check --diff`).
    Check,
    /// Nothing runs: decisions are only recorded.
    Observe,
}

impl Mode {
    /// Every mode, from the strongest to the weakest.
    pub const ALL: [Self; 3] = [Self::Run, Self::Check, Self::Observe];

    /// Returns the name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Check => "check",
            Self::Observe => "observe",
        }
    }
}

/// Limits for one binding on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The minimum time between starts on the host; 0 means no limit.
    pub cooldown: Duration,
    /// The maximum number of starts on the host.
    pub attempts: Attempts,
}

/// How often one step of a binding may run on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// The maximum number of runs; 0 means no limit.
    pub max: u32,
    pub per: Duration,
    /// The action when the attempts are exhausted.
    pub then: Then,
}

/// The action when the attempts are exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Stop, and notify people.
    Stop,
    /// Continue with the binding's next step, if there is one.
    NextStep,
}

impl Then {
    /// Returns the name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::NextStep => "next_step",
        }
    }
}

/// The number of hosts on which remediation may act within a time before all of it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storm {
    /// The maximum number of hosts; 0 means no limit.
    pub max_hosts: usize,
    /// The maximum percentage of the inventory's hosts; 0 means no limit.
    pub max_percent: usize,
    pub within: Duration,
}

impl Storm {
    /// Returns the maximum number of hosts for an inventory of this size; `None` means no limit.
    pub fn limit(&self, inventory: usize) -> Option<usize> {
        let hosts = (self.max_hosts > 0).then_some(self.max_hosts);
        // Remediation of one host is always allowed.
        let percent = (self.max_percent > 0).then(|| (inventory * self.max_percent / 100).max(1));
        match (hosts, percent) {
            (Some(hosts), Some(percent)) => Some(hosts.min(percent)),
            (one, other) => one.or(other),
        }
    }
}

/// The conditions for suspending a role that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circuit {
    /// The number of different hosts on which it failed in a row; 0 means never.
    pub failures: usize,
    /// How long the role is suspended before it is tested on one host.
    pub retry_after: Duration,
}

/// The state of the guards.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The starts, by binding and host.
    pub touches: StartRecords,
    /// The pause, holds and circuits.
    pub book: Holds,
    /// The hosts of recent decisions.
    pub recent: StormWindow,
    /// The current configuration of circuits.
    pub circuit: Option<Circuit>,
    clock: Option<DateTime<Utc>>,
}

impl State {
    /// Creates a state from stored data.
    pub fn new(book: Holds, starts: impl IntoIterator<Item = StartHistory>) -> Self {
        Self {
            book,
            touches: starts.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Records the current time.
    pub fn clock(&mut self, now: DateTime<Utc>) {
        let is_back = self.clock.is_none_or(|clock| now + SET_BACK < clock);
        if is_back {
            self.touches.count_now(now);
        }
        let latest = self.clock.filter(|_| !is_back);
        self.clock = Some(latest.map_or(now, |latest| latest.max(now)));
    }
}

/// Adds a duration to a time, saturating.
pub fn after(at: DateTime<Utc>, time: Duration) -> DateTime<Utc> {
    let time = TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
    at.checked_add_signed(time)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
