//! The values that roles report, as gauges. The roles declare their names and labels.
//!
//! The families are built for each scrape from the stored reports: declarations change with the configuration, and
//! series are removed with their host.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{IntCounterVec, Registry};

use super::register::{counters, keep_only};
use crate::model::findings::{Declared, Figures, Findings, Sample, figures};

const TIMESTAMP: &str = "promansible_check_timestamp_seconds";
const TIMESTAMP_HELP: &str = "Timestamp of the last report of a role on a host.";

/// Role and host.
type ReportKey = (String, String);

/// Exposes the reported values. Cheap to clone; all clones share the same state.
#[derive(Clone)]
pub(super) struct CheckCollector {
    rejected: IntCounterVec,
    state: Arc<RwLock<State>>,
    desc: Desc,
}

#[derive(Default)]
struct State {
    declared: Declared,
    reports: BTreeMap<ReportKey, Report>,
}

struct Report {
    at_seconds: f64,
    /// Stored in full: a reload may declare other values.
    findings: Findings,
    samples: Vec<Sample>,
}

impl CheckCollector {
    /// Registers the collector and its counter.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        // The registry identifies collectors by their descriptions; the declarations of roles are not known yet.
        let labels = vec!["role".to_owned(), "host".to_owned()];
        let collector = Self {
            rejected: counters(
                registry,
                "check_values_rejected_total",
                "Values of declared checks that were rejected: not a number, a duplicate, or too many.",
                &["role"],
            )?,
            state: Arc::default(),
            desc: Desc::new(
                TIMESTAMP.to_owned(),
                TIMESTAMP_HELP.to_owned(),
                labels,
                std::collections::HashMap::new(),
            )?,
        };
        registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    /// Applies new declarations to all reports, including earlier ones.
    pub(super) fn declare(&self, declared: &Declared) {
        keep_only(&self.rejected, "role", &declared.keys().cloned().collect());
        for role in declared.keys() {
            self.rejected.with_label_values(&[role]);
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.declared.clone_from(declared);
        let State { declared, reports } = &mut *state;
        for ((role, _), report) in reports {
            report.samples = evaluate(declared, role, &report.findings).samples;
        }
    }

    /// Replaces the previous report of a role on a host. Returns the number of rejected values. *Units*: `at_seconds`
    /// since 1970.
    pub(super) fn report(
        &self,
        role: &str,
        host: &str,
        at_seconds: f64,
        findings: Findings,
    ) -> u64 {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let Figures { samples, rejected } = evaluate(&state.declared, role, &findings);
        let report = Report {
            at_seconds,
            findings,
            samples,
        };
        let key = (role.to_owned(), host.to_owned());
        state.reports.insert(key, report);
        rejected
    }

    /// Like [`report`](Self::report), and counts the rejected values.
    pub(super) fn count(&self, role: &str, host: &str, at_seconds: f64, findings: Findings) {
        let rejected = self.report(role, host, at_seconds, findings);
        // A role without declarations has no counter, and none of its values were checked.
        if rejected > 0 {
            self.rejected.with_label_values(&[role]).inc_by(rejected);
        }
    }

    /// Removes the report of a role on a host.
    pub(super) fn forget(&self, role: &str, host: &str) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.reports.remove(&(role.to_owned(), host.to_owned()));
    }
}

fn evaluate(declared: &Declared, role: &str, findings: &Findings) -> Figures {
    declared
        .get(role)
        .map(|checks| figures(checks, findings))
        .unwrap_or_default()
}

impl Collector for CheckCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        // By name, so that two roles with the same check share a family.
        let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
        let declared = |role: &str| state.declared.get(role);
        for ((role, host), report) in &state.reports {
            let Some(checks) = declared(role) else {
                continue;
            };
            let mut show = |name: String, help: &str, labels, value| {
                let family = families.entry(name).or_insert_with_key(|name| {
                    let mut family = MetricFamily::default();
                    family.set_name(name.clone());
                    family.set_help(help.to_owned());
                    family.set_field_type(MetricType::GAUGE);
                    family
                });
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                let mut metric = Metric::from_label(labels);
                metric.set_gauge(gauge);
                family.mut_metric().push(metric);
            };
            let key = [pair("host", host), pair("role", role)];
            show(
                TIMESTAMP.to_owned(),
                TIMESTAMP_HELP,
                key.to_vec(),
                report.at_seconds,
            );
            for sample in &report.samples {
                let Some(check) = checks.get(&sample.check) else {
                    continue;
                };
                let own = check.labels.iter().zip(&sample.labels);
                let mut labels: Vec<LabelPair> = own.map(|(name, text)| pair(name, text)).collect();
                labels.extend_from_slice(&key);
                labels.sort_by(|a, b| a.name().cmp(b.name()));
                let name = format!("promansible_check_{}", sample.check);
                show(name, &check.help, labels, sample.value);
            }
        }
        families.into_values().collect()
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, Registry, TextEncoder};
    use serde_json::{Value, json};

    use crate::metrics::MetricEvent;
    use crate::metrics::Metrics;
    use crate::model::findings::{Check, Declared, Findings};

    fn declared(checks: &[(&str, &str, &[&str])]) -> Declared {
        let mut declared = Declared::new();
        for (role, name, labels) in checks {
            let check = Check {
                help: format!("What {name} is."),
                labels: labels.iter().map(|&label| label.to_owned()).collect(),
            };
            let checks_of_role = declared.entry((*role).to_owned()).or_default();
            checks_of_role.insert((*name).to_owned(), check);
        }
        declared
    }

    fn findings(value: &Value) -> Findings {
        value.as_object().unwrap().clone()
    }

    fn report(metrics: &Metrics, role: &str, host: &str, value: &Value) {
        metrics.count(&MetricEvent::Reported {
            role: role.to_owned(),
            host: host.to_owned(),
            at: chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            findings: findings(value),
        });
    }

    fn page(metrics: &Metrics) -> Vec<String> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&metrics.gather(0), &mut text)
            .unwrap();
        let text = String::from_utf8(text).unwrap();
        let ours = text.lines().filter(|line| line.contains("_check_"));
        ours.map(|line| line.replace("promansible_check_", ""))
            .collect()
    }

    #[test]
    fn figures_are_shown_as_they_are_declared() {
        let metrics = Metrics::new(Registry::new()).unwrap();
        assert!(page(&metrics).is_empty());
        metrics.declare(&declared(&[
            ("web", "up", &[]),
            ("dns", "up", &[]),
            ("dns", "answer_seconds", &["server", "name"]),
        ]));
        let answers = json!([{"value": 0.5, "name": "a\"\n", "server": "s"}, {"value": "x"}]);
        report(
            &metrics,
            "dns",
            "h1",
            &json!({"up": true, "answer_seconds": answers, "note": "n"}),
        );
        report(&metrics, "web", "h1", &json!({"up": false, "wanted": 3}));
        report(&metrics, "dns", "h2", &json!({"up": 1}));
        let all = r#"# HELP answer_seconds What answer_seconds is.
# TYPE answer_seconds gauge
answer_seconds{host="h1",name="a\"\n",role="dns",server="s"} 0.5
# HELP timestamp_seconds Timestamp of the last report of a role on a host.
# TYPE timestamp_seconds gauge
timestamp_seconds{host="h1",role="dns"} 1800000000
timestamp_seconds{host="h1",role="web"} 1800000000
timestamp_seconds{host="h2",role="dns"} 1800000000
# HELP up What up is.
# TYPE up gauge
up{host="h1",role="dns"} 1
up{host="h1",role="web"} 0
up{host="h2",role="dns"} 1
# HELP values_rejected_total Values of declared checks that were rejected: not a number, a duplicate, or too many.
# TYPE values_rejected_total counter
values_rejected_total{role="dns"} 1
values_rejected_total{role="web"} 0"#;
        assert_eq!(page(&metrics), all.lines().collect::<Vec<_>>());
    }

    #[test]
    fn a_reload_shows_what_was_reported_by_what_is_declared_now() {
        let metrics = Metrics::new(Registry::new()).unwrap();
        metrics.declare(&declared(&[("web", "up", &[])]));
        report(&metrics, "web", "h", &json!({"up": "x", "load": 2}));
        let samples = |metrics: &Metrics| -> Vec<String> {
            let all = page(metrics).into_iter();
            all.filter(|line| !line.starts_with('#')).collect()
        };
        let timestamp = r#"timestamp_seconds{host="h",role="web"} 1800000000"#;
        let rejected = r#"values_rejected_total{role="web"} 1"#;
        assert_eq!(samples(&metrics), [timestamp, rejected]);
        metrics.declare(&declared(&[("web", "load", &[])]));
        let load = r#"load{host="h",role="web"} 2"#;
        assert_eq!(samples(&metrics), [load, timestamp, rejected]);
        // A role without declarations has no series.
        metrics.declare(&Declared::new());
        assert_eq!(samples(&metrics), [""; 0]);
    }

    #[test]
    fn a_later_report_replaces_and_a_host_that_left_is_forgotten() {
        let metrics = Metrics::new(Registry::new()).unwrap();
        metrics.declare(&declared(&[("web", "up", &[]), ("web", "load", &[])]));
        report(&metrics, "web", "h", &json!({"up": 1, "load": 2}));
        report(&metrics, "web", "h", &json!({"up": 0}));
        let page_now = page(&metrics);
        assert!(page_now.contains(&r#"up{host="h",role="web"} 0"#.to_owned()));
        assert!(!page_now.iter().any(|line| line.starts_with("load")));
        metrics.count(&MetricEvent::Forgotten {
            role: "web".to_owned(),
            host: "h".to_owned(),
        });
        assert!(!page(&metrics).iter().any(|line| line.contains("host=")));
    }
}
