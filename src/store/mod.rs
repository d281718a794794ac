//! The store: runs, the queue, episodes, events and output in one redb file.
//!
//! [`Store`] is the whole interface, one method for each whole operation, and no redb type is seen above it. One thread
//! owns all writing: it drains what is waiting into one transaction, commits it with an fsync, and only then answers
//! (group commit). Readers work on snapshots and never wait for it.
//!
//! An operation that answered `Ok` is on disk. One that answered `Err` has changed nothing, with one exception that
//! [`StoreError::Broken`] names.

mod disk;
mod engine;
mod error;
mod ops;
#[cfg(test)]
mod tests;
mod types;
mod views;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use redb::Database;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Config;
use crate::model::alert::Notification;
use crate::model::inventory::Inventory;
use crate::model::run::{Run, RunId, TaskEvent, Work};
use ops::admit::Arrival;

pub use disk::file::OpenError;
pub use disk::index::Ends;
use disk::integrity::Integrity;
pub use disk::records::{DecisionRecord, Episode, RunEpisode};
use disk::tables::Tables;
pub use engine::change_feed::Change;
pub use engine::offline::{OfflineView, peek, peek_aliases};
pub use engine::open::{Opened, open, open_seeing};
pub use error::{HOSTS_LIMIT, OBJECTS_LIMIT, StoreError};
pub use ops::audit::{AuditAction, AuditEntry, AuditPage};
pub use ops::due::{Due, DueEpisode};
pub use ops::facts::{ChangedAt, FactsOf};
pub use ops::fleet::{DepartedHosts, Fleet};
pub use ops::messages::{MESSAGE_TTL, Pending, Told as DeliveryOutcome, Tries};
pub use ops::objects::Expect;
use ops::operation::{ClosureOperation, Message, Operation};
pub use ops::restart::{FailedStart, RerunRequest};
pub use ops::retention::Retained;
pub use ops::schedules::TickOutcome;
use ops::state::WriterState;
pub use types::{
    Admitted, AdmittedDecision, Canceled, Claim, Claimed, Ended, EpisodeOfRun, RoleFindings,
};
pub use views::alerts::{EpisodePage, RunBrief};
pub use views::listing::{Order, Page, RunFilter};
pub use views::search::Text;
pub use views::tail::{OutputPiece, TailChunk, Told};

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: mpsc::Sender<Message>,
    database: Arc<RwLock<Option<Arc<Database>>>>,
    changed: watch::Receiver<u64>,
    facts_changed: watch::Receiver<u64>,
    changes: engine::change_feed::ChangeFeed,
    cancels: ops::cancellations::Cancels,
    path: Arc<PathBuf>,
    id: Arc<str>,
    integrity: watch::Receiver<Integrity>,
    trouble: watch::Receiver<Option<Arc<str>>>,
    resting: watch::Receiver<bool>,
}

impl Store {
    /// Decides a notification and keeps what was decided, in one transaction.
    ///
    /// *Durability*: `Ok` is on disk. *Cancel safety*: if the caller goes away it may be committed all the same; sent
    /// again it yields `duplicate`.
    ///
    /// *Errors*: `QueueFull`, and `HistoryFull` of alerts that are not known yet; nothing was kept.
    pub async fn admit(
        &self,
        notification: Arc<Notification>,
        config: Arc<Config>,
        inventory: Arc<Inventory>,
        now: DateTime<Utc>,
    ) -> Result<Admitted, StoreError> {
        let arrival = Arrival::new(notification, config, inventory, now).await?;
        let weight = arrival.weight();
        self.write_weighing(weight, move |tables, state| {
            ops::admit::admit(tables, state, &arrival)
        })
        .await
    }

    /// Queues a run that somebody asked for, on these hosts: at least one. `started_by` is his name, where it is known.
    ///
    /// *Durability*: `Ok` is on disk. *Cancel safety*: if the caller goes away it may be queued all the same, and asked
    /// for again it is a second run: unlike an alert it has nothing to be known by.
    ///
    /// *Errors*: `QueueFull` where `queue_limit` runs wait; nothing was kept.
    pub async fn queue_manual(
        &self,
        work: Work,
        hosts: Vec<String>,
        started_by: Option<String>,
        queue_limit: usize,
        now: DateTime<Utc>,
    ) -> Result<RunId, StoreError> {
        self.write(move |tables, state| {
            let by = started_by.as_deref();
            ops::queue::queue_manual(tables, state, (&work, &hosts), by, queue_limit, now)
        })
        .await
    }

    /// Queues a gathering of facts by this work on these hosts, if `every` has passed since the last and that has ended.
    /// Yields the run, if there is one, and when to ask again.
    ///
    /// *Durability*: `Ok` is on disk; the time of the last gathering is kept with it, so that a restart asks no sooner.
    ///
    /// *Errors*: as for [`Store::queue_manual`].
    pub async fn queue_facts(
        &self,
        work: Work,
        hosts: Vec<String>,
        every: Duration,
        queue_limit: usize,
        now: DateTime<Utc>,
    ) -> Result<(Option<RunId>, DateTime<Utc>), StoreError> {
        self.write(move |tables, state| {
            ops::queue::queue_facts(tables, state, (&work, &hosts), every, queue_limit, now)
        })
        .await
    }

    /// Hands out the oldest run that can start now: its window closed, none of its hosts busy, and no older run
    /// waiting for one of them, and nothing that holds it. What a guard of this configuration refuses leaves the run: hosts,
    /// or all of it.
    ///
    /// *Durability*: the run is on disk as running before this returns, so it is never handed out twice.
    ///
    /// *Cancel safety*: none. Whoever drops this may own a run without knowing it.
    pub async fn claim(
        &self,
        config: Arc<Config>,
        now: DateTime<Utc>,
    ) -> Result<Claim, StoreError> {
        self.write(move |tables, state| ops::queue::claim(tables, state, &config, now))
            .await
    }

    /// Keeps what a running run has told so far. Events beyond `events_limit` and output beyond its limit are counted
    /// and dropped.
    pub async fn append(
        &self,
        run: RunId,
        events: Vec<TaskEvent>,
        output: Vec<Bytes>,
        events_limit: u64,
    ) -> Result<(), StoreError> {
        self.write(move |tables, state| {
            ops::output::append(tables, state, run, &events, &output, events_limit)
        })
        .await
    }

    /// Ends a running run, and keeps what was reported unless it ran in check mode. If it was interrupted and its binding
    /// asks for it, it is queued again as a new run.
    ///
    /// *Errors*: on `Broken` the caller tries again; a run that is never finished is `interrupted` at the next start.
    pub async fn finish(
        &self,
        run: RunId,
        ended: Ended,
        now: DateTime<Utc>,
    ) -> Result<Run, StoreError> {
        self.write(move |tables, state| ops::finish::finish(tables, state, run, &ended, now))
            .await
    }

    /// Puts a claimed run back that was not begun: it keeps its place in the queue, unless somebody has canceled it.
    ///
    /// *Errors*: on `Broken` the caller tries again, or ends it with [`Store::finish`].
    pub async fn put_back(&self, run: RunId, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.write(move |tables, state| ops::queue::put_back(tables, state, run, now))
            .await
    }

    /// Deletes what is older than the retention time, and the oldest beyond the retention size; a slice at a time, so
    /// that nobody waits long. Queued and running runs stay, and firing episodes for which something was or is to be done.
    /// Yields what was deleted since this was last asked for: the writer deletes by itself what is beyond the size.
    pub async fn retain(
        &self,
        retention: crate::config::Storage,
        now: DateTime<Utc>,
    ) -> Result<Retained, StoreError> {
        self.write(move |tables, state| ops::retention::retain(tables, state, &retention, now))
            .await
    }

    /// Keeps the inventory, as [`Inventory::to_json`] wrote it, with the fingerprint of its sources, for the next start.
    pub async fn save_inventory(&self, fingerprint: u64, json: Bytes) -> Result<(), StoreError> {
        self.write(move |tables, _| engine::open::save_inventory(tables, fingerprint, &json))
            .await
    }

    /// Forgets when roles last ended well on hosts that have left the inventory and what they reported of them, and takes
    /// that off the metrics.
    pub async fn forget_hosts_but(&self, known: BTreeSet<String>) -> Result<(), StoreError> {
        self.write(move |tables, state| ops::finish::forget_hosts_but(tables, state, &known))
            .await
    }

    /// Ends the writer after everything that was asked of it before. The file is then clean, and free.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.writer.send(Message::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }

    /// Changes whenever the queue does.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// Changes whenever facts of a host came or went.
    pub fn facts_changed(&self) -> watch::Receiver<u64> {
        self.facts_changed.clone()
    }

    /// Why it cannot be written to, as far as is known; `None` if it can be.
    pub fn trouble(&self) -> Option<String> {
        if self.writer.is_closed() {
            return Some(StoreError::Closed.to_string());
        }
        if let Err(damaged) = disk::integrity::ensure_intact(&self.integrity) {
            return Some(damaged.to_string());
        }
        let trouble = self.trouble.borrow().clone();
        if let Some(why) = trouble {
            return Some(StoreError::Broken(why.to_string()).to_string());
        }
        let is_there = self.current().is_some() || *self.resting.borrow();
        (!is_there).then(|| StoreError::Broken("it is being opened again".to_owned()).to_string())
    }

    /// Whether it can be written to, as far as is known.
    pub fn is_open(&self) -> bool {
        self.trouble().is_none()
    }

    /// Where the file is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// A random name that this file got when it was made.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The size of the file in bytes.
    pub fn size_bytes(&self) -> u64 {
        std::fs::metadata(&*self.path).map_or(0, |m| m.len())
    }

    /// Hands an operation to the writer, and waits until what it did is on disk.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tables<'_>, &mut WriterState) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_weighing(0, work).await
    }

    /// The same of an operation that adds so many bytes from outside.
    async fn write_weighing<T: Send + 'static>(
        &self,
        weight: usize,
        work: impl FnMut(&mut Tables<'_>, &mut WriterState) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        disk::integrity::ensure_intact(&self.integrity)?;
        let (reply, answer) = oneshot::channel();
        let operation: Box<dyn Operation> = Box::new(ClosureOperation::new(work, weight, reply));
        self.writer
            .send(Message::Do(operation))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Hands an operation to the writer, if there is room for it, and waits for nothing.
    fn send_unawaited(
        &self,
        work: impl FnMut(&mut Tables<'_>, &mut WriterState) -> Result<(), StoreError> + Send + 'static,
    ) {
        let operation = Box::new(ClosureOperation::new(work, 0, oneshot::channel().0));
        let _ = self.writer.try_send(Message::Do(operation));
    }

    fn current(&self) -> Option<Arc<Database>> {
        self.database
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}
