//! On how many hosts something was decided to be run lately. What lies ahead of a clock that was set back is lately too.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::model::guards::Storm;
use crate::model::guards::after;

/// Binding, or all of them → host → when a run was last decided there.
#[derive(Debug, Clone, Default)]
pub struct StormWindow(HashMap<String, HashMap<String, DateTime<Utc>>>);

impl StormWindow {
    /// Notes that a run was decided on a host.
    pub fn note(&mut self, name: &str, host: &str, at: DateTime<Utc>) {
        let hosts = self.0.entry(name.to_owned()).or_default();
        let last = hosts.entry(host.to_owned()).or_insert(at);
        *last = at.max(*last);
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
}
