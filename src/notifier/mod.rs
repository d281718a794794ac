//! Tells people: takes messages out of the store's outbox and sends them through the notifiers that are configured.
//!
//! It looks whenever the store has something new, and when a message is to be tried again. Each notifier has its messages
//! in their order, a few at a time, beside the others. What is refused is tried again, less and less often, for a day; a
//! notifier that cannot be reached is left alone for as long. What became of a message is in the store before the next is
//! sent, so that each is told at least once, and twice only where promansible ended in between: receivers can tell by the
//! message's key. No run waits for any of it.

mod email;
mod hooks;
mod posted;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock;
use crate::config::{Config, Notifier, Via};
use crate::message::{Matter, Message};
use crate::metrics::{MessageResult, Metrics};
use crate::shutdown::Shutdown;
use crate::store::{MESSAGE_TTL, MessageTold, Pending, Store, StoreError, Tries};

/// How long one message may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a receiver's answer may be; nothing of it is needed.
const LARGEST: usize = 1 << 20;

/// How many messages a notifier gets before the others are looked at again.
const AT_ONCE: usize = 20;

/// What comes together is looked at together.
const GATHER: Duration = Duration::from_millis(100);

/// The first pause after a refusal, and the longest.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(1);
const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(5);

/// How long to wait for a store that cannot be read, and how often old messages are looked for.
const IDLE: Duration = Duration::from_mins(1);

/// Who delivers.
pub struct Teller {
    /// Where the messages are.
    pub store: Store,
    /// Who is to be told.
    pub config: watch::Receiver<Arc<Config>>,
    /// Counts.
    pub metrics: Metrics,
    /// Where people open the portal, if that is known.
    pub external_origin: Option<Arc<str>>,
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
struct Letterhead {
    /// The store's name: with a message's number it is unique.
    store: Arc<str>,
    origin: Option<Arc<str>>,
}

impl Letterhead {
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

impl Teller {
    /// Delivers until promansible ends.
    pub async fn run(mut self) {
        let mut changed = self.store.changed();
        let mut paused = BTreeMap::new();
        loop {
            changed.mark_unchanged();
            let config = Arc::clone(&self.config.borrow_and_update());
            let names = config.notifiers.iter().map(|n| n.name.as_str());
            self.metrics.messages().know(names);
            let next = match self.pass(&config, &mut paused).await {
                Ok(next) => next,
                Err(e) => {
                    tracing::error!(error = %e, "messages to people cannot be read or settled");
                    None
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

    /// One look through the outbox. Yields when to look again, if that is known.
    async fn pass(
        &self,
        config: &Arc<Config>,
        paused: &mut BTreeMap<String, DateTime<Utc>>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let box_ = self.store.messages().await?;
        self.metrics.messages().pending(box_.len());
        if box_.is_empty() {
            return Ok(None);
        }
        let now = clock::now();
        let mut left = box_.len();
        let mut open = Vec::new();
        for pending in box_ {
            if self.is_over(config, &pending, now).await? {
                left -= 1;
            } else {
                open.push(pending);
            }
        }
        let open: Arc<[Pending]> = open.into();
        let mut telling = JoinSet::new();
        for notifier in &config.notifiers {
            let due = paused.get(&notifier.name).is_none_or(|at| *at <= now);
            if due && !self.shutdown.is_asked() {
                let round = Round {
                    store: self.store.clone(),
                    metrics: self.metrics.clone(),
                    config: Arc::clone(config),
                    letterhead: Letterhead {
                        store: self.store.id().into(),
                        origin: self.external_origin.clone(),
                    },
                    notifier: Arc::clone(notifier),
                };
                telling.spawn(round.tell(Arc::clone(&open), now));
            }
        }
        let mut next = paused.values().copied().filter(|at| *at > now).min();
        let mut ending = self.shutdown.clone();
        loop {
            let told = tokio::select! {
                told = telling.join_next() => told,
                // A message that is under way is told again after the restart.
                () = ending.asked() => return Ok(None),
            };
            let Some(told) = told else { break };
            let Ok(told) = told else { continue };
            let told = told?;
            left = left.saturating_sub(told.gone);
            match told.unreachable_until {
                Some(until) => paused.insert(told.notifier, until),
                None => paused.remove(&told.notifier),
            };
            next = [next, told.next].into_iter().flatten().min();
        }
        self.metrics.messages().pending(left);
        Ok(next)
    }

    /// Whether nobody is to be told of it any more; then it leaves the outbox.
    async fn is_over(
        &self,
        config: &Config,
        pending: &Pending,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let wanted = wanted(config, &pending.message);
        let waiting: Vec<_> = wanted.difference(&pending.settled).cloned().collect();
        let is_old = now - pending.message.at > MESSAGE_TTL;
        if !waiting.is_empty() && !is_old {
            return Ok(false);
        }
        for notifier in &waiting {
            tracing::error!(
                notifier,
                message = pending.message.id,
                "given up: the message could not be told for a day"
            );
        }
        let told = waiting.iter().cloned().map(|n| (n, MessageTold::Settled));
        self.store
            .settle_message(pending.message.id, told.collect(), wanted)
            .await?;
        for notifier in &waiting {
            self.metrics
                .messages()
                .count(notifier, MessageResult::Dropped);
        }
        Ok(true)
    }
}

/// The notifiers that want a message.
fn wanted(config: &Config, message: &Message) -> BTreeSet<String> {
    let want = |n: &&Arc<Notifier>| n.on.contains(&message.kind());
    let notifiers = config.notifiers.iter().filter(want);
    notifiers.map(|n| n.name.clone()).collect()
}

/// One notifier's part of a look through the outbox.
struct Round {
    store: Store,
    metrics: Metrics,
    config: Arc<Config>,
    letterhead: Letterhead,
    notifier: Arc<Notifier>,
}

#[derive(Default)]
struct RoundTold {
    notifier: String,
    /// How many messages left the outbox.
    gone: usize,
    next: Option<DateTime<Utc>>,
    unreachable_until: Option<DateTime<Utc>>,
}

impl Round {
    async fn tell(self, open: Arc<[Pending]>, now: DateTime<Utc>) -> Result<RoundTold, StoreError> {
        let name = &self.notifier.name;
        let mut told = RoundTold {
            notifier: name.clone(),
            ..RoundTold::default()
        };
        let mine = |pending: &&Pending| {
            self.notifier.on.contains(&pending.message.kind()) && !pending.settled.contains(name)
        };
        let mut sent = 0;
        for pending in open.iter().filter(mine) {
            let tries = pending.tries.get(name);
            // A clock that was set back must not hold it up.
            if let Some(tries) = tries.filter(|t| t.next > now && t.next - now <= LONGEST_PAUSE) {
                told.next = [told.next, Some(tries.next)].into_iter().flatten().min();
                continue;
            }
            if sent == AT_ONCE {
                told.next = Some(now);
                break;
            }
            sent += 1;
            let message = &pending.message;
            let refused = send(&self.config, &self.letterhead, &self.notifier.via, message)
                .await
                .err();
            let result = match &refused {
                None => MessageResult::Sent,
                Some(_) => MessageResult::Failed,
            };
            let times = tries.map_or(0, |tries| tries.times);
            let outcome = match &refused {
                None => MessageTold::Settled,
                Some(refused) => {
                    let tries = Tries {
                        times: times + 1,
                        next: clock::now() + pause(times),
                    };
                    if times == 0 {
                        tracing::warn!(
                            notifier = name,
                            message = message.id,
                            error = refused.why,
                            "a message was not taken; it is tried again"
                        );
                    }
                    told.next = [told.next, Some(tries.next)].into_iter().flatten().min();
                    if refused.unreachable {
                        told.unreachable_until = Some(tries.next);
                    }
                    MessageTold::Later(tries)
                }
            };
            let wanted = wanted(&self.config, message);
            let is_last = wanted
                .iter()
                .all(|n| n == name || pending.settled.contains(n));
            let outcomes = vec![(name.clone(), outcome)];
            self.store
                .settle_message(message.id, outcomes, wanted)
                .await?;
            self.metrics.messages().count(name, result);
            if refused.is_none() {
                tracing::info!(
                    notifier = name,
                    message = message.id,
                    event = message.kind().as_str(),
                    "told"
                );
                told.gone += usize::from(is_last);
            }
            if told.unreachable_until.is_some() {
                break;
            }
        }
        Ok(told)
    }
}

async fn send(
    config: &Config,
    head: &Letterhead,
    via: &Via,
    message: &Message,
) -> Result<(), Refused> {
    match via {
        Via::Webhook { url, http } => hooks::webhook(head, url, http, message).await,
        Via::Slack { url, channel, http } => {
            hooks::slack(head, url, channel.as_deref(), http, message).await
        }
        Via::Email(settings) => email::send(head, settings, message).await,
        Via::Alertmanager => {
            let settings = config.alertmanager.as_ref();
            posted::post(head, settings, message, clock::now()).await
        }
    }
}

/// Sends a test message through this notifier, past the store. An error is a sentence without secrets.
pub async fn test(config: &Config, notifier: &Notifier) -> Result<(), String> {
    let now = clock::now();
    let matter = Matter::Test {
        notifier: notifier.name.clone(),
    };
    let mut message = Message::new(matter, now);
    // A receiver that has seen its key would take it for one that it knows.
    message.id = now.timestamp_millis().unsigned_abs();
    let head = Letterhead {
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
