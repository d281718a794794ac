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
mod table;

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
use register::{Known, keep_only};
pub use rejected::Rejected;
pub use schedules::Schedules;
pub use sd::SdFiles;
pub use sender::Sender;

use crate::model::facts::{HostFacts, HostOptions};
use crate::model::findings::{Declared, Findings};
use crate::model::guards::{Hold, Holds};
use crate::model::run::{Outcome, RUN, Skip, Trigger};

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
