//! Making a metric and registering it: a line each in the table of [`super::Metrics`].

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
