//! Blocking work inside async code.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs work that blocks on a disk or computes for long. The other tasks of this thread move to other threads
/// meanwhile.
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(work)
        }
        // There are no other threads.
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn other_tasks_go_on_meanwhile() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let done = runtime.block_on(async {
            let (say, hear) = mpsc::channel();
            let blocked = tokio::spawn(async move { in_place(move || hear.recv()) });
            tokio::spawn(async move { say.send(7) });
            blocked.await
        });
        assert_eq!(done.unwrap(), Ok(7));
        assert_eq!(in_place(|| 1), 1, "outside of a runtime");
        let alone = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        assert_eq!(alone.block_on(async { in_place(|| 2) }), 2);
    }
}
