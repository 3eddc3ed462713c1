//! The cache's metrics: `proxima_cache_…`.

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use proxima_model::PurgeWhat;

use crate::{disk::metrics::DiskMetrics, status::CacheStatus};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: CacheStatus,
}

/// What a purge named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelValue)]
pub enum PurgeKind {
    /// Everything of its zone.
    Everything,
    /// URLs.
    Files,
    /// Hosts.
    Hosts,
    /// Prefixes of URLs.
    Prefixes,
    /// Tags.
    Tags,
    /// Nobody knows any more: everything of its zone was forgotten.
    Missed,
}

impl PurgeKind {
    /// The kind of a purge; `None` is one that was removed from the log's state unseen.
    pub const fn of(what: Option<&PurgeWhat>) -> Self {
        match what {
            Some(PurgeWhat::Everything) => Self::Everything,
            Some(PurgeWhat::Files(_)) => Self::Files,
            Some(PurgeWhat::Hosts(_)) => Self::Hosts,
            Some(PurgeWhat::Prefixes(_)) => Self::Prefixes,
            Some(PurgeWhat::Tags(_)) => Self::Tags,
            None => Self::Missed,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PurgeLabel {
    kind: PurgeKind,
}

/// The metrics. Cheap to clone; every clone counts into the same.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Counted>);

/// See [`Metrics`].
#[derive(Debug)]
pub struct Counted {
    /// By [`CacheStatus`], in the order of [`CacheStatus::ALL`]: found once, so that a hit costs no look-up.
    requests: [Counter; CacheStatus::ALL.len()],
    /// Requests that were answered by another request's fetch.
    pub collapsed: Counter,
    /// Responses that were stored.
    pub stored: Counter,
    /// Stored responses that gave way to others.
    pub evictions: Counter,
    /// Purges that were carried out, by what they named.
    purges: Family<PurgeLabel, Counter>,
    /// Fetches in flight.
    pub fills: Gauge,
    /// Stored responses and indexes of variants.
    pub objects: Gauge,
    /// Octets that they take.
    pub bytes: Gauge,
    /// Octets of what is being fetched.
    pub fill_bytes: Gauge,
    /// The disk's.
    pub(crate) disk: DiskMetrics,
}

impl std::ops::Deref for Metrics {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        &self.0
    }
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let family = Family::<StatusLabel, Counter>::default();
        let counted = Counted {
            requests: CacheStatus::ALL.map(|status| family.get_or_create(&StatusLabel { status }).clone()),
            collapsed: Counter::default(),
            stored: Counter::default(),
            evictions: Counter::default(),
            purges: Family::default(),
            fills: Gauge::default(),
            objects: Gauge::default(),
            bytes: Gauge::default(),
            fill_bytes: Gauge::default(),
            disk: DiskMetrics::register(registry),
        };
        registry.register("requests", "Requests by what the cache did for them (cf-cache-status)", family);
        registry.register(
            "collapsed",
            "Requests that were answered by the fetch of another request",
            counted.collapsed.clone(),
        );
        registry.register("stored", "Responses that were stored", counted.stored.clone());
        registry.register("evictions", "Stored responses that gave way to others", counted.evictions.clone());
        registry.register(
            "purges",
            "Purges that were carried out, by what they named",
            counted.purges.clone(),
        );
        registry.register("fills", "Fetches in flight", counted.fills.clone());
        registry.register("objects", "Stored responses and indexes of variants", counted.objects.clone());
        registry.register_with_unit(
            "stored",
            "Memory taken by stored responses",
            Unit::Bytes,
            counted.bytes.clone(),
        );
        registry.register_with_unit(
            "fill",
            "Memory taken by content that is being fetched",
            Unit::Bytes,
            counted.fill_bytes.clone(),
        );
        Self(Arc::new(counted))
    }

    /// Counts a request.
    pub fn count(&self, status: CacheStatus) {
        let index = CacheStatus::ALL.iter().position(|one| *one == status);
        if let Some(counter) = index.and_then(|index| self.requests.get(index)) {
            counter.inc();
        }
    }

    /// Counts a purge.
    pub fn count_purge(&self, kind: PurgeKind) {
        self.purges.get_or_create(&PurgeLabel { kind }).inc();
    }

    /// How many purges of a kind were counted.
    pub fn purges(&self, kind: PurgeKind) -> u64 {
        self.purges.get_or_create(&PurgeLabel { kind }).get()
    }

    /// How many requests were counted under a status.
    pub fn requests(&self, status: CacheStatus) -> u64 {
        let index = CacheStatus::ALL.iter().position(|one| *one == status);
        index.and_then(|index| self.requests.get(index)).map_or(0, Counter::get)
    }
}
