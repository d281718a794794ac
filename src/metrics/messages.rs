//! Messages to people.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounterVec, IntGauge, Registry};

use super::register::{counters, gauge};
use super::whole;

/// What became of a message at a notifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageResult {
    /// It was told.
    Sent,
    /// It could not be told, and is tried again.
    Failed,
    /// It was given up.
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

/// Shows what became of messages. Cheap to clone.
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
                "Messages to people: sent, failed (and tried again) and dropped, by notifier.",
                &["notifier", "result"],
            )?,
            pending: gauge(
                r,
                "messages_pending",
                "Messages to people that wait to be sent.",
            )?,
            known: Arc::default(),
        })
    }

    /// Shows these notifiers, at 0 where nothing is known of them yet, and no others.
    pub fn preregister<'a>(&self, notifiers: impl IntoIterator<Item = &'a str>) {
        let notifiers: BTreeSet<String> = notifiers.into_iter().map(str::to_owned).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for result in MessageResult::ALL {
            for gone in known.difference(&notifiers) {
                let _ = self.total.remove_label_values(&[gone, result.as_str()]);
            }
            for notifier in &notifiers {
                self.total.with_label_values(&[notifier, result.as_str()]);
            }
        }
        *known = notifiers;
    }

    /// Counts.
    pub fn count(&self, notifier: &str, result: MessageResult) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is gone must not come back by its last message.
        if known.contains(notifier) {
            self.inc(notifier, result);
        }
    }

    fn inc(&self, notifier: &str, result: MessageResult) {
        self.total
            .with_label_values(&[notifier, result.as_str()])
            .inc();
    }

    /// Counts a message that went before these notifiers alone had it.
    pub(super) fn dropped(&self, settled: &BTreeSet<String>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for notifier in known.difference(settled) {
            self.inc(notifier, MessageResult::Dropped);
        }
    }

    /// Shows how many wait.
    pub fn pending(&self, messages: usize) {
        self.pending.set(whole(messages));
    }
}
