//! The metrics of queues: `proxima_queues_…`.

use std::sync::Arc;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use proxima_store::SpaceMetrics;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Arc<Counted>);

#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) sent: Counter,
    pub(crate) taken: Counter,
    pub(crate) alone: Counter,
    pub(crate) delivered: Counter,
    pub(crate) acked: Counter,
    pub(crate) retried: Counter,
    pub(crate) buried: Counter,
    pub(crate) dropped: Counter,
    pub(crate) held_back: Counter,
    pub(crate) swept: Counter,
    pub(crate) errors: Counter,
    pub(crate) untold: Gauge,
    pub(crate) messages: Gauge,
    pub(crate) store_octets: Gauge,
    pub(crate) space: SpaceMetrics,
}

impl std::ops::Deref for Metrics {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        &self.0
    }
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let counted = Counted { space: SpaceMetrics::register(registry), ..Counted::default() };
        for (name, help, counter) in [
            ("sent", "Messages that this server took of clients", &counted.sent),
            (
                "taken",
                "What was done here after the other replica: messages put, changed, deleted",
                &counted.taken,
            ),
            ("alone", "Messages that were acknowledged while the other replica was away", &counted.alone),
            ("delivered", "Messages that were given to Workers, or pulled", &counted.delivered),
            ("acked", "Messages that are done with", &counted.acked),
            ("retried", "Messages that are to be delivered again", &counted.retried),
            ("buried", "Messages that were moved to dead letter queues", &counted.buried),
            (
                "dropped",
                "Messages without a dead letter queue that were delivered as often as may be",
                &counted.dropped,
            ),
            ("held_back", "Batches that no Worker could be given", &counted.held_back),
            ("swept", "Messages that were too old, or of queues that are gone", &counted.swept),
            ("errors", "Requests that failed", &counted.errors),
        ] {
            registry.register(name, help, counter.clone());
        }
        for (name, help, gauge) in [
            ("untold", "What other replicas have not done yet after this one", &counted.untold),
            ("messages", "Messages that lie here", &counted.messages),
            ("store_octets", "Octets of the store that are in use", &counted.store_octets),
        ] {
            registry.register(name, help, gauge.clone());
        }
        Self(Arc::new(counted))
    }
}
