//! What is counted: never by what a customer chose.

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use proxima_store::SpaceMetrics;

/// Requests by how they ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    status: u16,
}

/// Requests at public hosts by how they ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublicLabels {
    status: u16,
}

/// The metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Arc<Counted>);

/// See [`Metrics`].
#[derive(Debug)]
pub(crate) struct Counted {
    requests: Family<RequestLabels, Counter>,
    public: Family<PublicLabels, Counter>,
    /// S3 requests under way.
    pub(crate) under_way: Gauge,
    /// Connections of S3 clients.
    pub(crate) connections: Gauge,
    /// Connections for which there was no place.
    pub(crate) connections_refused: Counter,
    /// Connections that were closed because they did not get on.
    pub(crate) connections_stalled: Counter,
    /// Streams of connections that have several, ended because their client took nothing.
    pub(crate) streams_stalled: Counter,
    /// Reads that ended because octets could not be read, or were not those that were put.
    pub(crate) unreadable: Counter,
    /// Files that the scrubber read.
    pub(crate) scrubbed: Counter,
    /// Files in which the scrubber found rot.
    pub(crate) rotten: Counter,
    /// Files that a crash had left and nobody named.
    pub(crate) strays: Counter,
    /// Files of what was replaced or deleted that were removed.
    pub(crate) collected: Counter,
    /// What upkeep could not do, and passed over.
    pub(crate) obstacles: Counter,
    /// Objects and uploads that were ended because rules of their buckets say so, or their buckets are gone.
    pub(crate) expired: Counter,
    /// What queues are to be told and have not been.
    pub(crate) notifications_waiting: Gauge,
    /// What queues were told.
    pub(crate) notifications_sent: Counter,
    /// Times that a queue could not be told, and will be.
    pub(crate) notifications_held: Counter,
    /// What queues were not told and will not be.
    pub(crate) notifications_dropped: Counter,
    /// Changes of the index that panicked.
    pub(crate) panics: Counter,
    /// 1 while nothing can be written to the index, or the disk is full.
    pub(crate) unwritable: Gauge,
    /// Objects that are kept here.
    pub(crate) objects: Gauge,
    /// Their octets.
    pub(crate) object_octets: Gauge,
    /// What is counted of the disk.
    pub(crate) space: SpaceMetrics,
    /// 1 while the engine of blobs does not answer as it should.
    pub(crate) engine_away: Gauge,
    /// Questions to the engine of blobs that came to nothing, also when they were asked again.
    pub(crate) engine_failures: Counter,
}

impl std::ops::Deref for Metrics {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        &self.0
    }
}

impl Metrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        registry.register("requests", "S3 requests, by method and status of the answer", requests.clone());
        let public = Family::<PublicLabels, Counter>::default();
        registry.register(
            "public_requests",
            "Requests at custom domains that no cache answered, by status of the answer",
            public.clone(),
        );
        let gauge = |registry: &mut Registry, name, help| {
            let gauge = Gauge::<i64>::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let under_way = gauge(registry, "under_way", "S3 requests that are being answered");
        let connections = gauge(registry, "connections", "Connections of S3 clients");
        let unwritable = gauge(
            registry,
            "unwritable",
            "1 while objects are refused: nothing can be written to the index, or the disk is full",
        );
        let objects = gauge(registry, "objects", "Objects that are kept here");
        let object_octets = gauge(registry, "object_octets", "Octets of the objects that are kept here");
        let space = SpaceMetrics::register(registry);
        let notifications_waiting = gauge(
            registry,
            "notifications_waiting",
            "What queues are to be told of objects and have not been",
        );
        let engine_away =
            gauge(registry, "engine_away", "1 while the engine of [r2.blobs] does not answer as it should");
        let mut counter = |name, help| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Self(Arc::new(Counted {
            requests,
            public,
            under_way,
            connections,
            connections_refused: counter(
                "connections_refused",
                "Connections that were closed at once: all places were taken, or all of their client",
            ),
            connections_stalled: counter(
                "connections_stalled",
                "Connections that were closed because their client asked for nothing, or took nothing of an answer",
            ),
            streams_stalled: counter(
                "streams_stalled",
                "Streams of HTTP/2 that were reset because their client took nothing of an answer",
            ),
            unreadable: counter(
                "unreadable",
                "Reads that ended because octets of an object could not be read",
            ),
            scrubbed: counter("scrubbed", "Files that the scrubber has read"),
            rotten: counter("rotten", "Files that the scrubber found missing or changed"),
            strays: counter("strays", "Files that a crash had left, removed"),
            collected: counter("collected", "Files of objects that were replaced or deleted, removed"),
            obstacles: counter("obstacles", "Files and rows that upkeep could not see to, and passed over"),
            expired: counter("expired", "Objects and uploads ended by rules, by age, or with their bucket"),
            notifications_waiting,
            notifications_sent: counter("notifications_sent", "What queues were told of objects"),
            notifications_held: counter(
                "notifications_held",
                "Times that a queue could not be told of objects, and will be again",
            ),
            notifications_dropped: counter(
                "notifications_dropped",
                "What queues were not told of objects: they took nothing for too long, or are gone, or their bucket is",
            ),
            panics: counter("panics", "Changes of the index that panicked"),
            unwritable,
            objects,
            object_octets,
            space,
            engine_away,
            engine_failures: counter(
                "engine_failures",
                "Questions to the engine of [r2.blobs] that failed, also when they were asked again",
            ),
        }))
    }

    /// Counts a request at a public host.
    pub(crate) fn answered_publicly(&self, status: u16) {
        self.public.get_or_create(&PublicLabels { status }).inc();
    }

    /// Counts a request.
    pub(crate) fn answered(&self, method: &http::Method, status: u16) {
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "PUT" => "PUT",
            "POST" => "POST",
            "DELETE" => "DELETE",
            "OPTIONS" => "OPTIONS",
            _ => "other",
        };
        self.requests.get_or_create(&RequestLabels { method, status }).inc();
    }
}
