//! Delivers the messages of one notifier.

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

/// Delivers the messages of one notifier, independently of all other couriers.
pub(super) struct Courier {
    /// The name of the notifier.
    pub(super) notifier: String,
    pub(super) store: Store,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) metrics: Metrics,
    pub(super) context: MessageContext,
    pub(super) shutdown: Shutdown,
    /// Notified when a message may have left the outbox.
    pub(super) settled: Arc<Notify>,
    /// Its position in the outbox: all messages with lower numbers are done.
    pub(super) place: u64,
}

/// When to check the outbox again.
#[derive(Debug, Clone, Copy, Default)]
struct Next {
    at: Option<DateTime<Utc>>,
    /// Whether the notifier cannot be reached, so that nothing is tried before that time.
    is_unreachable: bool,
}

impl Next {
    fn at_latest(&mut self, at: DateTime<Utc>) {
        self.at = Some(self.at.map_or(at, |next| next.min(at)));
    }
}

/// The result of one delivery.
enum Delivery {
    /// The message is delivered, not for this notifier, or too old.
    Done,
    /// It must be tried again at this time.
    RetryAt(DateTime<Utc>),
    /// It must be tried again at this time, and so must all others: the notifier cannot be reached.
    Unreachable(DateTime<Utc>),
}

impl Courier {
    /// Works until its notifier is removed from the configuration, or until shutdown.
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
            // A changed notifier may want other messages, also such as were skipped before.
            if before.as_ref() != Some(notifier) {
                self.place = 0;
                before = Some(Arc::clone(notifier));
            }
            let delivered = tokio::select! {
                delivered = test_faults::exposed("courier", self.deliver_due(&config, notifier)) => delivered,
                // A message that is being sent is sent again after the restart.
                () = ending.requested() => return,
            };
            let next = delivered.unwrap_or_else(|e| {
                tracing::error!(notifier = self.notifier, error = %e, "messages cannot be read from the outbox or marked as delivered");
                Next::default()
            });
            let pause = next
                .at
                .map_or(IDLE, |at| (at - clock::now()).to_std().unwrap_or_default());
            tokio::select! {
                () = ending.requested() => return,
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

    /// Delivers all messages that are due.
    async fn deliver_due(
        &mut self,
        config: &Config,
        notifier: &Notifier,
    ) -> Result<Next, StoreError> {
        let mut next = Next::default();
        let mut from = self.place;
        loop {
            let page = self.store.messages(from, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(next);
            };
            from = last.message.id + 1;
            for pending in &page {
                match self.deliver(config, notifier, pending).await? {
                    // The position stops at the first message that must be tried again.
                    Delivery::Done if next.at.is_none() => self.place = pending.message.id + 1,
                    Delivery::Done => {}
                    Delivery::RetryAt(at) => next.at_latest(at),
                    Delivery::Unreachable(at) => {
                        return Ok(Next {
                            at: Some(at),
                            is_unreachable: true,
                        });
                    }
                }
            }
        }
    }

    /// Delivers one message, if it is due and for this notifier.
    async fn deliver(
        &self,
        config: &Config,
        notifier: &Notifier,
        pending: &Pending,
    ) -> Result<Delivery, StoreError> {
        let (name, message) = (&self.notifier, &pending.message);
        let now = clock::now();
        let is_old = now - message.at > MESSAGE_TTL;
        if is_old || !notifier.on.contains(&message.kind()) || pending.settled.contains(name) {
            return Ok(Delivery::Done);
        }
        let tries = pending.tries.get(name);
        // If the clock was set back, the message must not be delayed by as much.
        if let Some(tries) = tries.filter(|t| t.next > now && t.next - now <= LONGEST_PAUSE) {
            return Ok(Delivery::RetryAt(tries.next));
        }
        let sent = send(config, &self.context, &notifier.via, message).await;
        let times = tries.map_or(0, |tries| tries.times);
        let (delivery, stored, result) = match sent {
            Ok(()) => (Delivery::Done, DeliveryOutcome::Done, MessageResult::Sent),
            Err(refused) => {
                let next = clock::now() + pause(times);
                if times == 0 {
                    tracing::warn!(
                        notifier = name,
                        message = message.id,
                        error = refused.why,
                        "a message was not delivered; trying again"
                    );
                }
                let delivery = if refused.unreachable {
                    Delivery::Unreachable(next)
                } else {
                    Delivery::RetryAt(next)
                };
                let tries = Tries {
                    times: times + 1,
                    next,
                };
                (
                    delivery,
                    DeliveryOutcome::RetryAt(tries),
                    MessageResult::Failed,
                )
            }
        };
        self.settle(config, message, stored).await?;
        self.metrics.messages().count(name, result);
        if result == MessageResult::Sent {
            tracing::info!(
                notifier = name,
                message = message.id,
                event = message.kind().as_str(),
                "message delivered"
            );
        }
        Ok(delivery)
    }

    async fn settle(
        &self,
        config: &Config,
        message: &Message,
        outcome: DeliveryOutcome,
    ) -> Result<(), StoreError> {
        let outcomes = vec![(self.notifier.clone(), outcome)];
        let wanted = wanted(config, message);
        self.store
            .settle_message(message.id, outcomes, wanted)
            .await?;
        self.settled.notify_one();
        Ok(())
    }
}
