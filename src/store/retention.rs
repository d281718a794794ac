//! What goes: by age and by size, a slice at a time.

use chrono::{DateTime, TimeDelta, Utc};
use redb::ReadableTable;

use super::live::Live;
use super::records::{Decided, Episode};
use super::tables::{Tables, decode, grown, key_of};
use super::{StoreError, audit, guards, index};
use crate::alert::Status;
use crate::config::Storage;
use crate::plan::LATE;
use crate::run::{Run, RunId, State};

/// How much one transaction deletes at most, so that a notification that comes meanwhile does not wait long.
const SLICE: usize = 200;

/// How many hosts the runs have at most that one transaction deletes, beyond those of one run: each is in the index.
const HOSTS: usize = 10_000;

/// How many episodes one transaction looks at, most of which may have to stay.
const LOOKS: usize = 2_000;

/// How long an alert that was firing must not be heard of, whatever the retention time, before it is taken for over.
/// Alertmanager repeats what fires after `repeat_interval`: hours, seldom days.
const FORGET_FIRING: TimeDelta = TimeDelta::days(7);

/// The same where episodes take more than twice their share: some Alertmanager never says `resolved`.
const FORGET_FIRING_SOON: TimeDelta = TimeDelta::days(1);

/// Which part of the size is for episodes: one in so many. Alerts that fire all the time must not push the runs out.
const EPISODES_SHARE: i64 = 4;

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
    let share = limit / EPISODES_SHARE;
    let mut slice = Slice {
        now,
        oldest,
        share,
        excess: live.episodes_bytes + tables.episodes_change - share,
        left: SLICE,
        done: Retained::default(),
    };
    slice.episodes(tables, live)?;
    // What episodes do not need is the runs'.
    let episodes_bytes = live.episodes_bytes + tables.episodes_change;
    slice.excess = live.runs_bytes + tables.runs_change - (limit - episodes_bytes.min(share));
    slice.runs(tables)?;
    guards::forget_touches(tables, live, now, SLICE)?;
    slice.done.more |= audit::retain(tables, oldest)?;
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
    fn runs(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        let (mut doomed, mut hosts) = (Vec::new(), 0);
        let mut is_full = self.left == 0;
        for row in tables.runs.iter()? {
            if is_full {
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

    fn episodes(&mut self, tables: &mut Tables<'_>, live: &mut Live) -> Result<(), StoreError> {
        let mut doomed = Vec::new();
        let from = live.retention_from.take().unwrap_or((i64::MIN, 0));
        for (looked, row) in tables.episodes.range(from..)?.enumerate() {
            let (key, value) = row?;
            let (starts_at_nanos, _) = key.value();
            // None is heard of before it begins, so the rest is younger.
            let by_age = DateTime::from_timestamp_nanos(starts_at_nanos) < self.oldest;
            if !by_age && self.excess <= 0 {
                break;
            }
            if doomed.len() == self.left || looked == LOOKS {
                live.retention_from = Some(key.value());
                self.done.more = true;
                break;
            }
            let bytes = value.value().len();
            let episode: Episode = decode(value.value())?;
            if self.may_go(&episode, live) {
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
    fn may_go(&self, episode: &Episode, live: &Live) -> bool {
        let mut handled = false;
        for run in episode.decisions.values().filter_map(Decided::handled_by) {
            if live.queue.contains_key(&run) || live.running.contains_key(&run) {
                return false;
            }
            handled = true;
        }
        let silent = |time| episode.last_seen < self.now - time;
        let (old, too_much) = (episode.last_seen < self.oldest, self.excess > 0);
        match (episode.status, handled) {
            (Status::Firing, false) => too_much || (old && silent(FORGET_FIRING)),
            (Status::Firing, true) => {
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
    let id = run.id;
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
    tables.runs_change -= grown(bytes, None);
    Ok(())
}
