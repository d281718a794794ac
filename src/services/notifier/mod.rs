//! Tells people: takes messages out of the store's outbox and sends them through the notifiers that are configured.
//!
//! Each notifier has a courier of its own, with its own place in the outbox: one that is slow or cannot be reached holds up no
//! other. A courier looks whenever the store has something new, and when a message is to be tried again. It sends its messages
//! in their order. What is refused is tried again, less and less often, for a day; a notifier that cannot be reached is left
//! alone for as long. What became of a message is in the store before the next is sent, so that each is told at least once,
//! and twice only where promansible ended in between: receivers can tell by the message's key. No run waits for any of it.

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

use crate::config::{Config, Notifier, Via};
use crate::metrics::{MessageResult, Metrics};
use crate::model::message::{Message, MessageEvent};
use crate::store::{DeliveryOutcome, MESSAGE_TTL, Pending, Store, StoreError};
use crate::util::clock;
use crate::util::shutdown::Shutdown;
use delivery::Courier;

/// How long one message may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a receiver's answer may be; nothing of it is needed.
const LARGEST: usize = 1 << 20;

/// How many messages are read at once.
const PAGE: usize = 200;

/// What comes together is looked at together.
const GATHER: Duration = Duration::from_millis(100);

/// The first pause after a refusal, and the longest.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(1);
const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(5);

/// How long to wait for a store that cannot be read, and how often old messages are looked for.
const IDLE: Duration = Duration::from_mins(1);

/// Who delivers.
pub struct Dispatcher {
    /// Where the messages are.
    pub store: Store,
    /// Who is to be told.
    pub config: watch::Receiver<Arc<Config>>,
    /// Counts.
    pub metrics: Metrics,
    /// Where people open the portal, if that is known.
    pub external_url: Option<Arc<str>>,
    /// When to end.
    pub shutdown: Shutdown,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    /// As a sentence, without secrets.
    why: String,
    /// Whether other messages would fare the same.
    unreachable: bool,
}

/// What every sender needs.
#[derive(Clone)]
struct MessageContext {
    /// The store's name: with a message's number it is unique.
    store: Arc<str>,
    origin: Option<Arc<str>>,
}

impl MessageContext {
    fn key(&self, message: &Message) -> String {
        format!("{}-{}", self.store, message.id)
    }

    /// The page that the message is about.
    fn link(&self, message: &Message) -> Option<String> {
        let origin = self.origin.as_ref()?;
        Some(match message.run() {
            Some(run) => format!("{origin}/runs/{run}"),
            None => format!("{origin}/"),
        })
    }
}

impl Dispatcher {
    /// Delivers until promansible ends.
    pub async fn run(mut self) {
        let mut changed = self.store.changed();
        let settled = Arc::new(Notify::new());
        let mut couriers = Couriers::default();
        // Where in the outbox it was not looked yet, and when it is looked through anew: messages grow old.
        let (mut from, mut anew_at) = (0, Instant::now());
        loop {
            changed.mark_unchanged();
            if self.config.has_changed().unwrap_or(false) || Instant::now() >= anew_at {
                (from, anew_at) = (0, Instant::now() + IDLE);
            }
            let config = Arc::clone(&self.config.borrow_and_update());
            let names = config.notifiers.iter().map(|n| n.name.as_str());
            self.metrics.messages().preregister(names);
            for notifier in &config.notifiers {
                couriers.start(&notifier.name, || self.courier(&notifier.name, &settled));
            }
            if let Err(e) = self.tidy(&config, &mut from).await {
                tracing::error!(error = %e, "messages to people cannot be read or settled");
            }
            tokio::select! {
                () = self.shutdown.asked() => return,
                () = tokio::time::sleep(IDLE) => {}
                // One that has gone may have come back meanwhile.
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
            letterhead: MessageContext {
                store: self.store.id().into(),
                origin: self.external_url.clone(),
            },
            shutdown: self.shutdown.clone(),
            settled: Arc::clone(settled),
            place: 0,
        }
    }

    /// Takes out of the outbox, from a message on, what nobody is to be told of any more, and shows how many wait.
    async fn tidy(&self, config: &Config, from: &mut u64) -> Result<(), StoreError> {
        let now = clock::now();
        loop {
            let page = self.store.messages(*from, PAGE).await?;
            let Some(last) = page.last() else { break };
            for pending in &page {
                self.end_if_over(config, pending, now).await?;
            }
            *from = last.message.id + 1;
        }
        let waiting = self.store.messages_waiting().await?;
        let waiting = usize::try_from(waiting).unwrap_or(usize::MAX);
        self.metrics.messages().pending(waiting);
        Ok(())
    }

    /// Ends a message that nobody is to be told of any more: all that want it have it, or it is too old.
    async fn end_if_over(
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
                "given up: the message could not be told for a day"
            );
        }
        let told = waiting
            .iter()
            .cloned()
            .map(|n| (n, DeliveryOutcome::Settled));
        self.store
            .settle_message(pending.message.id, told.collect(), wanted)
            .await?;
        for notifier in &waiting {
            self.metrics
                .messages()
                .count(notifier, MessageResult::Dropped);
        }
        Ok(())
    }
}

/// The couriers that are under way. Dropping it ends them: a message that one is sending is told again after a restart.
#[derive(Default)]
struct Couriers {
    running: JoinSet<()>,
    names: Vec<(String, Id)>,
}

impl Couriers {
    /// Starts the courier of a notifier that has none.
    fn start(&mut self, notifier: &str, courier: impl FnOnce() -> Courier) {
        if self.names.iter().all(|(name, _)| name != notifier) {
            let id = self.running.spawn(courier().run()).id();
            self.names.push((notifier.to_owned(), id));
        }
    }

    /// Waits until one ends; never, if there is none. *Cancel safety*: may be dropped at any time.
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

/// The notifiers that want a message.
fn wanted(config: &Config, message: &Message) -> BTreeSet<String> {
    let want = |n: &&Arc<Notifier>| n.on.contains(&message.kind());
    let notifiers = config.notifiers.iter().filter(want);
    notifiers.map(|n| n.name.clone()).collect()
}

async fn send(
    config: &Config,
    head: &MessageContext,
    via: &Via,
    message: &Message,
) -> Result<(), Refused> {
    match via {
        Via::Webhook { url, http } => webhook::webhook(head, url, http, message).await,
        Via::Slack { url, channel, http } => {
            webhook::slack(head, url, channel.as_deref(), http, message).await
        }
        Via::Email(settings) => email::send(head, settings, message).await,
        Via::Alertmanager => {
            let settings = config.alertmanager.as_ref();
            alertmanager::post(head, settings, message, clock::now()).await
        }
    }
}

/// Sends a test message through this notifier, past the store. An error is a sentence without secrets.
pub async fn test(config: &Config, notifier: &Notifier) -> Result<(), String> {
    let now = clock::now();
    let matter = MessageEvent::Test {
        notifier: notifier.name.clone(),
    };
    let mut message = Message::new(matter, now);
    // A receiver that has seen its key would take it for one that it knows.
    message.id = now.timestamp_millis().unsigned_abs();
    let head = MessageContext {
        store: "test".into(),
        origin: None,
    };
    let sent = send(config, &head, &notifier.via, &message).await;
    sent.map_err(|refused| refused.why)
}

/// How long to wait after so many refusals before this one.
fn pause(times: u32) -> TimeDelta {
    let doubled = FIRST_PAUSE.checked_mul(1 << times.min(16));
    doubled.map_or(LONGEST_PAUSE, |pause| pause.min(LONGEST_PAUSE))
}
