//! Keeps facts current: exports those that the configuration selects, and has them gathered when they are due.
//!
//! Gathering is an ordinary run of the role [`GATHER_ROLE`]: it waits for busy hosts and is in the history. Its facts are
//! stored as the facts of every run are.

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

/// The pause after facts could not be gathered.
const RETRY: Duration = Duration::from_secs(30);

/// The collector, with its dependencies.
pub struct FactsCollector {
    pub store: Store,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    pub inventory: InventoryWatcher,
    /// Exports the facts.
    pub metrics: Metrics,
    /// Becomes true when promansible is shutting down.
    pub shutdown: Shutdown,
}

impl FactsCollector {
    /// Works until shutdown.
    pub async fn run(mut self) {
        let mut shutdown = self.shutdown.clone();
        while !shutdown.is_requested() {
            let config = Arc::clone(&self.config.borrow_and_update());
            self.export_selected(&config).await;
            let next = match config.facts.every {
                Some(every) => Some(self.gather(&config, every).await),
                None => None,
            };
            tokio::select! {
                () = shutdown.requested() => {}
                _ = self.config.changed() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// Exports the facts that are selected now. At the start the store has exported them already.
    async fn export_selected(&self, config: &Config) {
        self.metrics.facts_stale_after(config.facts.stale_after);
        if !self.metrics.choose_facts(&config.facts.metrics) {
            return;
        }
        let metrics = self.metrics.clone();
        let standing = self.inventory.status();
        if let Err(e) = self
            .store
            .each_facts(move |facts| {
                if !standing.has_left(&facts.host) {
                    metrics.show_facts(&facts);
                }
            })
            .await
        {
            tracing::error!(error = %e, "the host metrics cannot be updated");
        }
    }

    /// Has facts gathered if they are due. Returns when to check again.
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
            tracing::info!(run = run.0, "fact gathering queued");
        }
        Ok(next)
    }
}

async fn sleep_until(at: Option<DateTime<Utc>>) {
    match at {
        // If the clock was set back, the wait must not become longer by as much.
        Some(at) => {
            let remaining = (at - clock::now()).to_std().unwrap_or_default();
            tokio::time::sleep(remaining.min(Duration::from_mins(1))).await;
        }
        None => std::future::pending().await,
    }
}
