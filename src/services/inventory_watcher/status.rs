//! How the inventory stands: what is in force, and what is wrong with it.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};

use crate::model::inventory::Inventory;
use crate::model::run::CONTROLLER;
use crate::services::inventory_watcher::State;

/// Why there is no inventory to decide by. It passes: whoever asks may come again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Since the start.
    #[error("the inventory has not been read yet")]
    NotYet,
    /// Since its sources changed, or since they were last read.
    #[error("the inventory cannot be read: {0}")]
    Broken(Arc<str>),
}

impl Unavailable {
    /// The same on one line: what an inventory script complained of is left out.
    pub fn brief(&self) -> String {
        let whole = self.to_string();
        whole.lines().next().unwrap_or_default().to_owned()
    }
}

/// Why the inventory cannot be read.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// The reason, with what Ansible and the inventory's scripts said; several lines.
    pub why: Arc<str>,
    /// When it first failed.
    pub since: DateTime<Utc>,
    /// When that attempt began.
    pub(super) from: Instant,
    /// Until when alerts are decided by the last good inventory.
    pub until: Instant,
}

/// Hosts are missing, and it is not believed that they left.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// Since when it is read so.
    pub since: DateTime<Utc>,
    /// When it will be believed, if it is still read so.
    pub believed_at: DateTime<Utc>,
    /// How many hosts there were.
    pub hosts_before: usize,
    /// Those that are missing, sorted.
    pub missing: Arc<[String]>,
    /// What Ansible warned of, if it did.
    pub warnings: Arc<str>,
}

/// All that is known of the inventory at one time.
#[derive(Debug, Clone, Default)]
pub struct InventoryStatus {
    /// As last read with success.
    pub present: Option<Arc<Inventory>>,
    /// The same while all is well; with the hosts that are missing while it is [shrunk](Self::shrunk).
    pub believed: Option<Arc<Inventory>>,
    /// When it was last read with success; `None` also if it comes from the store.
    pub read_at: Option<DateTime<Utc>>,
    /// Why the last attempt to read it failed, if it did.
    pub trouble: Option<Trouble>,
    /// What is missing all at once, if anything is.
    pub shrunk: Option<Shrunk>,
}

impl InventoryStatus {
    /// The inventory to decide alerts by.
    pub(super) fn usable(&self, now: Instant) -> State {
        let in_time = self
            .trouble
            .as_ref()
            .is_none_or(|trouble| now < trouble.until);
        match &self.present {
            Some(inventory) if in_time => Ok(Arc::clone(inventory)),
            _ => Err(self.unavailable()),
        }
    }

    /// The inventory to start runs by.
    pub(super) fn current(&self) -> State {
        match &self.present {
            Some(inventory) if self.trouble.is_none() => Ok(Arc::clone(inventory)),
            _ => Err(self.unavailable()),
        }
    }

    fn unavailable(&self) -> Unavailable {
        let trouble = self.trouble.as_ref();
        trouble.map_or(Unavailable::NotYet, |trouble| {
            Unavailable::Broken(Arc::clone(&trouble.why))
        })
    }

    /// Whether a host is in no inventory that is believed. What is kept of it waits in case that it comes back.
    pub fn has_left(&self, host: &str) -> bool {
        let mut known = self.present.iter().chain(&self.believed).peekable();
        host != CONTROLLER && known.peek().is_some() && known.all(|of| of.host(host).is_none())
    }

    /// Whether alerts are decided by an earlier inventory than the one that cannot be read.
    pub fn is_fallback(&self) -> bool {
        self.trouble.is_some() && self.usable(Instant::now()).is_ok()
    }
}
