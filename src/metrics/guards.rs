//! The metrics of verdicts, pauses, holds, storms and circuits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{GaugeVec, IntCounterVec, IntGauge, Registry};

use super::register::{Known, counters, gauge, gauges, keep_only};
use crate::model::guards::{ALL, Hold, Holds};
use crate::model::verdict::Verdict;

#[derive(Clone)]
pub(super) struct Guards {
    remediations: IntCounterVec,
    role_verdicts: IntCounterVec,
    paused: IntGauge,
    hosts_held: IntGauge,
    runs_held: GaugeVec,
    storm_held: GaugeVec,
    circuit_open: GaugeVec,
    bindings: Known,
    roles: Known,
    last: Arc<Mutex<Last>>,
}

/// The last state, including bindings and roles that are not configured.
#[derive(Default)]
struct Last {
    storms: BTreeSet<String>,
    open: BTreeSet<String>,
}

impl Guards {
    pub(super) fn register(r: &Registry) -> Result<Self, prometheus::Error> {
        let guards = Self {
            remediations: counters(
                r,
                "remediations_total",
                "Alerts after a successful run, by whether they resolved in time.",
                &["binding", "verdict"],
            )?,
            role_verdicts: counters(
                r,
                "role_verdicts_total",
                "Alerts after a successful run, by role and whether they resolved in time. A run of several roles counts once for each.",
                &["role", "verdict"],
            )?,
            paused: gauge(r, "paused", "Whether everything is paused.")?,
            hosts_held: gauge(r, "hosts_held", "Hosts on hold.")?,
            runs_held: gauges(
                r,
                "runs_held",
                "Queued runs that wait for a person, by reason.",
                &["reason"],
            )?,
            storm_held: gauges(
                r,
                "storm_held",
                "Whether a storm holds runs because too many hosts would be affected. The empty binding is the storm of all bindings.",
                &["binding"],
            )?,
            circuit_open: gauges(
                r,
                "circuit_open",
                "Whether a role is suspended because it failed too often in a row.",
                &["role"],
            )?,
            bindings: Known::default(),
            roles: Known::default(),
            last: Arc::default(),
        };
        guards.storm_held.with_label_values(&[ALL]);
        guards.held(&BTreeMap::new());
        Ok(guards)
    }

    pub(super) fn preregister(&self, bindings: &BTreeSet<String>, roles: &BTreeSet<String>) {
        let mut storm_labels = bindings.clone();
        storm_labels.insert(ALL.to_owned());
        self.bindings.replace(storm_labels.clone());
        self.roles.replace(roles.clone());
        keep_only(&self.storm_held, "binding", &storm_labels);
        keep_only(&self.remediations, "binding", bindings);
        keep_only(&self.circuit_open, "role", roles);
        keep_only(&self.role_verdicts, "role", roles);
        for binding in bindings {
            self.storm_held.with_label_values(&[binding]);
            for verdict in Verdict::ALL {
                let labels = [binding, verdict.as_str()];
                self.remediations.with_label_values(&labels);
            }
        }
        for role in roles {
            self.circuit_open.with_label_values(&[role]);
            for verdict in Verdict::ALL {
                let labels = [role, verdict.as_str()];
                self.role_verdicts.with_label_values(&labels);
            }
        }
        self.show(&self.last.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn count_verdict(&self, binding: &str, roles: &[String], verdict: Verdict) {
        if self.bindings.has(binding) {
            let labels = [binding, verdict.as_str()];
            self.remediations.with_label_values(&labels).inc();
        }
        for role in roles.iter().filter(|role| self.roles.has(role)) {
            let labels = [role.as_str(), verdict.as_str()];
            self.role_verdicts.with_label_values(&labels).inc();
        }
    }

    #[allow(clippy::cast_precision_loss)] // runs in a queue
    pub(super) fn held(&self, held: &BTreeMap<Hold, usize>) {
        for reason in Hold::ALL {
            let runs = held.get(&reason).copied().unwrap_or(0);
            self.runs_held
                .with_label_values(&[reason.as_str()])
                .set(runs as f64);
        }
    }

    pub(super) fn book(&self, book: &Holds) {
        self.paused.set(i64::from(book.pause.is_some()));
        self.hosts_held
            .set(i64::try_from(book.hosts.len()).unwrap_or(i64::MAX));
        let open = book
            .streaks
            .iter()
            .filter(|(_, streak)| streak.open.is_some());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.storms = book.storms.keys().cloned().collect();
        last.open = open.map(|(role, _)| role.clone()).collect();
        self.show(&last);
    }

    fn show(&self, last: &Last) {
        let storms = last.storms.iter().filter(|of| self.bindings.has(of));
        show(&self.storm_held, "binding", storms);
        let open = last.open.iter().filter(|of| self.roles.has(of));
        show(&self.circuit_open, "role", open);
    }
}

/// Sets these gauges to 1 and all other existing ones to 0.
fn show<'a>(gauges: &GaugeVec, label: &str, ones: impl Iterator<Item = &'a String>) {
    for family in prometheus::core::Collector::collect(gauges) {
        for metric in family.get_metric() {
            let pair = metric.get_label().iter().find(|l| l.name() == label);
            if let Some(value) = pair {
                gauges.with_label_values(&[value.value()]).set(0.0);
            }
        }
    }
    for one in ones {
        gauges.with_label_values(&[one]).set(1.0);
    }
}
