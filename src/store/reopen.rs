//! Opening the file again after an I/O error: redb refuses all work until then.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use redb::Database;

use super::live::{Held, Live};
use super::tables::{Tables, meta_number, read_id};
use super::writer::Writer;
use super::{StoreError, queue};
use crate::metrics::Happened;
use crate::run::RunId;

/// How long to leave a broken store alone before it is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// A commit that failed. redb writes what makes a commit valid before its last fsync, so only the file can tell whether
/// it took effect.
pub(super) struct Doubt {
    pub(super) commit: u64,
    pub(super) happened: Vec<Happened>,
    /// The runs that it handed out, among others, as long as their owners can still be told.
    pub(super) held: Option<BTreeMap<RunId, Held>>,
}

/// How a file was found that was opened again.
pub(super) enum Reopened {
    /// With the commit that was in doubt.
    AsAttempted,
    /// Without it, or none was in doubt.
    AsBefore,
    /// It cannot be opened now.
    NotYet,
}

impl Writer {
    pub(super) fn current(&self) -> Option<Arc<Database>> {
        self.database
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gives the database to the readers.
    pub(super) fn give_database(&self, database: Arc<Database>) {
        *self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(database);
    }

    /// Takes the database away from the readers and waits until the last of them is done.
    pub(super) fn take_database(&self) -> Option<Database> {
        let mut taken = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        loop {
            match Arc::try_unwrap(taken) {
                Ok(database) => return Some(database),
                Err(shared) => taken = shared,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Opens the file again and rebuilds the memory from it.
    pub(super) fn reopen(&mut self) -> Reopened {
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
                live.storage = self.live.storage.take();
                live.rows_limit = self.live.rows_limit;
                self.live = live;
                self.give_database(Arc::new(database));
                self.account();
                // What was in doubt may have happened.
                self.news.tell_all();
                reopened
            }
            Err(e) => {
                self.reopen_at = Some(Instant::now() + REOPEN_PAUSE);
                tracing::error!(error = %e, path = %self.path.display(), "the store cannot be opened again");
                self.note_trouble(&e);
                Reopened::NotYet
            }
        }
    }

    fn load_again(&self) -> Result<(Database, Live), StoreError> {
        // A file that was moved away, or a volume that went, is no reason to begin an empty history.
        let database = self.opener.open(&self.path, false);
        let database = database.map_err(|e| StoreError::Broken(e.to_string()))?;
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
            let commits = meta_number(&*tables.meta, "commits")?;
            let attempted = self
                .doubt
                .as_ref()
                .filter(|doubt| doubt.commit == commits)
                .and_then(|doubt| doubt.held.as_ref());
            let held = attempted.unwrap_or(&self.held);
            let mut live = Live::load(&tables, held, self.now())?;
            queue::put_back_unowned(&mut tables, &mut live, held)?;
            // Under the same number: it tells what was in doubt from what was not.
            live.commits = live.commits.saturating_sub(1);
            if !live.flush(&mut tables)? {
                live.commits = commits;
                drop(tables);
                txn.abort()?;
                return Ok((database, live));
            }
            live
        };
        txn.commit()?;
        Ok((database, live))
    }
}
