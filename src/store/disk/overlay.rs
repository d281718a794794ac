//! A writable view of a file that does not change the file: writes stay in memory.
//!
//! redb marks a file as in use, and repairs an unclean one, as soon as it opens it. To find out whether we may change a
//! file at all, this has to happen in memory.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use redb::StorageBackend;

/// The block size of the overlay. *Units*: bytes.
const BLOCK: u64 = 4096;

/// Opens a file that is not empty.
fn open_nonempty(path: &Path) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let is_empty = file.metadata()?.len() == 0;
    Ok((!is_empty).then_some(file))
}

/// The size of redb's header before its pages, with the valid commit and the roots of its trees.
pub(crate) const HEADER_BYTES: usize = 320;

/// The file, overlaid with the written blocks.
#[derive(Debug)]
pub(crate) struct Overlay {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    len: u64,
    /// The visible length of the file: less than its length after a truncation.
    file_len: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    /// Opens a view of a file; `None` if it is missing or empty. `WouldBlock` if another process has locked it.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = open_nonempty(path)? else {
            return Ok(None);
        };
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        Self::of(file).map(Some)
    }

    /// Like [`open`](Self::open), for a file that this process has locked and does not write to while the view exists.
    pub(crate) fn open_ours(path: &Path) -> io::Result<Option<Self>> {
        open_nonempty(path)?.map(Self::of).transpose()
    }

    fn of(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let overlay = Self {
            file,
            state: Mutex::new(State {
                len,
                file_len: len,
                blocks: BTreeMap::new(),
            }),
        };
        // The header is copied, so that later writes to the file do not change it.
        let first = overlay.block_from_file(0, len)?;
        overlay.state().blocks.insert(0, first);
        Ok(overlay)
    }

    /// Returns the header.
    pub(crate) fn header(&self) -> Vec<u8> {
        let state = self.state();
        let first = state.blocks.get(&0);
        first.map_or_else(Vec::new, |block| block[..HEADER_BYTES].to_vec())
    }

    /// Returns a handle that shares the file's lock.
    pub(crate) fn lock(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block_from_file(&self, number: u64, file_len: u64) -> io::Result<Box<[u8]>> {
        let mut block = vec![0; size(BLOCK)].into_boxed_slice();
        let from = number * BLOCK;
        let available = size(file_len.saturating_sub(from).min(BLOCK));
        self.file.read_exact_at(&mut block[..available], from)?;
        Ok(block)
    }
}

fn size(n: u64) -> usize {
    usize::try_from(n).expect("at most a block or a buffer")
}

/// Iterates over the blocks of a byte range: (block, first byte in the block, bytes, offset in the range).
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let end = offset + length as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let (block, within) = (at / BLOCK, at % BLOCK);
            let bytes = (BLOCK - within).min(end - at);
            let piece = (block, size(within), size(bytes), size(at - offset));
            at += bytes;
            piece
        })
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset + out.len() as u64 > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = offset + out.len() as u64;
        let written = offset / BLOCK..end.div_ceil(BLOCK);
        if end <= state.file_len && state.blocks.range(written).next().is_none() {
            return self.file.read_exact_at(out, offset);
        }
        for (number, within, bytes, at) in pieces(offset, out.len()) {
            let target = &mut out[at..at + bytes];
            if let Some(block) = state.blocks.get(&number) {
                target.copy_from_slice(&block[within..within + bytes]);
            } else {
                let block = self.block_from_file(number, state.file_len)?;
                target.copy_from_slice(&block[within..within + bytes]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.len = len;
        state.file_len = state.file_len.min(len);
        state.blocks.retain(|number, _| number * BLOCK < len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        for (number, within, bytes, at) in pieces(offset, data.len()) {
            if !state.blocks.contains_key(&number) {
                let block = self.block_from_file(number, state.file_len);
                state.blocks.insert(number, block?);
            }
            let block = state
                .blocks
                .get_mut(&number)
                .expect("it was just put there");
            block[within..within + bytes].copy_from_slice(&data[at..at + bytes]);
        }
        Ok(())
    }
}
