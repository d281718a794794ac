//! Opens the store: cleans up after an unclean end, and starts the writer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use redb::{Database, ReadableTable};
use tokio::sync::{mpsc, watch};

use crate::metrics::Metrics;
use crate::model::facts::HostFacts;
use crate::model::run::RunId;
use crate::store::disk::file::{OpenError, Opener, guarded, make_parent, refuse_newer, unusable};
use crate::store::disk::index;
use crate::store::disk::integrity::{Integrity, IntegrityCheck, PATIENCE};
use crate::store::disk::records::Reported;
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{
    FINDINGS, FORMAT, LAST_SUCCESS, Tables, meta_number, open_for_reading, read_id,
};
use crate::store::disk::unreadable::BadRow;
use crate::store::engine::change_feed::ChangeFeed;
use crate::store::engine::maintenance::Upkeep;
use crate::store::engine::writer::Writer;
use crate::store::ops::cancellations::Cancels;
use crate::store::ops::state::WriterState;
use crate::store::ops::{audit, facts, finish, quarantine};
use crate::store::{Store, StoreError};

/// How many operations may wait for the writer before their callers have to wait.
const WAITING: usize = 4096;

/// An open store, and the data found in it.
pub struct Opened {
    pub store: Store,
    /// The runs that were in progress when promansible last ended, and are `interrupted` now.
    pub interrupted: Vec<RunId>,
    /// The last saved inventory, with the fingerprint of its sources.
    pub inventory: Option<(u64, Bytes)>,
}

/// Opens or creates the store, and starts its writer.
///
/// Runs that were in progress are ended as `interrupted` before this returns, and queued again if configured.
pub fn open(path: &Path, metrics: &Metrics, now: DateTime<Utc>) -> Result<Opened, OpenError> {
    open_seeing(path, metrics, now, &|_| ())
}

/// Like [`open`], and calls back with the facts of every host, from several threads at once: reading them is most of
/// the start time with a large fleet, so it is done once for all users of the facts.
pub fn open_seeing(
    path: &Path,
    metrics: &Metrics,
    now: DateTime<Utc>,
    see: See<'_>,
) -> Result<Opened, OpenError> {
    open_with(Opener::new(), path, metrics, now, see)
}

/// A callback for the facts of a host.
type See<'a> = &'a (dyn Fn(&HostFacts) + Sync);

pub(crate) fn open_with(
    opener: Opener,
    path: &Path,
    metrics: &Metrics,
    now: DateTime<Utc>,
    see: See<'_>,
) -> Result<Opened, OpenError> {
    make_parent(path)?;
    let check = match IntegrityCheck::begin(path)? {
        Some(check) => check.wait(PATIENCE)?,
        None => None,
    };
    if check.is_some() {
        refuse_newer(path)?;
    }
    let database = Arc::new(guarded(path, || opener.open(path, true))?);
    let integrity = match check {
        Some(check) => check.go_on(&database).map_err(|e| unusable(path, e))?,
        None => watch::channel(Integrity::Sound).1,
    };
    let prepared = guarded(path, || {
        prepare(&database, metrics, now, see).map_err(|e| unusable(path, e))
    })?;
    let (messages, receiver) = mpsc::channel(WAITING);
    let (changed, watching) = watch::channel(0);
    let (facts_changed, watching_facts) = watch::channel(0);
    let (trouble, watching_trouble) = watch::channel(None);
    let (resting, watching_rest) = watch::channel(false);
    let change_feed = ChangeFeed::new();
    let cancels = Cancels::default();
    metrics.queue(prepared.state.queue.len(), prepared.state.running.len());
    metrics.guards(&prepared.state.guards.book);
    metrics.held(&crate::store::ops::guards::held(&prepared.state));
    metrics.quarantined(prepared.state.quarantined);
    let database = Arc::new(RwLock::new(Some(database)));
    let id: Arc<str> = prepared.id.into();
    let writer = Writer {
        id: Arc::clone(&id),
        messages: receiver,
        database: Arc::clone(&database),
        state: prepared.state,
        path: path.to_owned(),
        metrics: metrics.clone(),
        changed,
        facts_changed,
        trouble,
        resting,
        integrity: integrity.clone(),
        changes: change_feed.clone(),
        cancels: cancels.clone(),
        opener,
        held: BTreeMap::new(),
        doubt: None,
        reopen_at: None,
        clock: (now, Instant::now()),
        upkeep: Upkeep::begin(),
    };
    std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || writer.run())
        .map_err(|error| OpenError::Io {
            path: path.to_owned(),
            error,
        })?;
    Ok(Opened {
        store: Store {
            writer: messages,
            database,
            changed: watching,
            facts_changed: watching_facts,
            changes: change_feed,
            cancels,
            path: Arc::new(path.to_owned()),
            id,
            integrity,
            trouble: watching_trouble,
            resting: watching_rest,
        },
        interrupted: prepared.interrupted,
        inventory: prepared.inventory,
    })
}

struct Prepared {
    state: WriterState,
    id: String,
    interrupted: Vec<RunId>,
    inventory: Option<(u64, Bytes)>,
}

/// Creates the tables in a new file, and ends runs that an unclean end left in progress.
fn prepare(
    database: &Database,
    metrics: &Metrics,
    now: DateTime<Utc>,
    see: See<'_>,
) -> Result<Prepared, StoreError> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    let prepared = {
        let mut tables = Tables::open(&txn)?;
        if tables.meta.get("format")?.is_none() {
            tables
                .meta
                .insert("format", FORMAT.to_le_bytes().as_slice())?;
        }
        let id = store_id(&mut tables)?;
        index::build_once(&mut tables)?;
        tables.index_episodes()?;
        audit::index_once(&mut tables)?;
        let mut state = WriterState::load(&tables, &BTreeMap::new(), now)?;
        let interrupted: Vec<RunId> = state.running.keys().copied().collect();
        for run in &interrupted {
            finish::interrupt(&mut tables, &mut state, *run, now)?;
        }
        state.flush(&mut tables)?;
        Prepared {
            id,
            interrupted,
            inventory: saved_inventory(&tables)?,
            state,
        }
    };
    txn.commit()?;
    let mut prepared = prepared;
    show_last_successes(database, metrics)?;
    let mut unreadable = show_findings(database, metrics)?;
    unreadable.extend(facts::each(database, &|facts| {
        metrics.show_facts(&facts);
        see(&facts);
    })?);
    if !unreadable.is_empty() {
        set_aside(database, &mut prepared.state, &unreadable)?;
    }
    for happened in prepared.state.happened.drain(..) {
        metrics.count(&happened);
    }
    // There are no subscribers yet.
    prepared.state.touched.clear();
    prepared.state.moved.clear();
    Ok(prepared)
}

/// Quarantines rows that were found unreadable after the cleanup.
fn set_aside(
    database: &Database,
    state: &mut WriterState,
    rows: &[BadRow],
) -> Result<(), StoreError> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    {
        let mut tables = Tables::open(&txn)?;
        for row in rows {
            quarantine::set_aside(&mut tables, state, row)?;
        }
        state.flush(&mut tables)?;
    }
    txn.commit()?;
    Ok(())
}

fn store_id(tables: &mut Tables<'_>) -> Result<String, StoreError> {
    if let Some(id) = read_id(tables)? {
        return Ok(id);
    }
    // It only distinguishes the processes of different stores, so it need not be hard to guess.
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "store");
    let id = format!("{random:016x}");
    tables.meta.insert("store_id", id.as_bytes())?;
    Ok(id)
}

fn saved_inventory(tables: &Tables<'_>) -> Result<Option<(u64, Bytes)>, StoreError> {
    let Some(json) = tables.meta.get("inventory")? else {
        return Ok(None);
    };
    let fingerprint = meta_number(&*tables.meta, "inventory_fingerprint")?;
    Ok(Some((fingerprint, Bytes::copy_from_slice(json.value()))))
}

pub(crate) fn save_inventory(
    tables: &mut Tables<'_>,
    fingerprint: u64,
    json: &[u8],
) -> Result<(), StoreError> {
    tables.meta.insert("inventory", json)?;
    let fingerprint = fingerprint.to_le_bytes();
    tables
        .meta
        .insert("inventory_fingerprint", fingerprint.as_slice())?;
    Ok(())
}

/// Sets gauges from the store, so that they are correct after a restart.
fn show_last_successes(database: &Database, metrics: &Metrics) -> Result<(), StoreError> {
    let txn = Snapshot::begin(database)?;
    let Some(table) = open_for_reading(&txn, LAST_SUCCESS)? else {
        return Ok(());
    };
    for row in table.iter()? {
        let (key, at) = row?;
        let (role, host) = key.value();
        if let Some(at) = DateTime::from_timestamp_millis(at.value()) {
            metrics.last_success(role, host, at);
        }
    }
    Ok(())
}

/// Sets the gauges of checks from the stored reports. Returns the rows that cannot be decoded.
fn show_findings(database: &Database, metrics: &Metrics) -> Result<Vec<BadRow>, StoreError> {
    let txn = Snapshot::begin(database)?;
    let Some(table) = open_for_reading(&txn, FINDINGS)? else {
        return Ok(Vec::new());
    };
    for row in table.iter()? {
        let (key, value) = row?;
        let (role, host) = key.value();
        let reported = txn.unreadable.decode(FINDINGS, &key.value(), value.value());
        if let Some(Reported { at, findings, .. }) = reported {
            metrics.reported(role, host, at, findings);
        }
    }
    Ok(txn.unreadable.take())
}
