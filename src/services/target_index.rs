//! Keeps the scrape targets in memory: a view of all hosts that is rebuilt when the inventory, the facts or the
//! configuration change, so that a request never waits for the store.
//!
//! While the inventory cannot be read or is not believed, and until it was read with the exposed variables, the view is not
//! changed: hosts do not vanish because a file is broken or a cloud does not answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::model::facts::Facts;
use crate::model::inventory::Inventory;
use crate::model::sd::{Exposed, FactValues, View};
use crate::services::facts_cache::FactsCache;
use crate::services::inventory_watcher::InventoryWatcher;
use crate::store::{Store, StoreError};
use crate::util::shutdown::Shutdown;

/// Facts arrive host by host: those that arrive within this time cause one rebuild.
const PAUSE: Duration = Duration::from_millis(200);

/// The pause after facts could not be read from the store.
const RETRY: Duration = Duration::from_secs(10);

/// A handle to the view. Cheap to clone.
#[derive(Clone)]
pub struct TargetIndex(watch::Receiver<Option<Arc<View>>>);

impl TargetIndex {
    /// Returns the current view; `None` until the first one is built.
    pub fn latest(&mut self) -> Option<Arc<View>> {
        self.0.borrow_and_update().clone()
    }

    /// Waits for a newer view than the last one that [`Self::latest`] returned. *Cancel safety*: may be dropped at any
    /// time.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the view is built from this inventory. *Cancel safety*: may be dropped at any time.
    pub async fn of(&mut self, inventory: &Arc<Inventory>) {
        let is_it = |view: &Option<Arc<View>>| view.as_ref().is_some_and(|v| v.is_of(inventory));
        let _ = self.0.wait_for(is_it).await;
    }
}

/// The dependencies of the task that rebuilds the view.
pub struct Dependencies {
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    pub inventory: InventoryWatcher,
    pub store: Store,
    /// The exposed facts, as far as they were read already.
    pub facts: FactsCache<FactValues>,
    /// Becomes true when promansible is shutting down.
    pub shutdown: Shutdown,
}

/// Returns the handle, and the task that keeps the view current until shutdown.
pub fn keep(mut keeping: Dependencies) -> (TargetIndex, impl Future<Output = ()> + Send + 'static) {
    let (publish, view) = watch::channel(None);
    let config = Arc::clone(&keeping.config.borrow());
    let keeper = Keeper {
        exposed: config.service_discovery.exposed.clone(),
        facts: std::mem::take(&mut keeping.facts),
        publish,
        keeping,
    };
    (TargetIndex(view), keeper.run())
}

struct Keeper {
    keeping: Dependencies,
    publish: watch::Sender<Option<Arc<View>>>,
    /// The facts and variables that `facts` was read for.
    exposed: Exposed,
    facts: FactsCache<FactValues>,
}

impl Keeper {
    async fn run(mut self) {
        let mut shutdown = self.keeping.shutdown.clone();
        let mut inventory = self.keeping.inventory.watch();
        let mut facts = self.keeping.store.facts_changed();
        let mut config = self.keeping.config.clone();
        loop {
            // Marked as seen before the rebuild, so that a change during the rebuild causes another one.
            let believed = inventory.believed();
            facts.mark_unchanged();
            config.mark_unchanged();
            let rebuilt = self.rebuild(believed).await;
            if let Err(e) = &rebuilt {
                tracing::error!(error = %e, "the facts cannot be read: scrape targets are not updated");
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = inventory.changed() => {}
                Ok(()) = facts.changed() => {}
                Ok(()) = config.changed() => {}
                () = tokio::time::sleep(RETRY), if rebuilt.is_err() => {}
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn rebuild(&mut self, inventory: Option<Arc<Inventory>>) -> Result<(), StoreError> {
        let config = Arc::clone(&self.keeping.config.borrow());
        let exposed = &config.service_discovery.exposed;
        if self.exposed != *exposed {
            self.exposed = exposed.clone();
            self.facts.clear();
        }
        let of = self.exposed.clone();
        let make = move |facts: Facts<'_>| of.of_facts(facts);
        self.facts.refresh(&self.keeping.store, make).await?;
        let Some(inventory) = inventory else {
            return Ok(());
        };
        // An inventory from the store has no variables, and one from before a reload may have others.
        if inventory.kept_vars() != exposed.vars {
            return Ok(());
        }
        let facts = self.facts.iter();
        let facts: HashMap<String, FactValues> = facts
            .map(|(host, values)| (host.to_owned(), values.clone()))
            .collect();
        let exposed = exposed.clone();
        let build = move || View::build(&exposed, inventory, &facts);
        if let Ok(view) = tokio::task::spawn_blocking(build).await {
            self.publish.send_replace(Some(Arc::new(view)));
        }
        Ok(())
    }
}
