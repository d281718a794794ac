//! The queue: selects the next run to start, and cancels queued runs.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use chrono::{DateTime, Utc};
use redb::ReadableTable;
use tokio::sync::watch;

use crate::config::Config;
use crate::metrics::MetricEvent;
use crate::model::alert::Alert;
use crate::model::run::{Outcome, Run, RunId, State, Trigger, Work};
use crate::store::disk::tables::{Tables, meta_number};
use crate::store::ops::output_window::OutputWindow;
use crate::store::ops::state::{Queued, RunHandle, Running, Scan, WriterState};
use crate::store::ops::{approvals, finish, guards, restart, start_guard};
use crate::store::{Canceled, Claim, Claimed, StoreError};

/// The reason for the failure of a run whose alert is lost.
const ALERT_LOST: &str = "its alert is no longer in the store";

/// Queues a manual run. It has no batch window.
pub(crate) fn queue_manual(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    (work, hosts): (&Work, &[String]),
    started_by: Option<&str>,
    limit: usize,
    now: DateTime<Utc>,
) -> Result<RunId, StoreError> {
    queue_run(
        tables,
        state,
        Trigger::Manual,
        (work, hosts),
        |run| run.started_by = started_by.map(str::to_owned),
        limit,
        now,
    )
}

/// The name in `meta` of the time of the last scheduled gathering of facts, in milliseconds since 1970.
const FACTS_ASKED: &str = "facts_asked";

/// Queues a gathering of facts if it is due and no earlier one is open.
///
/// Returns when the next one is due.
pub(crate) fn queue_facts(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    (work, hosts): (&Work, &[String]),
    every: Duration,
    limit: usize,
    now: DateTime<Utc>,
) -> Result<(Option<RunId>, DateTime<Utc>), StoreError> {
    let asked = meta_number(&*tables.meta, FACTS_ASKED)?;
    let asked =
        DateTime::from_timestamp_millis(i64::try_from(asked).unwrap_or(0)).unwrap_or_default();
    // A clock that was set back must not delay the gathering.
    let due = if asked > now { now } else { asked + every };
    let is_same = |run: &Run| run.trigger == Trigger::Schedule && run.work.roles == work.roles;
    let is_open = state.queue.values().any(|queued| is_same(&queued.run))
        || state.running.values().any(|running| is_same(&running.run));
    if due > now || is_open {
        return Ok((None, due.max(now + FACTS_LOOK)));
    }
    let id = queue_run(
        tables,
        state,
        Trigger::Schedule,
        (work, hosts),
        |_| (),
        limit,
        now,
    )?;
    let asked = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    tables
        .meta
        .insert(FACTS_ASKED, asked.to_le_bytes().as_slice())?;
    Ok((Some(id), now + every))
}

/// How soon to check again while an earlier gathering is in progress.
const FACTS_LOOK: Duration = Duration::from_secs(1);

/// Returns an error if the queue has no room for one more run.
pub(crate) fn queue_full(state: &WriterState, limit: usize) -> Option<StoreError> {
    let queued = state.queue.len();
    (queued >= limit).then_some(StoreError::QueueFull {
        what: "runs",
        queued,
        wanted: 1,
        limit,
        key: "runs.queue_limit",
    })
}

/// Queues a run without alerts; `shape` sets its further fields.
pub(crate) fn queue_run(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    trigger: Trigger,
    (work, hosts): (&Work, &[String]),
    shape: impl FnOnce(&mut Run),
    limit: usize,
    now: DateTime<Utc>,
) -> Result<RunId, StoreError> {
    queue_full(state, limit)
        .map_or_else(|| guards::refuse_held(state, trigger, hosts, now), Err)?;
    let mut run = state.new_run(trigger, work.clone(), now);
    run.hosts = hosts.to_vec();
    shape(&mut run);
    let id = run.id;
    state.enqueue(tables, run, BTreeMap::new())?;
    Ok(id)
}

pub(crate) fn claim(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    config: &Config,
    now: DateTime<Utc>,
) -> Result<Claim, StoreError> {
    state.guards.clock(now);
    state.guards.circuit = Some(config.guards.circuit);
    approvals::end_lapsed(tables, state, now)?;
    let (id, about, alerts) = loop {
        let Some(id) = choose(state, now) else {
            let next = state.scan.as_ref().and_then(|scan| scan.next);
            let lapse = state.approvals.first().map(|(until, _)| *until);
            return Ok(Claim::Nothing {
                next: [next, lapse].into_iter().flatten().min(),
            });
        };
        let Some(about) = start_guard::check_start(tables, state, config, id, now)? else {
            continue;
        };
        if let Some(alerts) = alerts_of(tables, &state.queue[&id])? {
            break (id, about, alerts);
        }
        // A damaged row must not block all other runs, and a role must not run without its alert.
        finish::end_queued(tables, state, id, Outcome::Failed, ALERT_LOST, now)?;
    };
    let Queued { mut run, .. } = state.take(id).expect("it was just chosen");
    start_guard::record_start(tables, state, config, (&run, &about), now)?;
    if let Some(scan) = &mut state.scan {
        let machines = state.fleet.machines_of(&run);
        scan.taken.extend(machines.map(str::to_owned));
    }
    run.machines = state.fleet.machines.among(&run.hosts);
    run.state = State::Running;
    run.started_at = Some(now);
    state.happened.push(MetricEvent::Started {
        roles: run.work.roles.clone(),
        waited: (now - run.created_at).to_std().unwrap_or_default(),
    });
    let (cancel, canceled) = watch::channel(None);
    // A failed start has left output.
    let (kept, events) = OutputWindow::load(tables, &run, config.runs.output_limit_bytes)?;
    state.running.insert(
        id,
        Running {
            run: run.clone(),
            cancel,
            kept,
            events,
        },
    );
    state.dirty.insert(id);
    state.moved.push(id);
    state.queue_changed = true;
    Ok(Claim::Run(Box::new(Claimed {
        run,
        alerts,
        cancel: canceled,
    })))
}

/// An alert and its hosts.
type AlertOnHosts = (Alert, Vec<String>);

/// Returns the alerts of a queued run with their hosts; `None` if one is no longer in the store.
fn alerts_of(
    tables: &Tables<'_>,
    queued: &Queued,
) -> Result<Option<Vec<AlertOnHosts>>, StoreError> {
    queued
        .episodes
        .iter()
        .map(|(key, hosts)| {
            let episode = tables.episode(key)?;
            Ok(episode.map(|episode| (episode.alert(), hosts.clone())))
        })
        .collect()
}

/// Returns the oldest run that may start. A host that an older run waits for counts as busy; otherwise a run on many
/// hosts could wait forever. Runs that were checked before are not checked again until a host may have become free.
fn choose(state: &mut WriterState, now: DateTime<Utc>) -> Option<RunId> {
    let holds = |scan: &Scan| now >= scan.at && scan.next.is_none_or(|next| now < next);
    let mut scan = state.scan.take().filter(holds).unwrap_or_else(|| Scan {
        taken: state.busy_machines().map(str::to_owned).collect(),
        upto: RunId(0),
        at: now,
        next: None,
    });
    let mut chosen = None;
    for (id, queued) in state.queue.range((Excluded(scan.upto), Unbounded)) {
        let run = &queued.run;
        let fleet = &state.fleet;
        if state.guards.book.hold(run).is_some() || fleet.is_in_doubt(run) {
            // It reserves no hosts: it may be held for days.
        } else if queued.waits(now) {
            let first = scan.next.map_or(run.ready_at, |at| at.min(run.ready_at));
            scan.next = Some(first);
        } else if run.work.allow_overlap || !fleet.machines_of(run).any(|m| scan.taken.contains(m))
        {
            chosen = Some(*id);
            break;
        } else {
            scan.taken.extend(fleet.machines_of(run).map(str::to_owned));
        }
        scan.upto = *id;
    }
    state.scan = Some(scan);
    chosen
}

/// Returns claimed runs to the queue if the result of their commit was lost, so that they have no owner.
pub(crate) fn put_back_unowned(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    held: &BTreeMap<RunId, RunHandle>,
) -> Result<(), StoreError> {
    let unowned = state.running.keys().filter(|id| !held.contains_key(id));
    for id in unowned.copied().collect::<Vec<_>>() {
        let run = state.running[&id].run.clone();
        start_guard::revert_start(tables, state, &run)?;
        queue_again(tables, state, id)?;
    }
    Ok(())
}

/// Returns a claimed run that was not started to the queue.
pub(crate) fn put_back(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    id: RunId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let running = state.running.get(&id).ok_or(StoreError::NoSuchRun(id))?;
    let canceled = running.cancel.borrow().clone();
    let run = running.run.clone();
    start_guard::revert_start(tables, state, &run)?;
    queue_again(tables, state, id)?;
    if let Some(who) = canceled {
        let why = canceled_by(&who);
        return finish::end_queued(tables, state, id, Outcome::Canceled, &why, now);
    }
    restart::leave_out_resolved(tables, state, id, now)
}

fn canceled_by(who: &str) -> String {
    format!("canceled by {who} before it started")
}

fn queue_again(tables: &Tables<'_>, state: &mut WriterState, id: RunId) -> Result<(), StoreError> {
    let running = state
        .running
        .remove(&id)
        .expect("the caller found it running");
    let mut run = running.run;
    run.state = State::Queued;
    run.started_at = None;
    let episodes = tables.still_about(id)?;
    state.dirty.insert(id);
    state.moved.push(id);
    state.put(run, episodes);
    state.queue_changed = true;
    state.scan = None;
    Ok(())
}

pub(crate) fn cancel(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    id: RunId,
    who: &str,
    now: DateTime<Utc>,
) -> Result<Canceled, StoreError> {
    if state.queue.contains_key(&id) {
        let why = canceled_by(who);
        finish::end_queued(tables, state, id, Outcome::Canceled, &why, now)?;
        return Ok(Canceled::Ended);
    }
    if let Some(running) = state.running.get(&id) {
        running.cancel.send_replace(Some(who.to_owned()));
        return Ok(Canceled::Ending);
    }
    Err(if tables.runs.get(id.0)?.is_some() {
        StoreError::Finished(id)
    } else {
        StoreError::NoSuchRun(id)
    })
}
