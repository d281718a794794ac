//! Opening the file: whose it is, of which format, and what an unclean end left behind.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable};
use tokio::sync::{mpsc, watch};

use super::live::Live;
use super::tables::{FORMAT, LAST_SUCCESS, META, Tables, meta_number, open_for_reading};
use super::writer::Writer;
use super::{Store, StoreError, finish, untouched};
use crate::metrics::Metrics;
use crate::run::RunId;

/// What redb may keep of the file in memory.
const CACHE_BYTES: usize = 16 << 20;

/// How many operations may wait for the writer before their askers do.
const WAITING: usize = 4096;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{0} is in use by another process, probably another promansible: stop that one first, or give this one its own --storage.path"
    )]
    InUse(PathBuf),
    /// A newer promansible wrote it. It was left as it is.
    #[error(
        "{path} has format {found}, and this promansible knows formats up to {known}: it was written by a newer version. It was left untouched; use that version, or another --storage.path"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest that we know.
        known: u64,
    },
    /// It is no redb file, or a damaged one.
    #[error(
        "{path} is damaged or not a promansible store: {why}. Restore it from a backup, or move it away to begin a new history"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What redb says.
        why: String,
    },
    /// The file or its folder cannot be read or made.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
}

/// An open store, and what was found in it.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Runs that were under way when promansible last ended, and now are `interrupted`.
    pub interrupted: Vec<RunId>,
    /// The inventory as last saved, with the fingerprint of its sources.
    pub inventory: Option<(u64, Bytes)>,
}

/// Opens the file at a path, and makes it if the flag says so.
pub(super) type Opener = Arc<dyn Fn(&Path, bool) -> Result<Database, OpenError> + Send + Sync>;

/// Opens the store, or makes it, and starts its writer.
///
/// Runs that were under way are ended as `interrupted` before this returns, and queued again where that was asked for.
pub fn open(path: &Path, metrics: &Metrics, now: DateTime<Utc>) -> Result<Opened, OpenError> {
    open_with(Arc::new(open_file), path, metrics, now)
}

pub(super) fn open_with(
    opener: Opener,
    path: &Path,
    metrics: &Metrics,
    now: DateTime<Utc>,
) -> Result<Opened, OpenError> {
    make_parent(path)?;
    refuse_newer(path)?;
    let database = opener(path, true)?;
    let prepared = prepare(&database, metrics, now).map_err(|e| unusable(path, e))?;
    let (messages, receiver) = mpsc::channel(WAITING);
    let (changed, watching) = watch::channel(0);
    metrics.queue(prepared.live.queue.len(), prepared.live.running.len());
    let database = Arc::new(RwLock::new(Some(Arc::new(database))));
    let id: Arc<str> = prepared.id.into();
    let writer = Writer {
        id: Arc::clone(&id),
        messages: receiver,
        database: Arc::clone(&database),
        live: prepared.live,
        path: path.to_owned(),
        metrics: metrics.clone(),
        changed,
        opener,
        held: BTreeMap::new(),
        doubt: None,
        reopen_at: None,
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
            path: Arc::new(path.to_owned()),
            id,
        },
        interrupted: prepared.interrupted,
        inventory: prepared.inventory,
    })
}

struct Prepared {
    live: Live,
    id: String,
    interrupted: Vec<RunId>,
    inventory: Option<(u64, Bytes)>,
}

/// Makes the tables on a new file, and ends what an unclean end left under way.
fn prepare(
    database: &Database,
    metrics: &Metrics,
    now: DateTime<Utc>,
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
        let mut live = Live::load(&tables, &BTreeMap::new())?;
        let interrupted: Vec<RunId> = live.running.keys().copied().collect();
        for run in &interrupted {
            finish::interrupt(&mut tables, &mut live, *run, now)?;
        }
        live.flush(&mut tables)?;
        Prepared {
            id,
            interrupted,
            inventory: saved_inventory(&tables)?,
            live,
        }
    };
    txn.commit()?;
    let mut prepared = prepared;
    for happened in prepared.live.happened.drain(..) {
        metrics.count(&happened);
    }
    show_last_successes(database, metrics)?;
    Ok(prepared)
}

fn store_id(tables: &mut Tables<'_>) -> Result<String, StoreError> {
    if let Some(id) = read_id(tables)? {
        return Ok(id);
    }
    // Only to tell one store's processes from another's: it need not be hard to guess.
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "store");
    let id = format!("{random:016x}");
    tables.meta.insert("store_id", id.as_bytes())?;
    Ok(id)
}

pub(super) fn read_id(tables: &Tables<'_>) -> Result<Option<String>, StoreError> {
    let id = tables.meta.get("store_id")?;
    Ok(id.map(|id| String::from_utf8_lossy(id.value()).into_owned()))
}

fn saved_inventory(tables: &Tables<'_>) -> Result<Option<(u64, Bytes)>, StoreError> {
    let Some(json) = tables.meta.get("inventory")? else {
        return Ok(None);
    };
    let fingerprint = meta_number(&tables.meta, "inventory_fingerprint")?;
    Ok(Some((fingerprint, Bytes::copy_from_slice(json.value()))))
}

pub(super) fn save_inventory(
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

/// Gauges come from the store, so that they are right after a restart too.
fn show_last_successes(database: &Database, metrics: &Metrics) -> Result<(), StoreError> {
    let txn = database.begin_read()?;
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

fn open_file(path: &Path, create: bool) -> Result<Database, OpenError> {
    FileBackend::new(file(path, create)?)
        .and_then(|backend| builder().create_with_backend(backend))
        .map_err(|e| open_error(path, e))
}

pub(super) fn file(path: &Path, create: bool) -> Result<std::fs::File, OpenError> {
    let io = |error| OpenError::Io {
        path: path.to_owned(),
        error,
    };
    let is_new = create && !path.exists();
    // It holds what alerts and hosts say: nobody else's business.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    if is_new {
        sync_parent(path).map_err(io)?;
    }
    Ok(file)
}

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Only what is in the file can be damaged: a disk that fails is no reason to throw a history away.
fn unusable(path: &Path, error: StoreError) -> OpenError {
    let path = path.to_owned();
    match error {
        StoreError::Corrupt(why) => OpenError::Damaged { path, why },
        other => OpenError::Io {
            path,
            error: std::io::Error::other(other.to_string()),
        },
    }
}

pub(super) fn open_error(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
        DatabaseError::Storage(redb::StorageError::Io(error))
            if error.kind() != std::io::ErrorKind::InvalidData
                && error.kind() != std::io::ErrorKind::UnexpectedEof =>
        {
            OpenError::Io {
                path: path.to_owned(),
                error,
            }
        }
        other => OpenError::Damaged {
            path: path.to_owned(),
            why: other.to_string(),
        },
    }
}

/// Reads the format without changing a byte of the file, unclean or not: redb writes to a file as soon as it opens it.
fn refuse_newer(path: &Path) -> Result<(), OpenError> {
    let Some(backend) = untouched::Untouched::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => OpenError::InUse(path.to_owned()),
        _ => OpenError::Io {
            path: path.to_owned(),
            error,
        },
    })?
    else {
        return Ok(());
    };
    let found = builder()
        .create_with_backend(backend)
        .map_err(|e| open_error(path, e))
        .and_then(|database| format_of(&database).map_err(|e| unusable(path, e)))?;
    if found > FORMAT {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    Ok(())
}

fn format_of(database: &Database) -> Result<u64, StoreError> {
    let txn = database.begin_read()?;
    match open_for_reading(&txn, META)? {
        Some(meta) => meta_number(&meta, "format"),
        None => Ok(0),
    }
}

fn make_parent(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) else {
        return Ok(());
    };
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .and_then(|()| sync_parent(folder))
        .map_err(|error| OpenError::Io {
            path: folder.to_owned(),
            error,
        })
}

/// Makes a new name durable: the name is worth as much as what is in the file.
fn sync_parent(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
