//! Fetches the alerts that Alertmanager left out of a notification because of its `max_alerts`.
//!
//! A notification waits a moment for them, so that in the usual case its answer means that they are durable too. What takes
//! longer goes on in the background, for a while: Alertmanager has to be answered, and comes again after its
//! `repeat_interval` anyhow. What could not be fetched is counted, logged, and shown in the portal until its group is
//! fetched, comes whole, or is a day old. All of it is in memory: after a restart the next notification tells the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::alert::{Alert, Notification};
use crate::alertmanager::Alertmanager;
use crate::clock;
use crate::config::Config;
use crate::inventory_keeper::InventoryKeeper;
use crate::metrics::Metrics;
use crate::plan::Choice;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::supervise::catch_panic;

/// How long a notification's answer waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long to try. What has not come by then comes with the next notification of its group.
const TRYING: Duration = Duration::from_mins(10);

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How many groups are remembered; a further one is counted and logged only.
const GROUPS: usize = 1000;

/// So many are fetched at once.
const AT_ONCE: usize = 4;

/// How long a warning stays that nothing takes away.
const KEPT: TimeDelta = TimeDelta::hours(24);

/// Alerts of a group that were not handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unhandled {
    /// The labels of the group, as matchers.
    pub group: String,
    /// How many alerts were left out.
    pub alerts: u64,
    /// Why they could not be fetched.
    pub why: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Whether it is still tried.
    pub trying: bool,
}

/// A handle. Cheap to clone.
#[derive(Clone)]
pub struct LeftOut {
    store: Store,
    config: watch::Receiver<Arc<Config>>,
    inventory: InventoryKeeper,
    metrics: Metrics,
    shutdown: Shutdown,
    groups: Arc<Mutex<BTreeMap<Key, State>>>,
    places: Arc<Semaphore>,
}

/// Receiver and group.
type Key = (String, String);

#[derive(Default)]
struct State {
    /// Whether somebody fetches.
    fetching: bool,
    /// Whether the group was told of again since he began.
    again: bool,
    unhandled: Option<Unhandled>,
}

impl LeftOut {
    /// One that knows of nothing.
    pub fn new(
        store: Store,
        config: watch::Receiver<Arc<Config>>,
        inventory: InventoryKeeper,
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            store,
            config,
            inventory,
            metrics,
            shutdown,
            groups: Arc::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Takes note of a notification that was admitted, and fetches what it lacks. Returns when that is done, or soon.
    ///
    /// *Cancel safety*: what was begun goes on.
    pub async fn see(&self, notification: &Arc<Notification>) {
        let key = (
            notification.receiver.clone(),
            notification.group_key.clone(),
        );
        if notification.truncated_alerts == 0 {
            let mut groups = self.groups();
            if let Some(state) = groups.get_mut(&key) {
                state.unhandled = None;
                if !state.fetching {
                    groups.remove(&key);
                }
            }
            return;
        }
        if !self.begin(&key, notification) {
            return;
        }
        let keeper = self.clone();
        let notification = Arc::clone(notification);
        let fetching = tokio::spawn(async move {
            if let Err(why) = catch_panic(keeper.fetch(&key, &notification)).await {
                tracing::error!(error = why, "the task that fetches alerts panicked");
                keeper.failed(&key, &notification, &why, false);
            }
        });
        let _ = tokio::time::timeout(PATIENCE, fetching).await;
    }

    /// What was not handled, the oldest first.
    pub fn unhandled(&self, now: DateTime<Utc>) -> Vec<Unhandled> {
        let mut groups = self.groups();
        groups.retain(|_, state| {
            let is_old = |of: &Unhandled| now - of.since > KEPT;
            state.fetching || !state.unhandled.as_ref().is_none_or(is_old)
        });
        let mut all: Vec<_> = groups
            .values()
            .filter_map(|s| s.unhandled.clone())
            .collect();
        all.sort_by_key(|of| of.since);
        all
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<Key, State>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller is to fetch.
    fn begin(&self, key: &Key, notification: &Notification) -> bool {
        if self.config.borrow().alertmanager.is_none() {
            let why = "alertmanager.url is not configured".to_owned();
            self.failed(key, notification, &why, false);
            return false;
        }
        let mut groups = self.groups();
        if groups.len() >= GROUPS && !groups.contains_key(key) {
            drop(groups);
            let why = format!("{GROUPS} other groups wait for the same");
            self.failed(key, notification, &why, false);
            return false;
        }
        let state = groups.entry(key.clone()).or_default();
        state.again = state.fetching;
        !std::mem::replace(&mut state.fetching, true)
    }

    async fn fetch(&self, key: &Key, notification: &Notification) {
        let until = Instant::now() + TRYING;
        let mut pause = FIRST_PAUSE;
        loop {
            let why = match self.fetch_once(notification).await {
                Ok(()) => {
                    let mut groups = self.groups();
                    let again = groups
                        .get_mut(key)
                        .is_some_and(|state| std::mem::take(&mut state.again));
                    if !again {
                        groups.remove(key);
                        return;
                    }
                    continue;
                }
                Err(why) => why,
            };
            let mut ending = self.shutdown.clone();
            let is_over = Instant::now() + pause > until || self.shutdown.is_asked();
            self.failed(key, notification, &why, !is_over);
            if is_over {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = ending.asked() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One try. The error is a sentence.
    async fn fetch_once(&self, notification: &Notification) -> Result<(), String> {
        let config = Arc::clone(&self.config.borrow());
        let settings = config.alertmanager.as_ref();
        let settings = settings.ok_or("alertmanager.url is not configured any more")?;
        let place = self.places.acquire().await.map_err(|e| e.to_string())?;
        let alertmanager = Alertmanager::new(settings);
        let group = alertmanager.group(&notification.receiver, &notification.group_labels);
        let group = group.await;
        let group = group.map_err(|e| format!("Alertmanager at {}: {e}", settings.url))?;
        let told: BTreeSet<_> = notification.alerts.iter().map(identity).collect();
        let missing: Vec<Alert> = group
            .into_iter()
            .filter(|alert| !told.contains(&identity(alert)))
            .collect();
        let alerts = missing.len();
        let mut runs = BTreeSet::new();
        for part in missing.chunks(config.receiver.max_alerts) {
            let inventory = self.inventory.current().await.map_err(|e| e.brief())?;
            let part = Notification {
                truncated_alerts: 0,
                alerts: part.to_vec(),
                ..notification.clone()
            };
            let admitted = self
                .store
                .admit(Arc::new(part), Arc::clone(&config), inventory, clock::now())
                .await
                .map_err(|e| e.to_string())?;
            let decided = admitted.decisions.into_iter();
            runs.extend(
                decided
                    .filter(|d| matches!(d.choice, Choice::Run { .. }))
                    .filter_map(|d| d.run),
            );
        }
        drop(place);
        tracing::info!(
            receiver = notification.receiver,
            truncated = notification.truncated_alerts,
            fetched = alerts,
            runs = runs.len(),
            "fetched the alerts that Alertmanager left out because of max_alerts"
        );
        Ok(())
    }

    fn failed(&self, key: &Key, notification: &Notification, why: &str, trying: bool) {
        let alerts = notification.truncated_alerts;
        let mut groups = self.groups();
        let known = groups.len() < GROUPS || groups.contains_key(key);
        let mut state = State::default();
        let state = if known {
            groups.entry(key.clone()).or_default()
        } else {
            &mut state
        };
        let since = state.unhandled.as_ref().map(|of| of.since);
        if since.is_none() || !trying {
            tracing::warn!(
                receiver = notification.receiver,
                truncated = alerts,
                error = why,
                trying,
                "alerts that Alertmanager left out because of max_alerts are not handled"
            );
        }
        state.fetching = trying;
        state.unhandled = Some(Unhandled {
            group: group(notification),
            alerts,
            why: why.to_owned(),
            since: since.unwrap_or_else(clock::now),
            trying,
        });
        if !trying {
            self.metrics.alerts_unhandled(alerts);
        }
    }
}

/// An episode, as far as Alertmanager's API tells it: it has no nanoseconds.
fn identity(alert: &Alert) -> (crate::alert::Fingerprint, i64) {
    (alert.fingerprint, alert.starts_at.timestamp_millis())
}

/// The labels of the group, as a person knows them.
fn group(notification: &Notification) -> String {
    let labels = notification.group_labels.iter();
    let labels: Vec<_> = labels
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    format!("{{{}}}", labels.join(", "))
}
