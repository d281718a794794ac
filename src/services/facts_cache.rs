//! Values derived from the facts of every host, cached in memory and computed again only for newer facts.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::model::facts::{self, Facts, HostFacts};
use crate::model::sd::{Exposed, FactValues};
use crate::store::{Store, StoreError};

/// The facts of up to this many hosts are read one by one; of more hosts, all facts are read at once.
const FEW: usize = 64;

/// Host → when its facts were gathered, and the value derived from them.
#[derive(Debug)]
pub struct FactsCache<T>(HashMap<String, (DateTime<Utc>, T)>);

impl<T> Default for FactsCache<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Send + 'static> FactsCache<T> {
    /// Iterates over the hosts and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0
            .iter()
            .map(|(host, (_, value))| (host.as_str(), value))
    }

    /// Inserts the value derived from the facts of a host.
    pub fn put(&mut self, of: &HostFacts, value: T) {
        self.0.insert(of.host.clone(), (of.gathered_at, value));
    }

    /// Forgets everything, so that all values are computed again.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Computes the values of newer facts, and drops those of hosts without facts.
    pub async fn refresh(
        &mut self,
        store: &Store,
        make: impl Fn(Facts<'_>) -> T + Send + Sync + 'static,
    ) -> Result<(), StoreError> {
        let list = store.facts_list().await?;
        let gathered: HashMap<&str, DateTime<Utc>> = list
            .iter()
            .map(|of| (of.host.as_str(), of.gathered_at))
            .collect();
        self.0
            .retain(|host, (at, _)| gathered.get(host.as_str()) == Some(at));
        let missing: Vec<String> = gathered
            .into_keys()
            .filter(|host| !self.0.contains_key(*host))
            .map(str::to_owned)
            .collect();
        let of_host = move |of: &HostFacts| (of.gathered_at, make(Facts::new(&of.facts)));
        if missing.len() <= FEW {
            for host in missing {
                if let Some(of) = store.facts_of(host).await? {
                    let value = of_host(&of);
                    self.0.insert(of.host, value);
                }
            }
            return Ok(());
        }
        let all = Arc::new(Mutex::new(HashMap::new()));
        let found = Arc::clone(&all);
        let take = move |of: HostFacts| {
            let value = of_host(&of);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.insert(of.host, value);
        };
        store.each_facts(take).await?;
        self.0 = std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

/// The values of both caches, computed while the store reads all facts at the start anyway.
#[derive(Debug)]
pub struct StartupFacts {
    wanted: Exposed,
    both: Mutex<Both>,
}

/// The aliases of hosts, and their exposed facts.
pub type Both = (FactsCache<BTreeSet<String>>, FactsCache<FactValues>);

impl StartupFacts {
    /// Creates empty caches; `wanted` is what the configuration exposes.
    pub fn new(wanted: Exposed) -> Self {
        let both = Mutex::default();
        Self { wanted, both }
    }

    /// Computes and stores the values of a host. May be called from several threads at once.
    pub fn see(&self, of: &HostFacts) {
        let facts = Facts::new(&of.facts);
        let (aliases, values) = (facts::aliases(facts), self.wanted.of_facts(facts));
        let mut both = self.both.lock().unwrap_or_else(PoisonError::into_inner);
        both.0.put(of, aliases);
        both.1.put(of, values);
    }

    /// Returns the filled caches.
    pub fn done(self) -> Both {
        self.both
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
