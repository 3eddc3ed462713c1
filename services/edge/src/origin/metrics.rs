//! Metrics of origin connections.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};
use proxima_chassis::Metrics;
use proxima_pipeline::Fault;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabel {
    /// [`Fault::name`]: from our own list, never from a customer.
    fault: &'static str,
}

/// What is counted. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct OriginMetrics {
    pub(super) opened: Counter,
    pub(super) reused: Counter,
    pub(super) retried: Counter,
    pub(super) idle: Gauge,
    pub(super) connect_seconds: Histogram,
    pub(super) first_byte_seconds: Histogram,
    faults: Family<FaultLabel, Counter>,
}

impl OriginMetrics {
    /// Registers them.
    pub(super) fn new(metrics: &Metrics) -> Self {
        // 0.25 ms to 131 s, doubling: from the same rack to what a person no longer waits for.
        let seconds = || Histogram::new(exponential_buckets(0.000_25, 2.0, 20));
        let made = Self {
            opened: Counter::default(),
            reused: Counter::default(),
            retried: Counter::default(),
            idle: Gauge::default(),
            connect_seconds: seconds(),
            first_byte_seconds: seconds(),
            faults: Family::default(),
        };
        metrics.register("edge", |registry| {
            registry.register(
                "origin_connections_opened",
                "Connections made to origins",
                made.opened.clone(),
            );
            let help = "Requests sent on a connection that had been used before";
            registry.register("origin_connections_reused", help, made.reused.clone());
            let help = "Requests sent again, since the connection had been closed before an answer";
            registry.register("origin_requests_retried", help, made.retried.clone());
            registry.register("origin_connections_idle", "Connections kept for reuse", made.idle.clone());
            let help = "Time to make a connection, TLS included";
            registry.register("origin_connect_seconds", help, made.connect_seconds.clone());
            let help = "Time from sending a request to the head of its answer";
            registry.register("origin_first_byte_seconds", help, made.first_byte_seconds.clone());
            registry.register(
                "origin_faults",
                "Requests that an origin failed, by fault",
                made.faults.clone(),
            );
        });
        made
    }

    pub(super) fn failed(&self, fault: &Fault) {
        self.faults.get_or_create(&FaultLabel { fault: fault.name() }).inc();
    }
}
