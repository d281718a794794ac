//! Bindings and schedules that were made over the API.

use chrono::{DateTime, Utc};
use redb::{ReadableTable, ReadableTableMetadata};

use crate::config::{ManagedKind, ManagedObjects};
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{OBJECTS, Tables, encode};
use crate::store::error::OBJECTS_LIMIT;
use crate::store::{Store, StoreError};

/// What is expected to be there when an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// None of this name.
    None,
    /// One, in whatever revision.
    Any,
    /// This revision.
    Revision(u64),
}

fn key(kind: ManagedKind, name: &str) -> (&'static str, &str) {
    (kind.as_str(), name)
}

fn find(
    tables: &Tables<'_>,
    kind: ManagedKind,
    name: &str,
) -> Result<Option<ManagedObjects>, StoreError> {
    let key = key(kind, name);
    let value = tables.objects.get(key)?;
    Ok(value.and_then(|value| tables.unreadable.decode(OBJECTS, &key, value.value())))
}

/// The object as it is, if it is as expected.
fn expected(
    tables: &Tables<'_>,
    kind: ManagedKind,
    name: &str,
    expect: Expect,
) -> Result<Option<ManagedObjects>, StoreError> {
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
) -> Result<ManagedObjects, StoreError> {
    let old = expected(tables, kind, name, expect)?;
    if old.is_none() && tables.objects.len()? >= OBJECTS_LIMIT {
        return Err(StoreError::TooManyObjects);
    }
    let kept = ManagedObjects {
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

pub(crate) fn all(txn: &Snapshot) -> Result<Vec<ManagedObjects>, StoreError> {
    txn.all(OBJECTS)
}

impl Store {
    /// Writes a binding or schedule under its name. Whether the configuration file has that name is for the caller to
    /// know.
    ///
    /// *Durability*: `Ok` is on disk.
    ///
    /// *Errors*: `ObjectExists`, `NoSuchObject`, `ObjectChanged`, `TooManyObjects`; nothing was kept.
    pub async fn put_object(
        &self,
        kind: ManagedKind,
        name: String,
        json: String,
        expect: Expect,
        now: DateTime<Utc>,
    ) -> Result<ManagedObjects, StoreError> {
        self.write(move |tables, _| put(tables, kind, (&name, &json), expect, now))
            .await
    }

    /// Takes one away.
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

    /// All of them, by kind and name.
    pub async fn objects(&self) -> Result<Vec<ManagedObjects>, StoreError> {
        self.read(all).await
    }
}
