//! The status of the inventory: what is in force, and what is wrong with it.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};

use crate::model::inventory::Inventory;
use crate::model::run::CONTROLLER;
use crate::services::inventory_watcher::State;

/// Why no inventory can be used. This is temporary: the caller may try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It has not been read since the start.
    #[error("the inventory has not been read yet")]
    NotYet,
    /// The last attempt to read it failed, and the last good one must not be used.
    #[error("the inventory cannot be read: {0}")]
    Broken(Arc<str>),
}

impl Unavailable {
    /// Returns the first line of the message, without the output of inventory scripts.
    pub fn brief(&self) -> String {
        let whole = self.to_string();
        whole.lines().next().unwrap_or_default().to_owned()
    }
}

/// Why the inventory cannot be read.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// The reason, with the messages of Ansible and of inventory scripts; several lines.
    pub why: Arc<str>,
    /// When it first failed.
    pub since: DateTime<Utc>,
    /// When that attempt began.
    pub(super) from: Instant,
    /// Until when alerts are decided with the last good inventory.
    pub until: Instant,
}

/// The hosts that are missing from an inventory that is not believed yet.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// When they were first missing.
    pub since: DateTime<Utc>,
    /// When the inventory will be believed if they are still missing.
    pub believed_at: DateTime<Utc>,
    /// The number of hosts before.
    pub hosts_before: usize,
    /// The names of the missing hosts, sorted.
    pub missing: Arc<[String]>,
    /// Ansible's warnings, if any.
    pub warnings: Arc<str>,
}

/// The complete status of the inventory at one time.
#[derive(Debug, Clone, Default)]
pub struct InventoryStatus {
    /// The inventory as last read successfully.
    pub present: Option<Arc<Inventory>>,
    /// The same as `present`; while it is [shrunk](Self::shrunk), the last believed one, with the missing hosts.
    pub believed: Option<Arc<Inventory>>,
    /// When it was last read successfully; `None` also if it comes from the store.
    pub read_at: Option<DateTime<Utc>>,
    /// Why the last attempt to read it failed, if it did.
    pub trouble: Option<Trouble>,
    /// The hosts that went missing at once, while the inventory is not believed.
    pub shrunk: Option<Shrunk>,
}

impl InventoryStatus {
    /// Returns the inventory with which alerts may be decided.
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

    /// Returns the inventory with which runs may be started.
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

    /// Returns whether a host is neither in the inventory as last read nor in the believed one. Its data is kept for a
    /// while in case it comes back.
    pub fn has_left(&self, host: &str) -> bool {
        let mut known = self.present.iter().chain(&self.believed).peekable();
        host != CONTROLLER && known.peek().is_some() && known.all(|of| of.host(host).is_none())
    }

    /// Returns whether alerts are decided with an earlier inventory because the present one cannot be read.
    pub fn is_fallback(&self) -> bool {
        self.trouble.is_some() && self.usable(Instant::now()).is_ok()
    }
}
