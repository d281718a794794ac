//! What keeps remediation from doing harm: limits on how often, how widely and how long in vain it acts. Pure.
//!
//! [`Limits`], [`Storm`], [`Circuit`] and [`Mode`] are what the configuration says; [`State`] is what is remembered: what
//! ran where and when ([`StartRecord`]), and the [`Holds`] of what is paused, held and open. A decision asks the state, and a start
//! asks it again, for what was decided may be minutes old.

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

/// How far a time may lie ahead before the clock was set back: those who ask at once are not asked in the order of time.
const SET_BACK: TimeDelta = TimeDelta::seconds(5);

/// Whether runs act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They do.
    #[default]
    Run,
    /// They only say what they would change (`--check --diff`).
    Check,
    /// Nothing is run: it is only noted what would have been.
    Observe,
}

impl Mode {
    /// Every mode, the weaker the later.
    pub const ALL: [Self; 3] = [Self::Run, Self::Check, Self::Observe];

    /// Its word.
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
    /// How long nothing is started there after a start; 0 means no limit.
    pub cooldown: Duration,
    /// How often something is started there.
    pub attempts: Attempts,
}

/// How often one step of a binding may run on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// So often; 0 means no limit.
    pub max: u32,
    /// Within this time.
    pub per: Duration,
    /// And then.
    pub then: Then,
}

/// What follows when the attempts are exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Nothing, and it is said so.
    Stop,
    /// The binding's next step, if there is one.
    NextStep,
}

impl Then {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::NextStep => "next_step",
        }
    }
}

/// On how many hosts remediation may act within a time, before all of it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storm {
    /// On so many hosts; 0 means no limit.
    pub max_hosts: usize,
    /// On so many of a hundred hosts of the inventory; 0 means no limit.
    pub max_percent: usize,
    /// Within this time.
    pub within: Duration,
}

impl Storm {
    /// On how many hosts of an inventory of this size; `None` means no limit.
    pub fn limit(&self, inventory: usize) -> Option<usize> {
        let hosts = (self.max_hosts > 0).then_some(self.max_hosts);
        // At least one host may always be helped.
        let percent = (self.max_percent > 0).then(|| (inventory * self.max_percent / 100).max(1));
        match (hosts, percent) {
            (Some(hosts), Some(percent)) => Some(hosts.min(percent)),
            (one, other) => one.or(other),
        }
    }
}

/// When a role that fails is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circuit {
    /// After it failed on so many different hosts in a row; 0 means never.
    pub failures: usize,
    /// How long, before it is tried on one host.
    pub retry_after: Duration,
}

/// What is remembered.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// What ran where, by binding and host.
    pub touches: StartRecords,
    /// What is paused, held and open.
    pub book: Holds,
    /// Where runs were decided lately.
    pub recent: StormWindow,
    /// When a role that fails is left alone, as last told.
    pub circuit: Option<Circuit>,
    clock: Option<DateTime<Utc>>,
}

impl State {
    /// One that remembers this.
    pub fn new(book: Holds, starts: impl IntoIterator<Item = StartHistory>) -> Self {
        Self {
            book,
            touches: starts.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Notes the time.
    pub fn clock(&mut self, now: DateTime<Utc>) {
        let is_back = self.clock.is_none_or(|clock| now + SET_BACK < clock);
        if is_back {
            self.touches.count_now(now);
        }
        let latest = self.clock.filter(|_| !is_back);
        self.clock = Some(latest.map_or(now, |latest| latest.max(now)));
    }
}

/// A time so much later.
pub fn after(at: DateTime<Utc>, time: Duration) -> DateTime<Utc> {
    let time = TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
    at.checked_add_signed(time)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
