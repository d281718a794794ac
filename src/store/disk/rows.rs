//! A table that is open for writing and records whether anything was written to it.
//!
//! A transaction that wrote nothing needs no fsync. The operations need not track their writes: rows are inserted and
//! removed only here.

use std::borrow::Borrow;
use std::cell::Cell;
use std::ops::{Deref, RangeBounds};
use std::rc::Rc;

use redb::{AccessGuard, Key, StorageError, Table, TableDefinition, Value, WriteTransaction};

use crate::store::StoreError;

/// Whether a transaction has written to one of its tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dirty(Rc<Cell<bool>>);

impl Dirty {
    pub(crate) fn is_set(&self) -> bool {
        self.0.get()
    }

    fn set(&self) {
        self.0.set(true);
    }
}

/// The key and value of a removed row.
type Row<'a, K, V> = (AccessGuard<'a, K>, AccessGuard<'a, V>);

/// A table. It is read like a redb table, and written only by these methods.
pub(crate) struct Rows<'t, K: Key + 'static, V: Value + 'static> {
    table: Table<'t, K, V>,
    dirty: Dirty,
}

impl<'t, K: Key + 'static, V: Value + 'static> Deref for Rows<'t, K, V> {
    type Target = Table<'t, K, V>;

    fn deref(&self) -> &Self::Target {
        &self.table
    }
}

impl<'t, K: Key + 'static, V: Value + 'static> Rows<'t, K, V> {
    pub(crate) fn open(
        txn: &'t WriteTransaction,
        definition: TableDefinition<'_, K, V>,
        dirty: &Dirty,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            table: txn.open_table(definition)?,
            dirty: dirty.clone(),
        })
    }

    /// Inserts a row, and returns the previous value of its key.
    pub(crate) fn insert<'k, 'v>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        value: impl Borrow<V::SelfType<'v>>,
    ) -> Result<Option<AccessGuard<'_, V>>, StorageError> {
        self.dirty.set();
        self.table.insert(key, value)
    }

    /// Removes a row if it exists.
    pub(crate) fn remove<'k>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<Option<AccessGuard<'_, V>>, StorageError> {
        let removed = self.table.remove(key)?;
        if removed.is_some() {
            self.dirty.set();
        }
        Ok(removed)
    }

    /// Removes the first row if there is one.
    pub(crate) fn pop_first(&mut self) -> Result<Option<Row<'_, K, V>>, StorageError> {
        self.dirty.set();
        self.table.pop_first()
    }

    /// Removes the rows of a range for which `stays` is false.
    pub(crate) fn retain_in<'k, R: Borrow<K::SelfType<'k>> + 'k>(
        &mut self,
        range: impl RangeBounds<R> + 'k,
        mut stays: impl for<'f> FnMut(K::SelfType<'f>, V::SelfType<'f>) -> bool,
    ) -> Result<(), StorageError> {
        let dirty = &self.dirty;
        self.table.retain_in(range, |key, value| {
            let stays = stays(key, value);
            if !stays {
                dirty.set();
            }
            stays
        })
    }

    /// Removes all rows for which `stays` is false.
    pub(crate) fn retain(
        &mut self,
        mut stays: impl for<'f> FnMut(K::SelfType<'f>, V::SelfType<'f>) -> bool,
    ) -> Result<(), StorageError> {
        let dirty = &self.dirty;
        self.table.retain(|key, value| {
            let stays = stays(key, value);
            if !stays {
                dirty.set();
            }
            stays
        })
    }
}
