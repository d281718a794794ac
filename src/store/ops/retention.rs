//! What goes: by age and by size, a slice at a time.
//!
//! The writer itself deletes while the history is larger than its limit, after each transaction that writes and between
//! them. Where nothing may go any more, new alerts are refused: see [`refuse_overfull`].

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

/// How much one transaction deletes at most, so that a notification that comes meanwhile does not wait long.
const SLICE: usize = 200;

/// How many hosts the runs have at most that one transaction deletes, beyond those of one run: each is in the index.
const HOSTS: usize = 10_000;

/// How many episodes or runs one slice looks at, most of which may have to stay.
const LOOKS: usize = 2_000;

/// How many slices the writer adds to one transaction at most while the history is too large.
const SLICES: usize = 4;

/// How much of its limit the history may be too large before new alerts are refused: one in so many. What is deleted
/// after each transaction makes room in the meantime.
const SLACK: i64 = 8;

/// How long the writer does not look again for what may go, where it found nothing.
const FRUITLESS: TimeDelta = TimeDelta::seconds(5);

/// How long an alert that was firing must not be heard of, whatever the retention time, before it is taken for over.
/// Alertmanager repeats what fires after `repeat_interval`: hours, seldom days.
const FORGET_FIRING: TimeDelta = TimeDelta::days(7);

/// The same where episodes take more than twice their share: some Alertmanager never says `resolved`.
const FORGET_FIRING_SOON: TimeDelta = TimeDelta::days(1);

/// Which part of the size is for episodes: one in so many. Alerts that fire all the time must not push the runs out.
const EPISODES_SHARE: i64 = 4;

/// How large the file may become whatever the limit: the tables and redb's own pages take over a mebibyte, it doubles each
/// time, and a file of up to half of this is not compacted. *Units*: bytes.
const LEAST_FILE: u64 = 8 << 20;

/// What was deleted since this was last asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// Runs.
    pub runs: usize,
    /// Episodes.
    pub episodes: usize,
    /// Whether there is more to delete.
    pub more: bool,
}

/// One slice, which somebody asked for.
pub(crate) fn retain(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    storage: &Storage,
    now: DateTime<Utc>,
) -> Result<Retained, StoreError> {
    heed(state, storage);
    let slice = slice(tables, state, storage, SLICE, now)?;
    // And what the writer deleted by itself.
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

/// Deletes while the history is larger than its limit, a few slices at most. Yields whether there is more to delete.
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

/// Takes the limits that are in force. What was found out under other ones says nothing: a person may have raised them.
fn heed(state: &mut WriterState, storage: &Storage) {
    if state.storage.as_ref() != Some(storage) {
        state.storage = Some(storage.clone());
        state.rows_limit = None;
        state.fruitless_at = None;
    }
}

/// The limit of the history, which is less while the file may not grow and has no room for as much.
fn limit(state: &WriterState, storage: &Storage) -> i64 {
    let limit = i64::try_from(storage.retention_size_bytes).unwrap_or(i64::MAX);
    state.rows_limit.map_or(limit, |less| limit.min(less))
}

/// The bytes of runs, and of episodes, with what this transaction did.
fn sizes(tables: &Tables<'_>, state: &WriterState) -> (i64, i64) {
    let runs = state.runs_bytes + tables.runs_change;
    (runs, state.episodes_bytes + tables.episodes_change)
}

fn is_over(tables: &Tables<'_>, state: &WriterState, storage: &Storage) -> bool {
    let limit = limit(state, storage);
    let (runs, episodes) = sizes(tables, state);
    episodes > limit / EPISODES_SHARE || runs.saturating_add(episodes) > limit
}

/// Refuses what would add to a history that is too large although all was deleted that may be.
pub(crate) fn refuse_overfull(
    tables: &Tables<'_>,
    state: &mut WriterState,
    storage: &Storage,
) -> Result<(), StoreError> {
    heed(state, storage);
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

/// How large the file may become for new alerts: twice the limit, unless that is very little. `None` where it may become
/// larger, because the history is small and what is beside it takes the space.
pub(crate) fn most_file_bytes(state: &WriterState) -> Option<u64> {
    let limit = state.storage.as_ref()?.retention_size_bytes;
    let rows = state.runs_bytes.saturating_add(state.episodes_bytes);
    let is_small =
        u64::try_from(rows).is_ok_and(|rows| rows <= limit / EPISODES_SHARE.unsigned_abs());
    (!is_small).then(|| limit.saturating_mul(2).max(LEAST_FILE))
}

/// Makes the history smaller for the time being: the file may not grow and has no room.
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
    // What episodes do not need is the runs'.
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
    /// What ended before this goes.
    oldest: DateTime<Utc>,
    /// How many bytes are for episodes.
    share: i64,
    /// By how many bytes the kind of things at hand is too much.
    excess: i64,
    left: usize,
    done: Retained,
}

impl Slice {
    /// Runs are numbered in the order of their making, so the oldest come first.
    fn runs(&mut self, tables: &mut Tables<'_>, state: &mut WriterState) -> Result<(), StoreError> {
        let (mut doomed, mut hosts) = (Vec::new(), 0);
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
            doomed.push(run);
            is_full = doomed.len() == self.left || hosts >= HOSTS;
        }
        for run in &doomed {
            delete_run(tables, run)?;
        }
        self.left -= doomed.len();
        self.done.runs = doomed.len();
        self.done.more |= is_full;
        Ok(())
    }

    fn episodes(
        &mut self,
        tables: &mut Tables<'_>,
        state: &mut WriterState,
    ) -> Result<(), StoreError> {
        let mut doomed = Vec::new();
        let from = state.retention_from.take().unwrap_or((i64::MIN, 0));
        for (looked, row) in tables.episodes.range(from..)?.enumerate() {
            let (key, value) = row?;
            let (starts_at_nanos, _) = key.value();
            // None is heard of before it begins, so the rest is younger.
            let by_age = DateTime::from_timestamp_nanos(starts_at_nanos) < self.oldest;
            if !by_age && self.excess <= 0 {
                break;
            }
            if doomed.len() == self.left || looked == LOOKS {
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
            if self.may_go(&episode, state) {
                self.excess -= grown(bytes, None);
                doomed.push((key_of(key.value()), episode));
            }
        }
        for (key, episode) in &doomed {
            tables.remove_episode(key, episode)?;
        }
        self.left -= doomed.len();
        self.done.episodes = doomed.len();
        Ok(())
    }

    /// What had its run must be known as long as it may be told again, or it would run again. Of what had none, nothing
    /// is lost but the memory.
    fn may_go(&self, episode: &Episode, state: &WriterState) -> bool {
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
            // Nothing is to be done about it, and Alertmanager tells it again.
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
    delete_told(tables, run.id)
}

/// Deletes what a run told, and what it was about.
pub(crate) fn delete_told(tables: &mut Tables<'_>, id: RunId) -> Result<(), StoreError> {
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
