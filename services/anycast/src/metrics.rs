//! What this service counts.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Metrics under `proxima_anycast_`.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnycastMetrics {
    /// 1 while the node asks for its prefixes to be announced.
    pub(crate) announcing: Gauge,
    /// BGP sessions that are established.
    pub(crate) sessions_up: Gauge,
    /// BGP sessions that are configured.
    pub(crate) sessions: Gauge,
    /// Connection forwarding.
    pub(crate) forward: ForwardMetrics,
}

/// What connection forwarding counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForwardMetrics {
    /// Servers to which strays that arrive here are forwarded now.
    pub(crate) homes: Gauge,
    /// Servers that forward strays of ours to us now.
    pub(crate) forwarders: Gauge,
    /// Strays that were sent to another server.
    pub(crate) forwarded: Counter,
    /// Of those, what came back as not that server's.
    pub(crate) returned: Counter,
    /// Strays of ours that other servers sent us, and the kernel was given.
    pub(crate) received: Counter,
    /// Strays that were dropped: no room, or not what may be forwarded.
    pub(crate) dropped: Counter,
}

impl ForwardMetrics {
    fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("homes", "Servers to which strays that arrive here are forwarded now", &self.homes),
            (
                "forwarders",
                "Servers that forward strays of this server's connections to it now",
                &self.forwarders,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            (
                "strays_forwarded",
                "Segments that were sent to the server that may have their connection",
                &self.forwarded,
            ),
            (
                "strays_returned",
                "Segments that came back as of no connection of that server's",
                &self.returned,
            ),
            (
                "strays_received",
                "Segments of this server's connections that other servers sent",
                &self.received,
            ),
            ("strays_dropped", "Segments that were to be forwarded, and were dropped", &self.dropped),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }
}

impl AnycastMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "announcing",
            "1 while this server asks to be announced",
            metrics.announcing.clone(),
        );
        registry.register("sessions_up", "BGP sessions that are established", metrics.sessions_up.clone());
        registry.register("sessions", "BGP sessions that are configured", metrics.sessions.clone());
        metrics.forward.register(registry);
        metrics
    }
}
