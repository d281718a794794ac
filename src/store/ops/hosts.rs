//! Enrolled hosts.

use redb::{ReadableTable, ReadableTableMetadata};

use crate::model::inventory::EnrolledHost;
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{HOSTS, Tables, encode};
use crate::store::error::HOSTS_LIMIT;
use crate::store::{Store, StoreError};

fn enroll(tables: &mut Tables<'_>, host: &EnrolledHost) -> Result<(), StoreError> {
    let name = host.name.as_str();
    if tables.hosts.get(name)?.is_some() {
        return Err(StoreError::HostEnrolled(host.name.clone()));
    }
    if tables.hosts.len()? >= HOSTS_LIMIT {
        return Err(StoreError::TooManyHosts);
    }
    tables.hosts.insert(name, encode(host).as_slice())?;
    Ok(())
}

fn remove(tables: &mut Tables<'_>, name: &str) -> Result<(), StoreError> {
    if tables.hosts.remove(name)?.is_none() {
        return Err(StoreError::HostNotEnrolled(name.to_owned()));
    }
    Ok(())
}

pub(crate) fn all(txn: &Snapshot) -> Result<Vec<EnrolledHost>, StoreError> {
    txn.all(HOSTS)
}

impl Store {
    /// Enrolls a host. The caller must check whether the inventory's sources have its name.
    ///
    /// *Durability*: `Ok` is on disk.
    ///
    /// *Errors*: `HostEnrolled` and `TooManyHosts`; nothing was stored.
    pub async fn enroll_host(&self, host: EnrolledHost) -> Result<(), StoreError> {
        self.write(move |tables, _| enroll(tables, &host)).await
    }

    /// Removes an enrolled host. Its other data is deleted by [`Self::forget_hosts_but`].
    ///
    /// *Errors*: `HostNotEnrolled`.
    pub async fn remove_host(&self, name: String) -> Result<(), StoreError> {
        self.write(move |tables, _| remove(tables, &name)).await
    }

    /// Returns the enrolled hosts, by name.
    pub async fn hosts(&self) -> Result<Vec<EnrolledHost>, StoreError> {
        self.read(all).await
    }
}
