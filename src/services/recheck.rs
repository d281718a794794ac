//! Looks again at alerts whose time has come: whether their run helped, whether the next step is due, and what a guard
//! refused for a time.
//!
//! What is due stands in the store, so that a restart forgets none of it. Where an Alertmanager can be asked it is, before
//! anything is decided: the end of an alert may never be told.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use crate::clients::alertmanager::{Alertmanager, AlertmanagerError, Firing};
use crate::config::Config;
use crate::model::alert::EpisodeKey;
use crate::model::verdict::Heard;
use crate::services::inventory_watcher::InventoryWatcher;
use crate::store::{DueEpisode, Store, StoreError};
use crate::util::clock;
use crate::util::shutdown::Shutdown;

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
pub struct Recheck {
    /// Where it stands what is due.
    pub store: Store,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Knows the inventory.
    pub inventory: InventoryWatcher,
    /// When to end.
    pub shutdown: Shutdown,
}

impl Recheck {
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
            let inventory = self.inventory.current().await.map_err(|e| e.brief())?;
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

/// What is heard of each, asked from Alertmanager where there is one. Without those of which it cannot say it yet.
async fn hear(
    config: &Config,
    due: Vec<DueEpisode>,
    now: DateTime<Utc>,
) -> Vec<(EpisodeKey, Heard)> {
    let told = match &config.alertmanager {
        None => None,
        Some(settings) => {
            let told = ask(&Alertmanager::new(settings)).await;
            if let Err(why) = &told {
                tracing::warn!(error = %why, "Alertmanager cannot be asked what fires");
            }
            Some(told.ok())
        }
    };
    let heard = |of: DueEpisode| {
        let heard = match &told {
            None => Some(Heard::Nothing),
            Some(told) => heard(told.as_ref(), &of, now),
        };
        Some((of.key, heard?))
    };
    due.into_iter().filter_map(heard).collect()
}

/// What an Alertmanager tells.
struct Told {
    firing: Firing,
    up_since: DateTime<Utc>,
}

async fn ask(alertmanager: &Alertmanager) -> Result<Told, AlertmanagerError> {
    Ok(Told {
        firing: alertmanager.firing().await?,
        up_since: alertmanager.up_since().await?,
    })
}

/// What it tells of one; `None` if that is to be waited for. One that was started after the alert was last heard of may not have
/// been told of it again yet.
fn heard(told: Option<&Told>, of: &DueEpisode, now: DateTime<Utc>) -> Option<Heard> {
    match told {
        Some(told) if told.firing.contains(&of.key) => Some(Heard::Firing),
        Some(told) if told.up_since <= of.last_seen || now - told.up_since >= SETTLING => {
            Some(Heard::Resolved)
        }
        _ if now - of.since < PATIENCE => None,
        _ => Some(Heard::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alert::Fingerprint;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
    }

    #[test]
    fn an_alertmanager_that_may_not_know_yet_is_not_believed_that_nothing_fires() {
        let of = DueEpisode {
            key: EpisodeKey {
                fingerprint: Fingerprint(1),
                starts_at_nanos: 0,
            },
            since: at(1000),
            last_seen: at(900),
        };
        let told = |fires: bool, up_since| Told {
            firing: fires.then_some(of.key).into_iter().collect(),
            up_since: at(up_since),
        };
        let heard = |told: Option<Told>, now| heard(told.as_ref(), &of, at(now));
        assert_eq!(heard(Some(told(true, 1000)), 1001), Some(Heard::Firing));
        assert_eq!(heard(Some(told(false, 900)), 1001), Some(Heard::Resolved));
        assert_eq!(heard(Some(told(false, 901)), 1001), None);
        assert_eq!(heard(Some(told(false, 901)), 1201), Some(Heard::Resolved));
        // One that is started again and again, or does not answer, is not waited for for ever.
        assert_eq!(heard(Some(told(false, 1500)), 1599), None);
        assert_eq!(heard(Some(told(false, 1500)), 1600), Some(Heard::Nothing));
        assert_eq!(heard(None, 1599), None);
        assert_eq!(heard(None, 1600), Some(Heard::Nothing));
    }
}
