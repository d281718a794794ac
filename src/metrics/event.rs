//! The events that the store reports to the metrics.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Metrics, seconds};
use crate::model::alert::Status;
use crate::model::facts::HostFacts;
use crate::model::findings::Findings;
use crate::model::run::{Outcome, Run};
use crate::model::verdict::Verdict;

/// An event that was committed to disk and is to be counted.
#[derive(Debug, Clone)]
pub enum MetricEvent {
    /// An alert arrived.
    Alert(Status),
    /// Alertmanager left this many alerts out of a notification.
    Truncated(u64),
    /// A decision was made for an alert and a binding.
    Decision {
        /// Empty if no binding matched.
        binding: String,
        /// `run` or the reason for skipping.
        decision: &'static str,
    },
    /// A row of the store could not be decoded and was moved to quarantine.
    Quarantined {
        table: String,
        /// The key in readable form.
        key: String,
        reason: String,
    },
    /// A run started.
    Started {
        roles: Vec<String>,
        /// The time in the queue.
        waited: Duration,
    },
    /// A role with declared checks reported on a host.
    Reported {
        role: String,
        host: String,
        at: DateTime<Utc>,
        /// All findings of one run.
        findings: Findings,
    },
    /// Facts of a host were gathered or imported.
    Facts(Box<HostFacts>),
    /// The facts of a host were deleted.
    FactsForgotten(String),
    /// A host left the inventory. Its facts are kept for a while in case the host returns.
    FactsHidden(String),
    /// A host returned to the inventory. Its facts were counted before.
    FactsBack(Box<HostFacts>),
    /// A host returned: restores the time of a role's last success there.
    SuccessBack {
        role: String,
        host: String,
        at: DateTime<Utc>,
    },
    /// A host returned: restores the last report of a role there.
    ReportBack {
        role: String,
        host: String,
        at: DateTime<Utc>,
        findings: Findings,
    },
    /// A run ended.
    Finished(Box<Run>),
    /// A host left the inventory.
    Forgotten {
        /// A role that succeeded there or reported on it.
        role: String,
        host: String,
    },
    /// Scheduled times passed without a run.
    ScheduleMissed {
        schedule: String,
        /// The number of missed times.
        times: u64,
    },
    /// A run got its verdict for an episode.
    Verdict {
        binding: String,
        roles: Vec<String>,
        verdict: Verdict,
    },
    /// The outbox was full, so its oldest message was dropped.
    MessageDropped {
        /// The notifiers that had already delivered it.
        settled: BTreeSet<String>,
    },
    /// An episode that had a run resolved.
    Resolved {
        binding: String,
        /// From the alert's start to its end.
        took: Duration,
    },
}

impl Metrics {
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
}
