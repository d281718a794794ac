//! The store: runs, the queue, episodes, events and output in one redb file.
//!
//! [`Store`] is the whole interface, with one method for each complete operation. No redb type is visible above it. One
//! thread does all writing: it drains the waiting operations into one transaction, commits it with an fsync, and only
//! then replies (group commit): [`engine::writer`]. Readers work on snapshots and never wait for it.
//!
//! An operation that returned `Ok` is on disk. One that returned `Err` has changed nothing, with one exception
//! documented at [`StoreError::Broken`].

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
pub use ops::due::{DueEpisode, DueEpisodes};
pub use ops::facts::{ChangedAt, FactsOf};
pub use ops::fleet::{DepartedHosts, Fleet};
pub use ops::messages::{DeliveryOutcome, MESSAGE_TTL, Pending, Tries};
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
pub use views::tail::{OutputPiece, RunOffset, TailChunk};

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
    /// Decides a notification and stores the decisions, in one transaction.
    ///
    /// *Durability*: `Ok` is on disk. *Cancel safety*: if the future is dropped, the operation may still be committed;
    /// sent again it yields `duplicate`.
    ///
    /// *Errors*: `QueueFull`, and `HistoryFull` for alerts that are not known yet; nothing was stored.
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

    /// Queues a manual run on these hosts: at least one. `started_by` is the name of the user, if known.
    ///
    /// *Durability*: `Ok` is on disk. *Cancel safety*: if the future is dropped, the run may still be queued. A
    /// repeated request is a second run: unlike an alert it has no identity.
    ///
    /// *Errors*: `QueueFull` if `queue_limit` runs wait; nothing was stored.
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

    /// Queues a run that gathers facts on these hosts, if `every` has passed since the last one and that has ended.
    /// Returns the run, if there is one, and when to call again.
    ///
    /// *Durability*: `Ok` is on disk, and so is the time of the last gathering: a restart does not shorten the
    /// interval.
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

    /// Claims the oldest run that can start now: its batch window is closed, none of its hosts is busy, no older run
    /// waits for one of them, and nothing holds it. Hosts that a guard of this configuration refuses are removed from
    /// the run; a run without hosts ends.
    ///
    /// *Durability*: the run is on disk as running before this returns, so it is never claimed twice.
    ///
    /// *Cancel safety*: none. If the future is dropped, a run may be claimed without an owner.
    pub async fn claim(
        &self,
        config: Arc<Config>,
        now: DateTime<Utc>,
    ) -> Result<Claim, StoreError> {
        self.write(move |tables, state| ops::queue::claim(tables, state, &config, now))
            .await
    }

    /// Appends events and output of a running run. Events beyond `events_limit` and output beyond its limit are counted
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

    /// Ends a running run, and stores its findings unless it ran in check mode. If it was interrupted and its binding
    /// says so, it is queued again as a new run.
    ///
    /// *Errors*: on `Broken` the caller retries; a run that is never finished becomes `interrupted` at the next start.
    pub async fn finish(
        &self,
        run: RunId,
        ended: Ended,
        now: DateTime<Utc>,
    ) -> Result<Run, StoreError> {
        self.write(move |tables, state| ops::finish::finish(tables, state, run, &ended, now))
            .await
    }

    /// Returns a claimed run that was not started to the queue. It keeps its place, unless it was canceled.
    ///
    /// *Errors*: on `Broken` the caller retries, or ends the run with [`Store::finish`].
    pub async fn put_back(&self, run: RunId, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.write(move |tables, state| ops::queue::put_back(tables, state, run, now))
            .await
    }

    /// Deletes data older than the retention time, and the oldest data beyond the retention size, one slice at a time
    /// so that other operations do not wait long. Queued and running runs are kept, and so are firing episodes with a
    /// run or a pending decision. Returns what was deleted since the last call: the writer deletes data beyond the size
    /// on its own.
    pub async fn retain(
        &self,
        retention: crate::config::Storage,
        now: DateTime<Utc>,
    ) -> Result<Retained, StoreError> {
        self.write(move |tables, state| ops::retention::retain(tables, state, &retention, now))
            .await
    }

    /// Stores the inventory, as written by [`Inventory::to_json`], with the fingerprint of its sources, for the next
    /// start.
    pub async fn save_inventory(&self, fingerprint: u64, json: Bytes) -> Result<(), StoreError> {
        self.write(move |tables, _| engine::open::save_inventory(tables, fingerprint, &json))
            .await
    }

    /// Deletes the last successes and the findings on hosts that have left the inventory, and removes them from the
    /// metrics.
    pub async fn forget_hosts_but(&self, known: BTreeSet<String>) -> Result<(), StoreError> {
        self.write(move |tables, state| ops::finish::forget_hosts_but(tables, state, &known))
            .await
    }

    /// Stops the writer after all earlier operations. The file is then clean and unlocked.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.writer.send(Message::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }

    /// Returns a channel that changes whenever the queue does.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// Returns a channel that changes whenever facts of a host are stored or deleted.
    pub fn facts_changed(&self) -> watch::Receiver<u64> {
        self.facts_changed.clone()
    }

    /// Returns why the store is not writable, as far as is known; `None` if it is writable.
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
        let is_open = self.current().is_some() || *self.resting.borrow();
        (!is_open).then(|| StoreError::Broken("it is being reopened".to_owned()).to_string())
    }

    /// Returns whether the store is writable, as far as is known.
    pub fn is_open(&self) -> bool {
        self.trouble().is_none()
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Returns the random identifier that the file got when it was created.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the size of the file in bytes.
    pub fn size_bytes(&self) -> u64 {
        std::fs::metadata(&*self.path).map_or(0, |m| m.len())
    }

    /// Sends an operation to the writer, and waits until its changes are on disk.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tables<'_>, &mut WriterState) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_weighing(0, work).await
    }

    /// Like [`write`](Self::write), for an operation that adds about `weight` bytes from outside.
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

    /// Sends an operation to the writer without waiting, and drops it if the channel is full.
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
