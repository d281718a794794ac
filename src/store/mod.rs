//! The store: runs, the queue, episodes, events and output in one redb file.
//!
//! [`Store`] is the whole interface, one method for each whole operation, and no redb type is seen above it. One thread
//! owns all writing: it drains what is waiting into one transaction, commits it with an fsync, and only then answers
//! (group commit). Readers work on snapshots and never wait for it.
//!
//! An operation that answered `Ok` is on disk. One that answered `Err` has changed nothing, with one exception that
//! [`StoreError::Broken`] names.

mod about;
mod admit;
mod again;
mod alerts;
mod approvals;
mod audit;
mod cancels;
mod circuits;
mod due;
mod episodes;
mod error;
mod facts;
mod file;
mod finish;
mod fleet;
mod follow;
mod growth;
mod guarded;
mod guards;
mod hosts;
mod index;
mod intake;
mod integrity;
mod kept;
mod listing;
mod live;
mod look_again;
mod messages;
mod names;
mod news;
mod objects;
mod open;
mod operation;
mod output;
mod peek;
mod quarantine;
mod query;
mod queue;
mod records;
mod remembered;
mod reopen;
mod resolved;
mod retention;
mod rows;
mod schedules;
mod search;
mod snapshot;
mod tables;
#[cfg(test)]
mod tests;
mod touched;
mod untouched;
mod upkeep;
mod verdicts;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use redb::Database;
use tokio::sync::{mpsc, oneshot, watch};

use crate::alert::{Alert, EpisodeKey, Notification};
use crate::check::Findings;
use crate::config::Config;
use crate::inventory::Inventory;
use crate::plan::Choice;
use crate::run::{HostResult, Outcome, Run, RunId, TaskEvent, Work};
use admit::Arrival;

pub use again::{Again, VainStart};
pub use alerts::{EpisodePage, RunBrief};
pub use audit::{AuditEntry, AuditPage, Deed};
pub use due::{Due, DueEpisode};
pub use error::{HOSTS_LIMIT, OBJECTS_LIMIT, StoreError};
pub use facts::{ChangedAt, FactsOf};
pub use file::OpenError;
pub use fleet::{Departed, Fleet};
pub use follow::{Followed, Piece, Told};
pub use index::Ends;
use integrity::Integrity;
pub use listing::{Order, Page, RunFilter};
use live::Live;
pub use messages::{MESSAGE_TTL, Pending, Told as MessageTold, Tries};
pub use news::Change;
pub use objects::Expect;
pub use open::{Opened, open, open_seeing};
use operation::{Asked, Message, Operation};
pub use peek::{Peeked, peek, peek_aliases};
pub use records::{Decided, Episode, RunEpisode};
pub use retention::Retained;
pub use schedules::Ticked;
pub use search::Text;
use tables::Tables;

/// What was made of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Every alert × binding, in order.
    pub decisions: Vec<AdmittedDecision>,
    /// Queued runs that ended because their last alert resolved.
    pub canceled: Vec<RunId>,
}

/// What was made of one alert × binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedDecision {
    /// The alert's place in the notification.
    pub alert: usize,
    /// The binding's name; empty where none matched.
    pub binding: String,
    /// The choice.
    pub choice: Choice,
    /// The run that now handles it.
    pub run: Option<RunId>,
}

/// A run that was handed to the caller, who must [`Store::finish`] it.
#[derive(Debug)]
pub struct Claimed {
    /// The run, now running.
    pub run: Run,
    /// The alerts that it is about, each with the hosts that it names.
    pub alerts: Vec<(Alert, Vec<String>)>,
    /// Becomes `Some(who)` when somebody cancels the run.
    pub cancel: watch::Receiver<Option<String>>,
}

/// The answer to [`Store::claim`].
#[derive(Debug)]
pub enum Claim {
    /// A run to start.
    Run(Box<Claimed>),
    /// Nothing can start now; look again at this time, or when [`Store::changed`] says so.
    Nothing {
        /// When the next batch window closes.
        next: Option<DateTime<Utc>>,
    },
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// As a whole.
    pub outcome: Outcome,
    /// On each host.
    pub results: BTreeMap<String, HostResult>,
    /// Why, where the outcome alone does not say it.
    pub message: Option<String>,
    /// What roles with declared checks reported, once for each role and host.
    pub findings: Vec<RoleFindings>,
}

/// What a role reported of a host in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleFindings {
    /// The role.
    pub role: String,
    /// The host.
    pub host: String,
    /// When it last reported.
    pub at: DateTime<Utc>,
    /// All that it reported.
    pub findings: Findings,
}

/// The answer to [`Store::cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canceled {
    /// It was queued and has ended as `canceled`.
    Ended,
    /// It is under way and is being ended.
    Ending,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: mpsc::Sender<Message>,
    database: Arc<RwLock<Option<Arc<Database>>>>,
    changed: watch::Receiver<u64>,
    facts_changed: watch::Receiver<u64>,
    news: news::News,
    cancels: cancels::Cancels,
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
        self.ask_weighing(weight, move |tables, live| {
            admit::admit(tables, live, &arrival)
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
        self.ask(move |tables, live| {
            let by = started_by.as_deref();
            queue::queue_manual(tables, live, (&work, &hosts), by, queue_limit, now)
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
        self.ask(move |tables, live| {
            queue::queue_facts(tables, live, (&work, &hosts), every, queue_limit, now)
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
        self.ask(move |tables, live| queue::claim(tables, live, &config, now))
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
        self.ask(move |tables, live| {
            output::append(tables, live, run, &events, &output, events_limit)
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
        self.ask(move |tables, live| finish::finish(tables, live, run, &ended, now))
            .await
    }

    /// Puts a claimed run back that was not begun: it keeps its place in the queue, unless somebody has canceled it.
    ///
    /// *Errors*: on `Broken` the caller tries again, or ends it with [`Store::finish`].
    pub async fn put_back(&self, run: RunId, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.ask(move |tables, live| queue::put_back(tables, live, run, now))
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
        self.ask(move |tables, live| retention::retain(tables, live, &retention, now))
            .await
    }

    /// Keeps the inventory, as [`Inventory::to_json`] wrote it, with the fingerprint of its sources, for the next start.
    pub async fn save_inventory(&self, fingerprint: u64, json: Bytes) -> Result<(), StoreError> {
        self.ask(move |tables, _| open::save_inventory(tables, fingerprint, &json))
            .await
    }

    /// Forgets when roles last ended well on hosts that have left the inventory and what they reported of them, and takes
    /// that off the metrics.
    pub async fn forget_hosts_but(&self, known: BTreeSet<String>) -> Result<(), StoreError> {
        self.ask(move |tables, live| finish::forget_hosts_but(tables, live, &known))
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
        if let Err(damaged) = integrity::believe(&self.integrity) {
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
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tables<'_>, &mut Live) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask_weighing(0, work).await
    }

    /// The same of an operation that adds so many bytes from outside.
    async fn ask_weighing<T: Send + 'static>(
        &self,
        weight: usize,
        work: impl FnMut(&mut Tables<'_>, &mut Live) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        integrity::believe(&self.integrity)?;
        let (reply, answer) = oneshot::channel();
        let operation: Box<dyn Operation> = Box::new(Asked::new(work, weight, reply));
        self.writer
            .send(Message::Do(operation))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Hands an operation to the writer, if there is room for it, and waits for nothing.
    fn send_unawaited(
        &self,
        work: impl FnMut(&mut Tables<'_>, &mut Live) -> Result<(), StoreError> + Send + 'static,
    ) {
        let operation = Box::new(Asked::new(work, 0, oneshot::channel().0));
        let _ = self.writer.try_send(Message::Do(operation));
    }

    fn current(&self) -> Option<Arc<Database>> {
        self.database
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

/// What a run is told of an episode: used by readers of one run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct EpisodeOfRun {
    /// The alert's fingerprint.
    pub fingerprint: crate::alert::Fingerprint,
    /// When it began to fire.
    pub starts_at: DateTime<Utc>,
    /// What the run kept of it.
    #[serde(flatten)]
    pub of_run: RunEpisode,
    /// The episode, unless retention has taken it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub episode: Option<Episode>,
}

impl EpisodeOfRun {
    fn new(key: EpisodeKey, of_run: RunEpisode, episode: Option<Episode>) -> Self {
        Self {
            fingerprint: key.fingerprint,
            starts_at: DateTime::from_timestamp_nanos(key.starts_at_nanos),
            of_run,
            episode,
        }
    }
}
