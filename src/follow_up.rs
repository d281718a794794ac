//! Looks again at alerts whose time has come: whether their run helped, whether the next step is due, and what a guard
//! refused for a time.
//!
//! What is due stands in the store, so that a restart forgets none of it. Where an Alertmanager can be asked it is, before a
//! verdict falls: the end of an alert may never be told.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use crate::alert::EpisodeKey;
use crate::alertmanager::{Alertmanager, Firing};
use crate::clock;
use crate::config::Config;
use crate::inventory_keeper::InventoryKeeper;
use crate::shutdown::Shutdown;
use crate::store::{DueEpisode, Store, StoreError};
use crate::verdict::Heard;

/// How many episodes are looked at in one transaction.
const SLICE: usize = 1000;

/// What comes together is looked at together.
const GATHER: Duration = Duration::from_millis(100);

/// How long at most until the clock is looked at, for it may be set.
const IDLE: Duration = Duration::from_mins(1);

/// How long to leave alone what could not be done.
const RETRY: TimeDelta = TimeDelta::seconds(15);

/// How long after its start an Alertmanager may not have been told of all that fires. Prometheus tells it again after a minute
/// (`--rules.alert.resend-delay`) and its own evaluation.
const SETTLING: TimeDelta = TimeDelta::minutes(5);

/// How long an Alertmanager that does not answer is waited for, before it is decided without it.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);

/// Who looks.
pub struct FollowUp {
    /// Where it stands what is due.
    pub store: Store,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Knows the inventory.
    pub inventory: InventoryKeeper,
    /// When to end.
    pub shutdown: Shutdown,
}

impl FollowUp {
    /// Looks until promansible ends.
    pub async fn run(mut self) {
        let mut changed = self.store.changed();
        loop {
            changed.mark_unchanged();
            let config = Arc::clone(&self.config.borrow_and_update());
            let next = match self.pass(&config).await {
                Ok(next) => next,
                Err(why) => {
                    tracing::warn!(why, "alerts cannot be looked at again now");
                    Some(clock::now() + RETRY)
                }
            };
            let pause = next.map_or(IDLE, |at| (at - clock::now()).to_std().unwrap_or_default());
            tokio::select! {
                () = self.shutdown.asked() => return,
                () = tokio::time::sleep(pause.clamp(GATHER, IDLE)) => {}
                changed = changed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(GATHER).await;
                }
                changed = self.config.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Looks at all that is due, a slice at a time. Yields when to look again.
    async fn pass(&self, config: &Arc<Config>) -> Result<Option<DateTime<Utc>>, String> {
        let told = |e: StoreError| e.to_string();
        loop {
            let now = clock::now();
            let due = self.store.due(now, SLICE).await.map_err(told)?;
            if due.episodes.is_empty() {
                return Ok(due.next);
            }
            let inventory = self.inventory.fresh().await.map_err(|e| e.to_string())?;
            let all = due.episodes.len();
            let heard = hear(config, due.episodes, now).await;
            let waits = heard.len() < all;
            self.store
                .follow_up(heard, Arc::clone(config), inventory, now)
                .await
                .map_err(told)?;
            if waits {
                return Ok(Some(now + RETRY));
            }
        }
    }
}

/// What is heard of each, asked from Alertmanager where that is of use. Without those of which it cannot say it yet.
async fn hear(
    config: &Config,
    due: Vec<DueEpisode>,
    now: DateTime<Utc>,
) -> Vec<(EpisodeKey, Heard)> {
    let last_heard = due.iter().filter_map(|of| of.hear).min();
    let firing = match (&config.alertmanager, last_heard) {
        (Some(settings), Some(last)) => Some(ask(&Alertmanager::new(settings), last, now).await),
        _ => None,
    };
    if let Some(Err(why)) = &firing {
        tracing::warn!(why, "Alertmanager cannot say what fires");
    }
    let heard = |of: DueEpisode| {
        let heard = match &firing {
            Some(_) if of.hear.is_none() => Heard::Nothing,
            Some(Ok(firing)) if firing.contains(&of.key) => Heard::Firing,
            Some(Ok(_)) => Heard::Resolved,
            Some(Err(_)) if now - of.since < PATIENCE => return None,
            Some(Err(_)) | None => Heard::Nothing,
        };
        Some((of.key, heard))
    };
    due.into_iter().filter_map(heard).collect()
}

/// What fires. An Alertmanager that was started after an alert was last heard of may not have been told of it again yet.
async fn ask(
    alertmanager: &Alertmanager,
    last_heard: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Firing, String> {
    let firing = alertmanager.firing().await.map_err(|e| e.to_string())?;
    let since = alertmanager.up_since().await.map_err(|e| e.to_string())?;
    if since > last_heard && now - since < SETTLING {
        return Err(format!("it was started at {since}, and may not know yet"));
    }
    Ok(firing)
}
