//! Fetches the alerts that Alertmanager left out of a notification because of its `max_alerts`.
//!
//! A notification waits a moment for them, so that in the usual case its answer means that they are durable too. What takes
//! longer goes on in the background, for a while: Alertmanager has to be answered, and comes again after its
//! `repeat_interval` anyhow. What could not be fetched is counted, logged, and shown in the portal until its group is
//! fetched, comes whole, or is a day old. All of it is in memory: after a restart the next notification tells the same.

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

/// How long a notification's answer waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long to try. What has not come by then comes with the next notification of its group.
const TRYING: Duration = Duration::from_mins(10);

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How many groups are remembered; a further one is counted and logged only.
const GROUPS: usize = 1000;

/// How much is remembered of all of them together: what is needed to fetch their alerts. *Units*: bytes.
const GROUPS_BYTES: usize = 32 << 20;

/// How much of a text is shown. *Units*: bytes.
const SHOWN: usize = 1024;

/// So many are fetched at once.
const AT_ONCE: usize = 4;

/// How often old warnings are looked for.
const PRUNE: Duration = Duration::from_mins(10);

/// How long a warning stays that nothing takes away.
const KEPT: TimeDelta = TimeDelta::hours(24);

/// Alerts of a group that were not handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfetchedAlerts {
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
pub struct TruncatedAlerts {
    store: Store,
    config: watch::Receiver<Arc<Config>>,
    inventory: InventoryWatcher,
    metrics: Metrics,
    shutdown: Shutdown,
    groups: Arc<Mutex<BTreeMap<Key, State>>>,
    places: Arc<Semaphore>,
    /// Whether old warnings are looked for.
    prunes: Arc<AtomicBool>,
}

/// A hash of the receiver and the group: they come from outside, and may be of any length.
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

/// What is needed of a notification to fetch what it lacks.
struct Cut {
    /// Without its alerts.
    notification: Notification,
    /// The alerts that it told.
    told: BTreeSet<AlertIdentity>,
}

impl Cut {
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
            told: notification.alerts.iter().map(identity).collect(),
        }
    }

    fn bytes(&self) -> usize {
        let of = &self.notification;
        let labels = of.group_labels.iter().map(|(n, v)| n.len() + v.len() + 64);
        let texts = of.receiver.len() + of.group_key.len() + of.external_url.len();
        texts + labels.sum::<usize>() + self.told.len() * 64
    }
}

#[derive(Default)]
struct State {
    /// Whether somebody fetches.
    fetching: bool,
    /// Whether the group was told of again since he began.
    again: bool,
    /// How much is remembered to fetch it.
    bytes: usize,
    unhandled: Option<UnfetchedAlerts>,
}

impl TruncatedAlerts {
    /// One that knows of nothing.
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

    /// Takes note of a notification that was admitted, and fetches what it lacks. Returns when that is done, or soon.
    ///
    /// *Cancel safety*: what was begun goes on.
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
        let cut = Cut::of(notification);
        if !self.begin(&key, &cut) {
            return;
        }
        let keeper = self.clone();
        let fetching = tokio::spawn(async move {
            if let Err(why) = catch_panic(keeper.fetch(&key, &cut)).await {
                tracing::error!(error = why, "the task that fetches alerts panicked");
                keeper.failed(&key, &cut.notification, &why, false);
            }
        });
        let _ = tokio::time::timeout(PATIENCE, fetching).await;
    }

    /// What was not handled, the oldest first.
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

    /// Whether the caller is to fetch.
    fn begin(&self, key: &Key, cut: &Cut) -> bool {
        if self.config.borrow().alertmanager.is_none() {
            let why = "alertmanager.url is not configured".to_owned();
            self.failed(key, &cut.notification, &why, false);
            return false;
        }
        let mut groups = self.groups();
        prune(&mut groups, clock::now());
        let others = groups.iter().filter(|(other, _)| *other != key);
        let bytes: usize = others.map(|(_, state)| state.bytes).sum();
        let is_full = groups.len() >= GROUPS && !groups.contains_key(key);
        if is_full || bytes + cut.bytes() > GROUPS_BYTES {
            drop(groups);
            let why = "too many other groups wait for the same".to_owned();
            self.failed(key, &cut.notification, &why, false);
            return false;
        }
        let state = groups.entry(*key).or_default();
        state.again = state.fetching;
        if !state.fetching {
            state.bytes = cut.bytes();
        }
        !std::mem::replace(&mut state.fetching, true)
    }

    async fn fetch(&self, key: &Key, cut: &Cut) {
        let until = Instant::now() + TRYING;
        let mut pause = FIRST_PAUSE;
        loop {
            let why = match self.fetch_once(cut).await {
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
            self.failed(key, &cut.notification, &why, !is_over);
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
    async fn fetch_once(&self, cut: &Cut) -> Result<(), String> {
        let Cut { notification, told } = cut;
        let config = Arc::clone(&self.config.borrow());
        let settings = config.alertmanager.as_ref();
        let settings = settings.ok_or("alertmanager.url is not configured any more")?;
        let place = self.places.acquire().await.map_err(|e| e.to_string())?;
        let alertmanager = Alertmanager::new(settings);
        let group = alertmanager.group(&notification.receiver, &notification.group_labels);
        let group = group.await;
        let group = group.map_err(|e| format!("Alertmanager at {}: {e}", settings.url))?;
        let mut missing = Vec::new();
        for alert in group {
            match alert {
                Ok(alert) if told.contains(&identity(&alert)) => {}
                Ok(alert) => missing.push(alert),
                Err(odd) => {
                    tracing::warn!(error = %odd, "an alert that Alertmanager left out is not handled");
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
            group: shown(&group(notification)),
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

    /// Forgets warnings in their time, whether anybody looks or not.
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

/// Forgets what is a day old.
fn prune(groups: &mut BTreeMap<Key, State>, now: DateTime<Utc>) {
    groups.retain(|_, state| {
        let is_old = |of: &UnfetchedAlerts| now - of.since >= KEPT;
        state.fetching || !state.unhandled.as_ref().is_none_or(is_old)
    });
}

/// As much of a text as is shown.
fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN);
    let mark = if end < text.len() { "…" } else { "" };
    format!("{}{mark}", &text[..end])
}

type AlertIdentity = (crate::model::alert::Fingerprint, i64);

/// An episode, as far as Alertmanager's API tells it: it has no nanoseconds.
fn identity(alert: &Alert) -> AlertIdentity {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(group_key: &str) -> Notification {
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
        let (one, other) = (told(&format!("{long}1")), told(&format!("{long}2")));
        assert_ne!(key(&one), key(&other));
        assert_eq!(key(&one), key(&one.clone()));
        assert!(shown(&group(&one)).len() <= SHOWN + "…".len());
        assert!(Cut::of(&one).bytes() > 16 << 20);
        // What ends the receiver does not begin the group.
        let mut moved = told("bc");
        moved.receiver = "a".into();
        let mut other = told("c");
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
        prune(&mut groups, since + KEPT - TimeDelta::seconds(1));
        assert_eq!(groups.len(), 2);
        prune(&mut groups, since + KEPT);
        assert_eq!(groups.into_keys().collect::<Vec<_>>(), [[1; 32]]);
    }
}
