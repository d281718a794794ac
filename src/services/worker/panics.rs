//! What becomes of a run when we ourselves fail.

use tokio::task::JoinError;

use crate::ansible::{Progress, Started};
use crate::model::run::{HostResult, Outcome};
use crate::store::Ended;

/// A run's task handles its own panics: where it ends by one all the same, what it had is in nobody's hands.
pub(super) fn end_with(ended: Result<(), JoinError>) {
    if let Err(e) = ended
        && e.is_panic()
    {
        std::panic::resume_unwind(e.into_panic());
    }
}

/// Ends a run that nobody attends any more, and waits until none of its processes is left.
pub(super) async fn wait_for_end(mut started: Started) {
    started.stop.now();
    while let Some(progress) = started.progress.recv().await {
        if matches!(progress, Progress::Ended(_)) {
            return;
        }
    }
}

/// The end of a run whose task panicked.
pub(super) fn panicked(hosts: &[String], why: &str) -> Ended {
    let why = format!(
        "promansible itself failed while it carried this run out, and ended it: {why}. This is a defect: report it, with the log"
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
