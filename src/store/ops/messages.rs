//! The outbox: messages to people, kept in the transaction of their cause.
//!
//! The store does not know who is to be told: that is configuration. A message is put once; whoever delivers fans it out to
//! the notifiers that are configured then, and the row remembers for which of them it is settled (sent, or given up). It is
//! removed when all are, or when it is too old. So a message is told once to each notifier, at least; one that is configured
//! later hears of what is still in the box.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use redb::{ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};

use crate::metrics::MetricEvent;
use crate::model::message::Message;
use crate::store::disk::tables::{MESSAGES, Tables, encode, meta_number, open_for_reading};
use crate::store::ops::state::WriterState;
use crate::store::{Store, StoreError};

/// How many messages wait at most. Beyond that the oldest goes: what is newest is what people need to know.
const MOST: u64 = 10_000;

/// How long a message is tried.
pub const MESSAGE_TTL: TimeDelta = TimeDelta::hours(24);

/// A message that is not settled for everyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The message.
    pub message: Message,
    /// Notifiers for which it is settled.
    #[serde(default)]
    pub settled: BTreeSet<String>,
    /// Notifiers that refused it so far → how often, and when to try again.
    #[serde(default)]
    pub tries: BTreeMap<String, Tries>,
}

/// How often it was tried in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// How often.
    pub times: u32,
    /// Not before.
    pub next: DateTime<Utc>,
}

/// What became of a message at one notifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It has it, or will never get it.
    Settled,
    /// It is to be tried again.
    Later(Tries),
}

/// Keeps a message, in the transaction of what it is about.
pub(crate) fn put(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    message: &Message,
) -> Result<(), StoreError> {
    // Numbers are not used twice: a receiver knows a message by its number.
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
    // Wakes who delivers.
    state.queue_changed = true;
    Ok(())
}

fn settle(
    tables: &mut Tables<'_>,
    id: u64,
    told: &[(String, Told)],
    wanted: &BTreeSet<String>,
) -> Result<(), StoreError> {
    let found = tables.messages.get(id)?;
    let found = found.and_then(|value| tables.unreadable.decode(MESSAGES, &id, value.value()));
    let Some(mut pending): Option<Pending> = found else {
        return Ok(());
    };
    for (notifier, told) in told {
        match told {
            Told::Settled => {
                pending.tries.remove(notifier);
                pending.settled.insert(notifier.clone());
            }
            Told::Later(tries) => {
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
    /// The messages in the outbox from this number on, oldest first, at most `limit`.
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

    /// How many messages are in the outbox.
    pub async fn messages_waiting(&self) -> Result<u64, StoreError> {
        self.read(|txn| match open_for_reading(txn, MESSAGES)? {
            Some(table) => Ok(table.len()?),
            None => Ok(0),
        })
        .await
    }

    /// Keeps what became of a message at these notifiers. It leaves the outbox when it is settled for all that want it.
    ///
    /// *Durability*: `Ok` is on disk. Where promansible ends before that, the message is told again.
    pub async fn settle_message(
        &self,
        id: u64,
        told: Vec<(String, Told)>,
        wanted: BTreeSet<String>,
    ) -> Result<(), StoreError> {
        self.write(move |tables, _| settle(tables, id, &told, &wanted))
            .await
    }

    /// Keeps a message whose cause is in no transaction: one that is a test.
    pub async fn put_message(&self, message: Message) -> Result<(), StoreError> {
        self.write(move |tables, state| put(tables, state, &message))
            .await
    }
}
