//! Helpers that create and register one metric each, for the table in [`crate::metrics::Metrics`].

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry,
};

pub(super) fn name(name: &str) -> String {
    format!("promansible_{name}")
}

pub(super) fn register<C>(
    registry: &Registry,
    made: Result<C, prometheus::Error>,
) -> Result<C, prometheus::Error>
where
    C: prometheus::core::Collector + Clone + 'static,
{
    let made = made?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

type Made<C> = Result<C, prometheus::Error>;

pub(super) fn counter(r: &Registry, n: &str, help: &str) -> Made<IntCounter> {
    register(r, IntCounter::new(name(n), help))
}

pub(super) fn counters(r: &Registry, n: &str, help: &str, labels: &[&str]) -> Made<IntCounterVec> {
    register(r, IntCounterVec::new(Opts::new(name(n), help), labels))
}

pub(super) fn gauge(r: &Registry, n: &str, help: &str) -> Made<IntGauge> {
    register(r, IntGauge::new(name(n), help))
}

pub(super) fn float(r: &Registry, n: &str, help: &str) -> Made<Gauge> {
    register(r, Gauge::new(name(n), help))
}

pub(super) fn gauges(r: &Registry, n: &str, help: &str, labels: &[&str]) -> Made<GaugeVec> {
    register(r, GaugeVec::new(Opts::new(name(n), help), labels))
}

pub(super) fn histogram(r: &Registry, n: &str, help: &str, buckets: &[f64]) -> Made<Histogram> {
    let options = HistogramOpts::new(name(n), help).buckets(buckets.to_vec());
    register(r, Histogram::with_opts(options))
}

pub(super) fn histograms(
    r: &Registry,
    n: &str,
    help: &str,
    label: &str,
    buckets: &[f64],
) -> Made<HistogramVec> {
    let options = HistogramOpts::new(name(n), help).buckets(buckets.to_vec());
    register(r, HistogramVec::new(options, &[label]))
}

/// Removes the series whose label has none of these values.
pub(super) fn keep_only<B: MetricVecBuilder>(
    metrics: &MetricVec<B>,
    label: &str,
    known: &BTreeSet<String>,
) {
    for family in metrics.collect() {
        for metric in family.get_metric() {
            let labels = metric.get_label().iter();
            let labels: HashMap<&str, &str> =
                labels.map(|pair| (pair.name(), pair.value())).collect();
            if labels
                .get(label)
                .is_some_and(|value| !known.contains(*value))
            {
                // Fails only if the series was removed in the meantime.
                let _ = metrics.remove(&labels);
            }
        }
    }
}

/// The values that a label may have, once they are known. Other values belong to an earlier configuration: a run that
/// ends late must not bring its series back.
#[derive(Clone, Default)]
pub(super) struct Known(Arc<RwLock<Option<BTreeSet<String>>>>);

impl Known {
    pub(super) fn replace(&self, values: BTreeSet<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(values);
    }

    /// Returns whether this value is exposed.
    pub(super) fn has(&self, value: &str) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_none_or(|known| known.contains(value))
    }
}
