//! The writer's work while it is idle: slices of work that was too large for one transaction, probing whether a failed
//! disk is writable again, and returning space to the file system.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use redb::Database;
use tokio::sync::oneshot;

use crate::store::StoreError;
use crate::store::disk::integrity::Integrity;
use crate::store::disk::tables::Tables;
use crate::store::engine::writer::Writer;
use crate::store::ops::operation::{ClosureOperation, Operation};
use crate::store::ops::retention;
use crate::store::ops::state::WriterState;

/// How long to wait between probes of whether the store is writable.
const PROBE: Duration = Duration::from_secs(1);

/// The size of a probe. A smaller one may find room inside the file although the disk is full. *Units*: bytes.
const PROBE_BYTES: usize = 256 << 10;

/// The name of the probe in `meta`.
const PROBE_NAME: &str = "probe";

/// How long slices are postponed after one panicked or failed.
const PUT_OFF: Duration = Duration::from_mins(1);

/// How long the writer must be idle before the file is compacted.
const QUIET: Duration = Duration::from_secs(2);

/// How long to wait after a deletion before the file is compacted.
pub(crate) const DELETED: Duration = Duration::from_secs(10);

/// How long to wait between measurements of the free space in the file.
const MEASURED: Duration = Duration::from_mins(5);

/// How long the history's limit is reduced after the file could not grow.
const FULL: Duration = Duration::from_mins(1);

/// Smaller files are not compacted. *Units*: bytes.
const SMALL: u64 = 4 << 20;

/// Files with more data are not compacted: readers and writers would have to wait, about a second for each 100 MiB.
/// *Units*: bytes.
const LARGE: u64 = 256 << 20;

/// The share of a full file that stays free: one in `ROOM`.
const ROOM: u64 = 8;

/// The minimum growth of the history between measurements of the room. *Units*: bytes.
const LEAST_STEP: u64 = 256 << 10;

/// How long compaction waits for readers to finish.
const READERS: Duration = Duration::from_millis(500);

/// The pending maintenance.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// Whether slices are left.
    pub(crate) more: bool,
    put_off_until: Option<Instant>,
    probe_at: Option<Instant>,
    compact_at: Option<Instant>,
    /// The earliest time of the next measurement of the free space.
    measure_at: Option<Instant>,
    full_since: Option<Instant>,
    /// The size of the history from which the room in the file is measured again.
    ask_room_at: i64,
}

impl Upkeep {
    /// Returns the maintenance at the start: a history that was large may have left free space.
    pub(crate) fn begin() -> Self {
        Self {
            more: true,
            compact_at: Some(Instant::now()),
            ..Self::default()
        }
    }

    pub(crate) fn may_go_on(&self) -> bool {
        self.put_off_until
            .is_none_or(|until| Instant::now() >= until)
    }

    pub(crate) fn put_off(&mut self) {
        self.more = false;
        self.put_off_until = Some(Instant::now() + PUT_OFF);
    }

    pub(crate) fn probe_later(&mut self) {
        self.probe_at.get_or_insert_with(|| Instant::now() + PROBE);
    }

    /// Records that the file could not grow.
    pub(crate) fn was_full(&mut self) {
        self.full_since = Some(Instant::now());
        self.compact_in(DELETED);
    }

    /// Schedules a compaction.
    pub(crate) fn compact_in(&mut self, wait: Duration) {
        let at = Instant::now() + wait;
        let at = self.measure_at.map_or(at, |earliest| at.max(earliest));
        self.compact_at = Some(self.compact_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Returns whether the file could not grow before, but may have room by now.
    pub(crate) fn is_full_over(&mut self) -> bool {
        let over = self.full_since.is_some_and(|since| since.elapsed() > FULL);
        if over {
            self.ask_room_at = 0;
            self.full_since = None;
        }
        over
    }

    fn is_probe_due(&self) -> bool {
        self.probe_at.is_some_and(|at| Instant::now() >= at)
    }
}

impl Writer {
    /// Returns how long to wait for a message before maintenance is due; `None` if none is pending.
    pub(crate) fn patience(&self) -> Option<Duration> {
        if self.upkeep.more && self.upkeep.may_go_on() {
            return Some(Duration::ZERO);
        }
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let probe = self.upkeep.probe_at.map(until);
        let compact = self.upkeep.compact_at.map(|at| until(at).max(QUIET));
        match (probe, compact) {
            (Some(probe), Some(compact)) => Some(probe.min(compact)),
            (one, other) => one.or(other),
        }
    }

    /// Performs the maintenance that is due.
    pub(crate) fn keep_up(&mut self) {
        if self.upkeep.more && self.upkeep.may_go_on() {
            if let Err(e) = self.transact(&mut []) {
                tracing::error!(error = %e, "a step of the store's maintenance failed");
                self.upkeep.put_off();
            }
        } else if self.upkeep.is_probe_due() {
            self.probe_if_due();
        } else if self
            .upkeep
            .compact_at
            .is_some_and(|at| Instant::now() >= at)
        {
            self.upkeep.compact_at = None;
            self.compact();
        }
    }

    /// Tests whether the store is writable, if it was not and a probe is due.
    pub(crate) fn probe_if_due(&mut self) {
        if !self.upkeep.is_probe_due() {
            return;
        }
        self.upkeep.probe_at = None;
        let write_probe = unawaited(|tables, _| {
            let bytes = vec![0; PROBE_BYTES];
            tables.meta.insert(PROBE_NAME, bytes.as_slice())?;
            Ok(())
        });
        let remove_probe = unawaited(|tables, _| {
            tables.meta.remove(PROBE_NAME)?;
            Ok(())
        });
        let probed = self.transact(&mut [write_probe]);
        let probed = probed.and_then(|()| self.transact(&mut [remove_probe]));
        match probed {
            Ok(()) => {
                self.trouble.send_replace(None);
                tracing::info!(path = %self.path.display(), "the store is writable again");
            }
            // The reason was recorded.
            Err(_) => self.upkeep.probe_later(),
        }
    }

    /// Reduces the history early if the file has reached its limit: deletions need some room too.
    pub(crate) fn keep_room(&mut self, database: &Database, most: u64) {
        let file = self.file_bytes();
        let rows = self
            .state
            .runs_bytes
            .saturating_add(self.state.episodes_bytes);
        let may_double = file <= most / 2;
        if may_double || self.state.rows_limit.is_some() || rows < self.upkeep.ask_room_at {
            return;
        }
        let Ok(used) = used_bytes(database) else {
            return;
        };
        let free = file.saturating_sub(used);
        let step = (free / 4).max(LEAST_STEP);
        self.upkeep.ask_room_at = rows.saturating_add(i64::try_from(step).unwrap_or(i64::MAX));
        if free < file / ROOM {
            retention::shrink_rows(&mut self.state);
            self.upkeep.was_full();
        }
    }

    /// Returns free space to the file system, if there is much of it and nothing has to wait long.
    fn compact(&mut self) {
        if *self.integrity.borrow() == Integrity::Unknown {
            self.upkeep.compact_in(MEASURED);
            return;
        }
        let Some(free) = self.free_bytes() else {
            return;
        };
        tracing::debug!(free, "the store's file has free space");
        self.resting.send_replace(true);
        let begun = Instant::now();
        let compacted = self.take_soon().map(|mut database| {
            let compacted = database.compact();
            self.give_database(Arc::new(database));
            compacted
        });
        self.resting.send_replace(false);
        match compacted {
            // A reader takes too long.
            None => self.upkeep.compact_in(DELETED),
            Some(Ok(_)) => {
                self.state.rows_limit = None;
                self.state.fruitless_at = None;
                self.upkeep.full_since = None;
                tracing::info!(
                    path = %self.path.display(),
                    bytes = self.file_bytes(),
                    seconds = begun.elapsed().as_secs_f64(),
                    "the store's file was compacted"
                );
            }
            Some(Err(e)) => {
                tracing::warn!(error = %e, "the store's file could not be compacted");
                self.reopen();
            }
        }
    }

    /// Returns the number of free bytes, if they are at least half of the file and the rest is not too large.
    fn free_bytes(&mut self) -> Option<u64> {
        let file = self.file_bytes();
        let rows = self.state.runs_bytes + self.state.episodes_bytes;
        let rows = u64::try_from(rows).unwrap_or(0);
        if file <= SMALL || rows > LARGE || rows.saturating_mul(2) > file {
            return None;
        }
        let database = self.current()?;
        let used = used_bytes(&database).ok()?;
        self.upkeep.measure_at = Some(Instant::now() + MEASURED);
        let free = file.saturating_sub(used);
        (used <= LARGE && free >= file / 2).then_some(free)
    }

    fn file_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Takes the database away from the readers, unless one of them takes too long.
    fn take_soon(&self) -> Option<Database> {
        let begun = Instant::now();
        let mut shared = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        loop {
            match Arc::try_unwrap(shared) {
                Ok(database) => return Some(database),
                Err(still) => shared = still,
            }
            if begun.elapsed() > READERS {
                self.give_database(shared);
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Returns the used size of the file.
fn used_bytes(database: &Database) -> Result<u64, StoreError> {
    let txn = database.begin_write()?;
    let stats = txn.stats()?;
    txn.abort()?;
    Ok(stats.allocated_pages() * stats.page_size() as u64)
}

/// Creates an operation without a receiver for its reply.
fn unawaited(
    work: impl FnMut(&mut Tables<'_>, &mut WriterState) -> Result<(), StoreError> + Send + 'static,
) -> Box<dyn Operation> {
    Box::new(ClosureOperation::new(work, 0, oneshot::channel().0))
}
