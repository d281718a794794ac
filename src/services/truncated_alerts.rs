//! Fetches the alerts that Alertmanager left out of a notification because of its `max_alerts`.
//!
//! The response to a notification waits a moment for the fetch, so that usually these alerts are durable too when
//! Alertmanager gets it. A longer fetch continues in the background for a while: Alertmanager needs a response, and sends
//! the group again after its `repeat_interval` anyway. Alerts that could not be fetched are counted, logged, and shown in
//! the portal until the group is fetched, arrives complete, or is a day old. The state is in memory only: after a restart
//! the next notification restores it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::clients::alertmanager::Alertmanager;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::alert::{Alert, Notification};
use crate::plan::Choice;
use crate::services::inventory_watcher::InventoryWatcher;
use crate::store::Store;
use crate::util::clock;
use crate::util::shutdown::Shutdown;
use crate::util::supervisor::catch_panic;

/// How long the response to a notification waits for the fetch.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a fetch is tried. After that, the next notification of the group starts a new one.
const RETRY_FOR: Duration = Duration::from_mins(10);

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The most groups that are remembered; a further one is only counted and logged.
const GROUPS: usize = 1000;

/// The most memory for what all groups need to fetch their alerts. *Units*: bytes.
const GROUPS_BYTES: usize = 32 << 20;

/// The longest text that is shown. *Units*: bytes.
const SHOWN: usize = 1024;

/// The most groups that are fetched at once.
const AT_ONCE: usize = 4;

/// How often old warnings are deleted.
const PRUNE: Duration = Duration::from_mins(10);

/// How long a warning is shown if no fetch resolves it.
const KEEP: TimeDelta = TimeDelta::hours(24);

/// Alerts of a group that were not handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfetchedAlerts {
    /// The labels of the group, as matchers.
    pub group: String,
    /// How many alerts were left out.
    pub alerts: u64,
    /// Why they could not be fetched.
    pub why: String,
    /// When the first attempt failed.
    pub since: DateTime<Utc>,
    /// Whether fetching is still tried.
    pub trying: bool,
}

/// A handle to the fetcher. Cheap to clone.
#[derive(Clone)]
pub struct TruncatedAlerts {
    store: Store,
    config: watch::Receiver<Arc<Config>>,
    inventory: InventoryWatcher,
    metrics: Metrics,
    shutdown: Shutdown,
    groups: Arc<Mutex<BTreeMap<Key, State>>>,
    places: Arc<Semaphore>,
    /// Whether the task that deletes old warnings runs.
    prunes: Arc<AtomicBool>,
}

/// A hash of the receiver and the group, which come from outside and may have any length.
type Key = [u8; SHA256_OUTPUT_LEN];

fn key(notification: &Notification) -> Key {
    let mut hash = Context::new(&SHA256);
    let receiver = notification.receiver.as_bytes();
    hash.update(&receiver.len().to_le_bytes());
    hash.update(receiver);
    hash.update(notification.group_key.as_bytes());
    let mut key = [0; SHA256_OUTPUT_LEN];
    key.copy_from_slice(hash.finish().as_ref());
    key
}

/// The part of a notification that is needed to fetch its missing alerts.
struct Truncated {
    /// Without its alerts.
    notification: Notification,
    /// The alerts that the notification contained.
    received: BTreeSet<AlertIdentity>,
}

impl Truncated {
    fn of(notification: &Notification) -> Self {
        Self {
            notification: Notification {
                receiver: notification.receiver.clone(),
                group_key: notification.group_key.clone(),
                group_labels: notification.group_labels.clone(),
                truncated_alerts: notification.truncated_alerts,
                external_url: notification.external_url.clone(),
                alerts: Vec::new(),
            },
            received: notification.alerts.iter().map(identity).collect(),
        }
    }

    fn bytes(&self) -> usize {
        let of = &self.notification;
        let labels = of.group_labels.iter().map(|(n, v)| n.len() + v.len() + 64);
        let texts = of.receiver.len() + of.group_key.len() + of.external_url.len();
        texts + labels.sum::<usize>() + self.received.len() * 64
    }
}

#[derive(Default)]
struct State {
    /// Whether a fetch is under way.
    fetching: bool,
    /// Whether another truncated notification of this group arrived since the fetch started.
    again: bool,
    /// The memory that the fetch needs. *Units*: bytes.
    bytes: usize,
    unhandled: Option<UnfetchedAlerts>,
}

impl TruncatedAlerts {
    /// Creates a handle without any groups.
    pub fn new(
        store: Store,
        config: watch::Receiver<Arc<Config>>,
        inventory: InventoryWatcher,
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
            prunes: Arc::default(),
        }
    }

    /// Records a notification that was admitted, and fetches its missing alerts. Returns when that is done, or after
    /// a short wait.
    ///
    /// *Cancel safety*: a fetch that was started continues.
    pub async fn see(&self, notification: &Arc<Notification>) {
        let key = key(notification);
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
        let truncated = Truncated::of(notification);
        if !self.begin(&key, &truncated) {
            return;
        }
        let fetcher = self.clone();
        let fetching = tokio::spawn(async move {
            if let Err(why) = catch_panic(fetcher.fetch(&key, &truncated)).await {
                tracing::error!(error = why, "the task that fetches alerts panicked");
                fetcher.failed(&key, &truncated.notification, &why, false);
            }
        });
        let _ = tokio::time::timeout(PATIENCE, fetching).await;
    }

    /// Returns the alerts that were not handled, the oldest first.
    pub fn unhandled(&self, now: DateTime<Utc>) -> Vec<UnfetchedAlerts> {
        let mut groups = self.groups();
        prune(&mut groups, now);
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

    /// Returns whether the caller must start a fetch.
    fn begin(&self, key: &Key, truncated: &Truncated) -> bool {
        if self.config.borrow().alertmanager.is_none() {
            let why = "alertmanager.url is not configured".to_owned();
            self.failed(key, &truncated.notification, &why, false);
            return false;
        }
        let mut groups = self.groups();
        prune(&mut groups, clock::now());
        let others = groups.iter().filter(|(other, _)| *other != key);
        let bytes: usize = others.map(|(_, state)| state.bytes).sum();
        let is_full = groups.len() >= GROUPS && !groups.contains_key(key);
        if is_full || bytes + truncated.bytes() > GROUPS_BYTES {
            drop(groups);
            let why = "too many other groups wait for their truncated alerts".to_owned();
            self.failed(key, &truncated.notification, &why, false);
            return false;
        }
        let state = groups.entry(*key).or_default();
        state.again = state.fetching;
        if !state.fetching {
            state.bytes = truncated.bytes();
        }
        !std::mem::replace(&mut state.fetching, true)
    }

    async fn fetch(&self, key: &Key, truncated: &Truncated) {
        let until = Instant::now() + RETRY_FOR;
        let mut pause = FIRST_PAUSE;
        loop {
            let why = match self.fetch_once(truncated).await {
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
            let is_over = Instant::now() + pause > until || self.shutdown.is_requested();
            self.failed(key, &truncated.notification, &why, !is_over);
            if is_over {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = ending.requested() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Fetches the missing alerts once and admits them. The error is a sentence.
    async fn fetch_once(&self, truncated: &Truncated) -> Result<(), String> {
        let Truncated {
            notification,
            received,
        } = truncated;
        let config = Arc::clone(&self.config.borrow());
        let settings = config.alertmanager.as_ref();
        let settings = settings.ok_or("alertmanager.url is no longer configured")?;
        let place = self.places.acquire().await.map_err(|e| e.to_string())?;
        let alertmanager = Alertmanager::new(settings);
        let group = alertmanager.group(&notification.receiver, &notification.group_labels);
        let group = group.await;
        let group = group.map_err(|e| format!("Alertmanager at {}: {e}", settings.url))?;
        let mut missing = Vec::new();
        for alert in group {
            match alert {
                Ok(alert) if received.contains(&identity(&alert)) => {}
                Ok(alert) => missing.push(alert),
                Err(odd) => {
                    tracing::warn!(error = %odd, "an alert that Alertmanager left out cannot be handled");
                    self.metrics.alerts_unhandled(1);
                }
            }
        }
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
            groups.entry(*key).or_default()
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
        if !trying {
            state.bytes = 0;
        }
        state.unhandled = Some(UnfetchedAlerts {
            group: shown(&group_matchers(notification)),
            alerts,
            why: shown(why),
            since: since.unwrap_or_else(clock::now),
            trying,
        });
        drop(groups);
        if !trying {
            self.metrics.alerts_unhandled(alerts);
            self.prune_later();
        }
    }

    /// Starts the task that deletes old warnings, unless it runs: they must also be deleted if [`Self::unhandled`] is never
    /// called.
    fn prune_later(&self) {
        if self.prunes.swap(true, Ordering::Relaxed) {
            return;
        }
        let (groups, prunes) = (Arc::downgrade(&self.groups), Arc::clone(&self.prunes));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PRUNE).await;
                let Some(groups) = groups.upgrade() else {
                    return;
                };
                let mut groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
                prune(&mut groups, clock::now());
                if groups.is_empty() {
                    prunes.store(false, Ordering::Relaxed);
                    return;
                }
            }
        });
    }
}

/// Deletes warnings that are a day old.
fn prune(groups: &mut BTreeMap<Key, State>, now: DateTime<Utc>) {
    groups.retain(|_, state| {
        let is_old = |of: &UnfetchedAlerts| now - of.since >= KEEP;
        state.fetching || !state.unhandled.as_ref().is_none_or(is_old)
    });
}

/// Returns the text, cut to [`SHOWN`] bytes.
fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN);
    let mark = if end < text.len() { "…" } else { "" };
    format!("{}{mark}", &text[..end])
}

type AlertIdentity = (crate::model::alert::Fingerprint, i64);

/// Identifies an episode by what Alertmanager's API returns: milliseconds, not nanoseconds.
fn identity(alert: &Alert) -> AlertIdentity {
    (alert.fingerprint, alert.starts_at.timestamp_millis())
}

/// Returns the labels of the group as matchers.
fn group_matchers(notification: &Notification) -> String {
    let labels = notification.group_labels.iter();
    let labels: Vec<_> = labels
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    format!("{{{}}}", labels.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(group_key: &str) -> Notification {
        Notification {
            receiver: "r".into(),
            group_key: group_key.into(),
            group_labels: [("g".to_owned(), group_key.to_owned())].into(),
            truncated_alerts: 3,
            external_url: String::new(),
            alerts: Vec::new(),
        }
    }

    #[test]
    fn a_group_is_remembered_by_a_hash_and_shown_by_its_beginning() {
        let long = "x".repeat(8 << 20);
        let (one, other) = (
            notification(&format!("{long}1")),
            notification(&format!("{long}2")),
        );
        assert_ne!(key(&one), key(&other));
        assert_eq!(key(&one), key(&one.clone()));
        assert!(shown(&group_matchers(&one)).len() <= SHOWN + "…".len());
        assert!(Truncated::of(&one).bytes() > 16 << 20);
        // What ends the receiver does not begin the group.
        let mut moved = notification("bc");
        moved.receiver = "a".into();
        let mut other = notification("c");
        other.receiver = "ab".into();
        assert_ne!(key(&moved), key(&other));
    }

    #[test]
    fn a_warning_goes_after_a_day_and_what_is_fetched_stays() {
        let since = DateTime::UNIX_EPOCH;
        let state = |fetching| State {
            fetching,
            unhandled: Some(UnfetchedAlerts {
                group: String::new(),
                alerts: 1,
                why: String::new(),
                since,
                trying: fetching,
            }),
            ..State::default()
        };
        let mut groups = BTreeMap::from([([0; 32], state(false)), ([1; 32], state(true))]);
        prune(&mut groups, since + KEEP - TimeDelta::seconds(1));
        assert_eq!(groups.len(), 2);
        prune(&mut groups, since + KEEP);
        assert_eq!(groups.into_keys().collect::<Vec<_>>(), [[1; 32]]);
    }
}
