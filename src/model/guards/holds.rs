//! What is paused, held and open, and by whom.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::model::guards::Circuit;
use crate::model::guards::Refused;
use crate::model::guards::after;
use crate::model::run::{Run, RunId, Skip};

/// The name that stands for all bindings. No binding has it.
pub const ALL: &str = "";

/// How soon to look again where a role is being tried out.
const TRYING: TimeDelta = TimeDelta::minutes(1);

/// The red button: nothing is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub since: DateTime<Utc>,
    /// By whom.
    pub by: String,
    /// Why, in that person's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// A host that is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostHold {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when; `None` means until a person releases it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// By whom.
    pub by: String,
    /// Why, in that person's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// A binding, or all, whose runs wait because they would touch too many hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StormHold {
    /// Since when.
    pub since: DateTime<Utc>,
    /// So many hosts would have been touched then.
    pub hosts: usize,
    /// So many may be.
    pub limit: usize,
}

/// A role's failures since it last ended well.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Streak {
    /// The hosts on which it failed.
    pub hosts: BTreeSet<String>,
    /// Set while it is not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
}

/// A role that is not run because it failed too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Since when.
    pub since: DateTime<Utc>,
    /// When it is tried on one host.
    pub probe_at: DateTime<Utc>,
    /// The run that tries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<RunId>,
}

/// Why a queued run waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// Everything is paused.
    Paused,
    /// Too many hosts would be touched.
    Storm,
    /// Nobody has consented yet.
    Approval,
}

impl Hold {
    /// Every reason, for metrics that must exist at zero.
    pub const ALL: [Self; 3] = [Self::Paused, Self::Storm, Self::Approval];

    /// Its label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Storm => "storm",
            Self::Approval => "approval",
        }
    }
}

/// Whether roles may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CircuitState {
    /// They may.
    Closed,
    /// One of them is to be tried on one host.
    Probe,
    /// One of them may not.
    Open(Refused),
}

/// What is paused, held and open.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Holds {
    /// Everything is, if this is set.
    pub pause: Option<Pause>,
    /// Host → its hold.
    pub hosts: BTreeMap<String, HostHold>,
    /// Binding, or [`ALL`] → its hold.
    pub storms: BTreeMap<String, StormHold>,
    /// Role → its failures.
    #[serde(rename = "roles")]
    pub streaks: BTreeMap<String, Streak>,
    /// Binding, or [`ALL`] → the first run that was not made yet when it was last released. Those before count no more.
    #[serde(skip)]
    pub released: BTreeMap<String, RunId>,
}

impl Holds {
    /// Whether a host is to be left alone.
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

    /// Whether these roles may run.
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
                let why = format!("the role {role} is being tried out by run {run}");
                return refused(now + TRYING, why);
            }
            if now < open.probe_at {
                let why = format!(
                    "the role {role} failed on {} different hosts in a row, and is not run",
                    streak.hosts.len()
                );
                return refused(open.probe_at, why);
            }
            gate = CircuitState::Probe;
        }
        gate
    }

    /// Why a queued run waits for a person.
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

    /// Notes that a role failed on a host. Whether it is open now and was not.
    pub fn failed(
        &mut self,
        role: &str,
        host: &str,
        circuit: &Circuit,
        now: DateTime<Utc>,
    ) -> bool {
        let streak = self.streaks.entry(role.to_owned()).or_default();
        // More names say no more.
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

    /// Notes that a role ended well. Whether there was something to forget, and whether it was open.
    pub fn succeeded(&mut self, role: &str) -> (bool, bool) {
        let streak = self.streaks.remove(role);
        let open = streak.as_ref().is_some_and(|s| s.open.is_some());
        (streak.is_some(), open)
    }
}
