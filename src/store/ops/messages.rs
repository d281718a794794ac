//! The outbox: messages to people, stored in the transaction of their cause.
//!
//! The outbox is independent of the configuration of notifiers. A message is stored once; the sender delivers it to all
//! notifiers that are configured at that time, and the row records for which of them it is settled (sent or given up).
//! It is removed when it is settled for all, or too old. So each notifier gets a message at least once, and a notifier
//! that is added later gets the messages that are still in the outbox.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use redb::{ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};

use crate::metrics::MetricEvent;
use crate::model::message::Message;
use crate::store::disk::tables::{MESSAGES, Tables, encode, meta_number, open_for_reading};
use crate::store::ops::state::WriterState;
use crate::store::{Store, StoreError};

/// The maximum number of messages. Beyond it the oldest is dropped: the newest messages matter most.
const MOST: u64 = 10_000;

/// How long delivery of a message is attempted.
pub const MESSAGE_TTL: TimeDelta = TimeDelta::hours(24);

/// A message that is not settled for all notifiers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub message: Message,
    /// Notifiers for which the message is settled.
    #[serde(default)]
    pub settled: BTreeSet<String>,
    /// Notifier → its failed attempts.
    #[serde(default)]
    pub tries: BTreeMap<String, Tries>,
}

/// The failed attempts to deliver a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// The number of attempts.
    pub times: u32,
    /// The earliest time of the next attempt.
    pub next: DateTime<Utc>,
}

/// The result of delivering a message to one notifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The message was sent or given up.
    Done,
    /// The delivery will be retried.
    RetryAt(Tries),
}

/// Stores a message, in the transaction of its cause.
pub(crate) fn put(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    message: &Message,
) -> Result<(), StoreError> {
    // Numbers are never reused: receivers identify a message by its number.
    let id = meta_number(&*tables.meta, "next_message")?.max(1);
    let next = (id + 1).to_le_bytes();
    tables.meta.insert("next_message", next.as_slice())?;
    let pending = Pending {
        message: Message {
            id,
            ..message.clone()
        },
        settled: BTreeSet::new(),
        tries: BTreeMap::new(),
    };
    tables.messages.insert(id, encode(&pending).as_slice())?;
    if tables.messages.len()? > MOST {
        let oldest = tables.messages.pop_first()?;
        if let Some((key, value)) = oldest {
            let unreadable = &tables.unreadable;
            let pending = unreadable.decode(MESSAGES, &key.value(), value.value());
            let settled = pending.map_or_else(BTreeSet::new, |pending: Pending| pending.settled);
            state.happened.push(MetricEvent::MessageDropped { settled });
        }
    }
    // Wakes the sender.
    state.queue_changed = true;
    Ok(())
}

fn settle(
    tables: &mut Tables<'_>,
    id: u64,
    told: &[(String, DeliveryOutcome)],
    wanted: &BTreeSet<String>,
) -> Result<(), StoreError> {
    let found = tables.messages.get(id)?;
    let found = found.and_then(|value| tables.unreadable.decode(MESSAGES, &id, value.value()));
    let Some(mut pending): Option<Pending> = found else {
        return Ok(());
    };
    for (notifier, told) in told {
        match told {
            DeliveryOutcome::Done => {
                pending.tries.remove(notifier);
                pending.settled.insert(notifier.clone());
            }
            DeliveryOutcome::RetryAt(tries) => {
                pending.tries.insert(notifier.clone(), *tries);
            }
        }
    }
    if wanted.is_subset(&pending.settled) {
        tables.messages.remove(id)?;
    } else {
        tables.messages.insert(id, encode(&pending).as_slice())?;
    }
    Ok(())
}

impl Store {
    /// Returns the messages in the outbox from this number on, oldest first, at most `limit`.
    pub async fn messages(&self, from: u64, limit: usize) -> Result<Vec<Pending>, StoreError> {
        self.read(move |txn| {
            let Some(table) = open_for_reading(txn, MESSAGES)? else {
                return Ok(Vec::new());
            };
            let mut pending = Vec::new();
            for row in table.range(from..)? {
                if pending.len() == limit {
                    break;
                }
                let (key, value) = row?;
                pending.extend(txn.unreadable.decode(MESSAGES, &key.value(), value.value()));
            }
            Ok(pending)
        })
        .await
    }

    /// Returns the number of messages in the outbox.
    pub async fn messages_waiting(&self) -> Result<u64, StoreError> {
        self.read(|txn| match open_for_reading(txn, MESSAGES)? {
            Some(table) => Ok(table.len()?),
            None => Ok(0),
        })
        .await
    }

    /// Stores the results of delivering a message. It leaves the outbox when it is settled for all notifiers that want
    /// it.
    ///
    /// *Durability*: `Ok` is on disk. If promansible ends before that, the message is sent again.
    pub async fn settle_message(
        &self,
        id: u64,
        told: Vec<(String, DeliveryOutcome)>,
        wanted: BTreeSet<String>,
    ) -> Result<(), StoreError> {
        self.write(move |tables, _| settle(tables, id, &told, &wanted))
            .await
    }

    /// Stores a message that has no transaction of its own: a test.
    pub async fn put_message(&self, message: Message) -> Result<(), StoreError> {
        self.write(move |tables, state| put(tables, state, &message))
            .await
    }
}
