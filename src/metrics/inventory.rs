//! The metrics of the inventory: its reloads, its hosts and its conflicts.

use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus::{Gauge, IntGauge, Registry};

use super::register::{float, gauge};
use super::seconds;
use super::whole;

/// The state of the inventory. Cheap to clone.
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
                "Whether the last attempt to reload the inventory succeeded.",
            )?,
            success_time: float(
                r,
                "inventory_last_reload_success_timestamp_seconds",
                "Timestamp of the last successful reload of the inventory.",
            )?,
            duration: float(
                r,
                "inventory_last_reload_duration_seconds",
                "Duration of the last attempt to reload the inventory.",
            )?,
            fallback: gauge(
                r,
                "inventory_fallback",
                "Whether alerts are decided by an earlier inventory because the last attempt to reload it failed.",
            )?,
            shrunk: gauge(
                r,
                "inventory_shrunk",
                "Whether the inventory lost so many hosts at once that the loss is not believed yet.",
            )?,
            missing: gauge(
                r,
                "inventory_hosts_in_doubt",
                "Hosts that are missing while the loss is not believed yet.",
            )?,
            hosts: gauge(r, "inventory_hosts", "Hosts in the inventory.")?,
            conflicts: gauge(
                r,
                "inventory_conflicts",
                "Enrolled hosts that are ignored because a source of the inventory has their name.",
            )?,
        })
    }

    /// Records an attempt to reload the inventory and its duration.
    pub fn read(&self, ok: bool, took: Duration, now: DateTime<Utc>) {
        self.successful.set(i64::from(ok));
        self.duration.set(took.as_secs_f64());
        if ok {
            self.success_time.set(seconds(now));
        }
    }

    /// Sets whether an earlier inventory is used because the current one cannot be read.
    pub fn fallback(&self, used: bool) {
        self.fallback.set(i64::from(used));
    }

    /// Sets the number of missing hosts while the loss is not believed; `None` if the inventory is believed.
    pub fn in_doubt(&self, missing: Option<usize>) {
        self.shrunk.set(i64::from(missing.is_some()));
        self.missing.set(whole(missing.unwrap_or(0)));
    }

    /// Sets the number of hosts and the number of enrolled hosts that are ignored.
    pub fn hosts(&self, hosts: usize, conflicts: usize) {
        self.hosts.set(whole(hosts));
        self.conflicts.set(whole(conflicts));
    }
}
