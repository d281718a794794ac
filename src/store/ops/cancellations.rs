//! Canceling runs. Whoever attends a run that is under way hears of it at once: the writer may wait for a disk that hangs,
//! and is asked afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::model::run::RunId;
use crate::store::ops::queue;
use crate::store::ops::state::RunHandle;
use crate::store::{Canceled, Store, StoreError};

/// How long the writer is waited for once the run is being ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// The runs that are under way, each with the way to those who attend it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancels(Arc<Mutex<BTreeMap<RunId, watch::Sender<Option<String>>>>>);

impl Cancels {
    /// Takes note of what is under way by the last commit.
    pub(crate) fn replace(&self, held: &BTreeMap<RunId, RunHandle>) {
        let ways = held.iter().map(|(id, held)| (*id, held.cancel.clone()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ways.collect();
    }

    /// Whether somebody attends the run, who now hears that it is canceled.
    fn cancel_running(&self, run: RunId, who: &str) -> bool {
        let ways = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let way = ways.get(&run);
        way.is_some_and(|way| way.send(Some(who.to_owned())).is_ok())
    }
}

impl Store {
    /// Ends a queued run, or tells whoever holds a running one to end it: at once, also while the writer does not answer.
    pub async fn cancel(
        &self,
        run: RunId,
        who: String,
        now: DateTime<Utc>,
    ) -> Result<Canceled, StoreError> {
        let is_ending = self.cancels.cancel_running(run, &who);
        // It may be put back into the queue at this moment, and then ends there.
        let asked = self.write(move |tables, state| queue::cancel(tables, state, run, &who, now));
        if !is_ending {
            return asked.await;
        }
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(canceled)) => Ok(canceled),
            Ok(Err(e @ StoreError::Finished(_))) => Err(e),
            Ok(Err(_)) | Err(_) => Ok(Canceled::Ending),
        }
    }
}
