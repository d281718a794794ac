//! Facts: the latest of each host, and their changes.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError, mpsc};

use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use redb::{Database, ReadableTable};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::metrics::MetricEvent;
use crate::model::facts::{Changes, Facts, HostFacts, changes};
use crate::model::run::CONTROLLER;
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{FACT_CHANGES, FACTS, Tables, encode, open_for_reading};
use crate::store::disk::unreadable::{BadRow, Unreadable};
use crate::store::ops::state::WriterState;
use crate::store::{Store, StoreError};

/// The maximum number of stored changes per host.
const CHANGES: usize = 100;

/// The changes at one time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedAt {
    /// The gathering time of the new facts.
    pub at: DateTime<Utc>,
    #[serde(flatten)]
    pub changes: Changes,
}

/// The metadata of a host's facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FactsOf {
    pub host: String,
    pub gathered_at: DateTime<Utc>,
    /// Whether the facts came directly from the host.
    pub live: bool,
}

/// Replaces stored facts. If only a subset was gathered, facts outside of it are kept.
pub(crate) fn keep(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    gathered: &[HostFacts],
) -> Result<(), StoreError> {
    for new in gathered {
        let old = match tables.facts.get(new.host.as_str())? {
            Some(value) => unpack_or_note(&tables.unreadable, &new.host, value.value()),
            None => None,
        };
        let mut merged = new.clone();
        if let Some(old) = old {
            // Older facts, for example from an import, are ignored.
            if old.gathered_at > new.gathered_at {
                continue;
            }
            let changed = changes(Facts::new(&old.facts), Facts::new(&new.facts));
            if !changed.changes.is_empty() {
                remember(tables, new, &changed)?;
            }
            if !is_whole(&new.facts) {
                merged.facts = old.facts;
                merged.facts.extend(new.facts.clone());
            }
        }
        tables
            .facts
            .insert(merged.host.as_str(), pack(&merged).as_slice())?;
        state.happened.push(MetricEvent::Facts(Box::new(merged)));
    }
    Ok(())
}

fn remember(tables: &mut Tables<'_>, new: &HostFacts, changed: &Changes) -> Result<(), StoreError> {
    let host = new.host.as_str();
    let key = (host, new.gathered_at.timestamp_millis());
    tables
        .fact_changes
        .insert(key, encode(changed).as_slice())?;
    let all = (host, i64::MIN)..=(host, i64::MAX);
    let kept = tables.fact_changes.range(all.clone())?.count();
    if kept > CHANGES {
        let old = tables.fact_changes.range(all)?.take(kept - CHANGES);
        let old: Vec<i64> = old
            .map(|row| Ok(row?.0.value().1))
            .collect::<Result<_, StoreError>>()?;
        for at in old {
            tables.fact_changes.remove((host, at))?;
        }
    }
    Ok(())
}

/// Returns whether all facts were gathered, so that missing facts do not exist any more. Ansible before 2.5 listed all
/// subsets instead of `all`.
fn is_whole(facts: &Map<String, Value>) -> bool {
    let Some(Value::Array(subsets)) = Facts::new(facts).get("gather_subset") else {
        return false;
    };
    let has = |name: &str| subsets.iter().any(|subset| subset == name);
    let parts = subsets
        .iter()
        .filter_map(Value::as_str)
        .any(|subset| subset.starts_with('!'));
    !parts && (has("all") || (has("hardware") && has("network") && has("virtual")))
}

/// Returns the facts of a host, if there are any.
pub(crate) fn of(tables: &Tables<'_>, host: &str) -> Result<Option<HostFacts>, StoreError> {
    let value = tables.facts.get(host)?;
    Ok(value.and_then(|value| unpack_or_note(&tables.unreadable, host, value.value())))
}

/// Deletes the facts of all hosts except these and the controller.
pub(crate) fn forget_hosts_but(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    known: &BTreeSet<String>,
) -> Result<(), StoreError> {
    let mut departed = Vec::new();
    for row in tables.facts.iter()? {
        let host = row?.0.value().to_owned();
        if host != CONTROLLER && !known.contains(&host) {
            departed.push(host);
        }
    }
    for host in departed {
        tables.facts.remove(host.as_str())?;
        let all = (host.as_str(), i64::MIN)..=(host.as_str(), i64::MAX);
        tables.fact_changes.retain_in(all, |_, _| false)?;
        state.happened.push(MetricEvent::FactsForgotten(host));
    }
    Ok(())
}

/// Encodes facts: eight bytes of microseconds since 1970, one byte for `live`, and the deflated JSON.
fn pack(facts: &HostFacts) -> Vec<u8> {
    let mut bytes = facts.gathered_at.timestamp_micros().to_le_bytes().to_vec();
    bytes.push(facts.live.into());
    let mut deflate = DeflateEncoder::new(bytes, Compression::fast());
    let written = deflate.write_all(&encode(&facts.facts));
    written
        .and_then(|()| deflate.finish())
        .expect("memory takes every write")
}

const HEAD: usize = 9;

fn head(host: &str, bytes: &[u8]) -> Result<FactsOf, StoreError> {
    let corrupt = || StoreError::Corrupt(format!("the facts of {host} are truncated"));
    let (micros, rest) = bytes.split_first_chunk::<8>().ok_or_else(corrupt)?;
    let at = DateTime::from_timestamp_micros(i64::from_le_bytes(*micros)).ok_or_else(corrupt)?;
    let live = *rest.first().ok_or_else(corrupt)? != 0;
    Ok(FactsOf {
        host: host.to_owned(),
        gathered_at: at,
        live,
    })
}

/// Returns the stored JSON of facts.
fn inflate(host: &str, bytes: &[u8]) -> Result<String, StoreError> {
    let mut json = String::with_capacity(bytes.len() * 6);
    let read = DeflateDecoder::new(&bytes[HEAD..]).read_to_string(&mut json);
    read.map_err(|e| StoreError::Corrupt(format!("the facts of {host}: {e}")))?;
    Ok(json)
}

fn unpack(host: &str, bytes: &[u8]) -> Result<HostFacts, StoreError> {
    let FactsOf {
        host,
        gathered_at,
        live,
    } = head(host, bytes)?;
    let facts = serde_json::from_str(&inflate(&host, bytes)?)
        .map_err(|e| StoreError::Corrupt(format!("the facts of {host}: {e}")))?;
    Ok(HostFacts {
        host,
        gathered_at,
        live,
        facts,
    })
}

/// Like [`unpack`]; a row that cannot be unpacked is recorded, and the result is `None`.
fn unpack_or_note(unreadable: &Unreadable, host: &str, bytes: &[u8]) -> Option<HostFacts> {
    let note = |e: StoreError| unreadable.note(FACTS, &host, bytes, &e.to_string());
    unpack(host, bytes).map_err(note).ok()
}

impl Store {
    /// Stores gathered facts, and their differences from the last gathering. Facts older than the stored ones are
    /// ignored.
    ///
    /// *Durability*: `Ok` is on disk, for all hosts.
    pub async fn keep_facts(&self, gathered: Vec<HostFacts>) -> Result<(), StoreError> {
        self.write(move |tables, state| keep(tables, state, &gathered))
            .await
    }

    /// Returns the facts of a host, if there are any.
    pub async fn facts_of(&self, host: String) -> Result<Option<HostFacts>, StoreError> {
        self.read(move |txn| {
            let Some(table) = open_for_reading(txn, FACTS)? else {
                return Ok(None);
            };
            let value = table.get(host.as_str())?;
            Ok(value.and_then(|value| unpack_or_note(&txn.unreadable, &host, value.value())))
        })
        .await
    }

    /// Returns the facts of a host as JSON, without parsing it.
    pub async fn facts_json(&self, host: String) -> Result<Option<(FactsOf, String)>, StoreError> {
        self.read(move |txn| {
            let Some(table) = open_for_reading(txn, FACTS)? else {
                return Ok(None);
            };
            let Some(value) = table.get(host.as_str())? else {
                return Ok(None);
            };
            let bytes = value.value();
            let read = head(&host, bytes).and_then(|of| Ok((of, inflate(&host, bytes)?)));
            let note = |e: StoreError| {
                let host = host.as_str();
                txn.unreadable.note(FACTS, &host, bytes, &e.to_string());
            };
            Ok(read.map_err(note).ok())
        })
        .await
    }

    /// Returns the metadata of all stored facts, by host.
    pub async fn facts_list(&self) -> Result<Vec<FactsOf>, StoreError> {
        self.read(move |txn| {
            let Some(table) = open_for_reading(txn, FACTS)? else {
                return Ok(Vec::new());
            };
            let mut all = Vec::new();
            for row in table.iter()? {
                let (host, value) = row?;
                let (host, bytes) = (host.value(), value.value());
                let note = |e: StoreError| {
                    txn.unreadable.note(FACTS, &host, bytes, &e.to_string());
                };
                all.extend(head(host, bytes).map_err(note).ok());
            }
            Ok(all)
        })
        .await
    }

    /// Returns the changes on a host, newest first.
    pub async fn fact_changes(&self, host: String) -> Result<Vec<ChangedAt>, StoreError> {
        self.read(move |txn| {
            let Some(table) = open_for_reading(txn, FACT_CHANGES)? else {
                return Ok(Vec::new());
            };
            let all = (host.as_str(), i64::MIN)..=(host.as_str(), i64::MAX);
            let mut found = Vec::new();
            for row in table.range(all)?.rev() {
                let (key, value) = row?;
                let at = DateTime::from_timestamp_millis(key.value().1).unwrap_or_default();
                let unreadable = &txn.unreadable;
                let changes = unreadable.decode(FACT_CHANGES, &key.value(), value.value());
                found.extend(changes.map(|changes| ChangedAt { at, changes }));
            }
            Ok(found)
        })
        .await
    }

    /// Calls back with the facts of every host, from several threads at once.
    pub async fn each_facts(
        &self,
        take: impl Fn(HostFacts) + Send + Sync + 'static,
    ) -> Result<(), StoreError> {
        self.read(move |txn| each_in(txn, &take)).await
    }
}

/// Calls back with the facts of every host. Returns the rows that cannot be read.
pub(crate) fn each(
    database: &Database,
    take: &(dyn Fn(HostFacts) + Sync),
) -> Result<Vec<BadRow>, StoreError> {
    let snapshot = Snapshot::begin(database)?;
    each_in(&snapshot, take)?;
    Ok(snapshot.unreadable.take())
}

/// Calls back with the facts of every host, using several cores: reading them is most of the start time with a large
/// fleet.
pub(crate) fn each_in(txn: &Snapshot, take: &(dyn Fn(HostFacts) + Sync)) -> Result<(), StoreError> {
    let Some(table) = open_for_reading(txn, FACTS)? else {
        return Ok(());
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (sender, receiver) = mpsc::sync_channel::<(String, Vec<u8>)>(WAITING);
    let receiver = Mutex::new(receiver);
    let next = || {
        receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv()
    };
    let work = || {
        while let Ok((host, bytes)) = next() {
            if let Some(facts) = unpack_or_note(&txn.unreadable, &host, &bytes) {
                take(facts);
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores.min(MOST_CORES))
            .map(|_| scope.spawn(work))
            .collect();
        let sent_all = table.iter()?.try_for_each(|row| {
            let (host, value) = row?;
            // It cannot fail while the receiver exists.
            let _ = sender.send((host.value().to_owned(), value.value().to_vec()));
            Ok(())
        });
        drop(sender);
        let worked = workers.into_iter().map(|worker| {
            let panicked = || StoreError::Corrupt("facts could not be read".to_owned());
            worker.join().map_err(|_| panicked())
        });
        worked.collect::<Result<(), StoreError>>().and(sent_all)
    })
}

/// The number of hosts whose facts may wait for a core.
const WAITING: usize = 64;

const MOST_CORES: usize = 8;

#[cfg(test)]
mod tests;
