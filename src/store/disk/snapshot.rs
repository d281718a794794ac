//! Snapshots for readers: the file at one moment.

use redb::{
    Database, Key, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    TableDefinition, TableError, Value,
};
use serde::de::DeserializeOwned;

use crate::store::StoreError;
use crate::store::disk::unreadable::Unreadable;

/// A read transaction, and the rows that it could not decode.
pub(crate) struct Snapshot {
    txn: ReadTransaction,
    pub(crate) unreadable: Unreadable,
}

impl Snapshot {
    pub(crate) fn begin(database: &Database) -> Result<Self, StoreError> {
        Ok(Self {
            txn: database.begin_read()?,
            unreadable: Unreadable::default(),
        })
    }
}

/// Opens a table for reading; `None` if nothing was ever written to it.
pub(crate) fn open_for_reading<K: Key + 'static, V: Value + 'static>(
    snapshot: &Snapshot,
    table: TableDefinition<'_, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, StoreError> {
    match snapshot.txn.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

impl Snapshot {
    /// Returns all rows of a JSON table that can be decoded.
    pub(crate) fn all<T: DeserializeOwned, K: Key + 'static>(
        &self,
        table: TableDefinition<'_, K, &'static [u8]>,
    ) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        let Some(rows) = open_for_reading(self, table)? else {
            return Ok(all);
        };
        for row in rows.iter()? {
            let (key, value) = row?;
            all.extend(self.unreadable.decode(table, &key.value(), value.value()));
        }
        Ok(all)
    }
}
