//! What goes: by age and by size, a slice at a time.

use chrono::{DateTime, TimeDelta, Utc};
use redb::ReadableTable;

use super::StoreError;
use super::live::Live;
use super::tables::{Episode, Tables, decode, episode_key, grown};
use crate::alert::{EpisodeKey, Fingerprint, Status};
use crate::config::Storage;
use crate::run::{Run, RunId, State};

/// How much one transaction deletes at most, so that a notification that comes meanwhile does not wait long.
const SLICE: usize = 200;

/// How many episodes one transaction looks at, most of which may have to stay.
const LOOKS: usize = 20_000;

/// How long an alert that was firing must not be heard of, whatever the retention time, before it is taken for over.
/// Alertmanager repeats what fires after `repeat_interval`: hours, seldom days.
const FORGET_FIRING: TimeDelta = TimeDelta::days(7);

/// What one slice deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// Runs.
    pub runs: usize,
    /// Episodes.
    pub episodes: usize,
    /// Whether there is more to delete.
    pub more: bool,
}

pub(super) fn retain(
    tables: &mut Tables<'_>,
    live: &mut Live,
    storage: &Storage,
    now: DateTime<Utc>,
) -> Result<Retained, StoreError> {
    let age = TimeDelta::from_std(storage.retention_time).unwrap_or(TimeDelta::MAX);
    let oldest = now
        .checked_sub_signed(age)
        .unwrap_or(DateTime::<Utc>::MIN_UTC);
    let limit = i64::try_from(storage.retention_size_bytes).unwrap_or(i64::MAX);
    let mut slice = Slice {
        oldest,
        silent: oldest.min(now - FORGET_FIRING),
        oldest_run: oldest_finished(tables)?,
        excess: live.history_bytes + tables.size_change - limit,
        left: SLICE,
        looks: LOOKS,
        done: Retained::default(),
    };
    slice.episodes(tables, live)?;
    slice.runs(tables)?;
    slice.done.more = slice.left == 0;
    Ok(slice.done)
}

struct Slice {
    /// What ended before this goes.
    oldest: DateTime<Utc>,
    /// What fires, but was not heard of since, goes.
    silent: DateTime<Utc>,
    /// When the oldest finished run was made, if there is one.
    oldest_run: Option<DateTime<Utc>>,
    excess: i64,
    left: usize,
    looks: usize,
    done: Retained,
}

fn oldest_finished(tables: &Tables<'_>) -> Result<Option<DateTime<Utc>>, StoreError> {
    for row in tables.runs.iter()? {
        let run: Run = decode(row?.1.value())?;
        if run.state == State::Finished {
            return Ok(Some(run.created_at));
        }
    }
    Ok(None)
}

impl Slice {
    /// Runs are numbered in the order of their making, so the oldest come first.
    fn runs(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        let mut doomed = Vec::new();
        for row in tables.runs.iter()? {
            if doomed.len() == self.left {
                break;
            }
            let (key, value) = row?;
            let run: Run = decode(value.value())?;
            if run.state != State::Finished {
                continue;
            }
            let old = run.finished_at.is_some_and(|at| at < self.oldest);
            if !old && self.excess <= 0 {
                break;
            }
            let id = RunId(key.value());
            self.excess -= size_of(tables, id, value.value().len())?;
            doomed.push(id);
        }
        for id in &doomed {
            delete_run(tables, *id)?;
        }
        self.left -= doomed.len();
        self.done.runs = doomed.len();
        Ok(())
    }

    fn episodes(&mut self, tables: &mut Tables<'_>, live: &Live) -> Result<(), StoreError> {
        let mut doomed = Vec::new();
        for row in tables.episodes.iter()? {
            if doomed.len() == self.left || self.looks == 0 {
                break;
            }
            self.looks -= 1;
            let (key, value) = row?;
            let (starts_at_nanos, fingerprint) = key.value();
            // None is heard of before it begins, so the rest is younger.
            let by_age = DateTime::from_timestamp_nanos(starts_at_nanos) < self.oldest;
            if !by_age && self.excess <= 0 {
                break;
            }
            let key = EpisodeKey {
                fingerprint: Fingerprint(fingerprint),
                starts_at_nanos,
            };
            let bytes = value.value().len();
            let episode: Episode = decode(value.value())?;
            if self.may_go(&key, &episode, live) {
                self.excess -= grown(bytes, None);
                doomed.push((key, bytes));
            }
        }
        for (key, bytes) in &doomed {
            tables.episodes.remove(episode_key(key))?;
            tables.size_change -= grown(*bytes, None);
        }
        self.left -= doomed.len();
        self.done.episodes = doomed.len();
        Ok(())
    }

    /// An episode that still fires must be known, or its next repetition would run again.
    fn may_go(&self, key: &EpisodeKey, episode: &Episode, live: &Live) -> bool {
        let mut runs = episode.decisions.values().filter_map(|decided| decided.run);
        let queued = runs.any(|run| {
            let queued = live.queue.get(&run);
            queued.is_some_and(|queued| queued.episodes.contains_key(key))
        });
        let goes = match episode.status {
            Status::Firing => episode.last_seen < self.silent,
            Status::Resolved => {
                // By size, what is oldest goes first, be it an episode or a run.
                let first = self.oldest_run.is_none_or(|at| episode.last_seen < at);
                episode.last_seen < self.oldest || (self.excess > 0 && first)
            }
        };
        goes && !queued
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

fn delete_run(tables: &mut Tables<'_>, id: RunId) -> Result<(), StoreError> {
    let mut bytes = tables.runs.remove(id.0)?.map_or(0, |v| v.value().len());
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
    tables.size_change -= grown(bytes, None);
    Ok(())
}
