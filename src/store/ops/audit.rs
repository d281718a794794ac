//! The audit log: an entry for each request that changes something, written before the request and completed after it.

use chrono::{DateTime, Utc};
use redb::{ReadableTable as _, ReadableTableMetadata as _};
use serde::{Deserialize, Serialize};

use crate::model::identity::AuthMethod;
use crate::store::disk::tables::{AUDIT, Tables, encode, meta_number, open_for_reading};
use crate::store::{Store, StoreError};

/// The maximum number of entries of one caller, regardless of their age. Entries of other callers do not count.
const OF_ONE: u64 = 100_000;

/// The maximum number of entries deleted by one transaction.
const SLICE: usize = 1_000;

/// The action of a request, as far as its path does not show it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditAction {
    /// A summary, for example the roles and hosts.
    pub summary: Option<String>,
    /// The previous text of the binding or schedule; `None` if there was none.
    pub before: Option<String>,
    /// The new text of the binding or schedule; `None` if it was removed.
    pub after: Option<String>,
}

/// The entry of a request that changes something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The number of the entry; numbers increase.
    #[serde(default)]
    pub id: u64,
    /// The time of the request.
    pub at: DateTime<Utc>,
    /// The user, the token or the certificate; `None` if no authentication is required.
    pub who: Option<String>,
    /// The method of authentication.
    pub proof: AuthMethod,
    /// The address and port of the client.
    pub address: String,
    /// The HTTP method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The status code of the response; `None` while the request is in progress, and permanently if promansible ended
    /// in the meantime.
    pub status: Option<u16>,
    /// The action of the request.
    #[serde(flatten)]
    pub deed: AuditAction,
}

/// A page of entries, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins.
    pub next: Option<u64>,
}

fn put(tables: &mut Tables<'_>, entry: &AuditEntry) -> Result<u64, StoreError> {
    let id = meta_number(&*tables.meta, "next_audit")?.max(1);
    let next = (id + 1).to_le_bytes();
    tables.meta.insert("next_audit", next.as_slice())?;
    let entry = AuditEntry {
        id,
        ..entry.clone()
    };
    tables.audit.insert(id, encode(&entry).as_slice())?;
    index(tables, entry.who.as_deref().unwrap_or_default(), id)?;
    Ok(id)
}

fn index(tables: &mut Tables<'_>, caller: &str, id: u64) -> Result<(), StoreError> {
    let table = &mut tables.audit_by_caller;
    let last = table.range((caller, 0)..=(caller, u64::MAX))?.next_back();
    let last = last.transpose()?.map(|(key, _)| key.value().1);
    table.insert((caller, last.map_or(0, |last| last + 1)), id)?;
    Ok(())
}

/// Adds the entries of an older promansible to the index.
pub(crate) fn index_once(tables: &mut Tables<'_>) -> Result<(), StoreError> {
    if !tables.audit_by_caller.is_empty()? || tables.audit.is_empty()? {
        return Ok(());
    }
    let mut callers = Vec::new();
    for row in tables.audit.iter()? {
        let (key, value) = row?;
        let unreadable = &tables.unreadable;
        let entry = unreadable.decode(AUDIT, &key.value(), value.value());
        let Some(entry): Option<AuditEntry> = entry else {
            continue;
        };
        callers.push((key.value(), entry.who.unwrap_or_default()));
    }
    for (id, caller) in callers {
        index(tables, &caller, id)?;
    }
    Ok(())
}

/// Deletes entries older than `oldest`, and the oldest entries of callers with too many. Returns whether there is more
/// to delete.
pub(crate) fn retain(tables: &mut Tables<'_>, oldest: DateTime<Utc>) -> Result<bool, StoreError> {
    retain_most(tables, oldest, OF_ONE)
}

fn retain_most(
    tables: &mut Tables<'_>,
    oldest: DateTime<Utc>,
    most: u64,
) -> Result<bool, StoreError> {
    let mut expired = Vec::new();
    for row in tables.audit.iter()? {
        let (key, value) = row?;
        let unreadable = &tables.unreadable;
        let entry = unreadable.decode(AUDIT, &key.value(), value.value());
        let Some(entry): Option<AuditEntry> = entry else {
            continue;
        };
        if entry.at >= oldest || expired.len() == SLICE {
            break;
        }
        expired.push((key.value(), entry.who.unwrap_or_default()));
    }
    for (id, caller) in &expired {
        tables.audit.remove(id)?;
        let first = rows_of(tables, caller)?.map(|rows| rows.first);
        // The oldest entry is also the oldest of its caller.
        if let Some((number, found)) = first
            && found == *id
        {
            tables.audit_by_caller.remove((caller.as_str(), number))?;
        }
    }
    let mut left = SLICE - expired.len();
    for caller in callers(tables)? {
        let Some(CallerRows {
            first: (first, _),
            last,
        }) = rows_of(tables, &caller)?
        else {
            continue;
        };
        let excess = (last - first + 1).saturating_sub(most).min(left as u64);
        left -= usize::try_from(excess).unwrap_or(left);
        for number in first..first + excess {
            let id = tables.audit_by_caller.remove((caller.as_str(), number))?;
            let id = id.map(|id| id.value());
            if let Some(id) = id {
                tables.audit.remove(id)?;
            }
        }
    }
    Ok(left == 0)
}

/// The entries of one caller in the index.
struct CallerRows {
    /// The number of the caller's first entry, and its number in [`AUDIT`].
    first: (u64, u64),
    /// The number of the caller's last entry.
    last: u64,
}

fn rows_of(tables: &Tables<'_>, caller: &str) -> Result<Option<CallerRows>, StoreError> {
    let mut rows = tables
        .audit_by_caller
        .range((caller, 0)..=(caller, u64::MAX))?;
    let Some(first) = rows.next().transpose()? else {
        return Ok(None);
    };
    let first = (first.0.value().1, first.1.value());
    let last = rows.next_back().transpose()?;
    let last = last.map_or(first.0, |row| row.0.value().1);
    Ok(Some(CallerRows { first, last }))
}

/// Returns all callers with entries. They are few: users, tokens and certificates.
fn callers(tables: &Tables<'_>) -> Result<Vec<String>, StoreError> {
    let mut callers = Vec::new();
    let mut from = (String::new(), 0);
    loop {
        let mut rows = tables.audit_by_caller.range((from.0.as_str(), from.1)..)?;
        let Some(row) = rows.next().transpose()? else {
            return Ok(callers);
        };
        let caller = row.0.value().0.to_owned();
        callers.push(caller.clone());
        from = (caller, u64::MAX);
    }
}

impl Store {
    /// Adds the entry of a request before it acts, and returns the number of the entry. The given `id` is ignored.
    ///
    /// *Durability*: `Ok` is on disk.
    pub async fn audit(&self, entry: AuditEntry) -> Result<u64, StoreError> {
        self.write(move |tables, _| put(tables, &entry)).await
    }

    /// Completes an entry with the result of its request.
    pub async fn audited(&self, id: u64, status: u16, deed: AuditAction) -> Result<(), StoreError> {
        self.write(move |tables, _| {
            let found = tables.audit.get(id)?;
            let unreadable = &tables.unreadable;
            let found = found.and_then(|value| unreadable.decode(AUDIT, &id, value.value()));
            let Some(mut entry): Option<AuditEntry> = found else {
                return Ok(());
            };
            entry.status = Some(status);
            entry.deed = deed.clone();
            tables.audit.insert(id, encode(&entry).as_slice())?;
            Ok(())
        })
        .await
    }

    /// Returns the entries before this number, newest first.
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
            let mut last = None;
            for row in rows.by_ref().take(limit) {
                let (key, value) = row?;
                last = Some(key.value());
                entries.extend(txn.unreadable.decode(AUDIT, &key.value(), value.value()));
            }
            let more = rows.next().transpose()?.is_some();
            let next = last.filter(|_| more);
            Ok(AuditPage { entries, next })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableDatabase as _, backends::InMemoryBackend};

    use super::*;

    fn entry(who: &str, second: i64) -> AuditEntry {
        AuditEntry {
            id: 0,
            at: DateTime::from_timestamp(second, 0).unwrap(),
            who: Some(who.to_owned()).filter(|who| !who.is_empty()),
            proof: AuthMethod::Token,
            address: String::new(),
            method: "POST".to_owned(),
            path: "/".to_owned(),
            status: None,
            deed: AuditAction::default(),
        }
    }

    fn kept(database: &Database) -> Vec<(u64, Option<String>)> {
        let txn = database.begin_read().unwrap();
        let table = txn.open_table(AUDIT).unwrap();
        let rows = table.iter().unwrap().map(|row| {
            let (key, value) = row.unwrap();
            let entry: AuditEntry = serde_json::from_slice(value.value()).unwrap();
            (key.value(), entry.who)
        });
        rows.collect()
    }

    #[test]
    fn the_entries_of_one_caller_push_out_none_of_another() {
        let database = Database::builder()
            .create_with_backend(InMemoryBackend::new())
            .unwrap();
        let change = |change: &dyn Fn(&mut Tables<'_>)| {
            let txn = database.begin_write().unwrap();
            let mut tables = Tables::open(&txn).unwrap();
            change(&mut tables);
            drop(tables);
            txn.commit().unwrap();
        };
        let start = DateTime::UNIX_EPOCH;
        change(&|tables| {
            put(tables, &entry("alice", 1)).unwrap();
            put(tables, &entry("", 2)).unwrap();
            for second in 3..3003 {
                put(tables, &entry("loud", second)).unwrap();
            }
            put(tables, &entry("alice", 4000)).unwrap();
        });
        change(&|tables| assert!(retain_most(tables, start, 10).unwrap(), "there is more"));
        change(&|tables| {
            while retain_most(tables, start, 10).unwrap() {}
        });
        let left = kept(&database);
        let of = |who: Option<&str>| left.iter().filter(|row| row.1.as_deref() == who).count();
        assert_eq!((of(Some("alice")), of(None), of(Some("loud"))), (2, 1, 10));
        assert_eq!(left[2].0, 2993, "the last ten of them");
        // By age, for all callers; the numbers in the index continue.
        let later = DateTime::from_timestamp(3000, 0).unwrap();
        change(&|tables| assert!(!retain_most(tables, later, 10).unwrap()));
        assert_eq!(kept(&database).len(), 4);
        change(&|tables| {
            for second in 5000..5020 {
                put(tables, &entry("alice", second)).unwrap();
            }
            assert!(!retain_most(tables, later, 10).unwrap());
        });
        assert_eq!(kept(&database).len(), 3 + 10);
    }

    #[test]
    fn what_an_older_promansible_wrote_counts_too() {
        let database = Database::builder()
            .create_with_backend(InMemoryBackend::new())
            .unwrap();
        let txn = database.begin_write().unwrap();
        {
            let mut tables = Tables::open(&txn).unwrap();
            let old = br#"{"id":1,"at":"1970-01-01T00:00:01Z","who":"ops","proof":"token","address":"","method":"POST","path":"/","status":202}"#;
            for id in 1..=20 {
                tables.audit.insert(id, old.as_slice()).unwrap();
            }
            tables
                .meta
                .insert("next_audit", 21_u64.to_le_bytes().as_slice())
                .unwrap();
            index_once(&mut tables).unwrap();
            index_once(&mut tables).unwrap();
            put(&mut tables, &entry("ops", 2)).unwrap();
            retain_most(&mut tables, DateTime::UNIX_EPOCH, 5).unwrap();
        }
        txn.commit().unwrap();
        let ids: Vec<u64> = kept(&database).into_iter().map(|row| row.0).collect();
        assert_eq!(ids, [17, 18, 19, 20, 21]);
    }
}
