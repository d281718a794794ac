//! The file: its lock, its format and its opening.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::disk::file_growth::{BoundedFile, Growth};
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};

use crate::store::StoreError;
use crate::store::disk::overlay::Overlay;
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{FORMAT, META, meta_number, open_for_reading};

/// The size of redb's cache. *Units*: bytes.
const CACHE_BYTES: usize = 16 << 20;

/// The error of a store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the file.
    #[error(
        "{0} is in use by another process, probably another promansible: stop that one first, or give this one its own --storage.path"
    )]
    InUse(PathBuf),
    /// A newer promansible wrote the file. It was not changed.
    #[error(
        "{path} has format {found}, and this promansible knows formats up to {known}: it was written by a newer version. It was left untouched; use that version, or another --storage.path"
    )]
    Newer {
        path: PathBuf,
        /// The format of the file.
        found: u64,
        /// The newest format that we support.
        known: u64,
    },
    /// The file is not a redb file, or is damaged.
    #[error(
        "{path} is damaged or not a promansible store: {why}. Restore it from a backup, or move it away to begin a new history"
    )]
    Damaged {
        path: PathBuf,
        /// The error of redb.
        why: String,
    },
    /// The file or its directory cannot be read or created.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        error: std::io::Error,
    },
}

/// Opens the file at a path, and creates it if the flag is set.
type Open = Arc<dyn Fn(&Path, bool) -> Result<Database, OpenError> + Send + Sync>;

/// Opens the file, and limits its size.
#[derive(Clone)]
pub(crate) struct Opener {
    open: Open,
    pub(crate) growth: Arc<Growth>,
}

impl Opener {
    pub(crate) fn new() -> Self {
        let growth = Arc::<Growth>::default();
        let shared_growth = Arc::clone(&growth);
        Self {
            open: Arc::new(move |path, create| {
                let file = FileBackend::new(file(path, create)?);
                let growth = Arc::clone(&shared_growth);
                file.and_then(|file| builder().create_with_backend(BoundedFile { file, growth }))
                    .map_err(|e| open_error(path, e))
            }),
            growth,
        }
    }

    /// Creates an opener with another way of opening.
    #[cfg(test)]
    pub(crate) fn of(
        open: impl Fn(&Path, bool) -> Result<Database, OpenError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            open: Arc::new(open),
            growth: Arc::default(),
        }
    }

    pub(crate) fn open(&self, path: &Path, create: bool) -> Result<Database, OpenError> {
        (self.open)(path, create)
    }
}

pub(crate) fn file(path: &Path, create: bool) -> Result<File, OpenError> {
    let io = |error| OpenError::Io {
        path: path.to_owned(),
        error,
    };
    let is_new = create && !path.exists();
    // The file contains data from alerts and hosts that other users must not read.
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
    restrict_permissions(path, &file);
    Ok(file)
}

/// Removes the permissions of other users from a file that was created or copied with them.
fn restrict_permissions(path: &Path, file: &File) {
    const OTHERS: u32 = 0o007;
    let Ok(metadata) = file.metadata() else {
        return;
    };
    let mode = metadata.permissions().mode();
    if !metadata.is_file() || mode & OTHERS == 0 {
        return;
    }
    let path = path.display();
    match file.set_permissions(Permissions::from_mode(mode & !OTHERS)) {
        Ok(()) => {
            tracing::warn!(%path, "the store was accessible to all users of this machine: access is now limited to its owner and group");
        }
        Err(error) => {
            tracing::warn!(%path, %error, "the store is accessible to all users of this machine: run chmod o= on it");
        }
    }
}

pub(crate) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Converts an error. Only corrupt content counts as damage: a failing disk is no reason to discard a history.
pub(crate) fn unusable(path: &Path, error: StoreError) -> OpenError {
    let path = path.to_owned();
    match error {
        StoreError::Corrupt(why) => OpenError::Damaged { path, why },
        other => OpenError::Io {
            path,
            error: std::io::Error::other(other.to_string()),
        },
    }
}

pub(crate) fn open_error(path: &Path, error: DatabaseError) -> OpenError {
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

/// Refuses a file that a newer version wrote, without changing it.
pub(crate) fn refuse_newer(path: &Path) -> Result<(), OpenError> {
    read_untouched(path, false).map(|_| ())
}

/// Opens a file of a supported format without changing it, whether clean or not: redb writes to a file as soon as it
/// opens it. Returns `None` if the file is missing or empty. With `checked`, every page is verified.
pub(crate) fn read_untouched(path: &Path, checked: bool) -> Result<Option<Database>, OpenError> {
    let Some(file) = open_untouched(path)? else {
        return Ok(None);
    };
    guarded(path, || {
        let database = builder()
            .set_check_integrity_on_open(checked)
            .create_with_backend(file);
        let database = database.map_err(|e| open_error(path, e))?;
        let found = format_of(&database).map_err(|e| unusable(path, e))?;
        refuse_format(path, found)?;
        Ok(Some(database))
    })
}

/// Refuses a format that we do not support.
pub(crate) fn refuse_format(path: &Path, found: u64) -> Result<(), OpenError> {
    if found > FORMAT {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    Ok(())
}

pub(crate) fn format_of(database: &Database) -> Result<u64, StoreError> {
    let snapshot = Snapshot::begin(database)?;
    match open_for_reading(&snapshot, META)? {
        Some(meta) => meta_number(&meta, "format"),
        None => Ok(0),
    }
}

pub(crate) fn make_parent(path: &Path) -> Result<(), OpenError> {
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

/// Makes a new directory entry durable: without it the content of the file would be lost.
fn sync_parent(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

pub(crate) fn open_untouched(path: &Path) -> Result<Option<Overlay>, OpenError> {
    Overlay::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => OpenError::InUse(path.to_owned()),
        _ => OpenError::Io {
            path: path.to_owned(),
            error,
        },
    })
}

/// Runs an operation on a file that may be damaged, where redb may panic.
pub(crate) fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(OpenError::Damaged {
            path: path.to_owned(),
            why: panicked(&*panic),
        })
    })
}

/// Returns the message of a panic.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    message.unwrap_or("it cannot be read").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_for_its_owner_and_group_alone_however_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        drop(file(&path, true).unwrap());
        assert_eq!(mode(), 0o600);
        for (left, made) in [
            (0o644, 0o640),
            (0o602, 0o600),
            (0o666, 0o660),
            (0o640, 0o640),
        ] {
            std::fs::set_permissions(&path, Permissions::from_mode(left)).unwrap();
            drop(file(&path, false).unwrap());
            assert_eq!(mode(), made, "{left:o}");
        }
    }
}
