//! Reopens the file after an I/O error: redb refuses all work until then.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use redb::Database;

use crate::metrics::MetricEvent;
use crate::model::run::RunId;
use crate::store::StoreError;
use crate::store::disk::tables::{Tables, meta_number, read_id};
use crate::store::engine::writer::Writer;
use crate::store::ops::queue;
use crate::store::ops::state::{RunHandle, WriterState};

/// How long to wait between attempts to reopen a broken store.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// A failed commit. redb writes the data that makes a commit valid before its last fsync, so only the file can show
/// whether the commit took effect.
pub(crate) struct InDoubtCommit {
    pub(crate) commit: u64,
    pub(crate) happened: Vec<MetricEvent>,
    /// The claimed runs including those of this commit, as long as their owners can still be notified.
    pub(crate) held: Option<BTreeMap<RunId, RunHandle>>,
}

/// The state of a reopened file.
pub(crate) enum Reopened {
    /// The commit in doubt took effect.
    AsAttempted,
    /// The commit in doubt did not take effect, or there was none.
    AsBefore,
    /// The file cannot be opened now.
    NotYet,
}

impl Writer {
    pub(crate) fn current(&self) -> Option<Arc<Database>> {
        self.database
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes the database available to the readers.
    pub(crate) fn give_database(&self, database: Arc<Database>) {
        *self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(database);
    }

    /// Takes the database away from the readers, and waits until the last of them is done.
    pub(crate) fn take_database(&self) -> Option<Database> {
        let mut shared_database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        loop {
            match Arc::try_unwrap(shared_database) {
                Ok(database) => return Some(database),
                Err(shared) => shared_database = shared,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Reopens the file and rebuilds the memory from it.
    pub(crate) fn reopen(&mut self) -> Reopened {
        if self.reopen_at.is_some_and(|at| Instant::now() < at) {
            return Reopened::NotYet;
        }
        drop(self.take_database());
        match self.load_again() {
            Ok((database, mut state)) => {
                self.reopen_at = None;
                let doubt = self.doubt.take();
                let reopened = match doubt.filter(|doubt| doubt.commit == state.commits) {
                    Some(doubt) => {
                        state.happened = doubt.happened;
                        Reopened::AsAttempted
                    }
                    None => Reopened::AsBefore,
                };
                state.queue_changed = true;
                state.guards_changed = true;
                state.guards.circuit = self.state.guards.circuit;
                state.fleet = Arc::clone(&self.state.fleet);
                state.storage = self.state.storage.take();
                state.rows_limit = self.state.rows_limit;
                self.state = state;
                self.give_database(Arc::new(database));
                self.publish();
                // The commit in doubt may have changed any run.
                self.changes.publish_all();
                reopened
            }
            Err(e) => {
                self.reopen_at = Some(Instant::now() + REOPEN_PAUSE);
                tracing::error!(error = %e, path = %self.path.display(), "the store cannot be reopened");
                self.note_trouble(&e);
                Reopened::NotYet
            }
        }
    }

    fn load_again(&self) -> Result<(Database, WriterState), StoreError> {
        // A missing file or an unmounted volume is no reason to start an empty history.
        let database = self.opener.open(&self.path, false);
        let database = database.map_err(|e| StoreError::Broken(e.to_string()))?;
        let mut txn = database.begin_write()?;
        txn.set_quick_repair(true);
        let state = {
            let mut tables = Tables::open(&txn)?;
            if read_id(&tables)?.as_deref() != Some(&*self.id) {
                return Err(StoreError::Broken(format!(
                    "{} is now a different store",
                    self.path.display()
                )));
            }
            let commits = meta_number(&*tables.meta, "commits")?;
            let attempted = self
                .doubt
                .as_ref()
                .filter(|doubt| doubt.commit == commits)
                .and_then(|doubt| doubt.held.as_ref());
            let held = attempted.unwrap_or(&self.held);
            let mut state = WriterState::load(&tables, held, self.now())?;
            queue::put_back_unowned(&mut tables, &mut state, held)?;
            // The same number is reused: it identifies the commit in doubt.
            state.commits = state.commits.saturating_sub(1);
            if !state.flush(&mut tables)? {
                state.commits = commits;
                drop(tables);
                txn.abort()?;
                return Ok((database, state));
            }
            state
        };
        txn.commit()?;
        Ok((database, state))
    }
}
