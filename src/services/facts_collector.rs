//! Keeps facts current: shows them as the configuration chooses, and has them gathered when their time has come.
//!
//! Gathering is a run like any other, of the role [`GATHER_ROLE`]: it waits for busy hosts, it is in the history, and what comes
//! of it is kept because every run's facts are.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::config::{Config, GATHER_ROLE};
use crate::metrics::Metrics;
use crate::plan;
use crate::services::inventory_watcher::InventoryWatcher;
use crate::store::Store;
use crate::util::clock;
use crate::util::shutdown::Shutdown;

/// How long to leave it alone after it could not be done.
const RETRY: Duration = Duration::from_secs(30);

/// What the keeper needs.
pub struct FactsCollector {
    /// Where facts and runs are.
    pub store: Store,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Knows the inventory.
    pub inventory: InventoryWatcher,
    /// Shows them.
    pub metrics: Metrics,
    /// Becomes true when promansible is to end.
    pub shutdown: Shutdown,
}

impl FactsCollector {
    /// Works until shutdown.
    pub async fn run(mut self) {
        let mut shutdown = self.shutdown.clone();
        while !shutdown.is_asked() {
            let config = Arc::clone(&self.config.borrow_and_update());
            self.choose(&config).await;
            let next = match config.facts.every {
                Some(every) => Some(self.gather(&config, every).await),
                None => None,
            };
            tokio::select! {
                () = shutdown.asked() => {}
                _ = self.config.changed() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// Shows what is chosen now. At the start the store has shown everything already.
    async fn choose(&self, config: &Config) {
        self.metrics.facts_stale_after(config.facts.stale_after);
        if !self.metrics.choose_facts(&config.facts.metrics) {
            return;
        }
        let metrics = self.metrics.clone();
        let standing = self.inventory.standing();
        if let Err(e) = self
            .store
            .each_facts(move |facts| {
                if !standing.has_left(&facts.host) {
                    metrics.show_facts(&facts);
                }
            })
            .await
        {
            tracing::error!(error = %e, "the host metrics cannot be shown anew");
        }
    }

    /// Has facts gathered if it is time, and says when to look again.
    async fn gather(&self, config: &Config, every: Duration) -> DateTime<Utc> {
        match self.try_gather(config, every).await {
            Ok(next) => next,
            Err(why) => {
                tracing::warn!(error = why, "facts cannot be gathered now");
                clock::now() + RETRY
            }
        }
    }

    async fn try_gather(&self, config: &Config, every: Duration) -> Result<DateTime<Utc>, String> {
        let Some(work) = config.gathering() else {
            let dir = config.ansible.playbook_dir.join("routine/roles");
            return Err(format!(
                "there is no role {GATHER_ROLE} in {}",
                dir.display()
            ));
        };
        let inventory = self.inventory.current().await.map_err(|e| e.brief())?;
        let hosts =
            plan::hosts(&config.facts.target, &inventory, None).map_err(|e| e.to_string())?;
        let limit = config.runs.queue_limit;
        let queued = self
            .store
            .queue_facts(work, hosts, every, limit, clock::now())
            .await;
        let (run, next) = queued.map_err(|e| e.to_string())?;
        if let Some(run) = run {
            tracing::info!(run = run.0, "facts are to be gathered");
        }
        Ok(next)
    }
}

async fn sleep_until(at: Option<DateTime<Utc>>) {
    match at {
        // A clock that was set back must not let it wait for as long.
        Some(at) => {
            let left = (at - clock::now()).to_std().unwrap_or_default();
            tokio::time::sleep(left.min(Duration::from_mins(1))).await;
        }
        None => std::future::pending().await,
    }
}
