//! Starting once more: a run whose start came to nothing, and one that has ended, because a person asks for it.

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

/// Every further pause is longer by this factor.
const GROWTH: u32 = 3;

/// A start of which no task began, and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedStart {
    /// Why nothing came of it.
    pub why: String,
    /// How often a run is started before it has failed.
    pub attempts: u32,
    /// How long it waits before the second start.
    pub pause: Duration,
}

/// Puts a run back of which no task began. False where it was started often enough: the caller ends it.
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
        "start {starts} of {} came to nothing, and it is tried again: {}",
        vain.attempts, vain.why
    ));
    queue::put_back(tables, state, id, now)?;
    Ok(true)
}

/// Takes the alerts that resolved while it was handed out off a run that is queued again; without any it ends.
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
        // That it had resolved already when a person asked for a repetition is no news.
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

/// Who wants a run once more, and which of its variables are others.
#[derive(Debug, Clone, Default)]
pub struct RerunRequest {
    /// Who.
    pub by: Option<String>,
    /// What replaces the old run's variables of these names. Of a run by hand or by schedule only.
    pub vars: Vars,
}

/// An episode of the old run, with what that kept of it.
type Old = (EpisodeKey, Episode, RunEpisode);

fn rerun(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    id: RunId,
    again: &RerunRequest,
    config: &Config,
    now: DateTime<Utc>,
) -> Result<RunId, StoreError> {
    let of_it = |run: &Run| run.rerun_of == Some(id);
    let queued = state.queue.values().map(|queued| &queued.run);
    let mut open = queued.chain(state.running.values().map(|running| &running.run));
    if let Some(other) = open.find(|run| run.id == id || of_it(run)) {
        return Err(StoreError::RunsStill(other.id));
    }
    let old = tables.runs.get(id.0)?;
    let old = old.and_then(|value| tables.unreadable.decode(RUNS, &id.0, value.value()));
    let old: Run = old.ok_or(StoreError::NoSuchRun(id))?;
    if let Some(full) = queue::queue_full(state, config.runs.queue_limit) {
        return Err(full);
    }
    guards::refuse_held(state, Trigger::AdHocRun, &old.hosts, now)?;
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

/// Repeats a run for its alerts, by the binding as it is now.
fn for_alerts(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    old: &Run,
    binding: &Binding,
    again: &RerunRequest,
    now: DateTime<Utc>,
) -> Result<RunId, StoreError> {
    let episodes = known(tables, old)?;
    // What is under way for an alert, or comes next, must not meet itself.
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

/// The episodes that the old run was about and the store still holds. Where some of them fire, those; and where it went
/// without some, not those unless it went without all.
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

/// Makes the new run the one that handles an episode which still fires, so that its verdict is the new run's. What has
/// resolved keeps what was said of it.
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

/// A new run that does the same on the same hosts.
fn same(state: &mut WriterState, old: &Run, again: &RerunRequest, now: DateTime<Utc>) -> Run {
    Run {
        id: state.take_run_id(),
        started_by: again.by.clone(),
        approval: None,
        spared: Vec::new(),
        ..repeated(old, now)
    }
}

/// A run as it was before it was ever started, but for its number.
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
        // Whether the role is still to be tried out is asked anew.
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
    /// Puts a claimed run back of which no task began, to be started again after a pause; what a guard counted of its start
    /// is taken back. False if it was started as often as it may: the caller finishes it.
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

    /// Queues a run that has ended once more: for the same alerts, by its binding as it is now; without alerts on the same
    /// hosts with the same variables, but for those of `again`. What a guard counts (`cooldown`, `attempts`) does not keep it
    /// from starting; everything else does.
    ///
    /// *Errors*: [`StoreError::RunsStill`] if it, or another run for one of its alerts, is queued or under way;
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
