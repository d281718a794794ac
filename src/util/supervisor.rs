//! Tasks that must run until the shutdown: the first one that ends earlier ends the process.
//!
//! Otherwise promansible would continue without its scheduler or its worker, and look healthy. The service manager
//! restarts it, and all pending work is in the store.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::task::{Id, JoinError, JoinSet};

use crate::util::test_faults;

/// A task ended before the shutdown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.say())]
pub struct UnexpectedEnd {
    pub task: &'static str,
    /// The panic message; `None` if the task returned.
    pub panic: Option<String>,
}

impl UnexpectedEnd {
    fn say(&self) -> String {
        let how = match &self.panic {
            Some(why) => format!("panicked: {why}"),
            None => "ended unexpectedly".to_owned(),
        };
        format!(
            "the task {:?} {how}. This is a bug in promansible: report it with the log",
            self.task
        )
    }
}

/// A set of named tasks. Dropping it aborts them.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.running.spawn(test_faults::exposed(name, task));
        self.names.insert(handle.id(), name);
    }

    /// Waits for the first task that ends. *Cancel safety*: may be dropped at any time.
    pub async fn first_end(&mut self) -> UnexpectedEnd {
        match self.running.join_next_with_id().await {
            Some(ended) => self.name(ended),
            None => std::future::pending().await,
        }
    }

    /// Waits until all tasks have ended after the shutdown was requested.
    ///
    /// *Errors*: the first task that panicked instead.
    pub async fn all_end(&mut self) -> Result<(), UnexpectedEnd> {
        let mut all = Ok(());
        while let Some(ended) = self.running.join_next_with_id().await {
            let ended = self.name(ended);
            if ended.panic.is_some() {
                tracing::error!(error = %ended, "a task panicked during shutdown");
                all = all.and(Err(ended));
            }
        }
        all
    }

    fn name(&mut self, ended: Result<(Id, ()), JoinError>) -> UnexpectedEnd {
        let (id, panic) = match ended {
            Ok((id, ())) => (id, None),
            Err(e) => (e.id(), Some(panic_message(e))),
        };
        UnexpectedEnd {
            task: self.names.remove(&id).unwrap_or_default(),
            panic,
        }
    }
}

/// Returns the panic message of a task, or that it was aborted.
pub fn panic_message(e: JoinError) -> String {
    match e.try_into_panic() {
        Ok(panic) => words(&*panic),
        Err(e) => e.to_string(),
    }
}

/// Runs the work. *Errors*: the message of its panic.
pub async fn catch_panic<F: Future>(work: F) -> Result<F::Output, String> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| {
        // The caller must not use state that the work left half done.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(words(&*panic))),
        }
    })
    .await
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it did not say why").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::shutdown;

    #[tokio::test]
    async fn the_first_task_that_ends_is_named_with_what_it_said() {
        let (_trigger, ending) = shutdown::channel();
        let mut tasks = Tasks::default();
        for name in ["worker", "scheduler"] {
            let mut ending = ending.clone();
            tasks.spawn(name, async move { ending.requested().await });
        }
        tasks.spawn("notifier", async {
            let empty: [u8; 0] = [];
            let at = std::hint::black_box(7);
            assert!(empty.get(at).is_some(), "no such place: {at}");
        });
        let ended = tasks.first_end().await;
        assert_eq!(
            ended.to_string(),
            "the task \"notifier\" panicked: no such place: 7. This is a bug in promansible: report it with the log"
        );
        tasks.spawn("facts", async {});
        let ended = tasks.first_end().await;
        assert_eq!((ended.task, ended.panic), ("facts", None));
    }

    #[tokio::test]
    async fn tasks_end_when_they_are_asked_to_and_a_panic_at_the_end_is_an_error() {
        let (trigger, ending) = shutdown::channel();
        let mut tasks = Tasks::default();
        let mut asked = ending.clone();
        tasks.spawn("worker", async move { asked.requested().await });
        let one_ends =
            tokio::time::timeout(std::time::Duration::from_millis(50), tasks.first_end());
        assert!(one_ends.await.is_err(), "nothing ended");
        trigger.request();
        assert_eq!(tasks.all_end().await, Ok(()));
        tasks.spawn("worker", async {
            assert!(std::hint::black_box(false), "at the end");
        });
        let ended = tasks.all_end().await.unwrap_err();
        assert_eq!(ended.panic.as_deref(), Some("at the end"));
    }

    #[tokio::test]
    async fn what_a_panic_says_is_an_error_and_the_rest_goes_on() {
        assert_eq!(catch_panic(async { 1 }).await, Ok(1));
        let work = async {
            tokio::task::yield_now().await;
            let n = 1;
            assert!(std::hint::black_box(false), "{n} of 2");
        };
        assert_eq!(catch_panic(work).await, Err("1 of 2".to_owned()));
    }
}
