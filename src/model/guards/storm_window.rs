//! The hosts of recent decisions to run. Times in the future, after the clock was set back, count as recent too.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::model::guards::Storm;
use crate::model::guards::after;

/// Binding, or all bindings → host → time of the last decision to run there.
#[derive(Debug, Clone, Default)]
pub struct StormWindow(HashMap<String, HashMap<String, DateTime<Utc>>>);

impl StormWindow {
    /// Records a decision to run on a host.
    pub fn note(&mut self, name: &str, host: &str, at: DateTime<Utc>) {
        let hosts = self.0.entry(name.to_owned()).or_default();
        let last = hosts.entry(host.to_owned()).or_insert(at);
        *last = at.max(*last);
    }

    /// Returns the number of hosts and the limit if there are too many. Removes outdated hosts.
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

    /// Resets the count.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}
