//! What this service counts.

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

/// Metrics under `proxima_anycast_`.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnycastMetrics {
    /// 1 while the node asks for its prefixes to be announced.
    pub(crate) announcing: Gauge,
    /// BGP sessions that are established.
    pub(crate) sessions_up: Gauge,
    /// BGP sessions that are configured.
    pub(crate) sessions: Gauge,
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
        metrics
    }
}
