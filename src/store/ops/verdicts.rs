//! The verdicts on ended runs: whether they helped, and when to determine that.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use redb::ReadableTable;

use crate::metrics::MetricEvent;
use crate::model::alert::{EpisodeKey, Status};
use crate::model::guards::after;
use crate::model::message::{Message, MessageEvent};
use crate::model::run::{Outcome, RemediationStep, Run, RunId};
use crate::model::verdict::{AlertObservation, Verdict, Verdicts};
use crate::store::disk::records::{DecisionRecord, Episode};
use crate::store::disk::tables::{RUNS, Tables, VERDICTS, encode, open_for_reading};
use crate::store::ops::state::WriterState;
use crate::store::{Store, StoreError};

/// How late a verdict may be determined, for example after a long stop: later, it is not known when an alert that does
/// not fire any more resolved. Longer than the wait for an Alertmanager that does not respond.
const LATE_LOOK: TimeDelta = TimeDelta::minutes(15);

/// Records the end of a run in each of its episodes.
pub(crate) fn conclude(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    run: &mut Run,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (Some(binding), Some(remedy), Some(whole)) = (&run.binding, run.remedy, run.outcome) else {
        return Ok(());
    };
    let binding = binding.clone();
    for (key, hosts) in tables.still_about(run.id)? {
        let Some(mut episode) = tables.episode(&key)? else {
            continue;
        };
        let Some(mut decided) = episode.decisions.remove(&binding) else {
            continue;
        };
        if decided.run == Some(run.id) && !decided.left_out {
            let outcomes = hosts.iter().filter_map(|host| run.results.get(host));
            let worst = outcomes.map(|result| result.outcome).max();
            let outcome = worst.unwrap_or(whole);
            record_end(run, remedy, &mut decided, outcome, now);
            if decided.awaits_verdict() {
                if episode.status == Status::Resolved {
                    let of = (&key, binding.as_str());
                    apply_verdict(
                        tables,
                        state,
                        of,
                        &episode,
                        &mut decided,
                        run,
                        Verdict::Effective,
                        now,
                    )?;
                } else {
                    run.verdicts.pending += 1;
                }
            }
        }
        episode.decisions.insert(binding.clone(), decided);
        tables.put_episode(&key, &mut episode)?;
    }
    Ok(())
}

fn record_end(
    run: &Run,
    remedy: RemediationStep,
    decided: &mut DecisionRecord,
    outcome: Outcome,
    now: DateTime<Utc>,
) {
    decided.outcome = Some(outcome);
    decided.ended_at = Some(now);
    let has_next = remedy.step < remedy.steps;
    // A run in check mode changed nothing and cannot have helped.
    let looks = !run.work.check
        && match outcome {
            Outcome::Successful => true,
            Outcome::Failed | Outcome::Unreachable | Outcome::Timeout => has_next,
            Outcome::Canceled | Outcome::Interrupted => false,
        };
    decided.verify_at = looks.then(|| after(now, remedy.verify_within));
    // The test on one host succeeded: continue with the other hosts.
    let others = run
        .spared
        .iter()
        .any(|s| s.reason == crate::model::run::Skip::CircuitOpen);
    if remedy.probe && others && outcome == Outcome::Successful {
        decided.left_out = true;
        decided.until = Some(now);
        decided.verify_at = None;
    }
}

/// Determines the verdicts that are due. Returns whether a decision changed.
pub(crate) fn judge(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    key: &EpisodeKey,
    episode: &mut Episode,
    heard: AlertObservation,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let is_due = |decided: &DecisionRecord| decided.verify_at.is_some_and(|at| at <= now);
    let mut changed = false;
    for decided in episode.decisions.values_mut() {
        if is_due(decided) && decided.verdict.is_none() && !decided.looked {
            changed = true;
            decided.looked = !decided.awaits_verdict();
        }
    }
    let last_seen = episode.last_seen;
    let is_late =
        |decided: &DecisionRecord| decided.verify_at.is_some_and(|at| now - at > LATE_LOOK);
    let verdict = |decided: &DecisionRecord| match heard {
        AlertObservation::Resolved if is_late(decided) => Verdict::Unknown,
        AlertObservation::Resolved => Verdict::Effective,
        AlertObservation::Firing => Verdict::Ineffective,
        AlertObservation::Nothing if decided.fires_on(last_seen) => Verdict::Ineffective,
        AlertObservation::Nothing => Verdict::Unknown,
    };
    let verdict = |decided: &DecisionRecord| is_due(decided).then(|| verdict(decided));
    apply_verdicts(tables, state, key, episode, verdict, now)?;
    Ok(changed)
}

/// Determines the verdicts on a resolved episode.
pub(crate) fn resolved(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    key: &EpisodeKey,
    episode: &mut Episode,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let ended = episode.ends_at.unwrap_or(now).min(now);
    let verdict = |decided: &DecisionRecord| {
        let in_time = decided.verify_at.is_some_and(|at| ended <= at);
        Some(if in_time {
            Verdict::Effective
        } else {
            Verdict::Ineffective
        })
    };
    apply_verdicts(tables, state, key, episode, verdict, now)
}

/// Applies verdicts to the decisions of an episode that await one.
fn apply_verdicts(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    key: &EpisodeKey,
    episode: &mut Episode,
    verdict: impl Fn(&DecisionRecord) -> Option<Verdict>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for (binding, mut decided) in std::mem::take(&mut episode.decisions) {
        let verdict = Some(&decided)
            .filter(|d| d.awaits_verdict())
            .and_then(&verdict);
        if let Some(verdict) = verdict {
            let of = (key, binding.as_str());
            apply_to_stored(tables, state, of, episode, &mut decided, verdict, now)?;
        }
        episode.decisions.insert(binding, decided);
    }
    Ok(())
}

/// Applies a verdict to a decision and its stored run.
fn apply_to_stored(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    of: (&EpisodeKey, &str),
    episode: &Episode,
    decided: &mut DecisionRecord,
    verdict: Verdict,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let id = decided.run.unwrap_or(RunId(0));
    let stored = tables.runs.get(id.0)?;
    let stored = stored.and_then(|value| tables.unreadable.decode(RUNS, &id.0, value.value()));
    let Some(mut run): Option<Run> = stored else {
        // Retention has deleted the run.
        decided.verdict = Some(verdict);
        return Ok(());
    };
    run.verdicts.pending = run.verdicts.pending.saturating_sub(1);
    apply_verdict(tables, state, of, episode, decided, &mut run, verdict, now)?;
    tables.put_run(&run)?;
    state.touched.insert(id);
    state.moved.push(id);
    Ok(())
}

#[allow(clippy::too_many_arguments)] // all that a verdict is about
fn apply_verdict(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    (key, binding): (&EpisodeKey, &str),
    episode: &Episode,
    decided: &mut DecisionRecord,
    run: &mut Run,
    verdict: Verdict,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    decided.verdict = Some(verdict);
    run.verdicts.add(verdict);
    for role in &run.work.roles {
        let mut verdicts = tables.verdicts_of(role, binding)?;
        verdicts.add(verdict);
        let json = encode(&verdicts);
        tables
            .verdicts
            .insert((role.as_str(), binding), json.as_slice())?;
    }
    state.happened.push(MetricEvent::Verdict {
        binding: binding.to_owned(),
        roles: run.work.roles.clone(),
        verdict,
    });
    // One message for each run, regardless of the number of its alerts.
    if verdict == Verdict::Ineffective && run.verdicts.ineffective == 1 {
        let since = episode.starts_at.format("%Y-%m-%dT%H:%M:%S%.3fZ");
        let matter = MessageEvent::RemediationIneffective {
            binding: binding.to_owned(),
            alertname: episode.alertname().to_owned(),
            host: run.hosts.join(", "),
            run: run.id,
            episode: format!("{} since {since}", key.fingerprint),
        };
        crate::store::ops::messages::put(tables, state, &Message::new(matter, now))?;
    }
    Ok(())
}

impl Tables<'_> {
    fn verdicts_of(&self, role: &str, binding: &str) -> Result<Verdicts, StoreError> {
        let key = (role, binding);
        let value = self.verdicts.get(key)?;
        let verdicts = value.and_then(|v| self.unreadable.decode(VERDICTS, &key, v.value()));
        Ok(verdicts.unwrap_or_default())
    }
}

impl Store {
    /// Returns the verdicts by role and binding, since the creation of this store.
    pub async fn verdicts(&self) -> Result<BTreeMap<(String, String), Verdicts>, StoreError> {
        self.read(|txn| {
            let Some(table) = open_for_reading(txn, VERDICTS)? else {
                return Ok(BTreeMap::new());
            };
            let mut all = BTreeMap::new();
            for row in table.iter()? {
                let (key, value) = row?;
                let (role, binding) = key.value();
                let verdicts = txn.unreadable.decode(VERDICTS, &key.value(), value.value());
                let name = (role.to_owned(), binding.to_owned());
                all.extend(verdicts.map(|verdicts| (name, verdicts)));
            }
            Ok(all)
        })
        .await
    }
}
