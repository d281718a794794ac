//! Reads hosts and guards from the store while no server uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::model::facts::{Facts, HostFacts, aliases};
use crate::model::guards::{Holds, StartHistory};
use crate::model::inventory::EnrolledHost;
use crate::store::StoreError;
use crate::store::disk::file::{OpenError, read_untouched, unusable};
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{META, meta_number, open_for_reading};
use crate::store::ops::{facts, guard_rows, hosts};
use bytes::Bytes;

/// The inventory and the guards.
#[derive(Debug, Default)]
pub struct OfflineView {
    /// The enrolled hosts, by name.
    pub hosts: Vec<EnrolledHost>,
    /// The last saved inventory, with the fingerprint of its sources.
    pub inventory: Option<(u64, Bytes)>,
    /// The pause, holds and circuits.
    pub book: Holds,
    /// The starts by binding and host.
    pub starts: Vec<StartHistory>,
}

/// Reads the file without changing it. Returns an empty view if there is no file.
///
/// *Errors*: [`OpenError::InUse`] while a server uses the file: query the server instead.
pub fn peek(path: &Path) -> Result<OfflineView, OpenError> {
    let Some(database) = read_untouched(path, true)? else {
        return Ok(OfflineView::default());
    };
    let read = || -> Result<OfflineView, StoreError> {
        let txn = Snapshot::begin(&database)?;
        let mut inventory = None;
        if let Some(meta) = open_for_reading(&txn, META)?
            && let Some(json) = meta.get("inventory")?
        {
            let fingerprint = meta_number(&meta, "inventory_fingerprint")?;
            inventory = Some((fingerprint, Bytes::copy_from_slice(json.value())));
        }
        Ok(OfflineView {
            hosts: hosts::all(&txn)?,
            inventory,
            book: guard_rows::book_in(&txn)?,
            starts: guard_rows::starts_in(&txn)?,
        })
    };
    read().map_err(|e| unusable(path, e))
}

/// Returns host → aliases from its facts; with the same errors as [`peek`].
pub fn peek_aliases(path: &Path) -> Result<BTreeMap<String, BTreeSet<String>>, OpenError> {
    let Some(database) = read_untouched(path, true)? else {
        return Ok(BTreeMap::new());
    };
    let found = Mutex::new(BTreeMap::new());
    let add = |of: HostFacts| {
        let aliases = aliases(Facts::new(&of.facts));
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(of.host, aliases);
    };
    let read = || facts::each_in(&Snapshot::begin(&database)?, &add);
    read().map_err(|e| unusable(path, e))?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}
