//! Bindings and schedules made over the API.

use chrono::{DateTime, Utc};
use redb::{ReadableTable, ReadableTableMetadata};

use crate::config::{ManagedKind, StoredObject};
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{OBJECTS, Tables, encode};
use crate::store::error::OBJECTS_LIMIT;
use crate::store::{Store, StoreError};

/// The expected state of an object when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The object does not exist.
    None,
    /// The object exists, in any revision.
    Any,
    /// The object has this revision.
    Revision(u64),
}

fn key(kind: ManagedKind, name: &str) -> (&'static str, &str) {
    (kind.as_str(), name)
}

fn find(
    tables: &Tables<'_>,
    kind: ManagedKind,
    name: &str,
) -> Result<Option<StoredObject>, StoreError> {
    let key = key(kind, name);
    let value = tables.objects.get(key)?;
    Ok(value.and_then(|value| tables.unreadable.decode(OBJECTS, &key, value.value())))
}

/// Returns the current object, if it matches the expectation.
fn expected(
    tables: &Tables<'_>,
    kind: ManagedKind,
    name: &str,
    expect: Expect,
) -> Result<Option<StoredObject>, StoreError> {
    let found = find(tables, kind, name)?;
    let name = || name.to_owned();
    match (found, expect) {
        (None, Expect::None) => Ok(None),
        (Some(_), Expect::None) => Err(StoreError::ObjectExists(kind, name())),
        (None, _) => Err(StoreError::NoSuchObject(kind, name())),
        (Some(found), Expect::Revision(revision)) if found.revision != revision => {
            Err(StoreError::ObjectChanged {
                kind,
                name: name(),
                revision: found.revision,
            })
        }
        (found, _) => Ok(found),
    }
}

fn put(
    tables: &mut Tables<'_>,
    kind: ManagedKind,
    (name, json): (&str, &str),
    expect: Expect,
    now: DateTime<Utc>,
) -> Result<StoredObject, StoreError> {
    let old = expected(tables, kind, name, expect)?;
    if old.is_none() && tables.objects.len()? >= OBJECTS_LIMIT {
        return Err(StoreError::TooManyObjects);
    }
    let kept = StoredObject {
        kind,
        name: name.to_owned(),
        json: json.to_owned(),
        revision: old.as_ref().map_or(1, |old| old.revision + 1),
        created_at: old.map_or(now, |old| old.created_at),
        updated_at: now,
    };
    tables
        .objects
        .insert(key(kind, name), encode(&kept).as_slice())?;
    Ok(kept)
}

fn remove(
    tables: &mut Tables<'_>,
    kind: ManagedKind,
    name: &str,
    expect: Expect,
) -> Result<(), StoreError> {
    expected(tables, kind, name, expect)?;
    tables.objects.remove(key(kind, name))?;
    Ok(())
}

pub(crate) fn all(txn: &Snapshot) -> Result<Vec<StoredObject>, StoreError> {
    txn.all(OBJECTS)
}

impl Store {
    /// Writes a binding or schedule. The caller must check whether the configuration file has its name.
    ///
    /// *Durability*: `Ok` is on disk.
    ///
    /// *Errors*: `ObjectExists`, `NoSuchObject`, `ObjectChanged`, `TooManyObjects`; nothing was stored.
    pub async fn put_object(
        &self,
        kind: ManagedKind,
        name: String,
        json: String,
        expect: Expect,
        now: DateTime<Utc>,
    ) -> Result<StoredObject, StoreError> {
        self.write(move |tables, _| put(tables, kind, (&name, &json), expect, now))
            .await
    }

    /// Removes a binding or schedule.
    ///
    /// *Errors*: `NoSuchObject`, `ObjectChanged`.
    pub async fn remove_object(
        &self,
        kind: ManagedKind,
        name: String,
        expect: Expect,
    ) -> Result<(), StoreError> {
        self.write(move |tables, _| remove(tables, kind, &name, expect))
            .await
    }

    /// Returns all objects, by kind and name.
    pub async fn objects(&self) -> Result<Vec<StoredObject>, StoreError> {
        self.read(all).await
    }
}
