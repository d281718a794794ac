//! A file with a size limit.
//!
//! redb doubles its file whenever it finds no room, and deleted data leaves holes of the wrong sizes. Determining the
//! used part of the file is expensive, but growth can be refused: the transaction fails, nothing of it is on disk, and
//! the writer makes room.

use std::io::Error;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// The size limit of a file.
#[derive(Debug)]
pub(crate) struct Growth {
    /// *Units*: bytes.
    pub(crate) most: AtomicU64,
    /// The refused size, or 0 if no growth was refused. *Units*: bytes.
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

/// A file with a size limit. Locks are forwarded to the file: without them, redb would let a second process open it.
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
                "the file would grow to {len} bytes, but the limit is {most}"
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
