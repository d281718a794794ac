//! Whether the file is what redb wrote: the checksum of every page that holds something, looked at when it is opened.
//!
//! redb verifies no checksum while it reads: what it finds in a damaged page is handed out, or it panics. So the whole
//! file is read once, through a view that writes nothing to it. Opening waits for that as long as it takes with an
//! ordinary history; with a larger one it goes on beside the work, or a start would take a second for each gibibyte. The
//! pages of our tables stay as they are meanwhile, because a read transaction holds them. redb's own few pages do not, so
//! what is found damaged beside the work is looked at once more while nothing is written.

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

/// How long opening waits for the verdict: enough for some 100 MiB.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// What is known of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Integrity {
    /// It is being looked at.
    Unknown,
    /// Every page was as redb wrote it.
    Sound,
    /// Some page was not: nothing that is read of it can be believed.
    Damaged(Arc<str>),
}

/// A look at a file that is under way.
pub(crate) struct IntegrityCheck {
    path: PathBuf,
    view: View,
    verdict: mpsc::Receiver<Result<(), OpenError>>,
}

/// What the look is through: the header as it was, and the file's lock.
struct View {
    header: Vec<u8>,
    lock: std::fs::File,
}

/// Keeps the pages that are being looked at.
struct SnapshotPin {
    database: Weak<Database>,
    _snapshot: ReadTransaction,
}

impl IntegrityCheck {
    /// Begins; `None` where there is no file, or an empty one.
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
        let looked_at = path.to_owned();
        std::thread::Builder::new()
            .name("store-check".to_owned())
            .spawn(move || {
                let _ = sender.send(look_at(file, &looked_at));
            })
            .map_err(io)?;
        Ok(Some(Self {
            path: path.to_owned(),
            view,
            verdict,
        }))
    }

    /// Waits a little for the verdict. Yields the look if it takes longer; the file can then be opened.
    pub(crate) fn wait(self, patience: Duration) -> Result<Option<Self>, OpenError> {
        if let Ok(verdict) = self.verdict.recv_timeout(patience) {
            return verdict.map(|()| None);
        }
        // The lock is shared among the handles of this view, and now nobody's.
        let unlocked = self.view.lock.unlock();
        unlocked.map_err(|error| OpenError::Io {
            path: self.path.clone(),
            error,
        })?;
        Ok(Some(self))
    }

    /// Lets it go on beside the work with a file that was opened and not yet written to.
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
            // redb has repaired the file, for which it looks at every page itself.
            sender.send_replace(Integrity::Sound);
            return Ok(receiver);
        }
        let spawned = std::thread::Builder::new()
            .name("store-checked".to_owned())
            .spawn(move || self.conclude(&pin, &sender));
        spawned.map_err(|e| StoreError::Broken(e.to_string()))?;
        Ok(receiver)
    }

    fn conclude(self, pin: &SnapshotPin, sender: &watch::Sender<Integrity>) {
        let Ok(verdict) = self.verdict.recv() else {
            return;
        };
        match verdict {
            Ok(()) => {
                tracing::debug!(path = %self.path.display(), "the store was looked through and is sound");
                sender.send_replace(Integrity::Sound);
            }
            // Opened again or closed meanwhile: the pages may have been written to.
            Err(_) if pin.database.strong_count() == 0 => {}
            Err(OpenError::Damaged { .. }) => {
                let Err(e) = look_again(pin, &self.path) else {
                    sender.send_replace(Integrity::Sound);
                    return;
                };
                tracing::error!(error = %e, "the store is damaged: nothing is read from it or written to it any more");
                sender.send_replace(Integrity::Damaged(e.to_string().into()));
            }
            Err(e) => {
                tracing::warn!(error = %e, "the store could not be looked through");
            }
        }
    }
}

/// Looks at the file while nobody writes to it; at damage only, for it holds up whoever wants to write.
fn look_again(pin: &SnapshotPin, path: &Path) -> Result<(), OpenError> {
    let Some(database) = pin.database.upgrade() else {
        return Ok(());
    };
    let unusable = |e: StoreError| unusable(path, e);
    let _nobody_writes = database.begin_write().map_err(|e| unusable(e.into()))?;
    let file = Overlay::open_ours(path).map_err(|error| OpenError::Io {
        path: path.to_owned(),
        error,
    })?;
    file.map_or(Ok(()), |file| look_at(file, path))
}

impl View {
    /// Whether the file still begins as it did, but for the byte that says that it is in use.
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

fn look_at(file: Overlay, path: &Path) -> Result<(), OpenError> {
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
    /// Waits until the file was looked through, and says whether it can be believed. Until then a damaged page of a large
    /// file may be read as something else.
    pub async fn checked(&self) -> Result<(), StoreError> {
        let mut integrity = self.integrity.clone();
        // An end without a verdict is none.
        let _ = integrity.wait_for(|is| *is != Integrity::Unknown).await;
        ensure_intact(&integrity)
    }
}

/// Whether what is read can be believed, as far as is known.
pub(crate) fn ensure_intact(integrity: &watch::Receiver<Integrity>) -> Result<(), StoreError> {
    match &*integrity.borrow() {
        Integrity::Damaged(why) => Err(StoreError::Corrupt(why.to_string())),
        Integrity::Unknown | Integrity::Sound => Ok(()),
    }
}

#[cfg(test)]
mod tests;
