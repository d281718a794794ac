//! Admits notifications: decides and writes in one transaction, so that two deliveries cannot race.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::{Binding, Config};
use crate::metrics::MetricEvent;
use crate::model::alert::{Alert, EpisodeKey, Notification, Status};
use crate::model::inventory::Inventory;
use crate::model::run::{Outcome, RunId, Skip};
use crate::model::verdict::AlertObservation;
use crate::plan::{self, Choice, Decision, EpisodeHistory};
use crate::store::disk::records::{DecisionRecord, Episode, RunEpisode};
use crate::store::disk::tables::Tables;
use crate::store::ops::episode_update::{EpisodeUpdate, past_of};
use crate::store::ops::intake::Intake;
use crate::store::ops::on_resolved::{self, OnResolved};
use crate::store::ops::state::WriterState;
use crate::store::ops::{finish, retention, verdicts};
use crate::store::{Admitted, AdmittedDecision, StoreError};

/// How stale `last_seen` may become: not every repeated alert is worth a write.
const LAST_SEEN_STEP: TimeDelta = TimeDelta::minutes(10);

/// The reason for canceling a run that no alert needs any more.
pub(crate) const ALL_RESOLVED: &str = "its alerts resolved before it started";

/// The number of alert × binding matchings up to which they are done on the async thread.
const FEW: usize = 1000;

/// A notification with its matching bindings. They are determined before the transaction: matchers are regular
/// expressions, which are too slow for the writer.
pub(crate) struct Arrival {
    notification: Arc<Notification>,
    config: Arc<Config>,
    inventory: Arc<Inventory>,
    now: DateTime<Utc>,
    /// The matching bindings of each alert.
    bindings: Vec<Vec<Arc<Binding>>>,
}

impl Arrival {
    pub(crate) async fn new(
        notification: Arc<Notification>,
        config: Arc<Config>,
        inventory: Arc<Inventory>,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        let matchings = notification.alerts.len() * config.bindings.len();
        let make = move || {
            let alerts = notification.alerts.iter();
            Self {
                bindings: alerts.map(|alert| plan::matching(&config, alert)).collect(),
                notification,
                config,
                inventory,
                now,
            }
        };
        if matchings <= FEW {
            return Ok(make());
        }
        let matched = tokio::task::spawn_blocking(make).await;
        matched.map_err(|e| StoreError::Defect(e.to_string()))
    }

    /// Returns the approximate number of bytes that it adds to the history.
    pub(crate) fn weight(&self) -> usize {
        let alerts = self.notification.alerts.iter();
        alerts.map(weight).sum::<usize>().max(1)
    }
}

fn weight(alert: &Alert) -> usize {
    /// The size of an episode without its texts.
    const REST: usize = 300;
    let texts = alert.labels.iter().chain(&alert.annotations);
    texts
        .map(|(name, value)| name.len() + value.len() + 6)
        .sum::<usize>()
        + REST
}

pub(crate) fn admit(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    arrival: &Arrival,
) -> Result<Admitted, StoreError> {
    let Arrival {
        notification,
        config,
        inventory,
        now,
        ..
    } = arrival;
    let now = *now;
    state.guards.clock(now);
    let mut known = Episodes::default();
    let decided = decide_all(tables, state, &mut known, arrival)?;
    if known.has_new() {
        retention::refuse_overfull(tables, state, &config.storage)?;
    }
    refuse_overflow(state, config, &decided, now)?;

    let mut admitted = Admitted {
        decisions: Vec::new(),
        canceled: Vec::new(),
    };
    let mut thinned = BTreeSet::new();
    state
        .happened
        .push(MetricEvent::Truncated(notification.truncated_alerts));
    let mut intake = Intake::new(config, inventory, state, now);
    let mut on_resolved = OnResolved::new(config, now);
    for (index, (alert, decisions)) in notification.alerts.iter().zip(decided).enumerate() {
        state.happened.push(MetricEvent::Alert(alert.status));
        let key = alert.episode();
        let mut episode = known.take(&key, alert, &notification.receiver, now);
        match (alert.status, episode.value.status) {
            (Status::Resolved, Status::Firing) => {
                episode.changed = true;
                let ends_at = alert.ends_at.unwrap_or(now);
                let left = resolve(tables, state, &key, &mut episode.value, ends_at, now)?;
                admitted.canceled.extend(left.ended);
                thinned.extend(left.thinned);
                on_resolved.take(tables, state, &key, &mut episode.value)?;
            }
            (Status::Firing, Status::Resolved)
                if !plan::is_over(episode.value.resolved_at, now) =>
            {
                episode.changed = true;
                episode.value.status = Status::Firing;
                episode.value.resolved_at = None;
                episode.value.ends_at = None;
                on_resolved::take_back(tables, state, &key, &mut episode.value, now)?;
            }
            (Status::Firing, Status::Firing) => {
                // A verdict may depend on the alert firing after its run.
                let decided = &episode.value.decisions;
                episode.changed |= decided.values().any(DecisionRecord::awaits_verdict);
                let heard = AlertObservation::Firing;
                episode.changed |=
                    verdicts::judge(tables, state, &key, &mut episode.value, heard, now)?;
            }
            _ => {}
        }
        for decision in decisions {
            let (choice, run) = intake.take(tables, state, &key, &mut episode, &decision)?;
            state.happened.push(MetricEvent::Decision {
                binding: decision.binding_name().to_owned(),
                decision: choice.as_str(),
            });
            admitted.decisions.push(AdmittedDecision {
                alert: index,
                binding: decision.binding_name().to_owned(),
                run: run.or_else(|| episode.run_of(&decision)),
                choice,
            });
        }
        known.put_back(key, episode);
    }
    intake.finish(tables, state)?;
    for id in thinned {
        state.tidy(id);
    }
    known.write(tables, now)?;
    Ok(admitted)
}

/// The episodes of a notification, each read once and written at most once.
#[derive(Default)]
struct Episodes {
    stored: HashMap<EpisodeKey, Option<Episode>>,
    touched: BTreeMap<EpisodeKey, EpisodeUpdate>,
}

impl Episodes {
    fn past(
        &mut self,
        tables: &Tables<'_>,
        key: EpisodeKey,
        now: DateTime<Utc>,
    ) -> Result<EpisodeHistory, StoreError> {
        let stored = match self.stored.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(tables.episode(&key)?),
        };
        Ok(stored
            .as_ref()
            .map_or_else(EpisodeHistory::default, |episode| {
                past_of(episode, now, now)
            }))
    }

    /// Returns whether any episode is not in the store yet.
    fn has_new(&self) -> bool {
        self.stored.values().any(Option::is_none)
    }

    fn take(
        &mut self,
        key: &EpisodeKey,
        alert: &Alert,
        receiver: &str,
        now: DateTime<Utc>,
    ) -> EpisodeUpdate {
        if let Some(touched) = self.touched.remove(key) {
            return touched;
        }
        match self.stored.remove(key).flatten() {
            Some(value) => EpisodeUpdate {
                changed: false,
                value,
            },
            None => EpisodeUpdate {
                value: Episode::new(alert, receiver, now),
                changed: true,
            },
        }
    }

    fn put_back(&mut self, key: EpisodeKey, touched: EpisodeUpdate) {
        self.touched.insert(key, touched);
    }

    /// Writes the changed episodes.
    fn write(self, tables: &mut Tables<'_>, now: DateTime<Utc>) -> Result<(), StoreError> {
        for (key, mut touched) in self.touched {
            if touched.changed || now - touched.value.last_seen > LAST_SEEN_STEP {
                touched.value.last_seen = now;
                tables.put_episode(&key, &mut touched.value)?;
            }
        }
        Ok(())
    }
}

fn decide_all(
    tables: &Tables<'_>,
    state: &WriterState,
    known: &mut Episodes,
    arrival: &Arrival,
) -> Result<Vec<Vec<Decision>>, StoreError> {
    let Arrival {
        notification,
        inventory,
        now,
        ..
    } = arrival;
    let now = *now;
    let mut past: HashMap<EpisodeKey, EpisodeHistory> = HashMap::new();
    let mut all = Vec::with_capacity(notification.alerts.len());
    for (alert, bindings) in notification.alerts.iter().zip(&arrival.bindings) {
        let key = alert.episode();
        let known = match past.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(known.past(tables, key, now)?),
        };
        let decisions = plan::decide_under(bindings, inventory, &state.guards, alert, known, now);
        plan::record(known, alert, &decisions, now);
        all.push(decisions);
    }
    Ok(all)
}

/// Refuses a notification whose runs or alerts exceed the limits of the queue, before anything of it is written.
///
/// It counts the current queue. Runs that the notification itself ends free no place, and if one of them was to be
/// joined, its replacement takes its place.
pub(crate) fn refuse_overflow(
    state: &mut WriterState,
    config: &Config,
    decided: &[Vec<Decision>],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut alerts: BTreeMap<(&str, u32), (&Binding, usize)> = BTreeMap::new();
    let mut refused = Vec::new();
    for decision in decided.iter().flatten() {
        if let (Some(binding), Choice::Run { step, .. }) = (&decision.binding, &decision.choice) {
            let of = (binding.name.as_str(), *step);
            alerts.entry(of).or_insert((binding, 0)).1 += 1;
            refused.push(MetricEvent::Decision {
                binding: binding.name.clone(),
                decision: Skip::QueueFull.as_str(),
            });
        }
    }
    let limits = &config.runs;
    let no_new_run = RunId(u64::MAX);
    let new_runs = alerts.iter().map(|((_, step), (binding, alerts))| {
        let same = (
            &plan::work(binding, *step),
            plan::remedy(binding, *step, false),
        );
        let open = state.open_batch(&binding.name, same, no_new_run, now, limits.alerts_limit);
        let room = open.map_or(0, |id| {
            limits.alerts_limit - state.queue[&id].episodes.len()
        });
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
        state.queue.len(),
        wanted,
        limits.queue_limit,
        "runs.queue_limit",
    );
    let full = runs.or_else(|| {
        overflow(
            "alerts",
            state.queued_alerts,
            refused.len(),
            limits.queue_alerts_limit,
            "runs.queue_alerts_limit",
        )
    });
    match full {
        Some(full) => {
            state.happened.extend(refused);
            Err(full)
        }
        None => Ok(()),
    }
}

/// The queued runs that an episode has left.
#[derive(Default)]
pub(crate) struct Left {
    /// Ended runs, which had no other episodes.
    pub(crate) ended: Vec<RunId>,
    /// Runs that other episodes still need.
    pub(crate) thinned: Vec<RunId>,
}

/// Marks an episode as resolved, and removes it from its queued runs.
pub(crate) fn resolve(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    key: &EpisodeKey,
    episode: &mut Episode,
    ends_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Left, StoreError> {
    episode.status = Status::Resolved;
    episode.resolved_at = Some(now);
    episode.ends_at = Some(ends_at);
    verdicts::resolved(tables, state, key, episode, now)?;
    let alertname = episode.alertname().to_owned();
    let mut left = Left::default();
    for (binding, decided) in &mut episode.decisions {
        let Some(id) = decided.handled_by() else {
            continue;
        };
        let took = ends_at - *episode.starts_at;
        state.happened.push(MetricEvent::Resolved {
            binding: binding.clone(),
            took: took.to_std().unwrap_or_default(),
        });
        let Some(hosts) = state.leave(id, key) else {
            continue;
        };
        decided.left_out = true;
        let needed = !state.queue[&id].episodes.is_empty();
        let of_run = RunEpisode {
            alertname: alertname.clone(),
            hosts,
            left_out: true,
        };
        state.note_joined(id, key, of_run);
        if needed {
            left.thinned.push(id);
        } else {
            finish::end_queued(tables, state, id, Outcome::Canceled, ALL_RESOLVED, now)?;
            left.ended.push(id);
        }
    }
    Ok(left)
}
