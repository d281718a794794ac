//! promansible's own metrics, on a registry supplied by the caller.
//!
//! Every label value that can be known exists at zero from the start. Labels come only from the configuration, the
//! inventory and enums, never from the text of an alert; labels of checks come from the reports of their roles.

mod checks;
mod event;
mod facts;
mod guards;
pub mod hosts;
mod inventory;
mod messages;
mod register;
mod rejected;
mod schedules;
mod sd;
mod sender;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry,
};

use checks::CheckCollector;
pub use event::MetricEvent;
use facts::FactMetrics;
use guards::Guards;
use hosts::Page;
pub use inventory::InventoryMetrics;
pub use messages::{MessageResult, Messages};
use register::{Known, counter, counters, float, gauge, gauges, histogram, histograms, keep_only};
pub use rejected::Rejected;
pub use schedules::Schedules;
pub use sd::SdFiles;
pub use sender::Sender;

use crate::model::alert::Status;
use crate::model::facts::{HostFacts, HostOptions};
use crate::model::findings::{Declared, Findings};
use crate::model::guards::{Hold, Holds};
use crate::model::run::{Outcome, RUN, Run, Skip, Trigger};

/// The status codes that the receiver returns.
pub const RECEIVER_CODES: [u16; 6] = [200, 400, 403, 413, 415, 503];

/// All metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    connections_limited: IntCounter,
    rejected: IntCounterVec,
    notifications: IntCounterVec,
    misdirected: IntCounterVec,
    alerts_received: IntCounterVec,
    alerts_truncated: IntCounter,
    alerts_unhandled: IntCounter,
    decisions: IntCounterVec,
    runs: IntCounterVec,
    run_hosts: IntCounterVec,
    run_duration: HistogramVec,
    run_queue: HistogramVec,
    queued: IntGauge,
    running: IntGauge,
    last_success: GaugeVec,
    alert_to_resolved: HistogramVec,
    reload_successful: IntGauge,
    reload_success_time: Gauge,
    inventory: InventoryMetrics,
    store_size: IntGauge,
    store_quarantined: IntGauge,
    commit_duration: Histogram,
    commit_batch: Histogram,
    events_rejected: IntCounter,
    checks: CheckCollector,
    facts: FactMetrics,
    facts_stale_after: Gauge,
    sd_files: SdFiles,
    schedules: Schedules,
    messages: Messages,
    guards: Guards,
    objects_in_conflict: IntGauge,
    bindings: Known,
    roles: Known,
    /// The last successes of roles that are not configured any more, until they return.
    unshown: Arc<Mutex<BTreeMap<(String, String), f64>>>,
}

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

    /// Exposes exactly these bindings and roles, with 0 where nothing was counted yet.
    pub fn preregister<'a>(
        &self,
        bindings: impl IntoIterator<Item = &'a str>,
        roles: impl IntoIterator<Item = &'a str>,
    ) {
        let owned = |name: &str| name.to_owned();
        let bindings: BTreeSet<String> = bindings.into_iter().map(owned).collect();
        let roles: BTreeSet<String> = roles.into_iter().map(owned).collect();
        self.bindings.replace(bindings.clone());
        self.roles.replace(roles.clone());
        self.forget_others(&bindings, &roles);
        self.guards.preregister(&bindings, &roles);
        for binding in bindings.iter().map(String::as_str) {
            self.decisions.with_label_values(&[binding, RUN]);
            for skip in Skip::ALL.into_iter().filter(|s| *s != Skip::NoBinding) {
                self.decisions.with_label_values(&[binding, skip.as_str()]);
            }
            self.alert_to_resolved.with_label_values(&[binding]);
        }
        for role in roles.iter().map(String::as_str) {
            self.run_duration.with_label_values(&[role]);
            self.run_queue.with_label_values(&[role]);
            for trigger in Trigger::ALL {
                for outcome in Outcome::ALL {
                    let labels = [role, trigger.as_str(), outcome.as_str()];
                    self.runs.with_label_values(&labels);
                    self.run_hosts.with_label_values(&labels);
                }
            }
        }
    }

    /// Removes the series of other bindings and roles.
    fn forget_others(&self, bindings: &BTreeSet<String>, roles: &BTreeSet<String>) {
        let mut decision_labels = bindings.clone();
        // Alerts without a binding have an empty label.
        decision_labels.insert(String::new());
        keep_only(&self.decisions, "binding", &decision_labels);
        keep_only(&self.alert_to_resolved, "binding", bindings);
        keep_only(&self.runs, "role", roles);
        keep_only(&self.run_hosts, "role", roles);
        keep_only(&self.run_duration, "role", roles);
        keep_only(&self.run_queue, "role", roles);
        let mut unshown = self.unshown.lock().unwrap_or_else(PoisonError::into_inner);
        for family in prometheus::core::Collector::collect(&self.last_success) {
            for metric in family.get_metric() {
                let value = |name| {
                    let mut labels = metric.get_label().iter();
                    let label = labels.find(|label| label.name() == name);
                    label
                        .map(|label| label.value().to_owned())
                        .unwrap_or_default()
                };
                let role = value("role");
                if !roles.contains(&role) {
                    unshown.insert((role, value("host")), metric.get_gauge().get_value());
                }
            }
        }
        keep_only(&self.last_success, "role", roles);
        unshown.retain(|(role, host), at| {
            let is_back = roles.contains(role);
            if is_back {
                self.last_success.with_label_values(&[role, host]).set(*at);
            }
            !is_back
        });
    }

    /// Applies the declarations of checks to all reports, including earlier ones.
    pub fn declare(&self, declared: &Declared) {
        self.checks.declare(declared);
    }

    /// Sets the gauges of pauses, holds, storms and circuits.
    pub fn guards(&self, book: &Holds) {
        self.guards.book(book);
    }

    /// Sets the number of queued runs that wait for a person.
    pub fn held(&self, held: &BTreeMap<Hold, usize>) {
        self.guards.held(held);
    }

    /// Counts an event that was committed to disk.
    pub fn count(&self, event: &MetricEvent) {
        match event {
            MetricEvent::Alert(status) => self
                .alerts_received
                .with_label_values(&[status.as_str()])
                .inc(),
            MetricEvent::Truncated(alerts) => self.alerts_truncated.inc_by(*alerts),
            MetricEvent::Decision { binding, decision } => {
                if !binding.is_empty() && !self.bindings.has(binding) {
                    return;
                }
                self.decisions
                    .with_label_values(&[binding.as_str(), decision])
                    .inc();
            }
            // The gauge is set from the store.
            MetricEvent::Quarantined { .. } => {}
            MetricEvent::Started { roles, waited } => {
                for role in roles.iter().filter(|role| self.roles.has(role)) {
                    self.run_queue
                        .with_label_values(&[role])
                        .observe(waited.as_secs_f64());
                }
            }
            MetricEvent::Reported {
                role,
                host,
                at,
                findings,
            } => self
                .checks
                .count(role, host, seconds(*at), findings.clone()),
            MetricEvent::Facts(of) => self.facts.count(of),
            MetricEvent::FactsForgotten(host) | MetricEvent::FactsHidden(host) => {
                self.facts.forget(host);
            }
            MetricEvent::FactsBack(of) => self.show_facts(of),
            MetricEvent::SuccessBack { role, host, at } => self.last_success(role, host, *at),
            MetricEvent::ReportBack {
                role,
                host,
                at,
                findings,
            } => self.reported(role, host, *at, findings.clone()),
            MetricEvent::Finished(run) => self.finished(run),
            // Fails only if the series was never exposed.
            MetricEvent::Forgotten { role, host } => {
                self.checks.forget(role, host);
                let _ = self.last_success.remove_label_values(&[role, host]);
                let mut unshown = self.unshown.lock().unwrap_or_else(PoisonError::into_inner);
                unshown.remove(&(role.clone(), host.clone()));
            }
            MetricEvent::Verdict {
                binding,
                roles,
                verdict,
            } => self.guards.count_verdict(binding, roles, *verdict),
            MetricEvent::ScheduleMissed { schedule, times } => {
                self.schedules.missed(schedule, *times);
            }
            MetricEvent::MessageDropped { settled } => self.messages.dropped(settled),
            MetricEvent::Resolved { binding, took } => {
                if self.bindings.has(binding) {
                    let resolved = self.alert_to_resolved.with_label_values(&[binding]);
                    resolved.observe(took.as_secs_f64());
                }
            }
        }
    }

    fn finished(&self, run: &Run) {
        let (Some(outcome), Some(ended)) = (run.outcome, run.finished_at) else {
            return;
        };
        let trigger = run.trigger.as_str();
        for role in &run.work.roles {
            for (host, result) in &run.results {
                if result.outcome == Outcome::Successful && !run.work.check {
                    self.last_success(role, host, ended);
                }
            }
            if !self.roles.has(role) {
                continue;
            }
            self.runs
                .with_label_values(&[role, trigger, outcome.as_str()])
                .inc();
            for result in run.results.values() {
                self.run_hosts
                    .with_label_values(&[role, trigger, result.outcome.as_str()])
                    .inc();
            }
            // A run that never started has no duration.
            if let Some(started) = run.started_at {
                let took = (ended - started).to_std().unwrap_or_default();
                self.run_duration
                    .with_label_values(&[role])
                    .observe(took.as_secs_f64());
            }
        }
    }

    /// Sets the time of a role's last success on a host.
    pub fn last_success(&self, role: &str, host: &str, at: DateTime<Utc>) {
        if self.roles.has(role) {
            let shown = self.last_success.with_label_values(&[role, host]);
            return shown.set(seconds(at));
        }
        let mut unshown = self.unshown.lock().unwrap_or_else(PoisonError::into_inner);
        unshown.insert((role.to_owned(), host.to_owned()), seconds(at));
    }

    /// Exposes a report from before this start without counting it again.
    pub fn reported(&self, role: &str, host: &str, at: DateTime<Utc>, findings: Findings) {
        self.checks.report(role, host, seconds(at), findings);
    }

    /// Exposes facts from before this start without counting them again.
    pub fn show_facts(&self, of: &HostFacts) {
        self.facts.show(of);
    }

    /// Selects the exposed host metrics. Returns whether the selection changed; if so, no host is exposed until its
    /// facts are set again.
    pub fn choose_facts(&self, options: &HostOptions) -> bool {
        let other = self.facts.options() != *options;
        if other {
            self.facts.choose(options);
        }
        other
    }

    /// Sets the age from which facts count as stale.
    pub fn facts_stale_after(&self, age: Duration) {
        self.facts_stale_after.set(age.as_secs_f64());
    }

    /// Returns the metrics of all hosts.
    pub fn hosts_page(&self) -> Page {
        self.facts.page()
    }

    /// Sets the number of bindings and schedules that are ignored.
    pub fn objects_in_conflict(&self, objects: usize) {
        self.objects_in_conflict.set(whole(objects));
    }

    pub fn schedules(&self) -> &Schedules {
        &self.schedules
    }

    pub fn messages(&self) -> &Messages {
        &self.messages
    }

    pub fn sd_files(&self) -> &SdFiles {
        &self.sd_files
    }

    /// Counts an event in which the limit of connections was reached.
    pub fn connections_limited(&self) {
        self.connections_limited.inc();
    }

    /// Counts truncated alerts that could not be fetched.
    pub fn alerts_unhandled(&self, alerts: u64) {
        self.alerts_unhandled.inc_by(alerts);
    }

    /// Counts the response to a notification.
    pub fn notification(&self, code: u16) {
        self.notifications
            .with_label_values(&[code.to_string()])
            .inc();
    }

    /// Counts a request that was rejected before it was processed.
    pub fn rejected(&self, why: Rejected) {
        self.rejected.with_label_values(&[why.as_str()]).inc();
    }

    /// Counts a POST request to a path that does not accept notifications.
    pub fn misdirected(&self, sender: Sender) {
        self.misdirected.with_label_values(&[sender.as_str()]).inc();
    }

    /// Sets the number of queued and of running runs.
    pub fn queue(&self, queued: usize, running: usize) {
        self.queued.set(whole(queued));
        self.running.set(whole(running));
    }

    /// Observes a commit and its number of operations.
    pub fn committed(&self, took: Duration, operations: usize) {
        self.commit_duration.observe(took.as_secs_f64());
        #[allow(clippy::cast_precision_loss)] // a batch is small
        self.commit_batch.observe(operations as f64);
    }

    /// Sets the number of quarantined rows of the store.
    pub fn quarantined(&self, rows: u64) {
        self.store_quarantined
            .set(i64::try_from(rows).unwrap_or(i64::MAX));
    }

    /// Returns the number of quarantined rows of the store.
    pub fn quarantined_rows(&self) -> usize {
        usize::try_from(self.store_quarantined.get()).unwrap_or(0)
    }

    /// Records an attempt to reload the configuration.
    pub fn config_read(&self, ok: bool, now: DateTime<Utc>) {
        self.reload_successful.set(i64::from(ok));
        if ok {
            self.reload_success_time.set(seconds(now));
        }
    }

    /// Returns whether the last attempt to reload the configuration succeeded.
    pub fn is_config_read(&self) -> bool {
        self.reload_successful.get() == 1
    }

    pub fn inventory(&self) -> &InventoryMetrics {
        &self.inventory
    }

    /// Counts lines of the callback plugin that could not be parsed.
    pub fn events_rejected(&self, lines: u64) {
        self.events_rejected.inc_by(lines);
    }

    /// Returns all families, for an encoder.
    pub fn gather(&self, store_size_bytes: u64) -> Vec<prometheus::proto::MetricFamily> {
        self.store_size
            .set(i64::try_from(store_size_bytes).unwrap_or(i64::MAX));
        self.registry.gather()
    }
}

#[allow(clippy::cast_precision_loss)] // milliseconds since 1970 are exact in an f64
fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}

fn whole(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
