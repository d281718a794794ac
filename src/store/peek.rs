//! What the store holds of the inventory, read while no server has it.

use std::path::Path;

use bytes::Bytes;
use redb::ReadableDatabase;

use super::file::{OpenError, read_untouched, unusable};
use super::tables::{META, meta_number, open_for_reading};
use super::{StoreError, hosts};
use crate::inventory::EnrolledHost;

/// What there is of the inventory.
#[derive(Debug, Default)]
pub struct Peeked {
    /// The enrolled hosts, by name.
    pub hosts: Vec<EnrolledHost>,
    /// The inventory as last saved, with the fingerprint of its sources.
    pub inventory: Option<(u64, Bytes)>,
}

/// Reads it without changing a byte of the file. Where there is no file there is nothing.
///
/// *Errors*: [`OpenError::InUse`] while a server has it: ask that.
pub fn peek(path: &Path) -> Result<Peeked, OpenError> {
    let Some(database) = read_untouched(path)? else {
        return Ok(Peeked::default());
    };
    let read = || -> Result<Peeked, StoreError> {
        let txn = database.begin_read()?;
        let mut inventory = None;
        if let Some(meta) = open_for_reading(&txn, META)?
            && let Some(json) = meta.get("inventory")?
        {
            let fingerprint = meta_number(&meta, "inventory_fingerprint")?;
            inventory = Some((fingerprint, Bytes::copy_from_slice(json.value())));
        }
        Ok(Peeked {
            hosts: hosts::all(&txn)?,
            inventory,
        })
    };
    read().map_err(|e| unusable(path, e))
}
