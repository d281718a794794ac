//! Why an operation of the store did not happen.

use crate::config::ManagedKind;
use crate::model::run::RunId;

/// How many hosts can be enrolled: what a start and each change read, and every run is told.
pub const HOSTS_LIMIT: u64 = 10_000;

/// How many bindings and schedules together can be made over the API: each alert and each start reads all of them.
pub const OBJECTS_LIMIT: u64 = 2_000;

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// redb or the disk failed. The caller answers 503; the store reopens itself and may be tried again. If the disk
    /// failed while a commit was written and cannot be read either, the operation may turn out to be on disk: sent
    /// again it is a `duplicate`, or [`StoreError::Finished`], [`StoreError::HostEnrolled`], or a second run by hand.
    #[error("the store is broken: {0}")]
    Broken(String),
    /// A value cannot be read: the file was damaged, or written by something else.
    #[error("the store holds a value that cannot be read: {0}")]
    Corrupt(String),
    /// The queue cannot take these runs. Nothing was kept; the caller answers 503.
    #[error(
        "the queue is full: {queued} {what} are queued, {wanted} more are wanted and {key} is {limit}"
    )]
    QueueFull {
        /// Runs, or alerts.
        what: &'static str,
        /// How many of them wait.
        queued: usize,
        /// How many would be added.
        wanted: usize,
        /// The limit.
        limit: usize,
        /// The limit's name in the configuration.
        key: &'static str,
    },
    /// The history is larger than it may be, and nothing of it may be deleted now. Nothing was kept; the caller answers 503.
    #[error(
        "the history takes {holds} bytes, more than storage.retention.size allows ({limit}), and the rest of it is open runs and alerts that fire: raise storage.retention.size, or see to it that fewer alerts come"
    )]
    HistoryFull {
        /// How many bytes it takes.
        holds: u64,
        /// The limit.
        limit: u64,
    },
    /// The operation panicked: a defect of promansible. Nothing was kept.
    #[error("a defect of promansible, please report it: {0}")]
    Defect(String),
    /// A person holds a host of the run.
    #[error("{0}: release it first, or leave it out")]
    HostHeld(String),
    /// The run waits for nobody's consent.
    #[error("run {0} does not wait for approval")]
    NoApprovalWanted(RunId),
    /// There is no such run.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// The run that is to be repeated, or another one for one of its alerts, has not ended.
    #[error("run {0} has not ended yet: wait for its end, or cancel it first")]
    RunsStill(RunId),
    /// Nothing is known any more of the alerts that a run was about.
    #[error(
        "the alerts of run {0} are not in the history any more, so its roles cannot be told of them: run the roles by hand"
    )]
    AlertsGone(RunId),
    /// The binding that made a run is not in force, or does not have these roles any more.
    #[error(
        "the binding {0:?} that made it is not in force any more, or has no such step: run the roles by hand"
    )]
    BindingGone(String),
    /// The run has already ended.
    #[error("run {0} has already ended")]
    Finished(RunId),
    /// A host of this name is enrolled already.
    #[error("{0} is enrolled already: remove it first, or take another name")]
    HostEnrolled(String),
    /// No host of this name is enrolled.
    #[error("no host named {0:?} is enrolled")]
    HostNotEnrolled(String),
    /// No more hosts can be enrolled.
    #[error(
        "{HOSTS_LIMIT} hosts are enrolled, and no more can be: have the others in a source of the inventory"
    )]
    TooManyHosts,
    /// A binding or schedule of this name was made already.
    #[error("there is a {0} {1:?} already: change it, or take another name")]
    ObjectExists(ManagedKind, String),
    /// No binding or schedule of this name was made over the API.
    #[error("no {0} {1:?} was made over the API")]
    NoSuchObject(ManagedKind, String),
    /// It was changed since it was read.
    #[error(
        "the {kind} {name:?} was changed meanwhile, and is at revision {revision} now: read it again"
    )]
    ObjectChanged {
        /// Binding or schedule.
        kind: ManagedKind,
        /// Its name.
        name: String,
        /// As it is now.
        revision: u64,
    },
    /// No more bindings and schedules can be made.
    #[error(
        "{OBJECTS_LIMIT} bindings and schedules were made over the API, and no more can be: have the others in the configuration file"
    )]
    TooManyObjects,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

macro_rules! from_redb {
    ($($error:ty),*) => { $(
        impl From<$error> for StoreError {
            fn from(e: $error) -> Self {
                use redb::Error::{Backend, DatabaseClosed, Io, LockPoisoned, PreviousIo};
                let e = redb::Error::from(e);
                match e {
                    Io(_) | PreviousIo | Backend(_) | DatabaseClosed | LockPoisoned(_) => {
                        Self::Broken(e.to_string())
                    }
                    _ => Self::Corrupt(e.to_string()),
                }
            }
        }
    )* };
}
from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError
);
