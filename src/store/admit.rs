//! Admitting a notification: decide, then write, inside one transaction, so that two deliveries cannot race.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use super::live::Live;
use super::tables::{Decided, Episode, RunEpisode, Tables};
use super::{Admitted, AdmittedDecision, StoreError, finish};
use crate::alert::{Alert, EpisodeKey, Notification, Status};
use crate::config::{Binding, Config};
use crate::inventory::Inventory;
use crate::metrics::Happened;
use crate::plan::{self, Choice, Decision, Past};
use crate::run::{Outcome, RunId, Skip, Trigger};

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
    let decided = decide_all(tables, &mut known, notification, config, inventory, now)?;
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
        match (alert.status, episode.value.status) {
            (Status::Resolved, Status::Firing) => {
                episode.changed = true;
                let left = resolve(tables, live, &key, &mut episode.value, alert, now)?;
                admitted.canceled.extend(left.ended);
                thinned.extend(left.thinned);
            }
            (Status::Firing, Status::Resolved)
                if !plan::is_over(episode.value.resolved_at, now) =>
            {
                episode.changed = true;
                episode.value.status = Status::Firing;
                episode.value.resolved_at = None;
                episode.value.ends_at = None;
            }
            _ => {}
        }
        for decision in decisions {
            let run = match &decision.choice {
                Choice::Run { hosts } => {
                    let binding = decision.binding.as_ref().expect("a run has a binding");
                    let run = run_for(tables, live, config, binding, first_new, now)?;
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
        live.tidy(id);
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
}

impl Episodes {
    fn past(&mut self, tables: &Tables<'_>, key: EpisodeKey) -> Result<Past, StoreError> {
        let stored = match self.stored.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(tables.episode(&key)?),
        };
        Ok(stored.as_ref().map_or_else(Past::default, |episode| Past {
            resolved_at: episode.resolved_at,
            ran: episode
                .decisions
                .iter()
                .filter(|(_, decided)| decided.handled_by().is_some())
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
                changed: false,
                value,
            },
            None => Touched {
                value: Episode::new(alert, receiver, now),
                changed: true,
            },
        }
    }

    fn put_back(&mut self, key: EpisodeKey, touched: Touched) {
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
            left_out: false,
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
    now: DateTime<Utc>,
) -> Result<Vec<Vec<Decision>>, StoreError> {
    let mut past: HashMap<EpisodeKey, Past> = HashMap::new();
    let mut all = Vec::with_capacity(notification.alerts.len());
    for alert in &notification.alerts {
        let key = alert.episode();
        let known = match past.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(known.past(tables, key)?),
        };
        let decisions = plan::decide(config, inventory, alert, known, now);
        plan::note(known, alert, &decisions, now);
        all.push(decisions);
    }
    Ok(all)
}

/// Refuses a notification whose runs or alerts the queue cannot take, before anything of it is written.
///
/// It counts by the queue as it stands. What the notification itself ends frees no place, and where that is the run that
/// was to be joined, the one that replaces it takes its place.
fn refuse_overflow(
    live: &mut Live,
    config: &Config,
    decided: &[Vec<Decision>],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut alerts: BTreeMap<&str, (&Binding, usize)> = BTreeMap::new();
    let mut refused = Vec::new();
    for decision in decided.iter().flatten() {
        if let (Some(binding), Choice::Run { .. }) = (&decision.binding, &decision.choice) {
            alerts.entry(&binding.name).or_insert((binding, 0)).1 += 1;
            refused.push(Happened::Decision {
                binding: binding.name.clone(),
                decision: Skip::QueueFull.as_str(),
            });
        }
    }
    let limits = &config.runs;
    let no_new_run = RunId(u64::MAX);
    let new_runs = alerts.values().map(|(binding, alerts)| {
        let work = plan::work(binding);
        let open = live.open_batch(&binding.name, &work, no_new_run, now, limits.alerts_limit);
        let room = open.map_or(0, |id| limits.alerts_limit - live.queue[&id].episodes.len());
        alerts.saturating_sub(room).div_ceil(limits.alerts_limit)
    });
    let wanted = new_runs.sum::<usize>();
    let overflow = |what, queued, wanted, limit, key| {
        (wanted > 0 && queued + wanted > limit).then_some(StoreError::QueueFull {
            what,
            queued,
            wanted,
            limit,
            key,
        })
    };
    let runs = overflow(
        "runs",
        live.queue.len(),
        wanted,
        limits.queue_limit,
        "runs.queue_limit",
    );
    let full = runs.or_else(|| {
        overflow(
            "alerts",
            live.queued_alerts,
            refused.len(),
            limits.queue_alerts_limit,
            "runs.queue_alerts_limit",
        )
    });
    match full {
        Some(full) => {
            live.happened.extend(refused);
            Err(full)
        }
        None => Ok(()),
    }
}

/// The queued run of this binding that still takes hosts, or a new one.
fn run_for(
    tables: &mut Tables<'_>,
    live: &mut Live,
    config: &Config,
    binding: &Binding,
    first_new: RunId,
    now: DateTime<Utc>,
) -> Result<RunId, StoreError> {
    let work = plan::work(binding);
    let limit = config.runs.alerts_limit;
    if let Some(id) = live.open_batch(&binding.name, &work, first_new, now, limit) {
        return Ok(id);
    }
    let mut run = live.new_run(Trigger::Alert, work, now);
    run.binding = Some(binding.name.clone());
    run.ready_at = now + binding.batch_window;
    let id = run.id;
    live.enqueue(tables, run, BTreeMap::new())?;
    Ok(id)
}

fn join(live: &mut Live, id: RunId, key: &EpisodeKey, alert: &Alert, hosts: &[String]) {
    live.join(id, *key, hosts);
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
    episode.resolved_at = Some(now);
    episode.ends_at = alert.ends_at.or(Some(now));
    let mut left = Left::default();
    for (binding, decided) in &mut episode.decisions {
        let Some(id) = decided.handled_by() else {
            continue;
        };
        let took = episode.ends_at.unwrap_or(now) - episode.starts_at;
        live.happened.push(Happened::Resolved {
            binding: binding.clone(),
            took: took.to_std().unwrap_or_default(),
        });
        let Some(hosts) = live.leave(id, key) else {
            continue;
        };
        decided.left_out = true;
        let needed = !live.queue[&id].episodes.is_empty();
        let of_run = RunEpisode {
            alertname: alert.name().to_owned(),
            hosts,
            left_out: true,
        };
        live.note_joined(id, key, of_run);
        if needed {
            left.thinned.push(id);
        } else {
            finish::end_queued(tables, live, id, Outcome::Canceled, ALL_RESOLVED, now)?;
            left.ended.push(id);
        }
    }
    Ok(left)
}
