//! The table of all metrics: one line for each, with its name and help.

use std::sync::Arc;

use prometheus::Registry;

use super::checks::CheckCollector;
use super::facts::FactMetrics;
use super::guards::Guards;
use super::register::{Known, counter, counters, float, gauge, gauges, histogram, histograms};
use super::{
    InventoryMetrics, Messages, Metrics, RECEIVER_CODES, Schedules, SdFiles, Sender, rejected,
};
use crate::model::alert::Status;
use crate::model::run::Skip;

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    /// If the registry already has one of these names.
    #[allow(clippy::too_many_lines)] // a table: one line for each metric
    pub fn new(registry: Registry) -> Result<Self, prometheus::Error> {
        let r = &registry;
        let metrics = Self {
            connections_limited: counter(
                r,
                "connections_limited_total",
                "Times that receiver.max_connections was reached, so that an idle connection was closed or a new one had to wait.",
            )?,
            rejected: rejected::register(r)?,
            notifications: counters(
                r,
                "notifications_total",
                "Notifications received, by status code of the response.",
                &["code"],
            )?,
            misdirected: counters(
                r,
                "misdirected_notifications_total",
                "POST requests to a path that does not accept notifications, by sender.",
                &["sender"],
            )?,
            alerts_received: counters(
                r,
                "alerts_received_total",
                "Alerts in accepted notifications.",
                &["status"],
            )?,
            alerts_truncated: counter(
                r,
                "alerts_truncated_total",
                "Alerts that Alertmanager left out of notifications because of max_alerts.",
            )?,
            alerts_unhandled: counter(
                r,
                "alerts_unhandled_total",
                "Alerts that Alertmanager left out of notifications and that could not be fetched from it either.",
            )?,
            decisions: counters(
                r,
                "decisions_total",
                "Decisions for each alert and binding: run, or the reason for skipping.",
                &["binding", "decision"],
            )?,
            runs: counters(
                r,
                "runs_total",
                "Finished runs. A run of several roles counts once for each.",
                &["role", "trigger", "outcome"],
            )?,
            run_hosts: counters(
                r,
                "run_hosts_total",
                "Hosts of finished runs. A run of several roles counts once for each.",
                &["role", "trigger", "outcome"],
            )?,
            run_duration: histograms(
                r,
                "run_duration_seconds",
                "Duration of runs, from start to end.",
                "role",
                &[
                    1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
                ],
            )?,
            run_queue: histograms(
                r,
                "run_queue_seconds",
                "Time that runs were queued, from the decision to the start.",
                "role",
                &[
                    0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
                ],
            )?,
            queued: gauge(r, "runs_queued", "Runs in the queue.")?,
            running: gauge(r, "runs_running", "Runs in progress.")?,
            last_success: gauges(
                r,
                "role_last_success_timestamp_seconds",
                "Timestamp of the last successful run of a role on a host.",
                &["role", "host"],
            )?,
            alert_to_resolved: histograms(
                r,
                "alert_to_resolved_seconds",
                "Time from the start to the end of alerts that had a run.",
                "binding",
                &[
                    10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0,
                    43200.0,
                ],
            )?,
            reload_successful: gauge(
                r,
                "config_last_reload_successful",
                "Whether the last attempt to reload the configuration succeeded.",
            )?,
            reload_success_time: float(
                r,
                "config_last_reload_success_timestamp_seconds",
                "Timestamp of the last successful reload of the configuration.",
            )?,
            inventory: InventoryMetrics::register(r)?,
            store_size: gauge(r, "store_size_bytes", "Size of the store's file.")?,
            store_quarantined: gauge(
                r,
                "store_quarantined_rows",
                "Rows of the store that could not be read and were set aside.",
            )?,
            commit_duration: histogram(
                r,
                "store_commit_duration_seconds",
                "Duration of the store's commits, including fsync.",
                &[
                    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
                ],
            )?,
            commit_batch: histogram(
                r,
                "store_commit_batch_size",
                "Operations per commit.",
                &[
                    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
                ],
            )?,
            events_rejected: counter(
                r,
                "run_events_rejected_total",
                "Lines of the Ansible callback plugin that could not be parsed.",
            )?,
            checks: CheckCollector::register(r)?,
            facts: FactMetrics::register(r)?,
            facts_stale_after: float(
                r,
                "facts_stale_after_seconds",
                "Age from which the facts of a host count as stale: facts.stale_after.",
            )?,
            sd_files: SdFiles::register(r)?,
            schedules: Schedules::register(r)?,
            messages: Messages::register(r)?,
            guards: Guards::register(r)?,
            objects_in_conflict: gauge(
                r,
                "objects_in_conflict",
                "Bindings and schedules made over the API that are ignored because they clash with the configuration file.",
            )?,
            bindings: Known::default(),
            roles: Known::default(),
            unshown: Arc::default(),
            registry,
        };
        metrics.start()?;
        Ok(metrics)
    }

    fn start(&self) -> Result<(), prometheus::Error> {
        let info = gauges(
            &self.registry,
            "build_info",
            "A constant 1, labelled with the version, the revision and the Rust version.",
            &["version", "revision", "rustversion"],
        )?;
        info.with_label_values(&[
            crate::util::build::VERSION,
            crate::util::build::REVISION,
            crate::util::build::RUST_VERSION,
        ])
        .set(1.0);
        #[cfg(target_os = "linux")]
        self.registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        for code in RECEIVER_CODES {
            self.notifications.with_label_values(&[code.to_string()]);
        }
        for sender in Sender::ALL {
            self.misdirected.with_label_values(&[sender.as_str()]);
        }
        for status in Status::ALL {
            self.alerts_received.with_label_values(&[status.as_str()]);
        }
        self.decisions
            .with_label_values(&["", Skip::NoBinding.as_str()]);
        Ok(())
    }
}
