//! Keeps the scrape targets ready: what is known of every host, put together anew when the inventory, the facts or the
//! configuration change, so that nobody who asks waits for the store.
//!
//! While the inventory cannot be read or is not believed, and before it was read with the variables that are exposed, its
//! hosts stay: they do not vanish because a file is broken or a cloud does not answer.

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

/// Facts come host by host; what comes within this time is put together once.
const PAUSE: Duration = Duration::from_millis(200);

/// When to try again to read facts from a store that is broken.
const RETRY: Duration = Duration::from_secs(10);

/// A handle to the view. Cheap to clone.
#[derive(Clone)]
pub struct TargetIndex(watch::Receiver<Option<Arc<View>>>);

impl TargetIndex {
    /// The view as it is; `None` as long as there never was one.
    pub fn latest(&mut self) -> Option<Arc<View>> {
        self.0.borrow_and_update().clone()
    }

    /// Waits for another view than the last that was looked at. *Cancel safety*: may be dropped at any time.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the view of this inventory. *Cancel safety*: may be dropped at any time.
    pub async fn of(&mut self, inventory: &Arc<Inventory>) {
        let is_it = |view: &Option<Arc<View>>| view.as_ref().is_some_and(|v| v.is_of(inventory));
        let _ = self.0.wait_for(is_it).await;
    }
}

/// What the keeper needs.
pub struct Keeping {
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Knows the hosts.
    pub inventory: InventoryWatcher,
    /// Has the facts.
    pub store: Store,
    /// What is known already of the facts that the configuration exposes.
    pub facts: FactsCache<FactValues>,
    /// Becomes true when promansible is to end.
    pub shutdown: Shutdown,
}

/// The handle, and what keeps the view until the end.
pub fn keep(mut keeping: Keeping) -> (TargetIndex, impl Future<Output = ()> + Send + 'static) {
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
    keeping: Keeping,
    publish: watch::Sender<Option<Arc<View>>>,
    /// What the facts were read for.
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
            // Seen before the look, so that what comes meanwhile is looked at after it.
            let believed = inventory.believed();
            facts.mark_unchanged();
            config.mark_unchanged();
            let looked = self.look(believed).await;
            if let Err(e) = &looked {
                tracing::error!(error = %e, "the facts cannot be read: scrape targets stay as they are");
            }
            tokio::select! {
                () = shutdown.asked() => return,
                () = inventory.changed() => {}
                Ok(()) = facts.changed() => {}
                Ok(()) = config.changed() => {}
                () = tokio::time::sleep(RETRY), if looked.is_err() => {}
            }
            tokio::select! {
                () = shutdown.asked() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn look(&mut self, inventory: Option<Arc<Inventory>>) -> Result<(), StoreError> {
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
        // One from the store has none, and one from before a reload others.
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
