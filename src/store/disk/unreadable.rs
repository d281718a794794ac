//! Rows that cannot be decoded: recorded while a transaction reads, and then removed from their tables.

use std::sync::{Mutex, PoisonError};

use redb::{Key, ReadableTable as _, TableDefinition, TableHandle as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rows::Rows;
use super::tables::{EVENTS, RUN_EPISODES, RUNS, encode};
use crate::model::run::RunId;
use crate::store::StoreError;

/// The maximum number of rows recorded by one transaction; the others will be found again.
const AT_ONCE: usize = 1000;

/// A table whose values are bytes.
type Bytes<'d, K> = TableDefinition<'d, K, &'static [u8]>;

/// A row that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadRow {
    pub(crate) table: String,
    pub(crate) key: Vec<u8>,
    /// The key in readable form.
    pub(crate) shown: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) reason: String,
    /// The replacement value.
    pub(crate) instead: Option<Vec<u8>>,
}

impl BadRow {
    /// Creates the entry for an open run without a row.
    pub(crate) fn missing_run(id: RunId) -> Self {
        Self {
            table: RUNS.name().to_owned(),
            key: id.0.to_le_bytes().to_vec(),
            shown: id.to_string(),
            bytes: Vec::new(),
            reason: "the run is open but has no row".to_owned(),
            instead: None,
        }
    }

    pub(crate) fn in_history(&self) -> bool {
        self.table == RUN_EPISODES.name() || self.table == EVENTS.name()
    }
}

/// The rows that a transaction could not decode.
#[derive(Debug, Default)]
pub(crate) struct Unreadable(Mutex<Vec<BadRow>>);

impl Unreadable {
    /// Decodes a row of JSON. A row that cannot be decoded is recorded, and the result is `None`.
    pub(crate) fn decode<T: DeserializeOwned, K: Key + 'static>(
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

    /// Like [`decode`](Self::decode), with a replacement for the row: a hold must not be released because its row is
    /// damaged.
    pub(crate) fn decode_or<T: DeserializeOwned + Serialize, K: Key + 'static>(
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

    /// Records a row that cannot be decoded.
    pub(crate) fn note<K: Key + 'static>(
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

    /// Records a missing row.
    pub(crate) fn note_missing(&self, row: BadRow) {
        self.rows().push(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    pub(crate) fn take(&self) -> Vec<BadRow> {
        std::mem::take(&mut self.rows())
    }

    fn rows(&self) -> std::sync::MutexGuard<'_, Vec<BadRow>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The removal of a row from its table.
pub(crate) struct Removal<'r>(pub(crate) &'r BadRow);

impl Removal<'_> {
    pub(crate) fn of<K: Key + 'static>(
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
