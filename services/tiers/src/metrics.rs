//! The tiers' metrics: `proxima_tiers_…`.

use std::sync::Arc;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::map::{HOME, REGION};

/// What a server is to the one that asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Tier {
    Home,
    Region,
    Root,
}

impl Tier {
    pub(crate) const fn of(level: u8) -> Self {
        match level {
            0..=HOME => Self::Home,
            REGION => Self::Region,
            _ => Self::Root,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Home => "the home in this PoP",
            Self::Region => "the upper PoP of this region",
            Self::Root => "the zone's root PoP",
        }
    }
}

/// What became of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    Answered,
    Failed,
    Declined,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    tier: Tier,
    outcome: Outcome,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Arc<Counted>);

#[derive(Debug, Default)]
pub(crate) struct Counted {
    asked: Family<Asked, Counter>,
    pub(crate) served: Counter,
    pub(crate) refused: Counter,
    pub(crate) peers: Gauge,
    pub(crate) peers_up: Gauge,
}

impl std::ops::Deref for Metrics {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        &self.0
    }
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let counted = Counted::default();
        registry.register("asked", "Requests to other servers' caches", counted.asked.clone());
        registry.register("served", "Requests of other servers' caches", counted.served.clone());
        registry.register(
            "refused",
            "Connections of others that are none of the servers",
            counted.refused.clone(),
        );
        registry.register("peers", "Servers that this one may ask", counted.peers.clone());
        registry.register("peers_up", "Those of them that can be asked", counted.peers_up.clone());
        Self(Arc::new(counted))
    }

    pub(crate) fn count(&self, tier: Tier, outcome: Outcome) {
        self.asked.get_or_create(&Asked { tier, outcome }).inc();
    }
}
