//! What a keeper needs of every host's facts, in memory, and read again only where they are newer.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::model::facts::{self, Facts, HostFacts};
use crate::model::sd::{Exposed, FactValues};
use crate::store::{Store, StoreError};

/// Of more hosts than this, facts are read in one go.
const FEW: usize = 64;

/// Host → when its facts were gathered, and what was made of them.
#[derive(Debug)]
pub struct FactsCache<T>(HashMap<String, (DateTime<Utc>, T)>);

impl<T> Default for FactsCache<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Send + 'static> FactsCache<T> {
    /// Each host, and what was made of its facts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(host, (_, made))| (host.as_str(), made))
    }

    /// Puts in what was made of the facts of a host that somebody else has read.
    pub fn put(&mut self, of: &HostFacts, made: T) {
        self.0.insert(of.host.clone(), (of.gathered_at, made));
    }

    /// Forgets everything, so that it is made anew.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Reads the facts that are newer than those at hand, and drops those that are gone.
    pub async fn refresh(
        &mut self,
        store: &Store,
        make: impl Fn(Facts<'_>) -> T + Send + Sync + 'static,
    ) -> Result<(), StoreError> {
        let list = store.facts_list().await?;
        let there: HashMap<&str, DateTime<Utc>> = list
            .iter()
            .map(|of| (of.host.as_str(), of.gathered_at))
            .collect();
        self.0
            .retain(|host, (at, _)| there.get(host.as_str()) == Some(at));
        let missing: Vec<String> = there
            .into_keys()
            .filter(|host| !self.0.contains_key(*host))
            .map(str::to_owned)
            .collect();
        let of_host = move |of: &HostFacts| (of.gathered_at, make(Facts::new(&of.facts)));
        if missing.len() <= FEW {
            for host in missing {
                if let Some(of) = store.facts_of(host).await? {
                    let found_of = of_host(&of);
                    self.0.insert(of.host, found_of);
                }
            }
            return Ok(());
        }
        let all = Arc::new(Mutex::new(HashMap::new()));
        let found = Arc::clone(&all);
        let take = move |of: HostFacts| {
            let found_of = of_host(&of);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.insert(of.host, found_of);
        };
        store.each_facts(take).await?;
        self.0 = std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

/// What the keepers need of every host's facts, made while they are read at the start anyway.
#[derive(Debug)]
pub struct StartupFacts {
    wanted: Exposed,
    both: Mutex<Both>,
}

/// By what else hosts are known, and what of their facts is exposed.
pub type Both = (FactsCache<BTreeSet<String>>, FactsCache<FactValues>);

impl StartupFacts {
    /// Begins; `wanted` is what the configuration exposes.
    pub fn new(wanted: Exposed) -> Self {
        let both = Mutex::default();
        Self { wanted, both }
    }

    /// Takes what is needed of the facts of a host; from several threads at once.
    pub fn see(&self, of: &HostFacts) {
        let facts = Facts::new(&of.facts);
        let (aliases, values) = (facts::aliases(facts), self.wanted.of_facts(facts));
        let mut both = self.both.lock().unwrap_or_else(PoisonError::into_inner);
        both.0.put(of, aliases);
        both.1.put(of, values);
    }

    /// What was made of all of them.
    pub fn done(self) -> Both {
        self.both
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
