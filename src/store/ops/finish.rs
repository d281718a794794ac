//! Ends runs, and queues them again if configured.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use redb::ReadableTable;

use crate::metrics::MetricEvent;
use crate::model::alert::{EpisodeKey, Status};
use crate::model::message::Message;
use crate::model::run::{CONTROLLER, HostResult, Outcome, Run, RunId, State};
use crate::store::disk::index;
use crate::store::disk::records::Reported;
use crate::store::disk::tables::{Tables, encode};
use crate::store::ops::restart::repeated;
use crate::store::ops::state::WriterState;
use crate::store::ops::{circuits, facts, messages, verdicts};
use crate::store::{Ended, RoleFindings, StoreError};

pub(crate) fn finish(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    id: RunId,
    ended: &Ended,
    now: DateTime<Utc>,
) -> Result<Run, StoreError> {
    state.scan = None;
    let Some(running) = state.running.remove(&id) else {
        return Err(if tables.runs.get(id.0)?.is_some() {
            StoreError::Finished(id)
        } else {
            StoreError::NoSuchRun(id)
        });
    };
    let mut run = running.run;
    run.output_bytes = running.kept.total_bytes();
    end(tables, state, run, ended, now)
}

/// Ends a run that never started.
pub(crate) fn end_queued(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    id: RunId,
    outcome: Outcome,
    why: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    state.scan = None;
    let queued = state.take(id).expect("the caller found it queued");
    let ended = Ended {
        outcome,
        results: every_host(&queued.run, outcome),
        message: Some(why.to_owned()),
        findings: Vec::new(),
    };
    end(tables, state, queued.run, &ended, now)?;
    Ok(())
}

/// Ends a run that was in progress when promansible itself ended.
pub(crate) fn interrupt(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    id: RunId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let running = state.running.get(&id).expect("the caller found it running");
    let ended = Ended {
        outcome: Outcome::Interrupted,
        results: every_host(&running.run, Outcome::Interrupted),
        message: Some("promansible ended during this run".to_owned()),
        findings: Vec::new(),
    };
    finish(tables, state, id, &ended, now)?;
    Ok(())
}

fn every_host(run: &Run, outcome: Outcome) -> BTreeMap<String, HostResult> {
    run.hosts
        .iter()
        .map(|host| (host.clone(), HostResult::bare(outcome, None)))
        .collect()
}

fn end(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    mut run: Run,
    ended: &Ended,
    now: DateTime<Utc>,
) -> Result<Run, StoreError> {
    run.state = State::Finished;
    run.outcome = Some(ended.outcome);
    run.results.clone_from(&ended.results);
    run.message.clone_from(&ended.message);
    run.finished_at = Some(now);
    tables.open.remove(run.id.0)?;
    if run.started_at.is_some() {
        verdicts::conclude(tables, state, &mut run, now)?;
    }
    circuits::count_failures(tables, state, &run, now)?;
    tables.put_run(&run)?;
    let joined = state.joined.get(&run.id).map_or(&[][..], Vec::as_slice);
    index::add(tables, &run, joined)?;
    state.dirty.remove(&run.id);
    state.touched.insert(run.id);
    state.moved.push(run.id);
    state.queue_changed = true;
    // A run in check mode changed nothing, so it is no success of the role, and its findings may be incomplete.
    if !run.work.check {
        store_successes(tables, &run, now)?;
        store_findings(tables, state, &run, &ended.findings)?;
    }
    if run.outcome == Some(Outcome::Interrupted) && run.work.rerun_on_interrupt {
        rerun(tables, state, &run, now)?;
    }
    if let Some(message) = Message::of_run(&run) {
        messages::put(tables, state, &message)?;
    }
    state
        .happened
        .push(MetricEvent::Finished(Box::new(run.clone())));
    Ok(run)
}

fn store_successes(
    tables: &mut Tables<'_>,
    run: &Run,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for (host, result) in &run.results {
        if result.outcome == Outcome::Successful {
            for role in &run.work.roles {
                let key = (role.as_str(), host.as_str());
                tables.last_success.insert(key, now.timestamp_millis())?;
            }
        }
    }
    Ok(())
}

fn store_findings(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    run: &Run,
    found: &[RoleFindings],
) -> Result<(), StoreError> {
    for found in found.iter().cloned() {
        let reported = Reported {
            at: found.at,
            run: run.id,
            findings: found.findings,
        };
        let key = (found.role.as_str(), found.host.as_str());
        tables.findings.insert(key, encode(&reported).as_slice())?;
        state.happened.push(MetricEvent::Reported {
            role: found.role,
            host: found.host,
            at: found.at,
            findings: reported.findings,
        });
    }
    Ok(())
}

/// Deletes the successes, findings and facts of all hosts except these and the controller.
pub(crate) fn forget_hosts_but(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    known: &BTreeSet<String>,
) -> Result<(), StoreError> {
    facts::forget_hosts_but(tables, state, known)?;
    let mut departed = BTreeSet::new();
    let mut collect = |(role, host): (&str, &str)| {
        if host != CONTROLLER && !known.contains(host) {
            departed.insert((role.to_owned(), host.to_owned()));
        }
    };
    for row in tables.last_success.iter()? {
        collect(row?.0.value());
    }
    for row in tables.findings.iter()? {
        collect(row?.0.value());
    }
    for (role, host) in departed {
        let key = (role.as_str(), host.as_str());
        tables.last_success.remove(key)?;
        tables.findings.remove(key)?;
        state.happened.push(MetricEvent::Forgotten { role, host });
    }
    Ok(())
}

/// Queues the same work for the same episodes again. The episodes now belong to the new run.
fn rerun(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    old: &Run,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut again = Vec::new();
    for (key, of_run) in tables.run_episodes(old.id)? {
        if of_run.left_out {
            continue;
        }
        // Episodes that resolved in the meantime need no second run.
        match tables.episode(&key)? {
            Some(episode) if (episode.status == Status::Firing) != old.on_resolved => {
                again.push((key, episode, of_run));
            }
            _ => {}
        }
    }
    let by_alert = old.binding.is_some();
    if by_alert && again.is_empty() {
        return Ok(());
    }
    let id = state.take_run_id();
    let mut episodes: BTreeMap<EpisodeKey, Vec<String>> = BTreeMap::new();
    for (key, mut episode, of_run) in again {
        let decided = old
            .binding
            .as_ref()
            .and_then(|b| episode.decisions.get_mut(b));
        if let Some(decided) = decided.filter(|decided| decided.run == Some(old.id)) {
            decided.run = Some(id);
            decided.outcome = None;
            decided.ended_at = None;
        }
        tables.put_episode(&key, &mut episode)?;
        episodes.insert(key, of_run.hosts.clone());
        state.note_joined(id, &key, of_run);
    }
    let mut hosts = old.hosts.clone();
    if by_alert {
        hosts.retain(|host| episodes.values().flatten().any(|h| h == host));
    }
    let run = Run {
        id,
        hosts,
        ..repeated(old, now)
    };
    state.enqueue(tables, run, episodes)
}
