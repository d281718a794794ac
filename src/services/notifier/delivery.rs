//! Brings one notifier its messages.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};

use crate::config::{Config, Notifier};
use crate::metrics::{MessageResult, Metrics};
use crate::model::message::Message;
use crate::services::notifier::GATHER;
use crate::services::notifier::IDLE;
use crate::services::notifier::LONGEST_PAUSE;
use crate::services::notifier::MessageContext;
use crate::services::notifier::PAGE;
use crate::services::notifier::pause;
use crate::services::notifier::send;
use crate::services::notifier::wanted;
use crate::store::{DeliveryOutcome, MESSAGE_TTL, Pending, Store, StoreError, Tries};
use crate::util::shutdown::Shutdown;
use crate::util::{clock, test_faults};

/// Brings a notifier its messages, beside all other couriers.
pub(super) struct Courier {
    /// The notifier's name.
    pub(super) notifier: String,
    pub(super) store: Store,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) metrics: Metrics,
    pub(super) letterhead: MessageContext,
    pub(super) shutdown: Shutdown,
    /// Hears that something may have left the outbox.
    pub(super) settled: Arc<Notify>,
    /// Its place in the outbox: it has all messages before this number.
    pub(super) place: u64,
}

/// When to look again.
#[derive(Debug, Clone, Copy, Default)]
struct Next {
    at: Option<DateTime<Utc>>,
    /// Whether nothing is to be tried before that, as the notifier cannot be reached.
    is_unreachable: bool,
}

impl Next {
    fn at_latest(&mut self, at: DateTime<Utc>) {
        self.at = Some(self.at.map_or(at, |next| next.min(at)));
    }
}

/// What became of a message.
enum Brought {
    /// There is nothing more to do about it.
    Done,
    /// It is to be tried again then.
    Later(DateTime<Utc>),
    /// The same, and others would fare no better.
    Unreachable(DateTime<Utc>),
}

impl Courier {
    /// Works until its notifier is configured no more, or promansible ends.
    pub(super) async fn run(mut self) {
        let mut changed = self.store.changed();
        let mut ending = self.shutdown.clone();
        let mut before: Option<Arc<Notifier>> = None;
        loop {
            changed.mark_unchanged();
            let config = Arc::clone(&self.config.borrow_and_update());
            let mut notifiers = config.notifiers.iter();
            let Some(notifier) = notifiers.find(|of| of.name == self.notifier) else {
                return;
            };
            // It may want other messages now, also of those that it has passed by.
            if before.as_ref() != Some(notifier) {
                self.place = 0;
                before = Some(Arc::clone(notifier));
            }
            let looked = tokio::select! {
                looked = test_faults::exposed("courier", self.look(&config, notifier)) => looked,
                // A message that is under way is told again after the restart.
                () = ending.asked() => return,
            };
            let next = looked.unwrap_or_else(|e| {
                tracing::error!(notifier = self.notifier, error = %e, "messages to people cannot be read or settled");
                Next::default()
            });
            let pause = next
                .at
                .map_or(IDLE, |at| (at - clock::now()).to_std().unwrap_or_default());
            tokio::select! {
                () = ending.asked() => return,
                () = tokio::time::sleep(pause.clamp(GATHER, IDLE)) => {}
                changed = changed.changed(), if !next.is_unreachable => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(GATHER).await;
                }
                changed = self.config.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Brings all that is due.
    async fn look(&mut self, config: &Config, notifier: &Notifier) -> Result<Next, StoreError> {
        let mut next = Next::default();
        let mut from = self.place;
        loop {
            let page = self.store.messages(from, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(next);
            };
            from = last.message.id + 1;
            for pending in &page {
                match self.bring(config, notifier, pending).await? {
                    // What is to be tried again is looked at again, and so is what follows it.
                    Brought::Done if next.at.is_none() => self.place = pending.message.id + 1,
                    Brought::Done => {}
                    Brought::Later(at) => next.at_latest(at),
                    Brought::Unreachable(at) => {
                        return Ok(Next {
                            at: Some(at),
                            is_unreachable: true,
                        });
                    }
                }
            }
        }
    }

    /// Brings it one message, if that is for it and due.
    async fn bring(
        &self,
        config: &Config,
        notifier: &Notifier,
        pending: &Pending,
    ) -> Result<Brought, StoreError> {
        let (name, message) = (&self.notifier, &pending.message);
        let now = clock::now();
        let is_old = now - message.at > MESSAGE_TTL;
        if is_old || !notifier.on.contains(&message.kind()) || pending.settled.contains(name) {
            return Ok(Brought::Done);
        }
        let tries = pending.tries.get(name);
        // A clock that was set back must not hold it up.
        if let Some(tries) = tries.filter(|t| t.next > now && t.next - now <= LONGEST_PAUSE) {
            return Ok(Brought::Later(tries.next));
        }
        let sent = send(config, &self.letterhead, &notifier.via, message).await;
        let times = tries.map_or(0, |tries| tries.times);
        let (brought, told, result) = match sent {
            Ok(()) => (Brought::Done, DeliveryOutcome::Settled, MessageResult::Sent),
            Err(refused) => {
                let next = clock::now() + pause(times);
                if times == 0 {
                    tracing::warn!(
                        notifier = name,
                        message = message.id,
                        error = refused.why,
                        "a message was not taken; it is tried again"
                    );
                }
                let brought = if refused.unreachable {
                    Brought::Unreachable(next)
                } else {
                    Brought::Later(next)
                };
                let tries = Tries {
                    times: times + 1,
                    next,
                };
                (
                    brought,
                    DeliveryOutcome::Later(tries),
                    MessageResult::Failed,
                )
            }
        };
        self.settle(config, message, told).await?;
        self.metrics.messages().count(name, result);
        if result == MessageResult::Sent {
            tracing::info!(
                notifier = name,
                message = message.id,
                event = message.kind().as_str(),
                "told"
            );
        }
        Ok(brought)
    }

    async fn settle(
        &self,
        config: &Config,
        message: &Message,
        told: DeliveryOutcome,
    ) -> Result<(), StoreError> {
        let told = vec![(self.notifier.clone(), told)];
        let wanted = wanted(config, message);
        self.store.settle_message(message.id, told, wanted).await?;
        self.settled.notify_one();
        Ok(())
    }
}
