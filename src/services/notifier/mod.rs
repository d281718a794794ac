//! Sends the messages in the store's outbox to people, through the configured notifiers.
//!
//! Each notifier has its own courier with its own position in the outbox, so that a slow or unreachable one delays no
//! other. A courier checks the outbox when the store changes, and when a message must be tried again. It sends its messages
//! in order. A refused message is tried again for a day, with growing pauses; while a notifier cannot be reached, its other
//! messages wait for the same pause. The result of a delivery is stored before the next message is sent. So each message is
//! delivered at least once, and twice only if promansible ended in between: receivers can recognise it by its key. No run
//! waits for a delivery.

mod alertmanager;
mod delivery;
mod email;
#[cfg(test)]
mod tests;
mod webhook;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use crate::config::{Config, Destination, Notifier};
use crate::metrics::{MessageResult, Metrics};
use crate::model::message::{Message, MessageEvent};
use crate::store::{DeliveryOutcome, MESSAGE_TTL, Pending, Store, StoreError};
use crate::util::clock;
use crate::util::shutdown::Shutdown;
use delivery::Courier;

/// The time limit for sending one message.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest response of a receiver; its content is not used. *Units*: bytes.
const LARGEST: usize = 1 << 20;

/// The most messages that are read at once.
const PAGE: usize = 200;

/// How long to gather changes before the outbox is checked.
const GATHER: Duration = Duration::from_millis(100);

/// The first pause after a refusal, and the longest.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(1);
const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(5);

/// The pause after the store could not be read, and between checks for old messages.
const IDLE: Duration = Duration::from_mins(1);

/// Starts a courier for each notifier, and removes finished messages from the outbox.
pub struct Dispatcher {
    pub store: Store,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    pub metrics: Metrics,
    /// The external URL of the portal, if configured.
    pub external_url: Option<Arc<str>>,
    /// Becomes true when promansible is shutting down.
    pub shutdown: Shutdown,
}

/// Why a message was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    /// The reason, without secrets.
    why: String,
    /// Whether other messages would fail too.
    unreachable: bool,
}

/// The context that every sender needs.
#[derive(Clone)]
struct MessageContext {
    /// The id of the store, which makes the number of a message unique.
    store: Arc<str>,
    origin: Option<Arc<str>>,
}

impl MessageContext {
    fn key(&self, message: &Message) -> String {
        format!("{}-{}", self.store, message.id)
    }

    /// Returns the URL of the page that the message is about.
    fn link(&self, message: &Message) -> Option<String> {
        let origin = self.origin.as_ref()?;
        Some(match message.run() {
            Some(run) => format!("{origin}/runs/{run}"),
            None => format!("{origin}/"),
        })
    }
}

impl Dispatcher {
    /// Delivers until shutdown.
    pub async fn run(mut self) {
        let mut changed = self.store.changed();
        let settled = Arc::new(Notify::new());
        let mut couriers = Couriers::default();
        // The position up to which the outbox was checked, and when it is checked from its beginning again: messages
        // expire.
        let (mut from, mut restart_at) = (0, Instant::now());
        loop {
            changed.mark_unchanged();
            if self.config.has_changed().unwrap_or(false) || Instant::now() >= restart_at {
                (from, restart_at) = (0, Instant::now() + IDLE);
            }
            let config = Arc::clone(&self.config.borrow_and_update());
            let names = config.notifiers.iter().map(|n| n.name.as_str());
            self.metrics.messages().preregister(names);
            for notifier in &config.notifiers {
                couriers.start(&notifier.name, || self.courier(&notifier.name, &settled));
            }
            if let Err(e) = self.tidy(&config, &mut from).await {
                tracing::error!(error = %e, "messages cannot be read from the outbox or marked as delivered");
            }
            tokio::select! {
                () = self.shutdown.requested() => return,
                () = tokio::time::sleep(IDLE) => {}
                // Its notifier may have been configured again meanwhile.
                () = couriers.one_ends() => {}
                () = settled.notified() => tokio::time::sleep(GATHER).await,
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

    fn courier(&self, notifier: &str, settled: &Arc<Notify>) -> Courier {
        Courier {
            notifier: notifier.to_owned(),
            store: self.store.clone(),
            config: self.config.clone(),
            metrics: self.metrics.clone(),
            context: MessageContext {
                store: self.store.id().into(),
                origin: self.external_url.clone(),
            },
            shutdown: self.shutdown.clone(),
            settled: Arc::clone(settled),
            place: 0,
        }
    }

    /// Removes finished messages from the outbox, from this position on, and exports how many wait.
    async fn tidy(&self, config: &Config, from: &mut u64) -> Result<(), StoreError> {
        let now = clock::now();
        loop {
            let page = self.store.messages(*from, PAGE).await?;
            let Some(last) = page.last() else { break };
            for pending in &page {
                self.remove_if_finished(config, pending, now).await?;
            }
            *from = last.message.id + 1;
        }
        let waiting = self.store.messages_waiting().await?;
        let waiting = usize::try_from(waiting).unwrap_or(usize::MAX);
        self.metrics.messages().pending(waiting);
        Ok(())
    }

    /// Removes a message if it is finished: all notifiers that want it have it, or it is too old.
    async fn remove_if_finished(
        &self,
        config: &Config,
        pending: &Pending,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let wanted = wanted(config, &pending.message);
        let waiting: Vec<_> = wanted.difference(&pending.settled).cloned().collect();
        let is_old = now - pending.message.at > MESSAGE_TTL;
        if !waiting.is_empty() && !is_old {
            return Ok(());
        }
        for notifier in &waiting {
            tracing::error!(
                notifier,
                message = pending.message.id,
                "giving up: the message could not be delivered within a day"
            );
        }
        let outcomes = waiting.iter().cloned().map(|n| (n, DeliveryOutcome::Done));
        self.store
            .settle_message(pending.message.id, outcomes.collect(), wanted)
            .await?;
        for notifier in &waiting {
            self.metrics
                .messages()
                .count(notifier, MessageResult::Dropped);
        }
        Ok(())
    }
}

/// The running couriers. Dropping it ends them: a message that is being sent is sent again after a restart.
#[derive(Default)]
struct Couriers {
    running: JoinSet<()>,
    names: Vec<(String, Id)>,
}

impl Couriers {
    /// Starts a courier for a notifier that has none.
    fn start(&mut self, notifier: &str, courier: impl FnOnce() -> Courier) {
        if self.names.iter().all(|(name, _)| name != notifier) {
            let id = self.running.spawn(courier().run()).id();
            self.names.push((notifier.to_owned(), id));
        }
    }

    /// Waits until one ends; forever if there is none. *Cancel safety*: may be dropped at any time.
    async fn one_ends(&mut self) {
        let id = match self.running.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((id, ()))) => id,
            Some(Err(e)) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Some(Err(e)) => e.id(),
        };
        self.names.retain(|(_, of)| *of != id);
    }
}

/// Returns the names of the notifiers that want a message.
fn wanted(config: &Config, message: &Message) -> BTreeSet<String> {
    let want = |n: &&Arc<Notifier>| n.on.contains(&message.kind());
    let notifiers = config.notifiers.iter().filter(want);
    notifiers.map(|n| n.name.clone()).collect()
}

async fn send(
    config: &Config,
    head: &MessageContext,
    via: &Destination,
    message: &Message,
) -> Result<(), Refused> {
    match via {
        Destination::Webhook { url, http } => webhook::webhook(head, url, http, message).await,
        Destination::Slack { url, channel, http } => {
            webhook::slack(head, url, channel.as_deref(), http, message).await
        }
        Destination::Email(settings) => email::send(head, settings, message).await,
        Destination::Alertmanager => {
            let settings = config.alertmanager.as_ref();
            alertmanager::post(head, settings, message, clock::now()).await
        }
    }
}

/// Sends a test message through this notifier, without the outbox. An error is a sentence without secrets.
pub async fn test(config: &Config, notifier: &Notifier) -> Result<(), String> {
    let now = clock::now();
    let matter = MessageEvent::Test {
        notifier: notifier.name.clone(),
    };
    let mut message = Message::new(matter, now);
    // A receiver that has seen the same key would drop it as a duplicate.
    message.id = now.timestamp_millis().unsigned_abs();
    let head = MessageContext {
        store: "test".into(),
        origin: None,
    };
    let sent = send(config, &head, &notifier.via, &message).await;
    sent.map_err(|refused| refused.why)
}

/// Returns the pause after a refusal, if there were so many before it.
fn pause(times: u32) -> TimeDelta {
    let doubled = FIRST_PAUSE.checked_mul(1 << times.min(16));
    doubled.map_or(LONGEST_PAUSE, |pause| pause.min(LONGEST_PAUSE))
}
