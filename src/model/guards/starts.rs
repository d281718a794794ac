//! What ran on which host under which binding, and whether it may run there again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::guards::Limits;
use crate::model::guards::SET_BACK;
use crate::model::guards::after;
use crate::model::run::{RunId, Skip};

/// A start of one step on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRecord {
    /// When.
    pub at: DateTime<Utc>,
    /// Which step, from 1.
    pub step: u32,
    /// By which run.
    pub run: RunId,
}

/// Why something may not start on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub reason: Skip,
    /// When it may, if nothing else comes; `None` if a person has to act.
    pub until: Option<DateTime<Utc>>,
    /// The same as a sentence.
    pub why: String,
}

/// Whether a step may start on a host, by what was started there before.
pub fn may_start(
    limits: &Limits,
    step: u32,
    touches: &[StartRecord],
    now: DateTime<Utc>,
) -> Result<(), Refused> {
    let cooldown = limits.cooldown;
    // One that lies a little ahead counts as of now: else it would be refused for that long where there is no limit.
    let touches = || {
        let begun = touches.iter().filter(|t| t.at <= now + SET_BACK);
        begun.map(|t| StartRecord {
            at: t.at.min(now),
            ..*t
        })
    };
    // A step that did not help is no reason to wait with the next one.
    let last = touches().filter(|t| t.step >= step).max_by_key(|t| t.at);
    if let Some(last) = last
        && after(last.at, cooldown) > now
    {
        return Err(Refused {
            reason: Skip::Cooldown,
            until: Some(after(last.at, cooldown)),
            why: format!(
                "run {} began there {} ago, and the cooldown is {}",
                last.run,
                words(now - last.at),
                crate::util::units::format_duration(cooldown)
            ),
        });
    }
    let attempts = limits.attempts;
    let max = usize::try_from(attempts.max).unwrap_or(usize::MAX);
    if max == 0 {
        return Ok(());
    }
    // A start is one, also where the clock was set back and it counts twice.
    let mut by_run: BTreeMap<RunId, DateTime<Utc>> = BTreeMap::new();
    for touch in touches().filter(|t| t.step == step && after(t.at, attempts.per) > now) {
        let at = by_run.entry(touch.run).or_insert(touch.at);
        *at = touch.at.max(*at);
    }
    let mut lately: Vec<DateTime<Utc>> = by_run.into_values().collect();
    lately.sort_unstable();
    let Some(first) = lately.len().checked_sub(max) else {
        return Ok(());
    };
    Err(Refused {
        reason: Skip::AttemptsExhausted,
        until: Some(after(lately[first], attempts.per)),
        why: format!(
            "it was tried there {} within {}, and max is {max}",
            times(lately.len()),
            crate::util::units::format_duration(attempts.per)
        ),
    })
}

fn times(n: usize) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

fn words(time: chrono::TimeDelta) -> String {
    let seconds = u64::try_from(time.num_seconds()).unwrap_or(0);
    crate::util::units::format_duration(Duration::from_secs(seconds))
}

/// What was started on one host under one binding, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartHistory {
    /// The binding.
    pub binding: String,
    /// The host.
    pub host: String,
    /// As far back as a limit may ask.
    pub starts: Vec<StartRecord>,
}

/// The starts, by binding and host.
#[derive(Debug, Clone, Default)]
pub struct StartRecords(HashMap<String, BTreeMap<String, Vec<StartRecord>>>);

impl FromIterator<StartHistory> for StartRecords {
    fn from_iter<I: IntoIterator<Item = StartHistory>>(all: I) -> Self {
        let mut touches = Self::default();
        for of in all {
            touches.set(&of.binding, &of.host, of.starts);
        }
        touches
    }
}

impl StartRecords {
    /// What was started on a host under a binding, oldest first.
    pub fn on(&self, binding: &str, host: &str) -> &[StartRecord] {
        let hosts = self.0.get(binding);
        let touches = hosts.and_then(|hosts| hosts.get(host));
        touches.map_or(&[], Vec::as_slice)
    }

    /// Replaces what was started on a host under a binding.
    pub fn set(&mut self, binding: &str, host: &str, touches: Vec<StartRecord>) {
        let hosts = self.0.entry(binding.to_owned()).or_default();
        if !touches.is_empty() {
            hosts.insert(host.to_owned(), touches);
            return;
        }
        hosts.remove(host);
        if hosts.is_empty() {
            self.0.remove(binding);
        }
    }

    /// Adds a start, and lets those go that no limit asks for any more: of each step the newest `max` runs stay, one at least,
    /// and as many of those that began last by the clock.
    pub fn add(
        &mut self,
        binding: &str,
        host: &str,
        touch: StartRecord,
        max: u32,
    ) -> &[StartRecord] {
        let hosts = self.0.entry(binding.to_owned()).or_default();
        let touches = hosts.entry(host.to_owned()).or_default();
        touches.push(touch);
        let most = usize::try_from(max.max(1)).unwrap_or(usize::MAX);
        let of_step = touches.iter().filter(|t| t.step == touch.step);
        let runs: BTreeSet<RunId> = of_step.clone().map(|t| t.run).collect();
        let mut by_clock: Vec<StartRecord> = of_step.copied().collect();
        by_clock.sort_unstable_by_key(|t| Reverse(t.at));
        let newest = runs.iter().rev().take(most).copied();
        let last = by_clock.iter().map(|t| t.run).take(most);
        let stay: BTreeSet<RunId> = newest.chain(last).collect();
        touches.retain(|t| t.step != touch.step || stay.contains(&t.run));
        touches
    }

    /// All of them: binding, host, starts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &[StartRecord])> {
        self.0.iter().flat_map(|(binding, hosts)| {
            hosts
                .iter()
                .map(move |(host, touches)| (binding.as_str(), host.as_str(), touches.as_slice()))
        })
    }

    /// Where the clock was set back, what lies ahead of it counts as of now too: else there would be no limit until the clock is
    /// there again, or one for as long as it was wrong.
    pub(super) fn count_now(&mut self, now: DateTime<Utc>) {
        for touches in self.0.values_mut().flat_map(BTreeMap::values_mut) {
            let ahead = touches.iter().filter(|t| t.at > now + SET_BACK);
            let ahead: Vec<StartRecord> = ahead.copied().collect();
            touches.retain(|t| t.at > now || ahead.iter().all(|a| a.run != t.run));
            touches.extend(ahead.iter().map(|touch| StartRecord { at: now, ..*touch }));
        }
    }
}
