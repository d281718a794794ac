//! The one thread that writes: many operations, one transaction, one fsync.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use redb::{Database, Durability};
use tokio::sync::{mpsc, oneshot, watch};

use super::StoreError;
use super::cancels::Cancels;
use super::file::Opener;
use super::live::{Held, Live};
use super::news::News;
use super::tables::{Tables, meta_number, read_id};
use super::{guards, queue};
use crate::faults;
use crate::metrics::{Happened, Metrics};
use crate::run::RunId;

/// How many operations share a transaction at most: what arrives during one fsync, many times over.
const BATCH: usize = 1024;

/// How long to leave a broken store alone before it is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// What the writer is asked.
pub(super) enum Message {
    /// Do this, and answer when it is on disk.
    Do(Box<dyn Operation>),
    /// Open the file again if it is closed: somebody wants to read.
    Open,
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
    pub facts_changed: watch::Sender<u64>,
    pub news: News,
    pub cancels: Cancels,
    pub opener: Opener,
    /// The runs that were handed out and whose owners were told so.
    pub held: BTreeMap<RunId, Held>,
    /// A commit that failed, until it is known whether it is on disk all the same.
    pub doubt: Option<Doubt>,
    /// When a broken store is to be opened again.
    pub reopen_at: Option<Instant>,
}

/// A commit that failed. redb writes what makes a commit valid before its last fsync, so only the file can tell whether
/// it took effect.
pub(super) struct Doubt {
    commit: u64,
    happened: Vec<Happened>,
    /// The runs that it handed out, among others, as long as their owners can still be told.
    held: Option<BTreeMap<RunId, Held>>,
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
                    Message::Open if self.current().is_none() => {
                        self.reopen();
                    }
                    Message::Open => {}
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
        // What may be on disk must not be done a second time.
        if batch.len() == 1 || self.doubt.is_some() {
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

    /// One transaction. After an `Err`, nothing is on disk unless [`Self::doubt`] is left, and the memory is as the file.
    fn transact(&mut self, batch: &mut [Box<dyn Operation>]) -> Result<(), StoreError> {
        if self.current().is_none() {
            self.reopen();
        }
        let database = self.current().ok_or_else(|| {
            StoreError::Broken(format!(
                "{} cannot be opened again yet",
                self.path.display()
            ))
        })?;
        let attempted = self.attempt(&database, batch);
        drop(database);
        let Err(failed) = attempted else {
            self.account();
            return Ok(());
        };
        match self.reopen() {
            Reopened::AsAttempted => Ok(()),
            Reopened::AsBefore => Err(failed),
            Reopened::NotYet => {
                // Their askers are told that it failed, so nobody will own what was handed out.
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
            return Ok(());
        }
        let started = Instant::now();
        faults::hang("store");
        if let Err(e) = txn.commit() {
            self.doubt = Some(Doubt {
                commit: self.live.commits,
                happened: std::mem::take(&mut self.live.happened),
                held: Some(self.live.held()),
            });
            return Err(e.into());
        }
        self.metrics.committed(started.elapsed(), batch.len());
        Ok(())
    }

    /// Shows what is on disk now, and remembers who owns what.
    fn account(&mut self) {
        let mut facts = false;
        for happened in self.live.happened.drain(..) {
            self.metrics.count(&happened);
            facts |= matches!(happened, Happened::Facts(_) | Happened::FactsForgotten(_));
        }
        if facts {
            self.facts_changed.send_modify(|n| *n += 1);
        }
        self.news.tell(&self.live.touched, &self.live.moved);
        self.live.touched.clear();
        self.live.moved.clear();
        self.metrics
            .queue(self.live.queue.len(), self.live.running.len());
        if std::mem::take(&mut self.live.guards_changed) {
            self.metrics.guards(&self.live.guards.book);
        }
        if self.live.queue_changed {
            self.metrics.held(&guards::held(&self.live));
        }
        if std::mem::take(&mut self.live.queue_changed) {
            self.held = self.live.held();
            self.cancels.replace(&self.held);
            self.changed.send_modify(|n| *n += 1);
        }
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
    fn reopen(&mut self) -> Reopened {
        if self.reopen_at.is_some_and(|at| Instant::now() < at) {
            return Reopened::NotYet;
        }
        drop(self.take_database());
        match self.load_again() {
            Ok((database, mut live)) => {
                self.reopen_at = None;
                let doubt = self.doubt.take();
                let reopened = match doubt.filter(|doubt| doubt.commit == live.commits) {
                    Some(doubt) => {
                        live.happened = doubt.happened;
                        Reopened::AsAttempted
                    }
                    None => Reopened::AsBefore,
                };
                live.queue_changed = true;
                live.guards_changed = true;
                live.guards.circuit = self.live.guards.circuit;
                live.fleet = Arc::clone(&self.live.fleet);
                self.live = live;
                *self
                    .database
                    .write()
                    .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(database));
                self.account();
                // What was in doubt may have happened.
                self.news.tell_all();
                reopened
            }
            Err(e) => {
                self.reopen_at = Some(Instant::now() + REOPEN_PAUSE);
                tracing::error!(error = %e, path = %self.path.display(), "the store cannot be opened again");
                Reopened::NotYet
            }
        }
    }

    fn load_again(&self) -> Result<(Database, Live), StoreError> {
        // A file that was moved away, or a volume that went, is no reason to begin an empty history.
        let database =
            (self.opener)(&self.path, false).map_err(|e| StoreError::Broken(e.to_string()))?;
        let mut txn = database.begin_write()?;
        txn.set_quick_repair(true);
        let live = {
            let mut tables = Tables::open(&txn)?;
            if read_id(&tables)?.as_deref() != Some(&*self.id) {
                return Err(StoreError::Broken(format!(
                    "{} is another store now",
                    self.path.display()
                )));
            }
            let commits = meta_number(&tables.meta, "commits")?;
            let attempted = self
                .doubt
                .as_ref()
                .filter(|doubt| doubt.commit == commits)
                .and_then(|doubt| doubt.held.as_ref());
            let held = attempted.unwrap_or(&self.held);
            let mut live = Live::load(&tables, held)?;
            queue::put_back_unowned(&mut tables, &mut live, held)?;
            if live.dirty.is_empty() {
                drop(tables);
                txn.abort()?;
                return Ok((database, live));
            }
            // Under the same number: it tells what was in doubt from what was not.
            live.commits -= 1;
            live.flush(&mut tables)?;
            live
        };
        txn.commit()?;
        Ok((database, live))
    }
}

/// How a file was found that was opened again.
enum Reopened {
    /// With the commit that was in doubt.
    AsAttempted,
    /// Without it, or none was in doubt.
    AsBefore,
    /// It cannot be opened now.
    NotYet,
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

fn copy(e: &StoreError) -> StoreError {
    StoreError::Broken(e.to_string())
}
