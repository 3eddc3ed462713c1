//! What is counted of names outside. What the resolver behind it counts of itself is
//! `proxima_dns_flattening_resolver_…`.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::target::Outcome;

/// What is counted.
pub(super) struct FlatteningMetrics {
    pub(super) targets: Gauge,
    pub(super) busy: Counter,
    /// Answers, by what they were made of.
    pub(super) fresh: Counter,
    pub(super) stale: Counter,
    pub(super) waited: Counter,
    pub(super) failed: Counter,
    found: Counter,
    nothing: Counter,
    unresolved: Counter,
}

impl FlatteningMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let answers = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let by = |by| answers.get_or_create(&[("by", by)]).clone();
        let resolutions = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let ended = |outcome| resolutions.get_or_create(&[("outcome", outcome)]).clone();
        let metrics = Self {
            targets: Gauge::default(),
            busy: Counter::default(),
            fresh: by("fresh"),
            stale: by("stale"),
            waited: by("waited"),
            failed: by("failed"),
            found: ended("found"),
            nothing: ended("nothing"),
            unresolved: ended("failed"),
        };
        registry.register("targets", "Names outside that are known, by type", metrics.targets.clone());
        registry.register("busy", "Answers that found no place to wait", metrics.busy.clone());
        registry.register("answers", "Looks at names outside for an answer, by what there was", answers);
        registry.register("resolutions", "Names outside that were resolved, by what came of it", resolutions);
        metrics
    }

    pub(super) fn resolved(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Found { addresses, .. } if addresses.is_empty() => self.nothing.inc(),
            Outcome::Found { .. } => self.found.inc(),
            Outcome::Failed => self.unresolved.inc(),
        };
    }
}
