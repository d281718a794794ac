//! Starts runs again: a run whose start failed before any task, and an ended run on request.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use redb::ReadableTable;

use crate::config::{Binding, Config};
use crate::model::alert::{EpisodeKey, Status};
use crate::model::guards::after;
use crate::model::run::{Approval, Outcome, RemediationStep, Run, RunId, State, Trigger, Vars};
use crate::model::verdict::Verdicts;
use crate::plan;
use crate::store::disk::records::{DecisionRecord, Episode, RunEpisode};
use crate::store::disk::tables::{RUNS, Tables};
use crate::store::ops::admit::ALL_RESOLVED;
use crate::store::ops::state::WriterState;
use crate::store::ops::{finish, guards, queue};
use crate::store::{Store, StoreError};

/// The factor by which every further pause grows.
const GROWTH: u32 = 3;

/// A start that failed before any task began, and how to retry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedStart {
    /// The reason of the failure.
    pub why: String,
    /// The number of starts after which the run has failed.
    pub attempts: u32,
    /// The pause before the second start.
    pub pause: Duration,
}

/// Returns a run whose start failed to the queue. Returns false if it has no attempts left: then the caller ends it.
fn try_again(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    id: RunId,
    vain: &FailedStart,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let running = state
        .running
        .get_mut(&id)
        .ok_or(StoreError::NoSuchRun(id))?;
    let starts = running.run.vain_starts + 1;
    if starts >= vain.attempts {
        return Ok(false);
    }
    let pause = vain.pause.saturating_mul(GROWTH.saturating_pow(starts - 1));
    let run = &mut running.run;
    run.vain_starts = starts;
    run.output_bytes = running.kept.total_bytes();
    run.ready_at = after(now, pause);
    run.message = Some(format!(
        "start {starts} of {} failed before any task and will be retried: {}",
        vain.attempts, vain.why
    ));
    queue::put_back(tables, state, id, now)?;
    Ok(true)
}

/// Removes alerts that resolved in the meantime from a run that is queued again; without alerts it ends.
pub(crate) fn leave_out_resolved(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    id: RunId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let queued = &state.queue[&id];
    if queued.run.on_resolved {
        return Ok(());
    }
    let binding = queued.run.binding.clone().unwrap_or_default();
    let made_at = queued.run.created_at;
    let keys: Vec<EpisodeKey> = queued.episodes.keys().copied().collect();
    let mut any = false;
    for key in keys {
        let Some(mut episode) = tables.episode(&key)? else {
            continue;
        };
        // An alert that had already resolved when the repetition was requested stays in the run.
        let resolved = episode.resolved_at.filter(|at| *at > made_at);
        if episode.status == Status::Firing || resolved.is_none() {
            continue;
        }
        any = true;
        let hosts = state.leave(id, &key).unwrap_or_default();
        state.note_joined(id, &key, RunEpisode::new(&episode, hosts, true));
        let decided = episode.decisions.get_mut(&binding);
        if let Some(decided) = decided.filter(|decided| decided.run == Some(id)) {
            decided.left_out = true;
            tables.put_episode(&key, &mut episode)?;
        }
    }
    if any && state.queue[&id].episodes.is_empty() {
        finish::end_queued(tables, state, id, Outcome::Canceled, ALL_RESOLVED, now)?;
    } else if any {
        state.tidy(id);
    }
    Ok(())
}

/// A request to repeat a run.
#[derive(Debug, Clone, Default)]
pub struct RerunRequest {
    /// The user, if known.
    pub by: Option<String>,
    /// Variables that replace those of the old run. Only for manual and scheduled runs.
    pub vars: Vars,
}

/// An episode of the old run, with the run's record of it.
type Old = (EpisodeKey, Episode, RunEpisode);

fn rerun(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    id: RunId,
    again: &RerunRequest,
    config: &Config,
    now: DateTime<Utc>,
) -> Result<RunId, StoreError> {
    let is_repetition = |run: &Run| run.rerun_of == Some(id);
    let queued = state.queue.values().map(|queued| &queued.run);
    let mut open = queued.chain(state.running.values().map(|running| &running.run));
    if let Some(other) = open.find(|run| run.id == id || is_repetition(run)) {
        return Err(StoreError::RunsStill(other.id));
    }
    let old = tables.runs.get(id.0)?;
    let old = old.and_then(|value| tables.unreadable.decode(RUNS, &id.0, value.value()));
    let old: Run = old.ok_or(StoreError::NoSuchRun(id))?;
    if let Some(full) = queue::queue_full(state, config.runs.queue_limit) {
        return Err(full);
    }
    guards::refuse_held(state, Trigger::Manual, &old.hosts, now)?;
    let Some(name) = &old.binding else {
        let mut run = same(state, &old, again, now);
        run.work.vars.extend(again.vars.clone());
        let new = run.id;
        state.enqueue(tables, run, BTreeMap::new())?;
        return Ok(new);
    };
    let mut bindings = config.bindings.iter();
    let binding = bindings.find(|binding| binding.name == *name);
    let binding = binding.ok_or_else(|| StoreError::BindingGone(name.clone()))?;
    for_alerts(tables, state, &old, binding, again, now)
}

/// Repeats a run for its alerts, with the current binding.
fn for_alerts(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    old: &Run,
    binding: &Binding,
    again: &RerunRequest,
    now: DateTime<Utc>,
) -> Result<RunId, StoreError> {
    let episodes = known(tables, old)?;
    // A run for the same alert must not be queued or running.
    for (_, episode, _) in &episodes {
        let decided = episode.decisions.get(&binding.name);
        let open = decided.and_then(|decided| decided.run);
        let is_open = |id: &RunId| state.queue.contains_key(id) || state.running.contains_key(id);
        if let Some(other) = open.filter(is_open) {
            return Err(StoreError::RunsStill(other));
        }
    }
    if episodes.is_empty() {
        return Err(StoreError::AlertsGone(old.id));
    }
    let step = old.remedy.map_or(1, |remedy| remedy.step);
    let work = if old.on_resolved {
        plan::work_on_resolved(binding)
    } else {
        plan::work(binding, step)
    };
    if work.roles.is_empty() {
        return Err(StoreError::BindingGone(binding.name.clone()));
    }
    let mut run = same(state, old, again, now);
    run.work = work;
    run.remedy = old.remedy.map(|_| plan::remedy(binding, step, false));
    run.approval = binding.approval.map(|ttl| Approval {
        until: after(now, ttl),
        by: None,
        at: None,
    });
    run.hosts.clear();
    let (new, remedy) = (run.id, run.remedy);
    state.enqueue(tables, run, BTreeMap::new())?;
    for (key, mut episode, of_run) in episodes {
        state.join(new, key, &of_run.hosts);
        state.note_joined(
            new,
            &key,
            RunEpisode {
                left_out: false,
                ..of_run
            },
        );
        if remedy.is_some() && take_over(&mut episode, binding, (new, step), now) {
            tables.put_episode(&key, &mut episode)?;
        }
    }
    Ok(new)
}

/// Returns the episodes of the old run that are still in the store: only the firing ones, if any fires, and only those
/// that the run handled, if it handled any.
fn known(tables: &Tables<'_>, old: &Run) -> Result<Vec<Old>, StoreError> {
    let mut known: Vec<Old> = Vec::new();
    for (key, of_run) in tables.run_episodes(old.id)? {
        if let Some(episode) = tables.episode(&key)? {
            known.push((key, episode, of_run));
        }
    }
    let fires = |(_, episode, _): &Old| episode.status == Status::Firing;
    let handled = |(_, _, of_run): &Old| !of_run.left_out;
    if !old.on_resolved && known.iter().any(fires) {
        known.retain(fires);
    }
    if known.iter().any(handled) {
        known.retain(handled);
    }
    Ok(known)
}

/// Makes the new run handle an episode that still fires, so that its verdict belongs to the new run. Resolved episodes
/// keep their decision.
fn take_over(
    episode: &mut Episode,
    binding: &Binding,
    (run, step): (RunId, u32),
    now: DateTime<Utc>,
) -> bool {
    if episode.status != Status::Firing {
        return false;
    }
    let old = episode.decisions.get(&binding.name);
    let decided = DecisionRecord {
        run: Some(run),
        step,
        about: old.and_then(|decided| decided.about.clone()),
        on_resolved: old.and_then(|decided| decided.on_resolved),
        ..DecisionRecord::new(crate::model::run::RUN, None, now)
    };
    episode.decisions.insert(binding.name.clone(), decided);
    true
}

/// Creates a new run with the same work on the same hosts.
fn same(state: &mut WriterState, old: &Run, again: &RerunRequest, now: DateTime<Utc>) -> Run {
    Run {
        id: state.take_run_id(),
        started_by: again.by.clone(),
        approval: None,
        spared: Vec::new(),
        ..repeated(old, now)
    }
}

/// Resets a run to its state before the first start. The caller sets the new number.
pub(crate) fn repeated(old: &Run, now: DateTime<Utc>) -> Run {
    Run {
        state: State::Queued,
        created_at: now,
        ready_at: now,
        vain_starts: 0,
        started_at: None,
        finished_at: None,
        outcome: None,
        results: BTreeMap::new(),
        message: None,
        verdicts: Verdicts::default(),
        // Whether the role must be tested is determined again.
        remedy: old.remedy.map(|remedy| RemediationStep {
            probe: false,
            ..remedy
        }),
        rerun_of: Some(old.id),
        output_bytes: 0,
        events_dropped: 0,
        ..old.clone()
    }
}

impl Store {
    /// Returns a claimed run whose start failed before any task to the queue, to be started again after a pause. The
    /// start no longer counts for the guards. Returns false if no attempts are left: then the caller finishes the run.
    ///
    /// *Errors*: as [`Store::put_back`].
    pub async fn try_again(
        &self,
        run: RunId,
        vain: FailedStart,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.write(move |tables, state| try_again(tables, state, run, &vain, now))
            .await
    }

    /// Queues an ended run again: for the same alerts with its current binding, or without alerts on the same hosts
    /// with the same variables, except those in `again`. Counting guards (`cooldown`, `attempts`) do not apply to it;
    /// all others do.
    ///
    /// *Errors*: [`StoreError::RunsStill`] if it, or another run for one of its alerts, is queued or running;
    /// [`StoreError::AlertsGone`], [`StoreError::BindingGone`], [`StoreError::HostHeld`], [`StoreError::NoSuchRun`].
    pub async fn rerun(
        &self,
        run: RunId,
        again: RerunRequest,
        config: std::sync::Arc<Config>,
        now: DateTime<Utc>,
    ) -> Result<RunId, StoreError> {
        self.write(move |tables, state| rerun(tables, state, run, &again, &config, now))
            .await
    }
}
