//! Rechecks alerts when they are due: whether their run helped, whether the next step is due, and decisions that a guard
//! deferred.
//!
//! The due times are in the store, so that none is lost in a restart. If an Alertmanager is configured, it is asked before
//! each decision, because the notification that an alert has resolved may never arrive.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use crate::clients::alertmanager::{Alertmanager, AlertmanagerError, Firing};
use crate::config::Config;
use crate::model::alert::EpisodeKey;
use crate::model::verdict::AlertObservation;
use crate::services::inventory_watcher::InventoryWatcher;
use crate::store::{DueEpisode, Store, StoreError};
use crate::util::clock;
use crate::util::shutdown::Shutdown;

/// The most episodes that are rechecked in one transaction.
const SLICE: usize = 1000;

/// How long to gather changes before a recheck.
const GATHER: Duration = Duration::from_millis(100);

/// The longest pause until the clock is read again, because it may be set.
const IDLE: Duration = Duration::from_mins(1);

/// The pause after a recheck failed.
const RETRY: TimeDelta = TimeDelta::seconds(15);

/// How long after its start an Alertmanager may not know all firing alerts. Prometheus sends them again after a minute
/// (`--rules.alert.resend-delay`) and the next evaluation.
const SETTLING: TimeDelta = TimeDelta::minutes(5);

/// How long a decision waits for an Alertmanager that does not answer.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);

/// The recheck task, with its dependencies.
pub struct Recheck {
    pub store: Store,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    pub inventory: InventoryWatcher,
    /// Becomes true when promansible is shutting down.
    pub shutdown: Shutdown,
}

impl Recheck {
    /// Works until shutdown.
    pub async fn run(mut self) {
        let mut changed = self.store.changed();
        loop {
            changed.mark_unchanged();
            let config = Arc::clone(&self.config.borrow_and_update());
            let next = match self.pass(&config).await {
                Ok(next) => next,
                Err(why) => {
                    tracing::warn!(why, "alerts cannot be rechecked now; trying again");
                    Some(clock::now() + RETRY)
                }
            };
            let pause = next.map_or(IDLE, |at| (at - clock::now()).to_std().unwrap_or_default());
            tokio::select! {
                () = self.shutdown.requested() => return,
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

    /// Rechecks all due episodes, a slice at a time. Returns when the next one is due.
    async fn pass(&self, config: &Arc<Config>) -> Result<Option<DateTime<Utc>>, String> {
        let failed = |e: StoreError| e.to_string();
        loop {
            let now = clock::now();
            let due = self.store.due(now, SLICE).await.map_err(failed)?;
            if due.episodes.is_empty() {
                return Ok(due.next);
            }
            let inventory = self.inventory.current().await.map_err(|e| e.brief())?;
            let all = due.episodes.len();
            let heard = query_alertmanager(config, due.episodes, now).await;
            let waits = heard.len() < all;
            self.store
                .follow_up(heard, Arc::clone(config), inventory, now)
                .await
                .map_err(failed)?;
            if waits {
                return Ok(Some(now + RETRY));
            }
        }
    }
}

/// Returns the state of each episode, from Alertmanager if one is configured. Leaves out episodes whose state is not
/// certain yet.
async fn query_alertmanager(
    config: &Config,
    due: Vec<DueEpisode>,
    now: DateTime<Utc>,
) -> Vec<(EpisodeKey, AlertObservation)> {
    let response = match &config.alertmanager {
        None => None,
        Some(settings) => {
            let response = ask(&Alertmanager::new(settings)).await;
            if let Err(why) = &response {
                tracing::warn!(error = %why, "Alertmanager cannot be asked for firing alerts");
            }
            Some(response.ok())
        }
    };
    let heard = |of: DueEpisode| {
        let heard = match &response {
            None => Some(AlertObservation::Nothing),
            Some(response) => state_of(response.as_ref(), &of, now),
        };
        Some((of.key, heard?))
    };
    due.into_iter().filter_map(heard).collect()
}

/// The firing alerts of an Alertmanager, and when it was started.
struct Response {
    firing: Firing,
    up_since: DateTime<Utc>,
}

async fn ask(alertmanager: &Alertmanager) -> Result<Response, AlertmanagerError> {
    Ok(Response {
        firing: alertmanager.firing().await?,
        up_since: alertmanager.up_since().await?,
    })
}

/// Returns the state of one episode; `None` if it is not certain yet. An Alertmanager that was started after the alert was
/// last reported may not have received it again yet.
fn state_of(
    response: Option<&Response>,
    of: &DueEpisode,
    now: DateTime<Utc>,
) -> Option<AlertObservation> {
    match response {
        Some(response) if response.firing.contains(&of.key) => Some(AlertObservation::Firing),
        Some(response)
            if response.up_since <= of.last_seen || now - response.up_since >= SETTLING =>
        {
            Some(AlertObservation::Resolved)
        }
        _ if now - of.since < PATIENCE => None,
        _ => Some(AlertObservation::Nothing),
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
        let response = |fires: bool, up_since| Response {
            firing: fires.then_some(of.key).into_iter().collect(),
            up_since: at(up_since),
        };
        let state = |response: Option<Response>, now| state_of(response.as_ref(), &of, at(now));
        assert_eq!(
            state(Some(response(true, 1000)), 1001),
            Some(AlertObservation::Firing)
        );
        assert_eq!(
            state(Some(response(false, 900)), 1001),
            Some(AlertObservation::Resolved)
        );
        assert_eq!(state(Some(response(false, 901)), 1001), None);
        assert_eq!(
            state(Some(response(false, 901)), 1201),
            Some(AlertObservation::Resolved)
        );
        // The wait for one that is started again and again, or does not answer, is limited.
        assert_eq!(state(Some(response(false, 1500)), 1599), None);
        assert_eq!(
            state(Some(response(false, 1500)), 1600),
            Some(AlertObservation::Nothing)
        );
        assert_eq!(state(None, 1599), None);
        assert_eq!(state(None, 1600), Some(AlertObservation::Nothing));
    }
}
