//! Decides whether a run whose processes ended is finished: if no task began, it may be started again.

use crate::model::run::{HostResult, Outcome, Run};
use crate::services::worker::PAUSE;
use crate::services::worker::Worker;
use crate::store::{Ended, FailedStart, StoreError};
use crate::util::clock;

/// The result of executing a claimed run.
pub(super) enum Executed {
    Ended(Ended),
    /// Nothing was started; the run is still claimed and must be put back into the queue.
    NotBegun,
    /// No task began; the store has put it back into the queue.
    QueuedAgain,
}

/// The end of a run's processes. If no task began on any host, nothing has happened, and the run may be started again.
pub(super) struct End {
    pub(super) ended: Ended,
    /// Whether a task may have begun, or the run was canceled, interrupted or timed out.
    pub(super) began: bool,
}

impl End {
    /// Creates the end of a run that was not started.
    pub(super) fn of_nothing(why: &str, hosts: &[String]) -> Self {
        let result = HostResult::bare(Outcome::Failed, Some(why.to_owned()));
        let results = hosts.iter().map(|host| (host.clone(), result.clone()));
        let ended = Ended {
            outcome: Outcome::Failed,
            results: results.collect(),
            message: Some(not_started(why)),
            findings: Vec::new(),
        };
        Self {
            ended,
            began: false,
        }
    }
}

pub(super) fn not_started(why: &str) -> String {
    format!("it was not started: {why}")
}

impl Worker {
    /// Puts a run of which no task began back into the queue, if it may be started once more. Returns false if the caller
    /// must finish it. Tries again while the store is broken.
    pub(super) async fn try_again(&self, run: &Run, why: &str) -> bool {
        let runs = self.config.borrow().runs.clone();
        let failed = FailedStart {
            why: why.to_owned(),
            attempts: runs.start_attempts,
            pause: runs.start_pause,
        };
        loop {
            let tried = self.store.try_again(run.id, failed.clone(), clock::now());
            let Some(tried) = self.patiently(tried).await else {
                tracing::error!(
                    run = run.id.0,
                    "the store does not answer: the run will show as interrupted"
                );
                return true;
            };
            match tried {
                Ok(false) => return false,
                Ok(true) => {
                    let starts = run.vain_starts + 1;
                    tracing::warn!(
                        run = run.id.0,
                        starts,
                        why,
                        "no task began: the run will be started again"
                    );
                    return true;
                }
                Err(e @ StoreError::Broken(_)) if !self.shutdown.is_requested() => {
                    tracing::error!(run = run.id.0, error = %e, "the run cannot be put back into the queue yet");
                    tokio::time::sleep(PAUSE).await;
                }
                // An earlier attempt is on disk, although the disk failed during the write.
                Err(StoreError::NoSuchRun(_)) => return true,
                Err(e) => {
                    tracing::error!(run = run.id.0, error = %e, "the run cannot be put back into the queue");
                    return false;
                }
            }
        }
    }
}
