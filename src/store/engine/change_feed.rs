//! Who is told that a run got something new, once that is on disk. What it is they read themselves.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::model::run::RunId;
use crate::store::Store;

/// How many changes may wait for who hears them, before the oldest are lost to it.
const WAITING: usize = 4096;

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// This run is in another state.
    Run(RunId),
    /// Any of them may be: the file had to be opened again.
    Any,
}

impl Store {
    /// Changes whenever this run did, or told something. It need not be there.
    pub fn run_changed(&self, id: RunId) -> watch::Receiver<()> {
        let mut watched = self.changes.watched();
        watched.retain(|_, sender| sender.receiver_count() > 0);
        let sender = watched.entry(id).or_insert_with(|| watch::channel(()).0);
        sender.subscribe()
    }

    /// Every run that comes into another state, from now on.
    pub fn run_changes(&self) -> broadcast::Receiver<Change> {
        self.changes.changes.subscribe()
    }
}

/// What the writer tells.
#[derive(Debug, Clone)]
pub(crate) struct ChangeFeed {
    /// Only runs that somebody asked for.
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

    /// `touched` got something new, `moved` are in another state.
    pub(crate) fn publish(&self, touched: &BTreeSet<RunId>, moved: &[RunId]) {
        if !touched.is_empty() {
            let watched = self.watched();
            for sender in touched.iter().filter_map(|id| watched.get(id)) {
                sender.send_replace(());
            }
        }
        if self.changes.receiver_count() > 0 {
            for id in moved {
                // Whoever heard has gone.
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
