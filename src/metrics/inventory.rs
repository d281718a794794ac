//! The inventory: whether it could be read, and what is made of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus::{Gauge, IntGauge, Registry};

use super::register::{float, gauge};
use super::seconds;
use super::whole;

/// Shows how the inventory stands. Cheap to clone.
#[derive(Clone)]
pub struct InventoryMetrics {
    successful: IntGauge,
    success_time: Gauge,
    duration: Gauge,
    fallback: IntGauge,
    shrunk: IntGauge,
    missing: IntGauge,
    hosts: IntGauge,
    conflicts: IntGauge,
}

impl InventoryMetrics {
    pub(super) fn register(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            successful: gauge(
                r,
                "inventory_last_reload_successful",
                "Whether the last attempt to read the inventory succeeded.",
            )?,
            success_time: float(
                r,
                "inventory_last_reload_success_timestamp_seconds",
                "When the inventory was last read with success.",
            )?,
            duration: float(
                r,
                "inventory_last_reload_duration_seconds",
                "How long the last attempt to read the inventory took.",
            )?,
            fallback: gauge(
                r,
                "inventory_fallback",
                "Whether alerts are decided by an earlier inventory, because the last attempt to read it failed.",
            )?,
            shrunk: gauge(
                r,
                "inventory_shrunk",
                "Whether the inventory lost so many hosts at once that it is not believed yet.",
            )?,
            missing: gauge(
                r,
                "inventory_hosts_in_doubt",
                "Hosts that are missing from an inventory that is not believed yet.",
            )?,
            hosts: gauge(r, "inventory_hosts", "Hosts in the inventory.")?,
            conflicts: gauge(
                r,
                "inventory_conflicts",
                "Enrolled hosts that take no part, because the inventory's sources have their name.",
            )?,
        })
    }

    /// Shows whether the inventory could be read, and how long that took.
    pub fn read(&self, ok: bool, took: Duration, now: DateTime<Utc>) {
        self.successful.set(i64::from(ok));
        self.duration.set(took.as_secs_f64());
        if ok {
            self.success_time.set(seconds(now));
        }
    }

    /// Shows whether an earlier inventory stands in for one that cannot be read.
    pub fn fallback(&self, used: bool) {
        self.fallback.set(i64::from(used));
    }

    /// Shows how many hosts are missing and not believed gone; `None` where the inventory is believed.
    pub fn in_doubt(&self, missing: Option<usize>) {
        self.shrunk.set(i64::from(missing.is_some()));
        self.missing.set(whole(missing.unwrap_or(0)));
    }

    /// Shows how many hosts there are, and how many of those that were enrolled take no part.
    pub fn hosts(&self, hosts: usize, conflicts: usize) {
        self.hosts.set(whole(hosts));
        self.conflicts.set(whole(conflicts));
    }
}
