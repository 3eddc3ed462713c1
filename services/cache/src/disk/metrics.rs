//! The disk's metrics: `proxima_cache_disk_…`.

use std::sync::Arc;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// What became of an object that was looked for on the disk, and lay there by the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Read {
    /// The kernel had it in memory.
    AtOnce,
    /// The disk was waited for.
    Waited,
    /// It is not what was written.
    Corrupt,
    /// The disk failed.
    Failed,
    /// Too many wait for the disk.
    Busy,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadLabel {
    result: Read,
}

/// The metrics. Cheap to clone; every clone counts into the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiskMetrics(Arc<Counted>);

/// See [`DiskMetrics`].
#[derive(Debug, Default)]
pub(crate) struct Counted {
    reads: Family<ReadLabel, Counter>,
    /// Objects that were written.
    pub(crate) writes: Counter,
    /// Octets that were written.
    pub(crate) written: Counter,
    /// Objects that were to be written, and the disk was behind.
    pub(crate) dropped: Counter,
    /// Objects that were written again because they were read while their segment grew old.
    pub(crate) kept: Counter,
    /// Segments that gave way to others.
    pub(crate) evictions: Counter,
    /// Writes that failed.
    pub(crate) failures: Counter,
    /// Objects.
    pub(crate) objects: Gauge,
    /// Octets that their files take.
    pub(crate) bytes: Gauge,
}

impl std::ops::Deref for DiskMetrics {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        &self.0
    }
}

impl DiskMetrics {
    /// Registers the metrics in the cache's registry.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("disk");
        let counted = Counted::default();
        let counters = [
            ("writes", "Objects that were written", &counted.writes),
            ("dropped", "Objects that were not written because the disk was behind", &counted.dropped),
            ("kept", "Objects that were written again because they were in use", &counted.kept),
            ("evictions", "Segments that gave way to others", &counted.evictions),
            ("write_failures", "Writes that failed", &counted.failures),
        ];
        registry.register("reads", "Objects that were looked for on the disk", counted.reads.clone());
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register_with_unit("written", "Octets written", Unit::Bytes, counted.written.clone());
        registry.register("objects", "Objects on the disk", counted.objects.clone());
        registry.register_with_unit("stored", "Octets of files", Unit::Bytes, counted.bytes.clone());
        Self(Arc::new(counted))
    }

    /// Counts a read.
    pub(crate) fn count(&self, result: Read) {
        self.reads.get_or_create(&ReadLabel { result }).inc();
    }

    /// How many reads were counted under a result.
    #[cfg(test)]
    pub(crate) fn reads(&self, result: Read) -> u64 {
        self.reads.get_or_create(&ReadLabel { result }).get()
    }
}
