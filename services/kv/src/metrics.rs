//! The metrics of keys and values: `proxima_kv_…`.

use std::sync::Arc;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use proxima_store::SpaceMetrics;

/// Where a read was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum From {
    /// By this server's cache.
    Cache,
    /// By the cache of another server of the PoP.
    Pop,
    /// By this server's own store.
    Store,
    /// By another server's store.
    Home,
    /// By this server's cache, with what is too old, since no replica was reached.
    Stale,
    /// By nobody.
    Nobody,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Read {
    from: From,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Arc<Counted>);

#[derive(Debug, Default)]
pub(crate) struct Counted {
    reads: Family<Read, Counter>,
    pub(crate) writes: Counter,
    pub(crate) merged: Counter,
    pub(crate) alone: Counter,
    pub(crate) unsent: Gauge,
    pub(crate) unsettled: Gauge,
    pub(crate) lacking: Gauge,
    pub(crate) forgets: Counter,
    pub(crate) forgets_lost: Counter,
    pub(crate) swept: Counter,
    pub(crate) errors: Counter,
    pub(crate) store_octets: Gauge,
    pub(crate) cache_octets: Gauge,
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
        registry.register("reads", "Reads of keys, by where they were answered", counted.reads.clone());
        for (name, help, counter) in [
            ("writes", "Keys that this server took writes of as their home", &counted.writes),
            ("merged", "Keys that were taken over from other replicas", &counted.merged),
            ("alone", "Writes that were acknowledged while the other replica was away", &counted.alone),
            ("forgets", "Keys that other servers' caches were asked to forget", &counted.forgets),
            ("forgets_lost", "Keys that some cache was not told to forget", &counted.forgets_lost),
            ("swept", "Rows of the store that had run out, or of namespaces that are gone", &counted.swept),
            ("errors", "Reads and writes that failed", &counted.errors),
        ] {
            registry.register(name, help, counter.clone());
        }
        for (name, help, gauge) in [
            ("unsent", "Writes that the other replica has not taken over yet", &counted.unsent),
            (
                "unsettled",
                "Servers from which it is not taken over yet what was missed before the start",
                &counted.unsettled,
            ),
            ("lacking", "Servers that have what has no room here", &counted.lacking),
            ("store_octets", "Octets of the store that are in use", &counted.store_octets),
            ("cache_octets", "Octets of the cache that are in use", &counted.cache_octets),
        ] {
            registry.register(name, help, gauge.clone());
        }
        Self(Arc::new(counted))
    }

    pub(crate) fn read(&self, from: From) {
        self.reads.get_or_create(&Read { from }).inc();
    }

    /// How many reads were answered so.
    #[cfg(test)]
    pub(crate) fn reads(&self, from: From) -> u64 {
        self.reads.get_or_create(&Read { from }).get()
    }
}
