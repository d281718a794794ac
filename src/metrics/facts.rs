//! The metrics of host facts: which families and which extra facts are exposed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use prometheus::{IntCounter, IntCounterVec, Registry};

use super::hosts::{HostFamily, HostMetrics, HostSample, Page};
use super::register::{counter, counters};
use crate::model::facts::{FAMILIES, Facts, Family, HostFacts, HostOptions, extra, series};

/// Exposes facts. Cheap to clone; all clones share the same state.
#[derive(Clone)]
pub(super) struct FactMetrics {
    rejected: IntCounter,
    dropped: IntCounterVec,
    chosen: Arc<RwLock<Chosen>>,
    /// Host → gathering time of the exposed facts. *Units*: microseconds since 1970.
    shown: Arc<Mutex<HashMap<String, i64>>>,
    pages: HostMetrics,
}

/// The facts of a host that are not exposed.
#[derive(Default)]
pub(super) struct Omitted {
    /// The number of values that could not be parsed.
    rejected: u64,
    /// Families with the number of series beyond the limit.
    dropped: Vec<(usize, u64)>,
}

#[derive(Default)]
struct Chosen {
    options: HostOptions,
    /// The index on the page for each of [`FAMILIES`].
    places: Vec<Option<usize>>,
    /// The index of the first extra fact.
    extras: usize,
}

impl FactMetrics {
    /// Creates the metrics and registers their counters.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            rejected: counter(
                registry,
                "fact_values_rejected_total",
                "Values of facts that were rejected because they have the wrong type or format.",
            )?,
            dropped: counters(
                registry,
                "host_series_dropped_total",
                "Series of a host metric that were dropped because the host exceeds facts.metrics.series_limit.",
                &["metric"],
            )?,
            chosen: Arc::default(),
            shown: Arc::default(),
            pages: HostMetrics::default(),
        };
        // The other families have one series per host.
        let several = |family: &&Family| family.labels.contains(&"device");
        for family in FAMILIES.iter().filter(several) {
            metrics.dropped.with_label_values(&[family.name]);
        }
        metrics.choose(&HostOptions::default());
        Ok(metrics)
    }

    /// Resets the metrics to these options. No host is exposed until its facts are set again.
    pub(super) fn choose(&self, options: &HostOptions) {
        let mut families = Vec::new();
        let mut places = Vec::new();
        for family in FAMILIES {
            places.push(options.shows(family.name).then_some(families.len()));
            if options.shows(family.name) {
                families.push(HostFamily {
                    name: family.name.to_owned(),
                    help: family.help.to_owned(),
                    labels: family
                        .labels
                        .iter()
                        .map(|&label| label.to_owned())
                        .collect(),
                });
            }
        }
        let extras = families.len();
        families.extend(options.extra.iter().map(|extra| HostFamily {
            name: extra.name.clone(),
            help: extra.help.clone(),
            labels: Vec::new(),
        }));
        let mut chosen = self.chosen.write().unwrap_or_else(PoisonError::into_inner);
        *chosen = Chosen {
            options: options.clone(),
            places,
            extras,
        };
        self.shown().clear();
        self.pages.reset(families);
    }

    fn shown(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn options(&self) -> HostOptions {
        self.chosen
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .options
            .clone()
    }

    /// Exposes a host's facts, unless later ones are exposed already. Returns the omitted values.
    pub(super) fn show(&self, of: &HostFacts) -> Omitted {
        let chosen = self.chosen.read().unwrap_or_else(PoisonError::into_inner);
        let made = series(of, chosen.options.limit);
        let mut rejected = made.not_understood;
        let known = made.samples.iter().filter_map(|sample| {
            let family = *chosen.places.get(sample.family)?;
            Some(HostSample {
                family: family?,
                labels: &sample.labels,
                value: sample.value,
            })
        });
        let mut samples: Vec<HostSample<'_>> = known.collect();
        for (place, wanted) in chosen.options.extra.iter().enumerate() {
            match extra(Facts::new(&of.facts), &wanted.path) {
                Ok(Some(value)) => {
                    samples.push(HostSample {
                        family: chosen.extras + place,
                        labels: &[],
                        value,
                    });
                }
                Ok(None) => {}
                Err(_) => rejected += 1,
            }
        }
        let at = of.gathered_at.timestamp_micros();
        let mut shown = self.shown();
        if shown.get(&of.host).is_some_and(|shown| *shown > at) {
            return Omitted::default();
        }
        shown.insert(of.host.clone(), at);
        self.pages.set(&of.host, &samples);
        let is_shown = |family: &usize| matches!(chosen.places.get(*family), Some(Some(_)));
        let dropped = made
            .dropped
            .into_iter()
            .filter(|(family, _)| is_shown(family));
        Omitted {
            rejected,
            dropped: dropped.collect(),
        }
    }

    /// Like [`show`](Self::show), and counts the omitted values.
    pub(super) fn count(&self, of: &HostFacts) {
        let left_out = self.show(of);
        self.rejected.inc_by(left_out.rejected);
        for (family, series) in left_out.dropped {
            let name = FAMILIES[family].name;
            self.dropped.with_label_values(&[name]).inc_by(series);
        }
    }

    pub(super) fn forget(&self, host: &str) {
        let mut shown = self.shown();
        shown.remove(host);
        self.pages.remove(host);
    }

    pub(super) fn page(&self) -> Page {
        self.pages.page()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::facts::ExtraFact;

    fn shown(options: &HostOptions) -> (Vec<String>, u64) {
        let metrics = FactMetrics::register(&Registry::new()).unwrap();
        metrics.choose(options);
        let facts = json!({"ansible_memtotal_mb": 2, "ansible_memfree_mb": "x", "ansible_processor_vcpus": 4,
            "ansible_local": {"backup": {"age": 7.5, "ok": true}}});
        metrics.count(&HostFacts {
            host: "web1".to_owned(),
            gathered_at: chrono::DateTime::from_timestamp(5, 0).unwrap(),
            live: false,
            facts: facts.as_object().unwrap().clone(),
        });
        let text = String::from_utf8(metrics.page().plain().concat()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let lines = lines
            .map(|line| line.replace("promansible_host_", ""))
            .collect();
        (lines, metrics.rejected.get())
    }

    #[test]
    fn what_is_shown_is_chosen() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let memory = r#"memory_total_bytes{host="web1"} 2097152"#.to_owned();
        let time = r#"facts_timestamp_seconds{host="web1"} 5"#.to_owned();
        let cpus = r#"vcpus{host="web1"} 4"#.to_owned();
        let all = HostOptions::default();
        assert_eq!(
            shown(&all),
            (vec![time.clone(), memory.clone(), cpus.clone()], 1)
        );
        let some = HostOptions {
            only: names(&["memory_*", "vcpus"]),
            never: names(&["vcpus"]),
            ..HostOptions::default()
        };
        assert_eq!(shown(&some), (vec![memory.clone()], 1));
        let further = |name: &str, path: &str| ExtraFact {
            name: name.to_owned(),
            help: "A fact.".to_owned(),
            path: path.to_owned(),
        };
        let extra = vec![
            further("backup_age_seconds", "ansible_local.backup.age"),
            further("backup_ok", "local.backup.ok"),
            further("backup", "ansible_local.backup"),
            further("none", "ansible_local.none"),
        ];
        let more = HostOptions {
            only: names(&["vcpus"]),
            extra,
            ..HostOptions::default()
        };
        let age = r#"backup_age_seconds{host="web1"} 7.5"#.to_owned();
        let ok = r#"backup_ok{host="web1"} 1"#.to_owned();
        assert_eq!(shown(&more), (vec![cpus, age, ok], 2));
    }
}
