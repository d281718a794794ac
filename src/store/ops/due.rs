//! Decides episodes again without a notification: verdicts, next steps, and temporary refusals by guards.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use redb::ReadableTable;

use crate::config::Config;
use crate::metrics::MetricEvent;
use crate::model::alert::{EpisodeKey, Status};
use crate::model::guards::after;
use crate::model::inventory::Inventory;
use crate::model::run::Skip;
use crate::model::verdict::AlertObservation;
use crate::plan::{self, Choice, Decision};
use crate::store::disk::tables::{DUE, EPISODES, Tables, key_of, open_for_reading};
use crate::store::ops::admit::{refuse_overflow, resolve};
use crate::store::ops::episode_update::{EpisodeUpdate, past_of};
use crate::store::ops::intake::Intake;
use crate::store::ops::on_resolved::OnResolved;
use crate::store::ops::state::WriterState;
use crate::store::ops::verdicts;
use crate::store::{Episode, Store, StoreError};

/// How soon to retry if the queue is full.
const QUEUE_FULL: std::time::Duration = std::time::Duration::from_mins(1);

/// The episodes that are due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DueEpisodes {
    /// The episodes, in the order of their due times.
    pub episodes: Vec<DueEpisode>,
    /// When the next episode is due.
    pub next: Option<DateTime<Utc>>,
}

/// An episode that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueEpisode {
    pub key: EpisodeKey,
    /// The due time.
    pub since: DateTime<Utc>,
    /// The time of the last notification.
    pub last_seen: DateTime<Utc>,
}

fn follow_up(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    heard: &[(EpisodeKey, AlertObservation)],
    config: &Config,
    inventory: &Inventory,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    state.guards.clock(now);
    let mut intake = Intake::new(config, inventory, state, now);
    let mut any = false;
    for (key, heard) in heard {
        let Some(value) = tables.episode(key)? else {
            continue;
        };
        // After the clock was set back, the episode is due later.
        if value.due_at.is_none_or(|due| due > now) {
            continue;
        }
        any = true;
        let mut episode = EpisodeUpdate {
            value,
            changed: true,
        };
        decide_again(
            tables,
            state,
            &mut intake,
            key,
            *heard,
            &mut episode,
            (config, inventory),
            now,
        )?;
        tables.put_episode(key, &mut episode.value)?;
    }
    intake.finish(tables, state)?;
    state.queue_changed |= any;
    Ok(())
}

#[allow(clippy::too_many_arguments)] // all that a decision needs
fn decide_again(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    intake: &mut Intake<'_>,
    key: &EpisodeKey,
    heard: AlertObservation,
    episode: &mut EpisodeUpdate,
    (config, inventory): (&Config, &Inventory),
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for decided in episode.value.decisions.values_mut() {
        decided.until = decided.until.filter(|until| *until > now);
    }
    if episode.value.status != Status::Firing {
        return Ok(());
    }
    if heard == AlertObservation::Resolved {
        verdicts::judge(tables, state, key, &mut episode.value, heard, now)?;
        let left = resolve(tables, state, key, &mut episode.value, now, now)?;
        OnResolved::new(config, now).take(tables, state, key, &mut episode.value)?;
        for id in left.thinned {
            state.tidy(id);
        }
        return Ok(());
    }
    if heard == AlertObservation::Firing {
        episode.value.last_seen = now;
    }
    verdicts::judge(tables, state, key, &mut episode.value, heard, now)?;
    let past = past_of(&episode.value, episode.value.last_seen, now);
    let alert = episode.value.clone().alert();
    let decisions = plan::decide(config, inventory, &state.guards, &alert, &past, now);
    let full = refuse_overflow(state, config, std::slice::from_ref(&decisions), now).is_err();
    for decision in decisions {
        let decision = if full {
            postpone(decision, now)
        } else {
            decision
        };
        let (choice, _) = intake.take(tables, state, key, episode, &decision)?;
        if let Choice::Run { .. } = choice {
            state.happened.push(MetricEvent::Decision {
                binding: decision.binding_name().to_owned(),
                decision: choice.as_str(),
            });
        }
    }
    Ok(())
}

fn postpone(decision: Decision, now: DateTime<Utc>) -> Decision {
    match decision.choice {
        Choice::Run { .. } => Decision {
            choice: Choice::Skip {
                reason: Skip::QueueFull,
                why: "the queue is full".to_owned(),
                until: Some(after(now, QUEUE_FULL)),
            },
            ..decision
        },
        Choice::Skip { .. } => decision,
    }
}

impl Store {
    /// Returns the episodes that are due now, at most `most`.
    pub async fn due(&self, now: DateTime<Utc>, most: usize) -> Result<DueEpisodes, StoreError> {
        self.read(move |txn| {
            let mut due = DueEpisodes::default();
            let tables = (
                open_for_reading(txn, DUE)?,
                open_for_reading(txn, EPISODES)?,
            );
            let (Some(table), Some(episodes)) = tables else {
                return Ok(due);
            };
            for row in table.iter()? {
                let (millis, starts_at_nanos, fingerprint) = row?.0.value();
                let since = DateTime::from_timestamp_millis(millis).unwrap_or_default();
                if millis >= now.timestamp_millis() || due.episodes.len() == most {
                    due.next = Some(since);
                    break;
                }
                let at = (starts_at_nanos, fingerprint);
                let Some(value) = episodes.get(at)? else {
                    continue;
                };
                let episode = txn.unreadable.decode(EPISODES, &at, value.value());
                let Some(episode): Option<Episode> = episode else {
                    continue;
                };
                due.episodes.push(DueEpisode {
                    key: key_of(at),
                    since,
                    last_seen: episode.last_seen,
                });
            }
            Ok(due)
        })
        .await
    }

    /// Decides due episodes again, with the observed state of each: verdicts, next steps and temporary refusals.
    ///
    /// *Durability*: `Ok` is on disk. *Cancel safety*: a second call finds nothing due.
    pub async fn follow_up(
        &self,
        heard: Vec<(EpisodeKey, AlertObservation)>,
        config: Arc<Config>,
        inventory: Arc<Inventory>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.write(move |tables, state| follow_up(tables, state, &heard, &config, &inventory, now))
            .await
    }
}
