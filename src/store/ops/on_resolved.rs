//! The `on_resolved` runs of bindings: once for each resolved episode that had a run of the binding.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use crate::config::{Binding, Config};
use crate::model::alert::EpisodeKey;
use crate::model::guards::{Mode, after};
use crate::model::run::{Approval, Outcome, RunId, Trigger, Work};
use crate::plan;
use crate::store::StoreError;
use crate::store::disk::records::{DecisionRecord, Episode, RunEpisode};
use crate::store::disk::tables::Tables;
use crate::store::ops::finish;
use crate::store::ops::state::WriterState;

/// The reason for canceling an `on_resolved` run.
const FIRES_AGAIN: &str = "its alerts are firing again";

/// Queues `on_resolved` runs, in one transaction.
pub(crate) struct OnResolved<'a> {
    config: &'a Config,
    now: DateTime<Utc>,
    /// Binding → the run that accepts its further episodes.
    open: HashMap<String, RunId>,
    /// Run → its episodes, read once.
    of_runs: HashMap<RunId, BTreeMap<EpisodeKey, RunEpisode>>,
}

impl<'a> OnResolved<'a> {
    pub(crate) fn new(config: &'a Config, now: DateTime<Utc>) -> Self {
        Self {
            config,
            now,
            open: HashMap::new(),
            of_runs: HashMap::new(),
        }
    }

    /// Adds an episode that has just resolved.
    pub(crate) fn take(
        &mut self,
        tables: &mut Tables<'_>,
        state: &mut WriterState,
        key: &EpisodeKey,
        episode: &mut Episode,
    ) -> Result<(), StoreError> {
        for binding in &self.config.bindings {
            if binding.on_resolved.is_empty() || binding.mode == Mode::Observe {
                continue;
            }
            let decided = episode.decisions.get(&binding.name);
            let Some(before) = decided.and_then(owed) else {
                continue;
            };
            let Some(hosts) = self.hosts(tables, before, key)? else {
                continue;
            };
            let id = self.run_for(tables, state, binding)?;
            state.join(id, *key, &hosts);
            state.note_joined(id, key, RunEpisode::new(episode, hosts, false));
            if let Some(decided) = episode.decisions.get_mut(&binding.name) {
                decided.on_resolved = Some(id);
            }
        }
        Ok(())
    }

    /// Returns the hosts of the episode in its run.
    fn hosts(
        &mut self,
        tables: &Tables<'_>,
        run: RunId,
        key: &EpisodeKey,
    ) -> Result<Option<Vec<String>>, StoreError> {
        if let Entry::Vacant(entry) = self.of_runs.entry(run) {
            entry.insert(tables.run_episodes(run)?.into_iter().collect());
        }
        let of_run = self.of_runs[&run].get(key);
        Ok(of_run.map(|of_run| of_run.hosts.clone()))
    }

    /// Returns the queued run that still accepts episodes, or a new one. A full queue gets no second run of a binding.
    fn run_for(
        &mut self,
        tables: &mut Tables<'_>,
        state: &mut WriterState,
        binding: &Binding,
    ) -> Result<RunId, StoreError> {
        let work = plan::work_on_resolved(binding);
        let limits = &self.config.runs;
        let full = state.queue.len() >= limits.queue_limit;
        let made_here = self.open.get(&binding.name).copied();
        let open = made_here.or_else(|| find(state, binding, &work));
        if let Some(id) = open {
            let queued = &state.queue[&id];
            let in_time = made_here.is_some() || queued.waits(self.now);
            if full || in_time && queued.episodes.len() < limits.alerts_limit {
                return Ok(id);
            }
        }
        let mut run = state.new_run(Trigger::Alert, work, self.now);
        run.binding = Some(binding.name.clone());
        run.on_resolved = true;
        run.ready_at = self.now + binding.batch_window;
        run.approval = binding.approval.map(|ttl| Approval {
            until: after(self.now, ttl),
            by: None,
            at: None,
        });
        let id = run.id;
        state.enqueue(tables, run, BTreeMap::new())?;
        self.open.insert(binding.name.clone(), id);
        Ok(id)
    }
}

/// Returns the run after which a binding still owes an episode its `on_resolved`: a run that started, or one whose
/// later step was refused.
fn owed(decided: &DecisionRecord) -> Option<RunId> {
    let had = !decided.left_out || decided.step > 1;
    decided.run.filter(|_| had && decided.on_resolved.is_none())
}

/// Returns the newest queued run of this kind.
fn find(state: &WriterState, binding: &Binding, work: &Work) -> Option<RunId> {
    let mut queued = state.queue.values().rev();
    let found = queued.find(|queued| {
        let run = &queued.run;
        run.on_resolved && run.binding.as_ref() == Some(&binding.name) && run.work == *work
    });
    found.map(|queued| queued.run.id)
}

/// Removes an episode that fires again from its queued `on_resolved` runs.
pub(crate) fn take_back(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    key: &EpisodeKey,
    episode: &mut Episode,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let runs: Vec<RunId> = episode
        .decisions
        .values()
        .filter_map(|d| d.on_resolved)
        .collect();
    for id in runs {
        let Some(hosts) = state.leave(id, key) else {
            continue;
        };
        state.note_joined(id, key, RunEpisode::new(episode, hosts, true));
        let decided = episode.decisions.values_mut();
        for decided in decided.filter(|decided| decided.on_resolved == Some(id)) {
            decided.on_resolved = None;
        }
        if state.queue[&id].episodes.is_empty() {
            finish::end_queued(tables, state, id, Outcome::Canceled, FIRES_AGAIN, now)?;
        } else {
            state.tidy(id);
        }
    }
    Ok(())
}
