//! The metrics of messages to notifiers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounterVec, IntGauge, Registry};

use super::register::{counters, gauge};
use super::whole;

/// The result of an attempt to deliver a message to a notifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageResult {
    /// It was delivered.
    Sent,
    /// The delivery failed and will be retried.
    Failed,
    /// The message was given up.
    Dropped,
}

impl MessageResult {
    const ALL: [Self; 3] = [Self::Sent, Self::Failed, Self::Dropped];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// Counts messages by notifier and result. Cheap to clone.
#[derive(Clone)]
pub struct Messages {
    total: IntCounterVec,
    pending: IntGauge,
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl Messages {
    pub(super) fn register(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            total: counters(
                r,
                "messages_total",
                "Messages by notifier and result: sent, failed (to be retried) or dropped.",
                &["notifier", "result"],
            )?,
            pending: gauge(r, "messages_pending", "Messages that wait to be sent.")?,
            known: Arc::default(),
        })
    }

    /// Exposes exactly these notifiers, with 0 where nothing was counted yet.
    pub fn preregister<'a>(&self, notifiers: impl IntoIterator<Item = &'a str>) {
        let notifiers: BTreeSet<String> = notifiers.into_iter().map(str::to_owned).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for result in MessageResult::ALL {
            for removed in known.difference(&notifiers) {
                let _ = self.total.remove_label_values(&[removed, result.as_str()]);
            }
            for notifier in &notifiers {
                self.total.with_label_values(&[notifier, result.as_str()]);
            }
        }
        *known = notifiers;
    }

    pub fn count(&self, notifier: &str, result: MessageResult) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The last message of a removed notifier must not bring its series back.
        if known.contains(notifier) {
            self.inc(notifier, result);
        }
    }

    fn inc(&self, notifier: &str, result: MessageResult) {
        self.total
            .with_label_values(&[notifier, result.as_str()])
            .inc();
    }

    /// Counts a message that was dropped although only these notifiers had delivered it.
    pub(super) fn dropped(&self, settled: &BTreeSet<String>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for notifier in known.difference(settled) {
            self.inc(notifier, MessageResult::Dropped);
        }
    }

    /// Sets the number of messages that wait.
    pub fn pending(&self, messages: usize) {
        self.pending.set(whole(messages));
    }
}
