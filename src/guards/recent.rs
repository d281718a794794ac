//! On how many hosts something was decided to be run lately.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::{Storm, after};

/// Binding, or all of them → host → when a run was last decided there.
#[derive(Debug, Clone, Default)]
pub struct Recent(HashMap<String, HashMap<String, DateTime<Utc>>>);

impl Recent {
    /// Notes that a run was decided on a host.
    pub fn note(&mut self, name: &str, host: &str, at: DateTime<Utc>) {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), HashMap::new());
        }
        let Some(hosts) = self.0.get_mut(name) else {
            return;
        };
        match hosts.get_mut(host) {
            Some(last) => *last = at.max(*last),
            None => {
                hosts.insert(host.to_owned(), at);
            }
        }
    }

    /// On how many hosts that was, if they are too many. Lets those go that are too long ago.
    pub fn too_many(
        &mut self,
        name: &str,
        storm: &Storm,
        inventory: usize,
        now: DateTime<Utc>,
    ) -> Option<(usize, usize)> {
        let limit = storm.limit(inventory)?;
        let hosts = self.0.get_mut(name)?;
        if hosts.len() <= limit {
            return None;
        }
        hosts.retain(|_, at| after(*at, storm.within) > now);
        (hosts.len() > limit).then_some((hosts.len(), limit))
    }

    /// Begins to count anew.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(super) fn not_after(&mut self, now: DateTime<Utc>) {
        for at in self.0.values_mut().flat_map(HashMap::values_mut) {
            *at = now.min(*at);
        }
    }
}
