//! The starts on each host under each binding, and the check whether a step may start again.

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
    pub at: DateTime<Utc>,
    /// The step, from 1.
    pub step: u32,
    pub run: RunId,
}

/// The reason why a step may not start on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub reason: Skip,
    /// When the step may start, if nothing else prevents it; `None` if a person has to act.
    pub until: Option<DateTime<Utc>>,
    /// The reason as a sentence.
    pub why: String,
}

/// Checks whether a step may start on a host, given the previous starts there.
pub fn may_start(
    limits: &Limits,
    step: u32,
    touches: &[StartRecord],
    now: DateTime<Utc>,
) -> Result<(), Refused> {
    let cooldown = limits.cooldown;
    // A start slightly in the future counts as now: otherwise the step would be refused for that long even without a
    // limit.
    let touches = || {
        let begun = touches.iter().filter(|t| t.at <= now + SET_BACK);
        begun.map(|t| StartRecord {
            at: t.at.min(now),
            ..*t
        })
    };
    // An earlier step that did not help does not delay the next one.
    let last = touches().filter(|t| t.step >= step).max_by_key(|t| t.at);
    if let Some(last) = last
        && after(last.at, cooldown) > now
    {
        return Err(Refused {
            reason: Skip::Cooldown,
            until: Some(after(last.at, cooldown)),
            why: format!(
                "run {} started there {} ago, and the cooldown is {}",
                last.run,
                format_delta(now - last.at),
                crate::util::units::format_duration(cooldown)
            ),
        });
    }
    let attempts = limits.attempts;
    let max = usize::try_from(attempts.max).unwrap_or(usize::MAX);
    if max == 0 {
        return Ok(());
    }
    // A run counts once, even if its start was recorded twice because the clock was set back.
    let mut by_run: BTreeMap<RunId, DateTime<Utc>> = BTreeMap::new();
    for touch in touches().filter(|t| t.step == step && after(t.at, attempts.per) > now) {
        let at = by_run.entry(touch.run).or_insert(touch.at);
        *at = touch.at.max(*at);
    }
    let mut recent: Vec<DateTime<Utc>> = by_run.into_values().collect();
    recent.sort_unstable();
    let Some(first) = recent.len().checked_sub(max) else {
        return Ok(());
    };
    Err(Refused {
        reason: Skip::AttemptsExhausted,
        until: Some(after(recent[first], attempts.per)),
        why: format!(
            "it ran there {} within {}, and the limit is {max}",
            times(recent.len()),
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

fn format_delta(time: chrono::TimeDelta) -> String {
    let seconds = u64::try_from(time.num_seconds()).unwrap_or(0);
    crate::util::units::format_duration(Duration::from_secs(seconds))
}

/// The starts on one host under one binding, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartHistory {
    pub binding: String,
    pub host: String,
    /// The starts, as far back as the limits need them.
    pub starts: Vec<StartRecord>,
}

/// All starts, by binding and host.
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
    /// Returns the starts on a host under a binding, oldest first.
    pub fn on(&self, binding: &str, host: &str) -> &[StartRecord] {
        let hosts = self.0.get(binding);
        let touches = hosts.and_then(|hosts| hosts.get(host));
        touches.map_or(&[], Vec::as_slice)
    }

    /// Replaces the starts on a host under a binding.
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

    /// Adds a start, and removes those that no limit needs any more: keeps the newest `max` runs of each step, at least
    /// one, and as many of those with the latest start time.
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

    /// Iterates over all: binding, host, starts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &[StartRecord])> {
        self.0.iter().flat_map(|(binding, hosts)| {
            hosts
                .iter()
                .map(move |(host, touches)| (binding.as_str(), host.as_str(), touches.as_slice()))
        })
    }

    /// After the clock was set back, starts in the future also count as now. Otherwise there would be no limit until
    /// the clock reaches them, or a limit for as long as the clock was wrong.
    pub(super) fn count_now(&mut self, now: DateTime<Utc>) {
        for touches in self.0.values_mut().flat_map(BTreeMap::values_mut) {
            let ahead = touches.iter().filter(|t| t.at > now + SET_BACK);
            let ahead: Vec<StartRecord> = ahead.copied().collect();
            touches.retain(|t| t.at > now || ahead.iter().all(|a| a.run != t.run));
            touches.extend(ahead.iter().map(|touch| StartRecord { at: now, ..*touch }));
        }
    }
}
