//! Ends runs after a panic in promansible itself.

use tokio::task::JoinError;

use crate::ansible::{Progress, Started};
use crate::model::run::{HostResult, Outcome};
use crate::store::Ended;

/// Resumes the panic of a run's task. The task catches panics itself: if one gets here nevertheless, its run is no longer
/// supervised.
pub(super) fn end_with(ended: Result<(), JoinError>) {
    if let Err(e) = ended
        && e.is_panic()
    {
        std::panic::resume_unwind(e.into_panic());
    }
}

/// Ends a run that is no longer supervised, and waits until none of its processes is left.
pub(super) async fn wait_for_end(mut started: Started) {
    started.stop.now();
    while let Some(progress) = started.progress.recv().await {
        if matches!(progress, Progress::Ended(_)) {
            return;
        }
    }
}

/// Returns the end of a run whose task panicked.
pub(super) fn panicked(hosts: &[String], why: &str) -> Ended {
    let why = format!(
        "promansible itself failed while it executed this run, and ended it: {why}. This is a defect of promansible: report it, with the log"
    );
    let result = HostResult::bare(Outcome::Failed, Some(why.clone()));
    let results = hosts.iter().map(|host| (host.clone(), result.clone()));
    Ended {
        outcome: Outcome::Failed,
        results: results.collect(),
        message: Some(why),
        findings: Vec::new(),
    }
}
