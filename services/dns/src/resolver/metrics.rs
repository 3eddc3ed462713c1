//! What is counted of resolving for clients. What the resolver counts of itself is `proxima_resolver_…`.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use proxima_chassis::GaugeGuard;
use proxima_resolver::Refusal;

use super::policies::Decision;
use crate::metrics::{ListenerMetrics, MessageMetrics};

/// Upper bounds of the histogram's buckets, in seconds: from a server in the same PoP to the most that is waited.
const SECONDS: [f64; 10] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// What the resolver's role counts.
pub(crate) struct RecursiveMetrics {
    pub(crate) messages: MessageMetrics,
    not_allowed: Counter,
    no_recursion: Counter,
    pub(crate) busy: Counter,
    blocked: Counter,
    local: Counter,
    safe_search: Counter,
    pending: Gauge,
    pub(crate) seconds: Histogram,
}

impl RecursiveMetrics {
    pub(crate) fn register(registry: &mut Registry) -> (Self, ListenerMetrics) {
        let refused = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let refused_for = |why| refused.get_or_create(&[("why", why)]).clone();
        let policies = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let by_policy = |action| policies.get_or_create(&[("action", action)]).clone();
        let metrics = Self {
            messages: MessageMetrics::register(registry),
            not_allowed: refused_for("client"),
            no_recursion: refused_for("recursion"),
            busy: refused_for("busy"),
            blocked: by_policy("blocked"),
            local: by_policy("local"),
            safe_search: by_policy("safe_search"),
            pending: Gauge::default(),
            seconds: Histogram::new(SECONDS),
        };
        registry.register("refused", "Questions that were not resolved, by why", refused);
        registry.register("policies", "Questions that a policy decided, by how", policies);
        registry.register("pending", "Questions that wait for an answer", metrics.pending.clone());
        registry.register(
            "seconds",
            "How long clients waited for what was not known",
            metrics.seconds.clone(),
        );
        (metrics, ListenerMetrics::register(registry))
    }

    pub(crate) fn refused(&self, why: Refusal) {
        match why {
            Refusal::NotAllowed => self.not_allowed.inc(),
            Refusal::NoRecursion => self.no_recursion.inc(),
        };
    }

    pub(crate) fn decided(&self, decision: Option<&Decision>) {
        match decision {
            None => {}
            Some(Decision::Blocked(_)) => {
                self.blocked.inc();
            }
            Some(Decision::Alias { is_safe_search: true, .. }) => {
                self.safe_search.inc();
            }
            Some(Decision::Local(_) | Decision::Alias { .. }) => {
                self.local.inc();
            }
        }
    }

    /// Counts a question as waiting for as long as what is given back lives.
    pub(crate) fn wait(&self) -> GaugeGuard {
        GaugeGuard::new(&self.pending)
    }
}
