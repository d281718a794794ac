//! Which times of a schedule are to be started now, and which were missed.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Missed, Progress, Timing};

/// How late a start may be and still count as on time: a restart takes a while, and so does a full queue.
pub const ON_TIME: TimeDelta = TimeDelta::seconds(60);

/// How many times are looked at in one go. More of them are counted as this many.
const LOOKED_AT: usize = 1_000;

/// How far the last settled time may lie ahead before the clock is taken to have been wrong then. Less is a clock that was
/// put right, and no time comes twice.
const CLOCK_WAS_WRONG: TimeDelta = TimeDelta::hours(24);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The times that start now, oldest first.
    pub start: Vec<DateTime<Utc>>,
    /// How many were missed.
    pub missed: u64,
    /// Every time up to this one is settled by the above.
    pub settled: DateTime<Utc>,
    /// Whether a time is due that could not be started yet.
    pub waits: bool,
    /// When to look again at the latest; `None` if nothing comes any more.
    pub look_at: Option<DateTime<Utc>>,
    /// When the first time starts that has not come yet, jitter included.
    pub next: Option<DateTime<Utc>>,
}

/// Decides.
///
/// `name` is the schedule's, by which its starts are spread; `can_start` says whether a run could be started at all
/// now: no earlier one is under way, its hosts are known, and so on.
pub fn due(
    name: &str,
    timing: &Timing,
    progress: &Progress,
    can_start: bool,
    now: DateTime<Utc>,
) -> Due {
    let settled = if progress.settled - now > CLOCK_WAS_WRONG {
        now
    } else {
        progress.settled
    };
    let mut due = Due {
        start: Vec::new(),
        missed: 0,
        settled,
        waits: false,
        look_at: None,
        next: None,
    };
    let pending = pending(name, timing, settled, now);
    let come = pending.last().map_or(settled, |last| last.time);
    due.next = next_start(name, timing, come);
    let candidates = candidates(timing, &pending, now);
    let mut keep = candidates.len();
    if can_start && !candidates.is_empty() {
        let starts = if timing.allow_overlap { keep } else { 1 };
        due.start = candidates[..starts].to_vec();
        keep -= starts;
    }
    let waiting = &candidates[candidates.len() - keep..];
    due.waits = !waiting.is_empty();
    // What lies before the first that waits is settled, one way or the other.
    let gone = pending
        .iter()
        .take_while(|p| waiting.first().is_none_or(|first| p.time < *first));
    let gone: Vec<&Pending> = gone.collect();
    if let Some(last) = gone.last() {
        due.settled = last.time;
    }
    due.missed = (gone.len() - due.start.len()) as u64;
    let too_late = waiting
        .first()
        .map(|first| *first + lateness_allowed(timing) + jitter(name, timing, *first));
    due.look_at = too_late.into_iter().chain(due.next).min();
    due
}

/// A time that has come and is not settled.
struct Pending {
    time: DateTime<Utc>,
    start: DateTime<Utc>,
}

fn pending(
    name: &str,
    timing: &Timing,
    settled: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Vec<Pending> {
    let times = std::iter::successors(timing.after(settled), |time| timing.after(*time));
    let pending = times.map(|time| Pending {
        time,
        start: time + jitter(name, timing, time),
    });
    let come: Vec<Pending> = pending
        .take_while(|pending| pending.start <= now)
        .take(LOOKED_AT)
        .collect();
    if come.len() < LOOKED_AT {
        return come;
    }
    // promansible was away for long. What is too old to be made up for need not be looked at one by one.
    let from = now - lateness_allowed(timing) - delta(timing.jitter);
    let recent = std::iter::successors(timing.after(from.max(settled)), |time| timing.after(*time));
    let recent = recent.map(|time| Pending {
        time,
        start: time + jitter(name, timing, time),
    });
    let recent: Vec<Pending> = recent.take_while(|pending| pending.start <= now).collect();
    let keep = recent.len().min(LOOKED_AT);
    let first_kept = recent.get(recent.len() - keep).map(|pending| pending.time);
    let mut all: Vec<Pending> = come
        .into_iter()
        .filter(|pending| first_kept.is_none_or(|first| pending.time < first))
        .collect();
    all.extend(
        recent
            .into_iter()
            .skip_while(|pending| Some(pending.time) < first_kept),
    );
    all
}

/// Those of the pending times that are to be started, now or as soon as it can be.
fn candidates(timing: &Timing, pending: &[Pending], now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let late = |pending: &&Pending| now - pending.start < lateness_allowed(timing);
    let mut in_time = pending.iter().filter(late).map(|pending| pending.time);
    match timing.missed {
        Missed::Skip | Missed::All => in_time.collect(),
        Missed::Once => in_time.next_back().into_iter().collect(),
    }
}

/// How late a start may be.
fn lateness_allowed(timing: &Timing) -> TimeDelta {
    match timing.missed {
        Missed::Skip => ON_TIME,
        Missed::Once | Missed::All => delta(timing.grace).max(ON_TIME),
    }
}

/// When the first time after this one starts.
fn next_start(name: &str, timing: &Timing, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let time = timing.after(after)?;
    Some(time + jitter(name, timing, time))
}

/// By how much a start is put off: the same for one time of one schedule, whenever it is asked for.
fn jitter(name: &str, timing: &Timing, time: DateTime<Utc>) -> TimeDelta {
    let most = u64::try_from(timing.jitter.as_millis()).unwrap_or(u64::MAX);
    if most == 0 {
        return TimeDelta::zero();
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64; // FNV-1a
    for byte in name.bytes().chain(time.timestamp().to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The low bits of FNV are good, its high ones change little from one minute to the next.
    hash ^= hash >> 29;
    TimeDelta::milliseconds(
        i64::try_from(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) % most).unwrap_or(0),
    )
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
