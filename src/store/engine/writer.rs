//! The writer thread: many operations, one transaction, one fsync.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use chrono::{DateTime, Utc};
use redb::{Database, Durability};
use tokio::runtime::{self, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::metrics::{MetricEvent, Metrics};
use crate::model::run::RunId;
use crate::store::StoreError;
use crate::store::disk::file::{Opener, panicked};
use crate::store::disk::integrity::Integrity;
use crate::store::disk::tables::Tables;
use crate::store::engine::change_feed::ChangeFeed;
use crate::store::engine::maintenance::{DELETED, Upkeep};
use crate::store::engine::reopen::{InDoubtCommit, Reopened};
use crate::store::ops::cancellations::Cancels;
use crate::store::ops::operation::{Message, Operation};
use crate::store::ops::state::{RunHandle, WriterState};
use crate::store::ops::{guards, mark_due, retention};
use crate::util::test_faults;

/// The maximum number of operations in a transaction: many times the number that arrives during one fsync.
const BATCH: usize = 1024;

/// The maximum amount of data from outside in a transaction, unless a single operation has more. *Units*: bytes.
const BATCH_BYTES: usize = 4 << 20;

/// The writer's side of the store.
pub(crate) struct Writer {
    pub messages: mpsc::Receiver<Message>,
    pub database: Arc<RwLock<Option<Arc<Database>>>>,
    pub state: WriterState,
    pub path: PathBuf,
    pub id: Arc<str>,
    pub metrics: Metrics,
    pub changed: watch::Sender<u64>,
    pub facts_changed: watch::Sender<u64>,
    /// The reason why nothing can be written, while that is the case.
    pub trouble: watch::Sender<Option<Arc<str>>>,
    /// Whether readers have to wait for a compaction.
    pub resting: watch::Sender<bool>,
    pub integrity: watch::Receiver<Integrity>,
    pub changes: ChangeFeed,
    pub cancels: Cancels,
    pub opener: Opener,
    /// The claimed runs whose owners were notified.
    pub held: BTreeMap<RunId, RunHandle>,
    /// A failed commit, until it is known whether it took effect.
    pub doubt: Option<InDoubtCommit>,
    /// When to reopen a broken store.
    pub reopen_at: Option<Instant>,
    /// A time, and the instant at which it was taken.
    pub clock: (DateTime<Utc>, Instant),
    pub upkeep: Upkeep,
}

/// The next work of the writer.
enum Next {
    Message(Message),
    /// No message arrived, and maintenance is due.
    Quiet,
    /// All senders are gone.
    Over,
}

impl Writer {
    /// Runs until the store is closed or every sender is gone.
    pub(crate) fn run(mut self) {
        let _alive = AbortOnPanic;
        // Used only as a timer, so that a message ends the wait immediately.
        let timer = match runtime::Builder::new_current_thread().enable_time().build() {
            Ok(timer) => timer,
            Err(error) => {
                tracing::error!(%error, "the store's thread cannot start its timer");
                return;
            }
        };
        let mut closing = None;
        while closing.is_none() {
            match self.next(&timer) {
                Next::Message(first) => {
                    let batch;
                    (batch, closing) = self.drain(first);
                    if !batch.is_empty() {
                        self.commit(batch);
                    }
                    self.probe_if_due();
                }
                Next::Quiet => self.keep_up(),
                Next::Over => break,
            }
        }
        self.messages.close();
        // Readers hold the database only for the length of a query.
        if let Some(database) = self.take_database() {
            drop(database);
        }
        if let Some(reply) = closing {
            let _ = reply.send(());
        }
    }

    fn next(&mut self, timer: &Runtime) -> Next {
        let message = match self.patience() {
            None => self.messages.blocking_recv(),
            Some(patience) => {
                match timer.block_on(async { timeout(patience, self.messages.recv()).await }) {
                    Ok(message) => message,
                    Err(_elapsed) => return Next::Quiet,
                }
            }
        };
        message.map_or(Next::Over, Next::Message)
    }

    /// Collects the waiting operations up to the limits of a transaction, and the receiver of the close reply.
    fn drain(
        &mut self,
        first: Message,
    ) -> (
        Vec<Box<dyn Operation>>,
        Option<tokio::sync::oneshot::Sender<()>>,
    ) {
        let (mut batch, mut bytes): (Vec<Box<dyn Operation>>, _) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Do(operation) => {
                    bytes += operation.weight();
                    batch.push(operation);
                }
                Message::Open if self.current().is_none() => {
                    self.reopen();
                }
                Message::Open => {}
                Message::Close(reply) => return (batch, Some(reply)),
            }
            let is_full = batch.len() >= BATCH || bytes >= BATCH_BYTES;
            next = (!is_full).then(|| self.messages.try_recv().ok()).flatten();
        }
        (batch, None)
    }

    /// Commits a batch. If it fails, each operation gets its own transaction, so that one that cannot succeed does not
    /// fail the others.
    pub(crate) fn commit(&mut self, mut batch: Vec<Box<dyn Operation>>) {
        let Err(failed) = self.transact(&mut batch) else {
            for operation in batch {
                operation.answer(None);
            }
            return;
        };
        let may_grow = self.check_growth();
        if may_grow {
            tracing::error!(error = %failed, operations = batch.len(), "a transaction failed");
        }
        // Operations that may be on disk must not be applied a second time.
        if (batch.len() == 1 && may_grow) || self.doubt.is_some() {
            for operation in batch {
                operation.answer(Some(copy(&failed)));
            }
            return;
        }
        for operation in batch {
            let mut alone = vec![operation];
            let failed = self.transact(&mut alone).err();
            for operation in alone {
                operation.answer(failed.as_ref().map(copy));
            }
        }
    }

    /// Performs one transaction. After an `Err`, nothing is on disk unless [`Self::doubt`] is set, and the memory
    /// matches the file.
    pub(crate) fn transact(&mut self, batch: &mut [Box<dyn Operation>]) -> Result<(), StoreError> {
        if self.current().is_none() {
            self.reopen();
        }
        let database = self.current().ok_or_else(|| {
            let trouble = self.trouble.borrow();
            let why = trouble.as_deref().unwrap_or("the reason is unknown");
            StoreError::Broken(format!(
                "{} cannot be reopened yet: {why}",
                self.path.display()
            ))
        })?;
        let attempted = self.attempt(&database, batch);
        drop(database);
        let Err(failed) = attempted else {
            self.publish();
            return Ok(());
        };
        self.note_trouble(&failed);
        // Growth must not be refused while the file is opened.
        self.opener.growth.most.store(u64::MAX, Ordering::Relaxed);
        match self.reopen() {
            Reopened::AsAttempted => Ok(()),
            Reopened::AsBefore => Err(failed),
            Reopened::NotYet => {
                // The callers get an error, so claimed runs will have no owner.
                if let Some(doubt) = &mut self.doubt {
                    doubt.held = None;
                }
                Err(failed)
            }
        }
    }

    fn attempt(
        &mut self,
        database: &Database,
        batch: &mut [Box<dyn Operation>],
    ) -> Result<(), StoreError> {
        self.limit_growth(database, batch);
        let mut txn = database.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        txn.set_quick_repair(true);
        self.state.now = self.now();
        let is_written = {
            let mut tables = Tables::open(&txn)?;
            for operation in batch.iter_mut() {
                let state = &mut self.state;
                catch_panic(|| operation.apply(&mut tables, state))?;
            }
            self.go_on(&mut tables)?;
            let state = &mut self.state;
            catch_panic(|| state.flush(&mut tables))?
        };
        if !is_written {
            // Repeated alerts and idle workers are frequent: an operation without changes needs no fsync.
            txn.abort()?;
            return Ok(());
        }
        let started = Instant::now();
        test_faults::hang("store");
        if let Err(e) = txn.commit() {
            self.doubt = Some(InDoubtCommit {
                commit: self.state.commits,
                happened: std::mem::take(&mut self.state.happened),
                held: Some(self.state.held()),
            });
            return Err(e.into());
        }
        if !batch.is_empty() {
            self.metrics.committed(started.elapsed(), batch.len());
        }
        if std::mem::take(&mut self.state.freed) {
            self.upkeep.compact_in(DELETED);
        }
        Ok(())
    }

    /// Performs a slice of work that is too large for one transaction.
    fn go_on(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        if !self.upkeep.may_go_on() {
            return Ok(());
        }
        let state = &mut self.state;
        let advanced = catch_panic(|| {
            mark_due::go_on(tables, state)?;
            retention::make_room(tables, state)
        });
        match advanced {
            Ok(more) => {
                self.upkeep.more = more || !self.state.looks.is_empty();
                Ok(())
            }
            Err(e) => {
                // It must not make requested operations fail a second time.
                self.upkeep.put_off();
                Err(e)
            }
        }
    }

    /// Publishes the committed changes, and updates the owners of runs.
    pub(crate) fn publish(&mut self) {
        let mut facts = false;
        for happened in self.state.happened.drain(..) {
            if let MetricEvent::Quarantined { table, key, reason } = &happened {
                tracing::error!(
                    table,
                    key,
                    error = reason,
                    "a row of the store cannot be read and was set aside"
                );
            }
            self.metrics.count(&happened);
            facts |= matches!(
                happened,
                MetricEvent::Facts(_) | MetricEvent::FactsForgotten(_)
            );
        }
        if facts {
            self.facts_changed.send_modify(|n| *n += 1);
        }
        self.metrics.quarantined(self.state.quarantined);
        self.changes.publish(&self.state.touched, &self.state.moved);
        self.state.touched.clear();
        self.state.moved.clear();
        self.metrics
            .queue(self.state.queue.len(), self.state.running.len());
        if std::mem::take(&mut self.state.guards_changed) {
            self.metrics.guards(&self.state.guards.book);
        }
        if self.state.queue_changed {
            self.metrics.held(&guards::held(&self.state));
        }
        if std::mem::take(&mut self.state.queue_changed) {
            self.held = self.state.held();
            self.cancels.replace(&self.held);
            self.changed.send_modify(|n| *n += 1);
        }
    }

    /// Returns the time: the time when the file was opened plus the elapsed time.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let (at, since) = self.clock;
        at + since.elapsed()
    }

    /// Allows growth beyond twice the limit only for operations that must not be refused.
    fn limit_growth(&mut self, database: &Database, batch: &[Box<dyn Operation>]) {
        if self.upkeep.is_full_over() {
            self.state.rows_limit = None;
        }
        let may_refuse = batch.iter().any(|operation| operation.weight() > 0);
        let most = retention::most_file_bytes(&self.state).filter(|_| may_refuse);
        if let Some(most) = most {
            self.keep_room(database, most);
        }
        let growth = &self.opener.growth;
        let most = most.unwrap_or(u64::MAX);
        growth.most.store(most, Ordering::Relaxed);
        growth.refused.store(0, Ordering::Relaxed);
    }

    /// Returns whether the file was allowed to grow. If not, reduces the history for a while.
    fn check_growth(&mut self) -> bool {
        let wanted = self.opener.growth.refused.swap(0, Ordering::Relaxed);
        if wanted == 0 {
            return true;
        }
        // The failed batch may have raised the limit: a retry finds room.
        if retention::most_file_bytes(&self.state).is_none_or(|most| wanted <= most) {
            return false;
        }
        retention::shrink_rows(&mut self.state);
        self.upkeep.was_full();
        tracing::warn!(
            path = %self.path.display(),
            "the store's file has reached the size that storage.retention.size allows: new alerts are refused until there is room"
        );
        false
    }

    /// Records the reason why nothing can be written.
    pub(crate) fn note_trouble(&mut self, failed: &StoreError) {
        let (StoreError::Broken(why) | StoreError::Corrupt(why)) = failed else {
            return;
        };
        if self.opener.growth.refused.load(Ordering::Relaxed) == 0 {
            self.trouble.send_replace(Some(why.as_str().into()));
            self.upkeep.probe_later();
        }
    }
}

/// Runs an operation that may panic. A panic fails the operation and not the process: a notification that is sent again
/// would crash the process again.
fn catch_panic<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(StoreError::Defect(panicked(&*panic))))
}

/// Aborts the process if the writer itself panics outside of operations: while it reopens the file or publishes
/// changes. Without the writer nothing could be stored, while everything else would seem to work. A service manager
/// restarts the process, and the file is as the last commit left it.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

fn copy(e: &StoreError) -> StoreError {
    match e {
        StoreError::Broken(why) => StoreError::Broken(why.clone()),
        StoreError::Corrupt(why) => StoreError::Corrupt(why.clone()),
        StoreError::Defect(why) => StoreError::Defect(why.clone()),
        other => StoreError::Broken(other.to_string()),
    }
}
