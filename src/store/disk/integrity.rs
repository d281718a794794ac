//! The integrity check of the file: verifies the checksums of all used pages when the file is opened.
//!
//! redb does not verify checksums while reading: it returns the content of damaged pages, or panics. The whole file is
//! therefore read once, through a view that does not write to it. Opening waits for the result if the history has an
//! ordinary size; with a larger one the check continues in the background, since a start would otherwise take a second
//! for each gibibyte. A read transaction keeps the pages of our tables unchanged in the meantime. redb's own few pages
//! may change, so damage found in the background is verified once more while nothing is written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use redb::{Database, ReadTransaction, ReadableDatabase};
use tokio::sync::watch;

use crate::store::disk::file::{
    OpenError, builder, format_of, guarded, open_error, open_untouched, refuse_format, unusable,
};
use crate::store::disk::overlay::{HEADER_BYTES, Overlay};
use crate::store::{Store, StoreError};

/// How long opening waits for the result: enough for about 100 MiB.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// The known state of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Integrity {
    /// The check is in progress.
    Unknown,
    /// Every page is intact.
    Sound,
    /// A page is damaged: nothing read from the file can be trusted.
    Damaged(Arc<str>),
}

/// A check in progress.
pub(crate) struct IntegrityCheck {
    path: PathBuf,
    view: View,
    verdict: mpsc::Receiver<Result<(), OpenError>>,
}

/// The view that the check reads: the header at its start, and the lock of the file.
struct View {
    header: Vec<u8>,
    lock: std::fs::File,
}

/// Keeps the pages that are being checked.
struct SnapshotPin {
    database: Weak<Database>,
    _snapshot: ReadTransaction,
}

impl IntegrityCheck {
    /// Starts a check; `None` if the file is missing or empty.
    pub(crate) fn begin(path: &Path) -> Result<Option<Self>, OpenError> {
        let io = |error| OpenError::Io {
            path: path.to_owned(),
            error,
        };
        let Some(file) = open_untouched(path)? else {
            return Ok(None);
        };
        let view = View {
            header: file.header(),
            lock: file.lock().map_err(io)?,
        };
        let (sender, verdict) = mpsc::channel();
        let checked_path = path.to_owned();
        std::thread::Builder::new()
            .name("store-check".to_owned())
            .spawn(move || {
                let _ = sender.send(verify(file, &checked_path));
            })
            .map_err(io)?;
        Ok(Some(Self {
            path: path.to_owned(),
            view,
            verdict,
        }))
    }

    /// Waits for the result. Returns the check if it takes longer than `patience`; the file can then be opened.
    pub(crate) fn wait(self, patience: Duration) -> Result<Option<Self>, OpenError> {
        if let Ok(verdict) = self.verdict.recv_timeout(patience) {
            return verdict.map(|()| None);
        }
        // The handles of this view share the lock, which is now released.
        let unlocked = self.view.lock.unlock();
        unlocked.map_err(|error| OpenError::Io {
            path: self.path.clone(),
            error,
        })?;
        Ok(Some(self))
    }

    /// Continues the check in the background, on a file that was opened but not written to yet.
    pub(crate) fn go_on(
        self,
        database: &Arc<Database>,
    ) -> Result<watch::Receiver<Integrity>, StoreError> {
        let pin = SnapshotPin {
            _snapshot: database.begin_read()?,
            database: Arc::downgrade(database),
        };
        let (sender, receiver) = watch::channel(Integrity::Unknown);
        if !self.view.is_of(&self.path) {
            // redb has repaired the file, and verified every page itself.
            sender.send_replace(Integrity::Sound);
            return Ok(receiver);
        }
        let spawned = std::thread::Builder::new()
            .name("store-checked".to_owned())
            .spawn(move || self.report(&pin, &sender));
        spawned.map_err(|e| StoreError::Broken(e.to_string()))?;
        Ok(receiver)
    }

    fn report(self, pin: &SnapshotPin, sender: &watch::Sender<Integrity>) {
        let Ok(verdict) = self.verdict.recv() else {
            return;
        };
        match verdict {
            Ok(()) => {
                tracing::debug!(path = %self.path.display(), "the store was checked and is intact");
                sender.send_replace(Integrity::Sound);
            }
            // Reopened or closed in the meantime: the pages may have been overwritten.
            Err(_) if pin.database.strong_count() == 0 => {}
            Err(OpenError::Damaged { .. }) => {
                let Err(e) = verify_again(pin, &self.path) else {
                    sender.send_replace(Integrity::Sound);
                    return;
                };
                tracing::error!(error = %e, "the store is damaged: it is no longer read or written");
                sender.send_replace(Integrity::Damaged(e.to_string().into()));
            }
            Err(e) => {
                tracing::warn!(error = %e, "the store could not be checked");
            }
        }
    }
}

/// Checks the file again while nothing is written. Only used after damage was found, because it blocks writers.
fn verify_again(pin: &SnapshotPin, path: &Path) -> Result<(), OpenError> {
    let Some(database) = pin.database.upgrade() else {
        return Ok(());
    };
    let unusable = |e: StoreError| unusable(path, e);
    let _write_lock = database.begin_write().map_err(|e| unusable(e.into()))?;
    let file = Overlay::open_ours(path).map_err(|error| OpenError::Io {
        path: path.to_owned(),
        error,
    })?;
    file.map_or(Ok(()), |file| verify(file, path))
}

impl View {
    /// Returns whether the header of the file is unchanged, except for the byte that marks it as in use.
    fn is_of(&self, path: &Path) -> bool {
        const FLAGS: usize = 9;
        let now = open_header(path).unwrap_or_default();
        now.len() == self.header.len()
            && now[..FLAGS] == self.header[..FLAGS]
            && now[FLAGS + 1..] == self.header[FLAGS + 1..]
    }
}

fn open_header(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut header = vec![0; HEADER_BYTES];
    std::fs::File::open(path)?.read_exact(&mut header)?;
    Ok(header)
}

fn verify(file: Overlay, path: &Path) -> Result<(), OpenError> {
    guarded(path, || {
        let database = builder()
            .set_check_integrity_on_open(true)
            .create_with_backend(file);
        let database = database.map_err(|e| open_error(path, e))?;
        let found = format_of(&database).map_err(|e| unusable(path, e))?;
        refuse_format(path, found)
    })
}

impl Store {
    /// Waits for the end of the check, and returns an error if the file is damaged. Until then, a damaged page of a
    /// large file may be read as something else.
    pub async fn checked(&self) -> Result<(), StoreError> {
        let mut integrity = self.integrity.clone();
        // A check that ended without a result does not count as damage.
        let _ = integrity.wait_for(|is| *is != Integrity::Unknown).await;
        ensure_intact(&integrity)
    }
}

/// Returns an error if the file is known to be damaged.
pub(crate) fn ensure_intact(integrity: &watch::Receiver<Integrity>) -> Result<(), StoreError> {
    match &*integrity.borrow() {
        Integrity::Damaged(why) => Err(StoreError::Corrupt(why.to_string())),
        Integrity::Unknown | Integrity::Sound => Ok(()),
    }
}

#[cfg(test)]
mod tests;
