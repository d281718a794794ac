//! One inventory of what was read and what is enrolled.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::InventoryStatus;
use super::Keeper;
use super::reading::RETRY;
use crate::model::facts::aliases;
use crate::model::inventory::Inventory;
use crate::services::facts_cache::FactsCache;
use crate::store::{DepartedHosts, Fleet};
use crate::util::blocking::in_place;
use crate::util::clock;

use super::log::{warn_of_conflicts, warn_of_targets};

impl Keeper {
    /// Puts what was read and what is enrolled together, and publishes it.
    pub(super) async fn merge(&mut self) {
        let hosts = self.keeping.store.hosts().await;
        self.enrolled_known = hosts.is_ok();
        match hosts {
            Ok(hosts) => self.enrolled = hosts.into_iter().map(Arc::new).collect(),
            Err(e) => tracing::error!(error = %e, "the enrolled hosts cannot be read"),
        }
        let Some(files) = &self.files else { return };
        let (inventory, is_news) = in_place(|| {
            let inventory = self.whole(files);
            let is_news = self.last.as_ref() != Some(&inventory);
            (inventory, is_news)
        });
        let was = self.last.replace(Arc::clone(&inventory));
        self.last_believed = Some(match &self.believed {
            Some(believed) if self.shrunk.is_some() => self.whole(believed),
            _ => Arc::clone(&inventory),
        });
        self.tell_store(&inventory).await;
        self.publish_standing();
        let conflicts = inventory.conflicts();
        let metrics = self.keeping.metrics.inventory();
        metrics.hosts(inventory.len(), conflicts.len());
        metrics.in_doubt(self.shrunk.as_ref().map(|shrunk| shrunk.missing.len()));
        if is_news {
            warn_of_conflicts(was.as_ref().map_or(&[], |was| was.conflicts()), conflicts);
            warn_of_targets(&self.keeping.config.borrow(), &inventory);
        }
    }

    /// What was read, with the enrolled hosts and with what hosts call themselves.
    fn whole(&self, files: &Inventory) -> Arc<Inventory> {
        let merged = files.clone().with_enrolled(&self.enrolled);
        Arc::new(merged.with_aliases(self.aliases.iter()))
    }

    /// Shows all that is known now.
    pub(super) fn publish_standing(&self) {
        let standing = InventoryStatus {
            present: self.last.clone(),
            believed: self.last_believed.clone(),
            read_at: self.read_at,
            trouble: self.trouble.clone(),
            shrunk: self.shrunk.clone(),
        };
        let metrics = self.keeping.metrics.inventory();
        metrics.fallback(standing.is_fallback());
        let _ = self.publish.send_replace(standing);
    }

    /// Before it is in force: a run must not be claimed by less than what its decision knew.
    async fn tell_store(&mut self, inventory: &Inventory) {
        let missing = self.shrunk.iter().flat_map(|shrunk| shrunk.missing.iter());
        let missing = missing.filter(|host| inventory.host(host).is_none());
        let fleet = Fleet {
            machines: inventory.machines(),
            in_doubt: missing.cloned().collect(),
        };
        if *self.fleet == fleet {
            return;
        }
        let fleet = Arc::new(fleet);
        match self.keeping.store.set_fleet(Arc::clone(&fleet)).await {
            Ok(()) => self.fleet = fleet,
            Err(e) => {
                tracing::error!(error = %e, "the store does not know which hosts are one machine");
                self.next_read = self.next_read.min(Instant::now() + RETRY);
            }
        }
    }

    /// Reads by what names and addresses hosts call themselves; yields whether that is news.
    pub(super) async fn read_aliases(&mut self) -> bool {
        let all = |cache: &FactsCache<BTreeSet<String>>| -> HashMap<String, BTreeSet<String>> {
            let all = cache.iter();
            all.map(|(host, aliases)| (host.to_owned(), aliases.clone()))
                .collect()
        };
        let before = all(&self.aliases);
        if let Err(e) = self.aliases.refresh(&self.keeping.store, aliases).await {
            tracing::error!(error = %e, "the facts cannot be read: hosts are known by the inventory, and by earlier facts");
        }
        before != all(&self.aliases)
    }

    /// The same after hosts were enrolled or removed. What is known of those that left goes at once.
    pub(super) async fn take_enrolled(&mut self) {
        let was = self.last.clone();
        self.merge().await;
        let now = self.last.as_ref();
        let before = was.iter().flat_map(|was| was.hosts());
        let gone = before.filter(|host| now.is_some_and(|now| now.host(host.name()).is_none()));
        let gone: BTreeSet<String> = gone.map(|host| host.name().to_owned()).collect();
        if !gone.is_empty() {
            self.removed.extend(gone);
            self.forget().await;
        }
    }

    /// Forgets what is known of hosts that left, when its time has come. Which these are is known only if all are known that
    /// there are, and believed.
    pub(super) async fn forget(&mut self) {
        if !self.enrolled_known {
            return;
        }
        let inventories = self.last.iter().chain(&self.last_believed);
        let hosts = inventories.flat_map(|inventory| inventory.hosts());
        let known: BTreeSet<String> = hosts.map(|host| host.name().to_owned()).collect();
        let departed = DepartedHosts {
            removed: self.removed.difference(&known).cloned().collect(),
            known,
            keep: self.keeping.config.borrow().facts.keep_after_removal,
        };
        let store = &self.keeping.store;
        match store.forget_departed(departed, clock::now()).await {
            Ok(()) => self.removed.clear(),
            Err(e) => {
                tracing::warn!(error = %e, "hosts that left the inventory are still on the metrics");
            }
        }
    }
}
