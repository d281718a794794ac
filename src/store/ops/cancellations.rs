//! Cancels runs. The owner of a running run is notified immediately, before the writer: the writer may be blocked by a
//! hanging disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::model::run::RunId;
use crate::store::ops::queue;
use crate::store::ops::state::RunHandle;
use crate::store::{Canceled, Store, StoreError};

/// How long to wait for the writer while the run is being terminated.
const PATIENCE: Duration = Duration::from_secs(2);

/// The running runs, each with the channel to its owner.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancels(Arc<Mutex<BTreeMap<RunId, watch::Sender<Option<String>>>>>);

impl Cancels {
    /// Replaces the running runs with those of the last commit.
    pub(crate) fn replace(&self, held: &BTreeMap<RunId, RunHandle>) {
        let channels = held.iter().map(|(id, held)| (*id, held.cancel.clone()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = channels.collect();
    }

    /// Notifies the owner of a run that it is canceled. Returns whether there is an owner.
    fn cancel_running(&self, run: RunId, who: &str) -> bool {
        let channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = channels.get(&run);
        channel.is_some_and(|channel| channel.send(Some(who.to_owned())).is_ok())
    }
}

impl Store {
    /// Ends a queued run, or notifies the owner of a running one to end it: immediately, even while the writer does not
    /// respond.
    pub async fn cancel(
        &self,
        run: RunId,
        who: String,
        now: DateTime<Utc>,
    ) -> Result<Canceled, StoreError> {
        let is_ending = self.cancels.cancel_running(run, &who);
        // The run may be returned to the queue at this moment, and then ends there.
        let request = self.write(move |tables, state| queue::cancel(tables, state, run, &who, now));
        if !is_ending {
            return request.await;
        }
        match tokio::time::timeout(PATIENCE, request).await {
            Ok(Ok(canceled)) => Ok(canceled),
            Ok(Err(e @ StoreError::Finished(_))) => Err(e),
            Ok(Err(_)) | Err(_) => Ok(Canceled::Ending),
        }
    }
}
