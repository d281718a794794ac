//! Stores the ends of runs, in a store that may be broken or may not answer.

use std::time::Duration;

use crate::model::run::{Outcome, Run, RunId};
use crate::services::worker::PAUSE;
use crate::services::worker::Worker;
use crate::store::{Ended, StoreError};
use crate::util::clock;

/// The longest wait for the store during a shutdown.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

impl Worker {
    /// Waits for the store, but during a shutdown no longer than [`LAST_PATIENCE`]; then returns `None`.
    pub(super) async fn patiently<T>(&self, asked: impl Future<Output = T>) -> Option<T> {
        let mut shutdown = self.shutdown.clone();
        let late = async {
            shutdown.requested().await;
            tokio::time::sleep(LAST_PATIENCE).await;
        };
        tokio::select! {
            biased;
            answer = asked => Some(answer),
            () = late => None,
        }
    }

    /// Puts a run that was not begun back into the queue. If that fails, the next start of promansible finds it under way
    /// and interrupts it.
    pub(super) async fn put_back(&self, id: RunId) {
        while let Some(Err(e)) = self.patiently(self.store.put_back(id, clock::now())).await {
            tracing::error!(run = id.0, error = %e, "the run cannot be put back into the queue yet");
            if self.shutdown.is_requested() || !matches!(e, StoreError::Broken(_)) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Stores how a run ended. Tries again while the store is broken, so that the history shows what happened.
    pub(super) async fn finish(&self, id: RunId, ended: Ended) {
        loop {
            let finished = self.store.finish(id, ended.clone(), clock::now());
            let Some(finished) = self.patiently(finished).await else {
                tracing::error!(
                    run = id.0,
                    "the store does not answer: the run will show as interrupted"
                );
                return;
            };
            match finished {
                Ok(run) => return log_end(&run),
                Err(e @ (StoreError::Broken(_) | StoreError::Corrupt(_)))
                    if !self.shutdown.is_requested() =>
                {
                    tracing::error!(run = id.0, error = %e, "the end of the run cannot be stored yet; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                // An earlier attempt is on disk, although the disk failed during the write.
                Err(StoreError::Finished(_)) => {
                    if let Ok(run) = self.store.run(id).await {
                        log_end(&run);
                    }
                    return;
                }
                Err(e) => {
                    tracing::error!(run = id.0, error = %e, "the end of the run cannot be stored: the run will show as interrupted");
                    return;
                }
            }
        }
    }
}

fn log_end(run: &Run) {
    let millis = match (run.started_at, run.finished_at) {
        (Some(from), Some(to)) => (to - from).num_milliseconds(),
        _ => 0,
    };
    #[allow(clippy::cast_precision_loss)] // a run does not take 200,000 years
    let seconds = millis as f64 / 1000.0;
    let outcome = run.outcome.map_or("", Outcome::as_str);
    let (run_id, message) = (run.id.0, run.message.as_deref());
    if run.outcome == Some(Outcome::Successful) {
        tracing::info!(run = run_id, outcome, seconds, message, "run ended");
    } else {
        tracing::warn!(run = run_id, outcome, seconds, message, "run ended");
    }
}
