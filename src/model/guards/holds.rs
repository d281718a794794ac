//! The pause, host holds, storm holds and open circuits.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::model::guards::Circuit;
use crate::model::guards::Refused;
use crate::model::guards::after;
use crate::model::run::{Run, RunId, Skip};

/// The name for all bindings. No binding has this name.
pub const ALL: &str = "";

/// How long to wait while a role is being tested.
const TRYING: TimeDelta = TimeDelta::minutes(1);

/// A pause of everything: no run starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub since: DateTime<Utc>,
    /// The user who set it.
    pub by: String,
    /// The user's reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// A host on hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostHold {
    pub since: DateTime<Utc>,
    /// The end; `None` means until a person releases the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// The user who set it.
    pub by: String,
    /// The user's reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// A storm that holds the runs of one binding or of all, because they would affect too many hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StormHold {
    pub since: DateTime<Utc>,
    /// The number of hosts that would have been affected.
    pub hosts: usize,
    /// The allowed number of hosts.
    pub limit: usize,
}

/// A role's failures since its last success.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Streak {
    /// The hosts on which the role failed.
    pub hosts: BTreeSet<String>,
    /// Set while the role is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
}

/// An open circuit: the role is suspended because it failed too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    pub since: DateTime<Utc>,
    /// When the role is tested on one host.
    pub probe_at: DateTime<Utc>,
    /// The run that tests the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<RunId>,
}

/// The reason why a queued run waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// Everything is paused.
    Paused,
    /// Too many hosts would be affected.
    Storm,
    /// The run has not been approved yet.
    Approval,
}

impl Hold {
    /// Every reason, for metrics that must exist at zero.
    pub const ALL: [Self; 3] = [Self::Paused, Self::Storm, Self::Approval];

    /// Returns the label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Storm => "storm",
            Self::Approval => "approval",
        }
    }
}

/// Whether the circuits of roles allow a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CircuitState {
    /// The roles may run.
    Closed,
    /// One of the roles must be tested on one host.
    HalfOpen,
    /// One of the roles is suspended.
    Open(Refused),
}

/// The current pause, holds and circuits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Holds {
    /// Set while everything is paused.
    pub pause: Option<Pause>,
    /// Host → its hold.
    pub hosts: BTreeMap<String, HostHold>,
    /// Binding, or [`ALL`] → its hold.
    pub storms: BTreeMap<String, StormHold>,
    /// Role → its failures.
    #[serde(rename = "roles")]
    pub streaks: BTreeMap<String, Streak>,
    /// Binding, or [`ALL`] → the ID of the next run at the time of its last release. Earlier runs no longer count.
    #[serde(skip)]
    pub released: BTreeMap<String, RunId>,
}

impl Holds {
    /// Checks that a host is not on hold.
    pub fn host(&self, host: &str, now: DateTime<Utc>) -> Result<(), Refused> {
        let Some(hold) = self.hosts.get(host) else {
            return Ok(());
        };
        if hold.until.is_some_and(|until| until <= now) {
            return Ok(());
        }
        let why = if hold.why.is_empty() {
            String::new()
        } else {
            format!(": {}", hold.why)
        };
        let until = hold.until.map_or_else(String::new, |until| {
            format!(" until {}", until.format("%Y-%m-%d %H:%M:%S UTC"))
        });
        Err(Refused {
            reason: Skip::HostHeld,
            until: hold.until,
            why: format!("{host} is held by {}{until}{why}", hold.by),
        })
    }

    /// Returns the state of the circuits of these roles.
    pub fn gate<'a>(
        &self,
        roles: impl IntoIterator<Item = &'a String>,
        now: DateTime<Utc>,
    ) -> CircuitState {
        let mut gate = CircuitState::Closed;
        for role in roles {
            let Some(streak) = self.streaks.get(role) else {
                continue;
            };
            let Some(open) = &streak.open else { continue };
            let refused = |until: DateTime<Utc>, why: String| {
                CircuitState::Open(Refused {
                    reason: Skip::CircuitOpen,
                    until: Some(until),
                    why,
                })
            };
            if let Some(run) = open.probe {
                let why = format!("run {run} is testing the role {role}");
                return refused(now + TRYING, why);
            }
            if now < open.probe_at {
                let why = format!(
                    "the role {role} failed on {} different hosts in a row and is suspended",
                    streak.hosts.len()
                );
                return refused(open.probe_at, why);
            }
            gate = CircuitState::HalfOpen;
        }
        gate
    }

    /// Returns why a queued run waits for a person, or `None` if it does not.
    pub fn hold(&self, run: &Run) -> Option<Hold> {
        if self.pause.is_some() {
            return Some(Hold::Paused);
        }
        if let Some(binding) = &run.binding
            && (self.storms.contains_key(binding) || self.storms.contains_key(ALL))
        {
            return Some(Hold::Storm);
        }
        let approval = run.approval.as_ref();
        approval
            .is_some_and(crate::model::run::Approval::is_wanted)
            .then_some(Hold::Approval)
    }

    /// Records the failure of a role on a host. Returns whether that opened the circuit.
    pub fn failed(
        &mut self,
        role: &str,
        host: &str,
        circuit: &Circuit,
        now: DateTime<Utc>,
    ) -> bool {
        let streak = self.streaks.entry(role.to_owned()).or_default();
        // Further names would not change anything.
        if streak.hosts.len() < circuit.failures.max(1) {
            streak.hosts.insert(host.to_owned());
        }
        let probe_at = after(now, circuit.retry_after);
        if let Some(open) = &mut streak.open {
            open.probe_at = probe_at;
            return false;
        }
        let opens = circuit.failures > 0 && streak.hosts.len() >= circuit.failures;
        if opens {
            streak.open = Some(Open {
                since: now,
                probe_at,
                probe: None,
            });
        }
        opens
    }

    /// Records the success of a role. Returns whether there was a streak to remove, and whether the circuit was open.
    pub fn succeeded(&mut self, role: &str) -> (bool, bool) {
        let streak = self.streaks.remove(role);
        let open = streak.as_ref().is_some_and(|s| s.open.is_some());
        (streak.is_some(), open)
    }
}
