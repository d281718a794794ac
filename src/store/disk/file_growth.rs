//! A file that does not grow beyond a limit.
//!
//! redb doubles its file whenever it finds no room, and what was deleted leaves holes of the wrong sizes. How much of the
//! file is in use cannot be asked for cheaply, but growing can be refused: the transaction fails, nothing of it is on
//! disk, and the writer makes room.

use std::io::Error;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// How large a file may become.
#[derive(Debug)]
pub(crate) struct Growth {
    /// *Units*: bytes.
    pub(crate) most: AtomicU64,
    /// How large it would have become where that was refused, else 0. *Units*: bytes.
    pub(crate) refused: AtomicU64,
}

impl Default for Growth {
    fn default() -> Self {
        Self {
            most: AtomicU64::new(u64::MAX),
            refused: AtomicU64::new(0),
        }
    }
}

/// A file, and how large it may become. Its locks are those of the file: without them redb opens it, and a second process
/// opens it too.
#[derive(Debug)]
pub(crate) struct BoundedFile {
    pub(crate) file: FileBackend,
    pub(crate) growth: Arc<Growth>,
}

impl StorageBackend for BoundedFile {
    fn len(&self) -> Result<u64, Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        let most = self.growth.most.load(Ordering::Relaxed);
        if len > most && len > self.file.len()? {
            self.growth.refused.store(len, Ordering::Relaxed);
            return Err(Error::other(format!(
                "the file would grow to {len} bytes, and may have {most}"
            )));
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
