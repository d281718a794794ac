//! Rows that cannot be decoded: they are set aside with their bytes, and everything else goes on without them.
//!
//! Who reads a row notes what it cannot decode and takes it for missing. At the end of a transaction the noted rows move
//! into a table of their own. A reader cannot write, so it hands what it noted to the writer.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use redb::{
    Key, ReadableTable, ReadableTableMetadata, TableDefinition, TableHandle as _, Value as _,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::live::Live;
use super::retention::delete_told;
use super::rows::Rows;
use super::tables::{EPISODES, EVENTS, RUN_EPISODES, RUNS, Tables, encode, grown};
use super::{Store, StoreError};
use crate::metrics::Happened;
use crate::run::{Outcome, RunId};

/// How many rows are kept aside. What comes later is removed and logged only.
const MOST: u64 = 10_000;

/// How much of a row's value is kept. *Units*: bytes.
const MOST_BYTES: usize = 1 << 20;

/// How many rows one transaction notes; the others are met again.
const AT_ONCE: usize = 1000;

/// A table whose values are bytes.
type Bytes<'d, K> = TableDefinition<'d, K, &'static [u8]>;

/// A row that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadRow {
    table: String,
    key: Vec<u8>,
    /// The key as a person reads it.
    shown: String,
    bytes: Vec<u8>,
    reason: String,
    /// What is to stand in its place.
    instead: Option<Vec<u8>>,
}

/// What is kept of such a row beside its bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    key: String,
    reason: String,
    at: DateTime<Utc>,
    /// How long the value was, of which the beginning is kept.
    bytes: usize,
}

/// The rows that a transaction could not decode.
#[derive(Debug, Default)]
pub(super) struct Unreadable(Mutex<Vec<BadRow>>);

impl Unreadable {
    /// Decodes a row of JSON. One that cannot be decoded is noted, and none to the caller.
    pub(super) fn decode<T: DeserializeOwned, K: Key + 'static>(
        &self,
        table: Bytes<'_, K>,
        key: &K::SelfType<'_>,
        bytes: &[u8],
    ) -> Option<T> {
        let decoded = serde_json::from_slice(bytes);
        decoded
            .map_err(|e| self.note(table, key, bytes, &e.to_string()))
            .ok()
    }

    /// The same where something must stand in the place of the row: nothing that a person held may be free by this.
    pub(super) fn decode_or<T: DeserializeOwned + Serialize, K: Key + 'static>(
        &self,
        table: Bytes<'_, K>,
        key: &K::SelfType<'_>,
        bytes: &[u8],
        instead: impl FnOnce() -> T,
    ) -> T {
        self.decode(table, key, bytes).unwrap_or_else(|| {
            let value = instead();
            let last = K::as_bytes(key).as_ref().to_vec();
            let mut rows = self.rows();
            if let Some(row) = rows.last_mut().filter(|row| row.key == last) {
                row.instead = Some(encode(&value));
            }
            value
        })
    }

    /// Notes a row that cannot be decoded.
    pub(super) fn note<K: Key + 'static>(
        &self,
        table: Bytes<'_, K>,
        key: &K::SelfType<'_>,
        bytes: &[u8],
        reason: &str,
    ) {
        let mut rows = self.rows();
        if rows.len() < AT_ONCE {
            rows.push(BadRow {
                table: table.name().to_owned(),
                key: K::as_bytes(key).as_ref().to_vec(),
                shown: format!("{key:?}"),
                bytes: bytes.to_vec(),
                reason: reason.to_owned(),
                instead: None,
            });
        }
    }

    /// Notes a row that should be there.
    pub(super) fn note_missing(&self, row: BadRow) {
        self.rows().push(row);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    pub(super) fn take(&self) -> Vec<BadRow> {
        std::mem::take(&mut self.rows())
    }

    fn rows(&self) -> std::sync::MutexGuard<'_, Vec<BadRow>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets aside what this transaction could not decode.
pub(super) fn settle(tables: &mut Tables<'_>, live: &mut Live) -> Result<(), StoreError> {
    // To put one row in order others are read.
    while !tables.unreadable.is_empty() {
        for row in tables.unreadable.take() {
            set_aside(tables, live, &row)?;
        }
    }
    Ok(())
}

/// Moves a row, if it still is as it was read, and puts in order what hangs on it.
pub(super) fn set_aside(
    tables: &mut Tables<'_>,
    live: &mut Live,
    row: &BadRow,
) -> Result<(), StoreError> {
    let moved = take_out(tables, row)?;
    if !keep(tables, row, live.now)? && !moved {
        return Ok(());
    }
    live.quarantined = tables.quarantine.len()?;
    live.happened.push(Happened::Quarantined {
        table: row.table.clone(),
        key: row.shown.clone(),
        reason: row.reason.clone(),
    });
    let length = grown(row.bytes.len(), None);
    if row.table == RUNS.name() {
        let id = RunId(u64::from_bytes(&row.key));
        if moved {
            tables.runs_change -= length;
        }
        return lose_run(tables, live, id);
    }
    if moved && row.table == EPISODES.name() {
        let at = <(i64, u64)>::from_bytes(&row.key);
        tables.episodes_change -= length;
        tables.firing.remove(at)?;
        tables.due.retain(|(_, since, of), ()| (since, of) != at)?;
    } else if moved && row.in_history() {
        tables.runs_change -= length;
    }
    Ok(())
}

impl BadRow {
    /// A run that is said to be open and has no row.
    pub(super) fn missing_run(id: RunId) -> Self {
        Self {
            table: RUNS.name().to_owned(),
            key: id.0.to_le_bytes().to_vec(),
            shown: id.to_string(),
            bytes: Vec::new(),
            reason: "the run is open and has no row".to_owned(),
            instead: None,
        }
    }

    fn in_history(&self) -> bool {
        self.table == RUN_EPISODES.name() || self.table == EVENTS.name()
    }
}

/// A run whose row is lost is taken out of all that waits for its end. What the writer has in memory is written again.
fn lose_run(tables: &mut Tables<'_>, live: &mut Live, id: RunId) -> Result<(), StoreError> {
    if live.queue.contains_key(&id) || live.running.contains_key(&id) {
        live.dirty.insert(id);
        return Ok(());
    }
    if tables.runs.get(id.0)?.is_some() {
        return Ok(());
    }
    for (key, _) in tables.run_episodes(id)? {
        let Some(mut episode) = tables.episode(&key)? else {
            continue;
        };
        let mut any = false;
        for decided in episode.decisions.values_mut() {
            if decided.run == Some(id) && decided.outcome.is_none() {
                decided.outcome = Some(Outcome::Interrupted);
                decided.ended_at = Some(live.now);
                any = true;
            }
        }
        if any {
            tables.put_episode(&key, &mut episode)?;
        }
    }
    tables.open.remove(id.0)?;
    delete_told(tables, id)
}

/// Keeps a copy. Whether it is news.
fn keep(tables: &mut Tables<'_>, row: &BadRow, at: DateTime<Utc>) -> Result<bool, StoreError> {
    let key = (row.table.as_str(), row.key.as_slice());
    let bytes = &row.bytes[..row.bytes.len().min(MOST_BYTES)];
    let known = tables.quarantine.get(key)?;
    if known.is_some_and(|known| known.value().1 == bytes) {
        return Ok(false);
    }
    if tables.quarantine.len()? >= MOST {
        return Ok(false);
    }
    let head = encode(&Head {
        key: row.shown.clone(),
        reason: row.reason.clone(),
        at,
        bytes: row.bytes.len(),
    });
    tables.quarantine.insert(key, (head.as_slice(), bytes))?;
    Ok(true)
}

fn take_out(tables: &mut Tables<'_>, row: &BadRow) -> Result<bool, StoreError> {
    tables.with_values(row.table.as_str(), &Removal(row))
}

/// What is done to the table that a row is of.
pub(super) struct Removal<'r>(&'r BadRow);

impl Removal<'_> {
    pub(super) fn of<K: Key + 'static>(
        &self,
        rows: &mut Rows<'_, K, &'static [u8]>,
    ) -> Result<bool, StoreError> {
        let Self(row) = self;
        let key = K::from_bytes(&row.key);
        let is = rows.get(&key)?.is_some_and(|is| is.value() == row.bytes);
        if is {
            match &row.instead {
                Some(instead) => drop(rows.insert(&key, instead.as_slice())?),
                None => drop(rows.remove(&key)?),
            }
        }
        Ok(is)
    }
}

impl Store {
    /// Has the writer set aside what a reader could not decode. Nobody waits for it: if it is not done now, the row is
    /// met again.
    pub(super) fn set_aside(&self, rows: Vec<BadRow>) {
        if !rows.is_empty() {
            self.send_unawaited(move |tables, live| {
                rows.iter().try_for_each(|row| set_aside(tables, live, row))
            });
        }
    }
}

#[cfg(test)]
mod tests;
