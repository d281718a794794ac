//! The errors of the store's operations.

use crate::config::ManagedKind;
use crate::model::run::RunId;

/// The maximum number of enrolled hosts: every start, every change and every run reads all of them.
pub const HOSTS_LIMIT: u64 = 10_000;

/// The maximum number of bindings and schedules made over the API: each alert and each start reads all of them.
pub const OBJECTS_LIMIT: u64 = 2_000;

/// The error of an operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// redb or the disk failed. The caller responds with 503; the store reopens itself, and the operation may be
    /// retried. If the disk failed during a commit and cannot be read either, the operation may turn out to be on disk:
    /// a retry is then a `duplicate`, or [`StoreError::Finished`], [`StoreError::HostEnrolled`], or a second manual
    /// run.
    #[error("the store is broken: {0}")]
    Broken(String),
    /// A value cannot be read: the file is damaged, or was written by another program.
    #[error("the store holds a value that cannot be read: {0}")]
    Corrupt(String),
    /// The queue has no room for these runs. Nothing was stored; the caller responds with 503.
    #[error(
        "the queue is full: {queued} {what} are queued, {wanted} more are wanted and {key} is {limit}"
    )]
    QueueFull {
        /// Runs, or alerts.
        what: &'static str,
        /// The number in the queue.
        queued: usize,
        /// The number to be added.
        wanted: usize,
        limit: usize,
        /// The configuration key of the limit.
        key: &'static str,
    },
    /// The history exceeds its limit, and nothing in it may be deleted now. Nothing was stored; the caller responds
    /// with 503.
    #[error(
        "the history takes {holds} bytes, more than storage.retention.size allows ({limit}), and the rest is open runs and firing alerts: raise storage.retention.size, or reduce the number of alerts"
    )]
    HistoryFull {
        /// The size of the history in bytes.
        holds: u64,
        limit: u64,
    },
    /// The operation panicked because of a bug. Nothing was stored.
    #[error("internal error, please report it: {0}")]
    Defect(String),
    /// A host of the run is on hold.
    #[error("{0}: release it first, or leave it out")]
    HostHeld(String),
    /// The run does not wait for approval.
    #[error("run {0} does not wait for approval")]
    NoApprovalWanted(RunId),
    /// The run does not exist.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// The run to repeat, or another run for one of its alerts, has not ended.
    #[error("run {0} has not ended yet: wait for its end, or cancel it first")]
    RunsStill(RunId),
    /// The alerts of the run are no longer in the history.
    #[error(
        "the alerts of run {0} are no longer in the history, so its roles cannot receive them: run the roles manually"
    )]
    AlertsGone(RunId),
    /// The binding of the run is no longer active, or no longer has these roles.
    #[error(
        "the binding {0:?} of this run is no longer active, or has no such step: run the roles manually"
    )]
    BindingGone(String),
    /// The run has already ended.
    #[error("run {0} has already ended")]
    Finished(RunId),
    /// A host of this name is already enrolled.
    #[error("{0} is already enrolled: remove it first, or use another name")]
    HostEnrolled(String),
    /// No host of this name is enrolled.
    #[error("no host named {0:?} is enrolled")]
    HostNotEnrolled(String),
    /// The limit of enrolled hosts is reached.
    #[error(
        "the limit of {HOSTS_LIMIT} enrolled hosts is reached: add further hosts to a source of the inventory"
    )]
    TooManyHosts,
    /// A binding or schedule of this name already exists.
    #[error("the {0} {1:?} already exists: change it, or use another name")]
    ObjectExists(ManagedKind, String),
    /// No binding or schedule of this name was made over the API.
    #[error("no {0} {1:?} was made over the API")]
    NoSuchObject(ManagedKind, String),
    /// The object was changed since it was read.
    #[error(
        "the {kind} {name:?} was changed in the meantime and is now at revision {revision}: read it again"
    )]
    ObjectChanged {
        /// Binding or schedule.
        kind: ManagedKind,
        name: String,
        /// The current revision.
        revision: u64,
    },
    /// The limit of bindings and schedules is reached.
    #[error(
        "the limit of {OBJECTS_LIMIT} bindings and schedules made over the API is reached: add further ones to the configuration file"
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
