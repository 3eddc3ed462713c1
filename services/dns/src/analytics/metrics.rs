//! What is counted of counting.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

pub(super) struct AnalyticsMetrics {
    pub(super) interval: Gauge,
    pub(super) uncounted: Counter,
    pub(super) lost: Counter,
    /// Reports, by what came of sending them.
    pub(super) kept: Counter,
    pub(super) retried: Counter,
    pub(super) given_up: Counter,
    pub(super) store_bytes: Gauge,
}

impl AnalyticsMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let reports = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let by = |outcome| reports.get_or_create(&[("outcome", outcome)]).clone();
        let metrics = Self {
            interval: Gauge::default(),
            uncounted: Counter::default(),
            lost: Counter::default(),
            kept: by("kept"),
            retried: by("retried"),
            given_up: by("given_up"),
            store_bytes: Gauge::default(),
        };
        let m = &metrics;
        registry.register("sample_interval", "One answer in so many is sampled", m.interval.clone());
        registry.register("uncounted", "Answers that were too many to be counted", m.uncounted.clone());
        registry.register("lost", "Queries that were counted and never reported", m.lost.clone());
        registry.register("reports", "Reports sent to the log's node, by what came of it", reports);
        registry.register("store_bytes", "Octets in use at the log's node", m.store_bytes.clone());
        metrics
    }
}
