//! Who changed what: an entry for each request that changes something, made before it acts and ended after it has.

use chrono::{DateTime, Utc};
use redb::{ReadableTable as _, ReadableTableMetadata as _};
use serde::{Deserialize, Serialize};

use super::tables::{AUDIT, Tables, decode, encode, meta_number, open_for_reading};
use super::{Store, StoreError};
use crate::caller::Proof;

/// How many entries are kept at most, whatever their age.
const MOST: u64 = 100_000;

/// How many entries one transaction deletes at most.
const SLICE: usize = 1_000;

/// One request that was to change something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number; they grow.
    #[serde(default)]
    pub id: u64,
    /// When it was taken.
    pub at: DateTime<Utc>,
    /// The user, the token or the certificate; `None` where nobody had to say who he is.
    pub who: Option<String>,
    /// How that was known.
    pub proof: Proof,
    /// From which address and port it came.
    pub address: String,
    /// Its method.
    pub method: String,
    /// Its path, without what stands behind a `?`.
    pub path: String,
    /// The status of its answer; `None` while it is under way, and for ever where promansible ended meanwhile.
    pub status: Option<u16>,
}

/// A page of entries, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins.
    pub next: Option<u64>,
}

fn put(tables: &mut Tables<'_>, entry: &AuditEntry) -> Result<u64, StoreError> {
    let id = meta_number(&tables.meta, "next_audit")?.max(1);
    let next = (id + 1).to_le_bytes();
    tables.meta.insert("next_audit", next.as_slice())?;
    let entry = AuditEntry {
        id,
        ..entry.clone()
    };
    tables.audit.insert(id, encode(&entry).as_slice())?;
    Ok(id)
}

/// Deletes what is older than this, and the oldest of too many. Yields whether there is more to delete.
pub(super) fn retain(tables: &mut Tables<'_>, oldest: DateTime<Utc>) -> Result<bool, StoreError> {
    let mut excess = tables.audit.len()?.saturating_sub(MOST);
    let mut doomed = Vec::new();
    for row in tables.audit.iter()? {
        let (key, value) = row?;
        let entry: AuditEntry = decode(value.value())?;
        if (entry.at >= oldest && excess == 0) || doomed.len() == SLICE {
            break;
        }
        excess = excess.saturating_sub(1);
        doomed.push(key.value());
    }
    for id in &doomed {
        tables.audit.remove(id)?;
    }
    Ok(doomed.len() == SLICE)
}

impl Store {
    /// Enters a request before it acts, and yields the entry's number. What is in `id` does not count.
    ///
    /// *Durability*: `Ok` is on disk.
    pub async fn audit(&self, entry: AuditEntry) -> Result<u64, StoreError> {
        self.ask(move |tables, _| put(tables, &entry)).await
    }

    /// Enters what became of it. `who` is there where it became known only by then: by the
    /// password of a sign-in.
    pub async fn audited(
        &self,
        id: u64,
        status: u16,
        who: Option<String>,
    ) -> Result<(), StoreError> {
        self.ask(move |tables, live| {
            let found = tables.audit.get(id)?;
            let found = found.map(|value| decode::<AuditEntry>(value.value()));
            let Some(mut entry) = found.transpose()? else {
                live.idle += 1;
                return Ok(());
            };
            entry.status = Some(status);
            if let Some(who) = &who {
                (entry.who, entry.proof) = (Some(who.clone()), Proof::Password);
            }
            tables.audit.insert(id, encode(&entry).as_slice())?;
            Ok(())
        })
        .await
    }

    /// The entries before this number, newest first.
    pub async fn audit_page(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<AuditPage, StoreError> {
        self.read(move |txn| {
            let mut entries: Vec<AuditEntry> = Vec::new();
            let Some(table) = open_for_reading(txn, AUDIT)? else {
                let next = None;
                return Ok(AuditPage { entries, next });
            };
            let mut rows = table.range(..before.unwrap_or(u64::MAX))?.rev();
            for row in rows.by_ref().take(limit) {
                entries.push(decode(row?.1.value())?);
            }
            let more = rows.next().transpose()?.is_some();
            let next = entries.last().map(|entry| entry.id).filter(|_| more);
            Ok(AuditPage { entries, next })
        })
        .await
    }
}
