//! The one thread that writes: many operations, one transaction, one fsync.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use redb::{Database, Durability};
use tokio::sync::{mpsc, oneshot, watch};

use super::StoreError;
use super::live::{Live, Running};
use super::open::{open_existing, read_id};
use super::tables::Tables;
use crate::metrics::Metrics;
use crate::run::RunId;

/// How many operations share a transaction at most: what arrives during one fsync, many times over.
const BATCH: usize = 1024;

/// How long to leave a broken store alone before it is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// What the writer is asked.
pub(super) enum Message {
    /// Do this, and answer when it is on disk.
    Do(Box<dyn Operation>),
    /// Finish what was asked before, then end.
    Close(oneshot::Sender<()>),
}

/// One whole operation.
pub(super) trait Operation: Send {
    /// Does it inside a transaction. It may be done a second time, in a new transaction, if the first one fails.
    fn apply(&mut self, tables: &mut Tables<'_>, live: &mut Live) -> Result<(), StoreError>;

    /// Tells the asker: what `apply` yielded, or why it is not on disk.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

/// An operation made of a closure, and who waits for it.
pub(super) struct Asked<T, F> {
    work: F,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Asked<T, F> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self {
            work,
            result: None,
            reply,
        }
    }
}

impl<T, F> Operation for Asked<T, F>
where
    T: Send,
    F: FnMut(&mut Tables<'_>, &mut Live) -> Result<T, StoreError> + Send,
{
    fn apply(&mut self, tables: &mut Tables<'_>, live: &mut Live) -> Result<(), StoreError> {
        match (self.work)(tables, live) {
            Err(e @ (StoreError::Broken(_) | StoreError::Corrupt(_))) => Err(e),
            refused_or_done => {
                self.result = Some(refused_or_done);
                Ok(())
            }
        }
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let result = match (failed, self.result) {
            (Some(e), _) => Err(e),
            (None, Some(result)) => result,
            (None, None) => Err(StoreError::Closed),
        };
        // Nobody waits any more: what was done stays done.
        let _ = self.reply.send(result);
    }
}

/// The writer's side of the store.
pub(super) struct Writer {
    pub messages: mpsc::Receiver<Message>,
    pub database: Arc<RwLock<Option<Arc<Database>>>>,
    pub live: Live,
    pub path: PathBuf,
    pub id: Arc<str>,
    pub metrics: Metrics,
    pub changed: watch::Sender<u64>,
    /// When a broken store is to be opened again.
    pub reopen_at: Option<Instant>,
}

impl Writer {
    /// Works until it is closed or every asker is gone.
    pub(super) fn run(mut self) {
        let _alive = EndsWithUs;
        let mut batch = Vec::new();
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = self.messages.blocking_recv() else {
                break;
            };
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Do(operation) => batch.push(operation),
                    Message::Close(reply) => {
                        closing = Some(reply);
                        break;
                    }
                }
                next = if batch.len() < BATCH {
                    self.messages.try_recv().ok()
                } else {
                    None
                };
            }
            if !batch.is_empty() {
                self.commit(std::mem::take(&mut batch));
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

    /// Commits a batch. If it fails, each operation gets a transaction of its own, so that one which cannot succeed
    /// does not take the others with it.
    fn commit(&mut self, mut batch: Vec<Box<dyn Operation>>) {
        let Err(failed) = self.transact(&mut batch) else {
            for operation in batch {
                operation.answer(None);
            }
            return;
        };
        tracing::error!(error = %failed, operations = batch.len(), "a transaction failed");
        self.reopen();
        if batch.len() == 1 {
            let operation = batch.remove(0);
            return operation.answer(Some(failed));
        }
        for operation in batch {
            let mut alone = vec![operation];
            let failed = self.transact(&mut alone).err();
            if failed.is_some() {
                self.reopen();
            }
            for operation in alone {
                operation.answer(failed.as_ref().map(copy));
            }
        }
    }

    /// One transaction. On `Err`, nothing is on disk and the memory is out of date.
    fn transact(&mut self, batch: &mut [Box<dyn Operation>]) -> Result<(), StoreError> {
        let database = self.current().or_else(|| {
            self.reopen();
            self.current()
        });
        let database = database.ok_or_else(|| {
            StoreError::Broken(format!(
                "{} cannot be opened again yet",
                self.path.display()
            ))
        })?;
        let mut txn = database.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        txn.set_quick_repair(true);
        self.live.idle = 0;
        {
            let mut tables = Tables::open(&txn)?;
            for operation in batch.iter_mut() {
                operation.apply(&mut tables, &mut self.live)?;
            }
            self.live.flush(&mut tables)?;
        }
        if self.live.idle == batch.len() {
            // Repeated alerts and idle workers come all the time: what says nothing new is not worth an fsync.
            txn.abort()?;
        } else {
            let started = Instant::now();
            txn.commit()?;
            self.metrics.committed(started.elapsed(), batch.len());
        }
        for happened in self.live.happened.drain(..) {
            self.metrics.count(&happened);
        }
        self.metrics
            .queue(self.live.queue.len(), self.live.running.len());
        if std::mem::take(&mut self.live.queue_changed) {
            self.changed.send_modify(|n| *n += 1);
        }
        Ok(())
    }

    fn current(&self) -> Option<Arc<Database>> {
        self.database
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Takes the database away from the readers and waits until the last of them is done.
    fn take_database(&self) -> Option<Database> {
        let mut taken = self
            .database
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()?;
        loop {
            match Arc::try_unwrap(taken) {
                Ok(database) => return Some(database),
                Err(shared) => taken = shared,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Opens the file again and rebuilds the memory from it. redb refuses all work after an I/O error until then.
    fn reopen(&mut self) {
        if self.reopen_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        drop(self.take_database());
        let mut running = std::mem::take(&mut self.live).running;
        match load_again(&self.path, &self.id, &mut running) {
            Ok((database, live)) => {
                self.live = live;
                self.reopen_at = None;
                *self
                    .database
                    .write()
                    .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(database));
            }
            Err(e) => {
                self.live.running = running;
                self.reopen_at = Some(Instant::now() + REOPEN_PAUSE);
                tracing::error!(error = %e, path = %self.path.display(), "the store cannot be opened again");
            }
        }
    }
}

/// Ends the process if the writer panics. Without it nothing could be kept any more, while all else would look well; a
/// service manager starts us again, and the file is as the last commit left it.
struct EndsWithUs;

impl Drop for EndsWithUs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

fn load_again(
    path: &std::path::Path,
    id: &str,
    running: &mut BTreeMap<RunId, Running>,
) -> Result<(Database, Live), StoreError> {
    // A file that was moved away, or a volume that went, is no reason to begin an empty history.
    let database = open_existing(path).map_err(|e| StoreError::Broken(e.to_string()))?;
    let live = {
        let txn = database.begin_write()?;
        let tables = Tables::open(&txn)?;
        if read_id(&tables)?.as_deref() != Some(id) {
            return Err(StoreError::Broken(format!(
                "{} is another store now",
                path.display()
            )));
        }
        Live::load(&tables, running)?
    };
    Ok((database, live))
}

fn copy(e: &StoreError) -> StoreError {
    StoreError::Broken(e.to_string())
}
