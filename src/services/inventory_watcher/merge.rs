//! Merges the inventory that was read with the enrolled hosts.

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
    /// Merges the inventory that was read with the enrolled hosts, and publishes the result.
    pub(super) async fn merge(&mut self) {
        let hosts = self.keeping.store.hosts().await;
        self.enrolled_known = hosts.is_ok();
        match hosts {
            Ok(hosts) => self.enrolled = hosts.into_iter().map(Arc::new).collect(),
            Err(e) => tracing::error!(error = %e, "the enrolled hosts cannot be read"),
        }
        let Some(files) = &self.files else { return };
        let (inventory, is_new) = in_place(|| {
            let inventory = self.merged(files);
            let is_new = self.last.as_ref() != Some(&inventory);
            (inventory, is_new)
        });
        let was = self.last.replace(Arc::clone(&inventory));
        self.last_believed = Some(match &self.believed {
            Some(believed) if self.shrunk.is_some() => self.merged(believed),
            _ => Arc::clone(&inventory),
        });
        self.update_store(&inventory).await;
        self.publish_standing();
        let conflicts = inventory.conflicts();
        let metrics = self.keeping.metrics.inventory();
        metrics.hosts(inventory.len(), conflicts.len());
        metrics.in_doubt(self.shrunk.as_ref().map(|shrunk| shrunk.missing.len()));
        if is_new {
            warn_of_conflicts(was.as_ref().map_or(&[], |was| was.conflicts()), conflicts);
            warn_of_targets(&self.keeping.config.borrow(), &inventory);
        }
    }

    /// Returns this inventory with the enrolled hosts and with the aliases of hosts.
    fn merged(&self, files: &Inventory) -> Arc<Inventory> {
        let merged = files.clone().with_enrolled(&self.enrolled);
        Arc::new(merged.with_aliases(self.aliases.iter()))
    }

    /// Publishes the current status.
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

    /// Updates the store before the inventory is published: a run must not be claimed with an older state than the one its
    /// decision used.
    async fn update_store(&mut self, inventory: &Inventory) {
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
                tracing::error!(error = %e, "the store could not be updated with the inventory's machines; trying again");
                self.next_read = self.next_read.min(Instant::now() + RETRY);
            }
        }
    }

    /// Reads the names and addresses that hosts report of themselves. Returns whether they changed.
    pub(super) async fn read_aliases(&mut self) -> bool {
        let all = |cache: &FactsCache<BTreeSet<String>>| -> HashMap<String, BTreeSet<String>> {
            let all = cache.iter();
            all.map(|(host, aliases)| (host.to_owned(), aliases.clone()))
                .collect()
        };
        let before = all(&self.aliases);
        if let Err(e) = self.aliases.refresh(&self.keeping.store, aliases).await {
            tracing::error!(error = %e, "the facts cannot be read: hosts are resolved by the inventory and by facts that were read earlier");
        }
        before != all(&self.aliases)
    }

    /// Merges after hosts were enrolled or removed. Data of removed hosts is deleted at once.
    pub(super) async fn take_enrolled(&mut self) {
        let was = self.last.clone();
        self.merge().await;
        let now = self.last.as_ref();
        let before = was.iter().flat_map(|was| was.hosts());
        let departed = before.filter(|host| now.is_some_and(|now| now.host(host.name()).is_none()));
        let departed: BTreeSet<String> = departed.map(|host| host.name().to_owned()).collect();
        if !departed.is_empty() {
            self.removed.extend(departed);
            self.forget().await;
        }
    }

    /// Deletes the data of hosts that left the inventory, once its retention is over. Does nothing unless all enrolled
    /// hosts are known; hosts whose loss is in doubt count as present.
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
                tracing::warn!(error = %e, "metrics and facts of hosts that left the inventory could not be removed");
            }
        }
    }
}
