//! One inventory of what was read and what is enrolled.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Keeper;
use crate::blocking::in_place;
use crate::facts::aliases;
use crate::facts_cache::FactsCache;

use super::told::{warn_of_conflicts, warn_of_targets};

impl Keeper {
    /// Puts what was read and what is enrolled together, and publishes it unless the sources cannot be read just now.
    pub(super) async fn merge(&mut self) {
        let hosts = self.keeping.store.hosts().await;
        self.enrolled_known = hosts.is_ok();
        match hosts {
            Ok(hosts) => self.enrolled = hosts.into_iter().map(Arc::new).collect(),
            Err(e) => tracing::error!(error = %e, "the enrolled hosts cannot be read"),
        }
        let Some(files) = &self.files else { return };
        let (inventory, is_news) = in_place(|| {
            let merged = files.clone().with_enrolled(&self.enrolled);
            let inventory = Arc::new(merged.with_aliases(self.aliases.iter()));
            let is_news = self.last.as_ref() != Some(&inventory);
            (inventory, is_news)
        });
        let was = self.last.replace(Arc::clone(&inventory));
        if self.failed.is_none() {
            let _ = self.publish.send_replace(Ok(Arc::clone(&inventory)));
        }
        let conflicts = inventory.conflicts();
        let metrics = &self.keeping.metrics;
        metrics.inventory(inventory.len(), conflicts.len());
        if is_news {
            warn_of_conflicts(was.as_ref().map_or(&[], |was| was.conflicts()), conflicts);
            warn_of_targets(&self.keeping.config.borrow(), &inventory);
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
        let mut before = was.iter().flat_map(|was| was.hosts());
        if before.any(|host| now.is_some_and(|now| now.host(host.name()).is_none())) {
            self.forget().await;
        }
    }

    /// Forgets what is known of hosts that left. Which these are is known only if all are known that there are.
    pub(super) async fn forget(&self) {
        let Some(inventory) = self.last.as_ref().filter(|_| self.enrolled_known) else {
            return;
        };
        let names = inventory.hosts().map(|host| host.name().to_owned());
        let store = &self.keeping.store;
        if let Err(e) = store.forget_hosts_but(names.collect()).await {
            tracing::warn!(error = %e, "hosts that left the inventory are still on the metrics");
        }
    }
}
