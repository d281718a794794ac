//! Admitting a notification: decide, then write, inside one transaction, so that two deliveries cannot race.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::live::Live;
use super::tables::{Decided, Episode, RunEpisode, Tables};
use super::{Admitted, AdmittedDecision, StoreError, finish};
use crate::alert::{Alert, EpisodeKey, Notification, Status};
use crate::config::{Binding, Config};
use crate::inventory::Inventory;
use crate::metrics::Happened;
use crate::plan::{self, Choice, Decision, Past};
use crate::run::{Outcome, Run, RunId, Skip, State, Trigger};

/// How stale `last_seen` may be: a repeated alert is not worth a write each time.
const LAST_SEEN_STEP: TimeDelta = TimeDelta::minutes(10);

/// Why a run that no alert needs any more was canceled.
const ALL_RESOLVED: &str = "its alerts resolved before it started";

pub(super) fn admit(
    tables: &mut Tables<'_>,
    live: &mut Live,
    notification: &Notification,
    config: &Config,
    inventory: &Inventory,
    now: DateTime<Utc>,
) -> Result<Admitted, StoreError> {
    let mut known = Episodes::default();
    let decided = decide_all(tables, &mut known, notification, config, inventory)?;
    refuse_overflow(live, config, &decided, now)?;

    let first_new = RunId(live.next_run);
    let mut admitted = Admitted {
        decisions: Vec::new(),
        canceled: Vec::new(),
    };
    let mut thinned = BTreeSet::new();
    live.happened
        .push(Happened::Truncated(notification.truncated_alerts));
    for (index, (alert, decisions)) in notification.alerts.iter().zip(decided).enumerate() {
        live.happened.push(Happened::Alert(alert.status));
        let key = alert.episode();
        let mut episode = known.take(&key, alert, &notification.receiver, now);
        if alert.status == Status::Resolved && !episode.resolved_before {
            episode.changed = true;
            let left = resolve(tables, live, &key, &mut episode.value, alert, now)?;
            admitted.canceled.extend(left.ended);
            thinned.extend(left.thinned);
        }
        for decision in decisions {
            let run = match &decision.choice {
                Choice::Run { hosts } => {
                    let binding = decision.binding.as_ref().expect("a run has a binding");
                    let run = run_for(tables, live, binding, first_new, now)?;
                    join(live, run, &key, alert, hosts);
                    Some(run)
                }
                Choice::Skip { .. } => None,
            };
            episode.record(&decision, run, now);
            live.happened.push(Happened::Decision {
                binding: decision.binding_name().to_owned(),
                decision: decision.choice.as_str(),
            });
            admitted.decisions.push(AdmittedDecision {
                alert: index,
                binding: decision.binding_name().to_owned(),
                run: run.or_else(|| episode.run_of(&decision)),
                choice: decision.choice,
            });
        }
        known.put_back(key, episode);
    }
    for id in thinned {
        if let Some(queued) = live.queue.get_mut(&id) {
            queued.tidy();
            live.dirty.insert(id);
        }
    }
    if known.write(tables, now)? == 0 {
        live.idle += 1;
    }
    Ok(admitted)
}

/// The episodes that a notification touches, each read once and written at most once.
#[derive(Default)]
struct Episodes {
    stored: HashMap<EpisodeKey, Option<Episode>>,
    touched: BTreeMap<EpisodeKey, Touched>,
}

struct Touched {
    value: Episode,
    changed: bool,
    resolved_before: bool,
}

impl Episodes {
    fn past(&mut self, tables: &Tables<'_>, key: EpisodeKey) -> Result<Past, StoreError> {
        let stored = match self.stored.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(tables.episode(&key)?),
        };
        Ok(stored.as_ref().map_or_else(Past::default, |episode| Past {
            resolved: episode.status == Status::Resolved,
            ran: episode
                .decisions
                .iter()
                .filter(|(_, decided)| decided.run.is_some())
                .map(|(binding, _)| binding.clone())
                .collect(),
        }))
    }

    fn take(
        &mut self,
        key: &EpisodeKey,
        alert: &Alert,
        receiver: &str,
        now: DateTime<Utc>,
    ) -> Touched {
        if let Some(touched) = self.touched.remove(key) {
            return touched;
        }
        match self.stored.remove(key).flatten() {
            Some(value) => Touched {
                resolved_before: value.status == Status::Resolved,
                changed: false,
                value,
            },
            None => Touched {
                value: Episode::new(alert, receiver, now),
                changed: true,
                resolved_before: false,
            },
        }
    }

    fn put_back(&mut self, key: EpisodeKey, mut touched: Touched) {
        touched.resolved_before |= touched.value.status == Status::Resolved;
        self.touched.insert(key, touched);
    }

    /// Writes what changed, and says how many that were. Whatever else a notification changes, it changes an episode.
    fn write(self, tables: &mut Tables<'_>, now: DateTime<Utc>) -> Result<usize, StoreError> {
        let mut written = 0;
        for (key, mut touched) in self.touched {
            if touched.changed || now - touched.value.last_seen > LAST_SEEN_STEP {
                touched.value.last_seen = now;
                tables.put_episode(&key, &touched.value)?;
                written += 1;
            }
        }
        Ok(written)
    }
}

impl Touched {
    /// Notes a decision. What has its run keeps it: a later `duplicate` or `resolved` is no news.
    fn record(&mut self, decision: &Decision, run: Option<RunId>, now: DateTime<Utc>) {
        let Some(binding) = &decision.binding else {
            return;
        };
        let why = match &decision.choice {
            Choice::Run { .. } => None,
            Choice::Skip {
                reason: Skip::Resolved | Skip::Duplicate,
                ..
            } => return,
            Choice::Skip { why, .. } => Some(why.clone()),
        };
        let decided = Decided {
            decision: decision.choice.as_str().to_owned(),
            why,
            at: now,
            run,
        };
        let old = self.value.decisions.insert(binding.name.clone(), decided);
        let new = self.value.decisions.get(&binding.name);
        self.changed |=
            old.as_ref().map(|d| (&d.decision, &d.run)) != new.map(|d| (&d.decision, &d.run));
    }

    fn run_of(&self, decision: &Decision) -> Option<RunId> {
        self.value.decisions.get(decision.binding_name())?.run
    }
}

fn decide_all(
    tables: &Tables<'_>,
    known: &mut Episodes,
    notification: &Notification,
    config: &Config,
    inventory: &Inventory,
) -> Result<Vec<Vec<Decision>>, StoreError> {
    let mut past: HashMap<EpisodeKey, Past> = HashMap::new();
    let mut all = Vec::with_capacity(notification.alerts.len());
    for alert in &notification.alerts {
        let key = alert.episode();
        let known = match past.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(known.past(tables, key)?),
        };
        let decisions = plan::decide(config, inventory, alert, known);
        plan::note(known, alert, &decisions);
        all.push(decisions);
    }
    Ok(all)
}

/// Refuses a notification whose runs the queue cannot take, before anything of it is written.
fn refuse_overflow(
    live: &mut Live,
    config: &Config,
    decided: &[Vec<Decision>],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let no_new_run = RunId(u64::MAX);
    let mut bindings = HashSet::new();
    let mut refused = Vec::new();
    for decision in decided.iter().flatten() {
        if let (Some(binding), Choice::Run { .. }) = (&decision.binding, &decision.choice) {
            let work = plan::work(binding);
            let joins = live.open_batch(&binding.name, &work, no_new_run, now);
            if joins.is_none() {
                bindings.insert(binding.name.as_str());
            }
            refused.push(Happened::Decision {
                binding: binding.name.clone(),
                decision: Skip::QueueFull.as_str(),
            });
        }
    }
    let (queued, limit) = (live.queue.len(), config.runs.queue_limit);
    if !bindings.is_empty() && queued + bindings.len() > limit {
        live.happened.extend(refused);
        return Err(StoreError::QueueFull {
            queued,
            wanted: bindings.len(),
            limit,
        });
    }
    Ok(())
}

/// The queued run of this binding that still takes hosts, or a new one.
fn run_for(
    tables: &mut Tables<'_>,
    live: &mut Live,
    binding: &Binding,
    first_new: RunId,
    now: DateTime<Utc>,
) -> Result<RunId, StoreError> {
    let work = plan::work(binding);
    if let Some(id) = live.open_batch(&binding.name, &work, first_new, now) {
        return Ok(id);
    }
    let id = live.take_run_id();
    let run = Run {
        id,
        trigger: Trigger::Alert,
        binding: Some(binding.name.clone()),
        work,
        hosts: Vec::new(),
        state: State::Queued,
        created_at: now,
        ready_at: now + binding.batch_window,
        started_at: None,
        finished_at: None,
        outcome: None,
        results: BTreeMap::new(),
        message: None,
        rerun_of: None,
        location: None,
        output_bytes: 0,
        events_dropped: 0,
    };
    live.enqueue(tables, run, BTreeMap::new())?;
    Ok(id)
}

fn join(live: &mut Live, id: RunId, key: &EpisodeKey, alert: &Alert, hosts: &[String]) {
    let queued = live.queue.get_mut(&id).expect("the run was just found");
    queued.join(*key, hosts);
    live.dirty.insert(id);
    live.queue_changed = true;
    let of_run = RunEpisode {
        alertname: alert.name().to_owned(),
        hosts: hosts.to_vec(),
        left_out: false,
    };
    live.note_joined(id, key, of_run);
}

/// Queued runs that an episode has left.
#[derive(Default)]
struct Left {
    /// Nothing else needed them.
    ended: Vec<RunId>,
    /// Other episodes still do.
    thinned: Vec<RunId>,
}

/// Marks an episode as resolved, and takes it out of the queued runs that were made for it.
fn resolve(
    tables: &mut Tables<'_>,
    live: &mut Live,
    key: &EpisodeKey,
    episode: &mut Episode,
    alert: &Alert,
    now: DateTime<Utc>,
) -> Result<Left, StoreError> {
    episode.status = Status::Resolved;
    episode.ends_at = alert.ends_at.or(Some(now));
    let mut left = Left::default();
    for (binding, decided) in &episode.decisions {
        let Some(id) = decided.run else { continue };
        let took = episode.ends_at.unwrap_or(now) - episode.starts_at;
        live.happened.push(Happened::Resolved {
            binding: binding.clone(),
            took: took.to_std().unwrap_or_default(),
        });
        let Some(queued) = live.queue.get_mut(&id) else {
            continue;
        };
        let Some(hosts) = queued.leave(key) else {
            continue;
        };
        let needed = !queued.episodes.is_empty();
        let of_run = RunEpisode {
            alertname: alert.name().to_owned(),
            hosts,
            left_out: true,
        };
        live.note_joined(id, key, of_run);
        live.queue_changed = true;
        if needed {
            left.thinned.push(id);
        } else {
            finish::end_queued(tables, live, id, Outcome::Canceled, ALL_RESOLVED, now)?;
            left.ended.push(id);
        }
    }
    Ok(left)
}
