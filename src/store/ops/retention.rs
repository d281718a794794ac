//! Retention: deletes data by age and by size, one slice at a time.
//!
//! The writer itself deletes while the history exceeds its limit, after each writing transaction and between
//! transactions. If nothing more may be deleted, new alerts are refused: see [`refuse_overfull`].

use chrono::{DateTime, TimeDelta, Utc};
use redb::ReadableTable;

use crate::config::Storage;
use crate::model::alert::Status;
use crate::model::run::{Run, RunId, State};
use crate::plan::LATE;
use crate::store::StoreError;
use crate::store::disk::index;
use crate::store::disk::records::{DecisionRecord, Episode};
use crate::store::disk::tables::{EPISODES, RUNS, Tables, grown, key_of};
use crate::store::ops::state::WriterState;
use crate::store::ops::{audit, guards};

/// The maximum number of rows deleted by one transaction, so that a concurrent notification does not wait long.
const SLICE: usize = 200;

/// The maximum number of hosts in the runs deleted by one transaction, except for a single run: each host is in the
/// index.
const HOSTS: usize = 10_000;

/// The maximum number of episodes or runs examined by one slice; most of them may have to be kept.
const LOOKS: usize = 2_000;

/// The maximum number of slices that the writer adds to one transaction while the history is too large.
const SLICES: usize = 4;

/// The excess of the history before new alerts are refused: one `SLACK`th of its limit. Deletions after each
/// transaction make room in the meantime.
const SLACK: i64 = 8;

/// How long the writer does not search again after it found nothing to delete.
const FRUITLESS: TimeDelta = TimeDelta::seconds(5);

/// How long a firing alert must be silent, regardless of the retention time, before it counts as over. Alertmanager
/// repeats firing alerts after `repeat_interval`: hours, rarely days.
const FORGET_FIRING: TimeDelta = TimeDelta::days(7);

/// The same if episodes take more than twice their share: some Alertmanager never sends `resolved`.
const FORGET_FIRING_SOON: TimeDelta = TimeDelta::days(1);

/// The share of the size for episodes: one in `EPISODES_SHARE`. Permanently firing alerts must not displace the runs.
const EPISODES_SHARE: i64 = 4;

/// The size that the file may always reach, regardless of the limit: the tables and redb's own pages take over a
/// mebibyte, the file doubles each time, and a file of up to half of this is not compacted. *Units*: bytes.
const LEAST_FILE: u64 = 8 << 20;

/// The deletions since the last call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    pub runs: usize,
    pub episodes: usize,
    /// Whether there is more to delete.
    pub more: bool,
}

/// Deletes one slice, on request.
pub(crate) fn retain(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    storage: &Storage,
    now: DateTime<Utc>,
) -> Result<Retained, StoreError> {
    set_limits(state, storage);
    let slice = slice(tables, state, storage, SLICE, now)?;
    // Includes the deletions by the writer itself.
    let mut done = Retained {
        more: slice.more,
        ..std::mem::take(&mut state.deleted)
    };
    if !done.more {
        guards::forget_touches(tables, state, now, SLICE)?;
        let oldest = oldest(storage, now);
        done.more |= audit::retain(tables, oldest)?;
    }
    Ok(done)
}

/// Deletes while the history exceeds its limit, a few slices at most. Returns whether there is more to delete.
pub(crate) fn make_room(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
) -> Result<bool, StoreError> {
    let Some(storage) = state.storage.clone() else {
        return Ok(false);
    };
    let now = state.now;
    if state
        .fruitless_at
        .is_some_and(|at| now >= at && now - at < FRUITLESS)
    {
        return Ok(false);
    }
    let mut freed = false;
    for _ in 0..SLICES {
        if !is_over(tables, state, &storage) {
            return Ok(false);
        }
        let done = slice(tables, state, &storage, LOOKS, now)?;
        freed |= done.runs + done.episodes > 0;
        if !done.more {
            state.fruitless_at = Some(now).filter(|_| !freed);
            return Ok(false);
        }
    }
    Ok(true)
}

/// Sets the current limits. Conclusions from other limits are discarded: the limits may have been raised.
fn set_limits(state: &mut WriterState, storage: &Storage) {
    if state.storage.as_ref() != Some(storage) {
        state.storage = Some(storage.clone());
        state.rows_limit = None;
        state.fruitless_at = None;
    }
}

/// Returns the limit of the history, which is reduced while the file may not grow and has no room.
fn limit(state: &WriterState, storage: &Storage) -> i64 {
    let limit = i64::try_from(storage.retention_size_bytes).unwrap_or(i64::MAX);
    state.rows_limit.map_or(limit, |less| limit.min(less))
}

/// Returns the sizes of runs and of episodes, including the changes of this transaction.
fn sizes(tables: &Tables<'_>, state: &WriterState) -> (i64, i64) {
    let runs = state.runs_bytes + tables.runs_change;
    (runs, state.episodes_bytes + tables.episodes_change)
}

fn is_over(tables: &Tables<'_>, state: &WriterState, storage: &Storage) -> bool {
    let limit = limit(state, storage);
    let (runs, episodes) = sizes(tables, state);
    episodes > limit / EPISODES_SHARE || runs.saturating_add(episodes) > limit
}

/// Refuses new data if the history is too large although everything deletable was deleted.
pub(crate) fn refuse_overfull(
    tables: &Tables<'_>,
    state: &mut WriterState,
    storage: &Storage,
) -> Result<(), StoreError> {
    set_limits(state, storage);
    let limit = limit(state, storage);
    let (runs, episodes) = sizes(tables, state);
    let holds = runs.saturating_add(episodes);
    if holds <= limit.saturating_add(limit / SLACK) {
        return Ok(());
    }
    Err(StoreError::HistoryFull {
        holds: u64::try_from(holds).unwrap_or(0),
        limit: u64::try_from(limit).unwrap_or(0),
    })
}

/// Returns the maximum size of the file for new alerts: twice the limit, unless that is very small. `None` if it may
/// grow further, because the history is small and other data takes the space.
pub(crate) fn most_file_bytes(state: &WriterState) -> Option<u64> {
    let limit = state.storage.as_ref()?.retention_size_bytes;
    let rows = state.runs_bytes.saturating_add(state.episodes_bytes);
    let is_small =
        u64::try_from(rows).is_ok_and(|rows| rows <= limit / EPISODES_SHARE.unsigned_abs());
    (!is_small).then(|| limit.saturating_mul(2).max(LEAST_FILE))
}

/// Reduces the limit of the history temporarily: the file may not grow and has no room.
pub(crate) fn shrink_rows(state: &mut WriterState) {
    let rows = state.runs_bytes.saturating_add(state.episodes_bytes);
    state.rows_limit = Some(rows / 8 * 7);
    state.fruitless_at = None;
}

fn oldest(storage: &Storage, now: DateTime<Utc>) -> DateTime<Utc> {
    let age = TimeDelta::from_std(storage.retention_time).unwrap_or(TimeDelta::MAX);
    now.checked_sub_signed(age)
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}

fn slice(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    storage: &Storage,
    most: usize,
    now: DateTime<Utc>,
) -> Result<Retained, StoreError> {
    let limit = limit(state, storage);
    let share = limit / EPISODES_SHARE;
    let mut slice = Slice {
        now,
        oldest: oldest(storage, now),
        share,
        excess: sizes(tables, state).1 - share,
        left: most,
        done: Retained::default(),
    };
    slice.episodes(tables, state)?;
    // Runs may use the unused share of the episodes.
    let (runs, episodes) = sizes(tables, state);
    slice.excess = runs - (limit - episodes.min(share));
    slice.runs(tables, state)?;
    state.freed |= slice.done.runs + slice.done.episodes > 0;
    state.deleted.runs += slice.done.runs;
    state.deleted.episodes += slice.done.episodes;
    Ok(slice.done)
}

struct Slice {
    now: DateTime<Utc>,
    /// Data that ended before this time is deleted.
    oldest: DateTime<Utc>,
    /// The share of the episodes in bytes.
    share: i64,
    /// The excess of the current kind of data in bytes.
    excess: i64,
    left: usize,
    done: Retained,
}

impl Slice {
    /// Deletes runs. They are numbered in the order of creation, so the oldest come first.
    fn runs(&mut self, tables: &mut Tables<'_>, state: &mut WriterState) -> Result<(), StoreError> {
        let (mut deletable, mut hosts) = (Vec::new(), 0);
        let mut is_full = self.left == 0;
        let from = state.retention_run.take().unwrap_or(0);
        for (looked, row) in tables.runs.range(from..)?.enumerate() {
            let (key, value) = row?;
            if is_full || looked == LOOKS {
                state.retention_run = Some(key.value());
                is_full = true;
                break;
            }
            let run = tables.unreadable.decode(RUNS, &key.value(), value.value());
            let Some(run): Option<Run> = run else {
                continue;
            };
            if run.state != State::Finished {
                continue;
            }
            let old = run.finished_at.is_some_and(|at| at < self.oldest);
            if !old && self.excess <= 0 {
                break;
            }
            let id = RunId(key.value());
            self.excess -= size_of(tables, id, value.value().len())?;
            hosts += run.hosts.len();
            deletable.push(run);
            is_full = deletable.len() == self.left || hosts >= HOSTS;
        }
        for run in &deletable {
            delete_run(tables, run)?;
        }
        self.left -= deletable.len();
        self.done.runs = deletable.len();
        self.done.more |= is_full;
        Ok(())
    }

    fn episodes(
        &mut self,
        tables: &mut Tables<'_>,
        state: &mut WriterState,
    ) -> Result<(), StoreError> {
        let mut deletable = Vec::new();
        let from = state.retention_from.take().unwrap_or((i64::MIN, 0));
        for (looked, row) in tables.episodes.range(from..)?.enumerate() {
            let (key, value) = row?;
            let (starts_at_nanos, _) = key.value();
            // No episode is reported before its start, so the rest is newer.
            let by_age = DateTime::from_timestamp_nanos(starts_at_nanos) < self.oldest;
            if !by_age && self.excess <= 0 {
                break;
            }
            if deletable.len() == self.left || looked == LOOKS {
                state.retention_from = Some(key.value());
                self.done.more = true;
                break;
            }
            let bytes = value.value().len();
            let at = key.value();
            let episode = tables.unreadable.decode(EPISODES, &at, value.value());
            let Some(episode): Option<Episode> = episode else {
                continue;
            };
            if self.may_delete(&episode, state) {
                self.excess -= grown(bytes, None);
                deletable.push((key_of(key.value()), episode));
            }
        }
        for (key, episode) in &deletable {
            tables.remove_episode(key, episode)?;
        }
        self.left -= deletable.len();
        self.done.episodes = deletable.len();
        Ok(())
    }

    /// Returns whether an episode may be deleted. An episode with a run must be kept as long as it may be reported
    /// again, or it would run again. Without a run, only its history is lost.
    fn may_delete(&self, episode: &Episode, state: &WriterState) -> bool {
        let mut handled = false;
        for run in episode
            .decisions
            .values()
            .filter_map(DecisionRecord::handled_by)
        {
            if state.queue.contains_key(&run) || state.running.contains_key(&run) {
                return false;
            }
            handled = true;
        }
        let silent = |time| episode.last_seen < self.now - time;
        let (old, too_much) = (episode.last_seen < self.oldest, self.excess > 0);
        match (episode.status, handled) {
            // No decision depends on it, and Alertmanager will send it again.
            (Status::Firing, false) if episode.decisions.is_empty() => {
                too_much || (old && silent(FORGET_FIRING))
            }
            (Status::Firing, _) => {
                let soon = self.excess > self.share && silent(FORGET_FIRING_SOON);
                soon || ((old || too_much) && silent(FORGET_FIRING))
            }
            (Status::Resolved, false) => old || too_much,
            (Status::Resolved, true) => (old || too_much) && silent(LATE),
        }
    }
}

fn size_of(tables: &Tables<'_>, id: RunId, run_bytes: usize) -> Result<i64, StoreError> {
    let mut bytes = run_bytes;
    for row in tables.events.range((id.0, 0)..=(id.0, u32::MAX))? {
        bytes += row?.1.value().len();
    }
    for row in tables.output.range((id.0, 0)..=(id.0, u32::MAX))? {
        bytes += row?.1.value().len();
    }
    for row in tables.run_episodes.range((id.0, 0)..=(id.0, u32::MAX))? {
        bytes += row?.1.value().len();
    }
    Ok(grown(bytes, None))
}

fn delete_run(tables: &mut Tables<'_>, run: &Run) -> Result<(), StoreError> {
    index::remove(tables, run)?;
    let bytes = tables.runs.remove(run.id.0)?.map_or(0, |v| v.value().len());
    tables.runs_change -= grown(bytes, None);
    delete_run_data(tables, run.id)
}

/// Deletes the events, output and episodes of a run.
pub(crate) fn delete_run_data(tables: &mut Tables<'_>, id: RunId) -> Result<(), StoreError> {
    let mut bytes = 0;
    tables
        .events
        .retain_in((id.0, 0)..=(id.0, u32::MAX), |_, value| {
            bytes += value.len();
            false
        })?;
    tables
        .output
        .retain_in((id.0, 0)..=(id.0, u32::MAX), |_, value| {
            bytes += value.len();
            false
        })?;
    tables
        .run_episodes
        .retain_in((id.0, 0)..=(id.0, u32::MAX), |_, value| {
            bytes += value.len();
            false
        })?;
    tables.runs_change -= grown(bytes, None);
    Ok(())
}
