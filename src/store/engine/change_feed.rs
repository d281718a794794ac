//! Change notifications, sent after the commit. Subscribers read the change from the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::model::run::RunId;
use crate::store::Store;

/// How many changes a subscriber may lag behind before it loses the oldest.
const WAITING: usize = 4096;

/// A change of a run's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The state of this run changed.
    Run(RunId),
    /// Any run may have changed: the file was reopened.
    Any,
}

impl Store {
    /// Returns a channel that changes whenever this run changes, or gets events or output. The run need not exist.
    pub fn run_changed(&self, id: RunId) -> watch::Receiver<()> {
        let mut watched = self.changes.watched();
        watched.retain(|_, sender| sender.receiver_count() > 0);
        let sender = watched.entry(id).or_insert_with(|| watch::channel(()).0);
        sender.subscribe()
    }

    /// Subscribes to changes of the states of all runs.
    pub fn run_changes(&self) -> broadcast::Receiver<Change> {
        self.changes.changes.subscribe()
    }
}

/// The change notifications of the writer.
#[derive(Debug, Clone)]
pub(crate) struct ChangeFeed {
    /// Only runs with subscribers.
    watched: Arc<Mutex<HashMap<RunId, watch::Sender<()>>>>,
    changes: broadcast::Sender<Change>,
}

impl ChangeFeed {
    pub(crate) fn new() -> Self {
        Self {
            watched: Arc::default(),
            changes: broadcast::channel(WAITING).0,
        }
    }

    /// Notifies subscribers: `touched` runs have new data, `moved` runs changed their state.
    pub(crate) fn publish(&self, touched: &BTreeSet<RunId>, moved: &[RunId]) {
        if !touched.is_empty() {
            let watched = self.watched();
            for sender in touched.iter().filter_map(|id| watched.get(id)) {
                sender.send_replace(());
            }
        }
        if self.changes.receiver_count() > 0 {
            for id in moved {
                // Fails only if the last subscriber is gone.
                let _ = self.changes.send(Change::Run(*id));
            }
        }
    }

    pub(crate) fn publish_all(&self) {
        for sender in self.watched().values() {
            sender.send_replace(());
        }
        let _ = self.changes.send(Change::Any);
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<RunId, watch::Sender<()>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
