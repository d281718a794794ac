//! Determines which scheduled times start now, and which were missed.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Missed, Progress, Timing};

/// How late a start may be and still count as on time: restarts and a full queue cause delays.
pub const ON_TIME: TimeDelta = TimeDelta::seconds(60);

/// The maximum number of times examined at once. More of them count as this many.
const LOOKED_AT: usize = 1_000;

/// How far the last settled time may lie in the future before the clock is assumed to have been wrong then. Less than
/// that is a corrected clock, and no time runs twice.
const CLOCK_WAS_WRONG: TimeDelta = TimeDelta::hours(24);

/// The result of [`due`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The times that start now, oldest first.
    pub start: Vec<DateTime<Utc>>,
    /// The number of missed times.
    pub missed: u64,
    /// Every time up to this one is settled by the fields above.
    pub settled: DateTime<Utc>,
    /// Whether a time is due that could not be started yet.
    pub waits: bool,
    /// When to check again at the latest; `None` if no time will come.
    pub look_at: Option<DateTime<Utc>>,
    /// The next start in the future, including jitter.
    pub next: Option<DateTime<Utc>>,
}

/// Determines the due and the missed times.
///
/// `name` is the name of the schedule, from which the jitter is derived. `can_start` is whether a run could start now
/// at all: no earlier run is in progress, its hosts are known, and so on.
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
    let past = pending.last().map_or(settled, |last| last.time);
    due.next = next_start(name, timing, past);
    let candidates = candidates(timing, &pending, now);
    let mut keep = candidates.len();
    if can_start && !candidates.is_empty() {
        let starts = if timing.allow_overlap { keep } else { 1 };
        due.start = candidates[..starts].to_vec();
        keep -= starts;
    }
    let waiting = &candidates[candidates.len() - keep..];
    due.waits = !waiting.is_empty();
    // All times before the first waiting one are settled, as started or missed.
    let settled_times = pending
        .iter()
        .take_while(|p| waiting.first().is_none_or(|first| p.time < *first));
    let settled_times: Vec<&Pending> = settled_times.collect();
    if let Some(last) = settled_times.last() {
        due.settled = last.time;
    }
    due.missed = (settled_times.len() - due.start.len()) as u64;
    let too_late = waiting
        .first()
        .map(|first| *first + lateness_allowed(timing) + jitter(name, timing, *first));
    due.look_at = too_late.into_iter().chain(due.next).min();
    due
}

/// A past time that is not settled.
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
    let past: Vec<Pending> = pending
        .take_while(|pending| pending.start <= now)
        .take(LOOKED_AT)
        .collect();
    if past.len() < LOOKED_AT {
        return past;
    }
    // promansible was down for a long time. Times that are too old to be made up need not be examined one by one.
    let from = now - lateness_allowed(timing) - delta(timing.jitter);
    let recent = std::iter::successors(timing.after(from.max(settled)), |time| timing.after(*time));
    let recent = recent.map(|time| Pending {
        time,
        start: time + jitter(name, timing, time),
    });
    let recent: Vec<Pending> = recent.take_while(|pending| pending.start <= now).collect();
    let keep = recent.len().min(LOOKED_AT);
    let first_kept = recent.get(recent.len() - keep).map(|pending| pending.time);
    let mut all: Vec<Pending> = past
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

/// Returns the pending times that should start, now or as soon as possible.
fn candidates(timing: &Timing, pending: &[Pending], now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let late = |pending: &&Pending| now - pending.start < lateness_allowed(timing);
    let mut in_time = pending.iter().filter(late).map(|pending| pending.time);
    match timing.missed {
        Missed::Skip | Missed::All => in_time.collect(),
        Missed::Once => in_time.next_back().into_iter().collect(),
    }
}

/// Returns how late a start may be.
fn lateness_allowed(timing: &Timing) -> TimeDelta {
    match timing.missed {
        Missed::Skip => ON_TIME,
        Missed::Once | Missed::All => delta(timing.grace).max(ON_TIME),
    }
}

/// Returns the start of the first time after this one.
fn next_start(name: &str, timing: &Timing, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let time = timing.after(after)?;
    Some(time + jitter(name, timing, time))
}

/// Returns the delay of a start: always the same for one time of one schedule.
fn jitter(name: &str, timing: &Timing, time: DateTime<Utc>) -> TimeDelta {
    let most = u64::try_from(timing.jitter.as_millis()).unwrap_or(u64::MAX);
    if most == 0 {
        return TimeDelta::zero();
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64; // FNV-1a
    for byte in name.bytes().chain(time.timestamp().to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The low bits of FNV are well distributed; its high bits change little from one minute to the next.
    hash ^= hash >> 29;
    TimeDelta::milliseconds(
        i64::try_from(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) % most).unwrap_or(0),
    )
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
