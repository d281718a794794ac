//! Whether the end of a run's processes is the run's end: where no task began it may be started again.

use crate::model::run::{HostResult, Outcome, Run};
use crate::services::worker::PAUSE;
use crate::services::worker::Worker;
use crate::store::{Ended, FailedStart, StoreError};
use crate::util::clock;

/// What became of a run that was claimed.
pub(super) enum Carried {
    Ended(Ended),
    /// Nothing was started; the run is still claimed, and belongs back into the queue.
    NotBegun,
    /// No task began; the store has put it back into the queue.
    QueuedAgain,
}

/// How a run ended, and whether that is its end: if no task began on any host, nothing has happened, and it may be started
/// again.
pub(super) struct End {
    pub(super) ended: Ended,
    /// Whether a task may have begun, or somebody or the time ended it.
    pub(super) began: bool,
}

impl End {
    /// Of a run that was not started at all.
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
    /// Puts a run back of which no task began, if it may be started once more. While the store is broken it tries again.
    pub(super) async fn try_again(&self, run: &Run, why: &str) -> bool {
        let runs = self.config.borrow().runs.clone();
        let vain = FailedStart {
            why: why.to_owned(),
            attempts: runs.start_attempts,
            pause: runs.start_pause,
        };
        loop {
            let tried = self.store.try_again(run.id, vain.clone(), clock::now());
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
                        "no task began: it is to be tried again"
                    );
                    return true;
                }
                Err(e @ StoreError::Broken(_)) if !self.shutdown.is_asked() => {
                    tracing::error!(run = run.id.0, error = %e, "the run cannot be put back into the queue yet");
                    tokio::time::sleep(PAUSE).await;
                }
                // An earlier try is on disk, although the disk failed while it was written.
                Err(StoreError::NoSuchRun(_)) => return true,
                Err(e) => {
                    tracing::error!(run = run.id.0, error = %e, "the run cannot be put back into the queue");
                    return false;
                }
            }
        }
    }
}
