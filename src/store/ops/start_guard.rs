//! Checks the guards again at the start of a run: its decision may be minutes old.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::config::{Binding, Config};
use crate::metrics::MetricEvent;
use crate::model::alert::EpisodeKey;
use crate::model::guards::{CircuitState, Mode, Refused, StartRecord};
use crate::model::run::{Outcome, Run, RunId, Skip, SkippedHost};
use crate::plan;
use crate::store::StoreError;
use crate::store::disk::records::RunEpisode;
use crate::store::disk::tables::Tables;
use crate::store::ops::guard_subjects::{GuardSubjects, about_of, counted};
use crate::store::ops::state::WriterState;
use crate::store::ops::{finish, guards};

/// Removes the hosts from a queued run on which it may not start now. Returns the subjects of the guards; `None` if the
/// run ended because it has no hosts left. Its alerts are decided again when the guards allow it.
pub(crate) fn check_start(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    config: &Config,
    id: RunId,
    now: DateTime<Utc>,
) -> Result<Option<GuardSubjects>, StoreError> {
    let queued = &state.queue[&id];
    let run = &queued.run;
    let mut about = about_of(tables, run, queued.episodes.keys())?;
    let refused = refused(state, run, binding_of(config, run), &about, now);
    if refused.is_empty() {
        return Ok(Some(about));
    }
    let wanted = run.hosts.clone();
    if run.binding.is_some() {
        leave_out(tables, state, id, &refused, &about, now)?;
        state.tidy(id);
    }
    let queued = state
        .queue
        .get_mut(&id)
        .expect("the caller found it queued");
    for (host, refused) in &refused {
        queued.spare(SkippedHost {
            host: host.clone(),
            reason: refused.reason,
            why: refused.why.clone(),
        });
    }
    if queued.run.binding.is_none() {
        queued.run.hosts.retain(|host| !refused.contains_key(host));
    }
    if !queued.run.hosts.is_empty() {
        about.retain(|key, _| queued.episodes.contains_key(key));
        state.dirty.insert(id);
        return Ok(Some(about));
    }
    // Readers of the run want to see the hosts that were intended.
    queued.run.hosts = wanted;
    let why = refused.values().next().map_or("", |refused| &refused.why);
    let why = format!("it was not started: {why}");
    finish::end_queued(tables, state, id, Outcome::Canceled, &why, now)?;
    Ok(None)
}

/// Returns the current binding of a run; `None` for a run without alerts, and if the binding does not exist any more.
fn binding_of<'a>(config: &'a Config, run: &Run) -> Option<&'a Binding> {
    let name = run.binding.as_ref()?;
    let mut bindings = config.bindings.iter();
    bindings.find(|b| b.name == *name).map(AsRef::as_ref)
}

/// Returns the hosts on which a run may not start now, with the reasons.
fn refused(
    state: &WriterState,
    run: &Run,
    binding: Option<&Binding>,
    about: &GuardSubjects,
    now: DateTime<Utc>,
) -> BTreeMap<String, Refused> {
    let state = &state.guards;
    let every = |refused: &Refused| {
        let hosts = counted(run, about).into_iter();
        hosts.map(|host| (host.clone(), refused.clone())).collect()
    };
    let remedy = run.remedy;
    if let Some(binding) = binding {
        if let Some(closed) = plan::closed(binding, now) {
            return every(&closed);
        }
        if binding.mode == Mode::Observe {
            return every(&Refused {
                reason: Skip::Observe,
                until: None,
                why: "the mode is now observe".to_owned(),
            });
        }
    }
    // The mode may have become weaker since the decision.
    if binding.is_some_and(|b| b.mode == Mode::Check) && !run.work.check {
        return every(&Refused {
            reason: Skip::Observe,
            until: Some(now),
            why: "the mode is now check".to_owned(),
        });
    }
    if run.binding.is_some() && !remedy.is_some_and(|remedy| remedy.probe) {
        match state.book.gate(&run.work.roles, now) {
            CircuitState::Closed => {}
            CircuitState::Open(refused) => return every(&refused),
            CircuitState::HalfOpen => {
                return every(&Refused {
                    reason: Skip::CircuitOpen,
                    until: Some(now),
                    why: "its role must be tested on one host first".to_owned(),
                });
            }
        }
    }
    let mut refusals = BTreeMap::new();
    for host in counted(run, about) {
        // A person requested the repetition, so previous starts do not count.
        let refused = match (binding, remedy) {
            (Some(binding), Some(remedy)) if run.rerun_of.is_none() => {
                plan::refused(binding, state, remedy.step, host, now)
            }
            _ => state.book.host(host, now).err(),
        };
        if let Some(refused) = refused {
            refusals.insert(host.clone(), refused);
        }
    }
    refusals
}

/// Removes hosts from the episodes of a run, and records the reason in the episodes.
fn leave_out(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    id: RunId,
    refused: &BTreeMap<String, Refused>,
    about: &GuardSubjects,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let queued = &state.queue[&id];
    let binding = queued.run.binding.clone().unwrap_or_default();
    let touched: Vec<(EpisodeKey, Vec<String>)> = queued
        .episodes
        .iter()
        .map(|(key, hosts)| (*key, hosts.clone()))
        .filter(|(key, hosts)| {
            let about = about.get(key).map_or(&hosts[..], std::slice::from_ref);
            about.iter().any(|host| refused.contains_key(host))
        })
        .collect();
    for (key, hosts) in touched {
        let Some(mut episode) = tables.episode(&key)? else {
            continue;
        };
        state.leave(id, &key);
        let counted = about.get(&key).map_or(&hosts[..], std::slice::from_ref);
        let remaining: Vec<String> = counted
            .iter()
            .filter(|host| !refused.contains_key(*host))
            .cloned()
            .collect();
        let left_out = remaining.is_empty();
        let still = if left_out { &hosts } else { &remaining };
        let of_run = RunEpisode::new(&episode, still.clone(), left_out);
        state.note_joined(id, &key, of_run);
        if !left_out {
            state.join(id, key, &remaining);
            continue;
        }
        let first = counted.iter().find_map(|host| refused.get(host));
        let decided = episode.decisions.get_mut(&binding);
        let decided = decided.filter(|decided| decided.run == Some(id));
        if let (Some(decided), Some(first)) = (decided, first) {
            let untils = counted.iter().filter_map(|host| refused.get(host)?.until);
            first.reason.as_str().clone_into(&mut decided.decision);
            decided.why = Some(first.why.clone());
            decided.left_out = true;
            decided.until = untils.min();
            decided.at = now;
            state.happened.push(MetricEvent::Decision {
                binding: binding.clone(),
                decision: first.reason.as_str(),
            });
        }
        tables.put_episode(&key, &mut episode)?;
    }
    Ok(())
}

/// Records the start of a run for alerts on its hosts.
pub(crate) fn record_start(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    config: &Config,
    (run, about): (&Run, &GuardSubjects),
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (Some(binding), Some(remedy)) = (&run.binding, run.remedy) else {
        return Ok(());
    };
    let max = binding_of(config, run).map_or(1, |binding| binding.limits.attempts.max);
    let touch = StartRecord {
        at: now,
        step: remedy.step,
        run: run.id,
    };
    for host in counted(run, about) {
        state.guards.touches.add(binding, host, touch, max);
        guards::keep_touches(tables, state, binding, host)?;
    }
    Ok(())
}

/// Reverts [`record_start`]: the run was not started after all.
pub(crate) fn revert_start(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    run: &Run,
) -> Result<(), StoreError> {
    let Some(binding) = &run.binding else {
        return Ok(());
    };
    let still = tables.still_about(run.id)?;
    let about = about_of(tables, run, still.keys())?;
    for host in counted(run, &about) {
        let mut touches = state.guards.touches.on(binding, host).to_vec();
        touches.retain(|touch| touch.run != run.id);
        state.guards.touches.set(binding, host, touches);
        guards::keep_touches(tables, state, binding, host)?;
    }
    Ok(())
}
