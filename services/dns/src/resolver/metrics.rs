//! What is counted of resolving for clients. What the resolver counts of itself is `proxima_resolver_…`.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use proxima_chassis::GaugeGuard;
use proxima_resolver::{Query, Refusal, Written};

use super::{answered, policies::Decision};
use crate::{
    asker::{Shown, Transport},
    metrics::{ListenerMetrics, MessageMetrics},
    respond::Answered,
};

/// Upper bounds of the histogram's buckets, in seconds: from a server in the same PoP to the most that is waited.
const SECONDS: [f64; 10] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// What the resolver's role counts.
pub(crate) struct RecursiveMetrics {
    pub(crate) messages: MessageMetrics,
    not_allowed: Counter,
    unknown_token: Counter,
    token_rate: Counter,
    no_recursion: Counter,
    pub(crate) busy: Counter,
    pub(crate) scarce: Counter,
    blocked: Counter,
    local: Counter,
    safe_search: Counter,
    locations: LocationFamily,
    pending: Gauge,
    pub(crate) seconds: Histogram,
}

/// By location, whose names are the operator's, and by what became of the question.
type LocationFamily = Family<[(&'static str, String); 2], Counter>;

/// What a location's clients asked.
pub(crate) struct LocationMetrics {
    resolved: Counter,
    decided: Counter,
    refused: Counter,
}

impl LocationMetrics {
    /// A question was answered: as it is, or as a policy has it.
    pub(crate) fn answered(&self, is_decided: bool) {
        if is_decided {
            self.decided.inc()
        } else {
            self.resolved.inc()
        };
    }

    /// A question was refused.
    pub(crate) fn refused(&self) {
        self.refused.inc();
    }
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
            unknown_token: refused_for("token"),
            token_rate: refused_for("rate"),
            no_recursion: refused_for("recursion"),
            busy: refused_for("busy"),
            scarce: refused_for("scarce"),
            blocked: by_policy("blocked"),
            local: by_policy("local"),
            safe_search: by_policy("safe_search"),
            locations: LocationFamily::default(),
            pending: Gauge::default(),
            seconds: Histogram::new(SECONDS),
        };
        registry.register("refused", "Questions that were not resolved, by why", refused);
        registry.register("policies", "Questions that a policy decided, by how", policies);
        registry.register(
            "locations",
            "Questions of a location's clients, by what became of them",
            metrics.locations.clone(),
        );
        registry.register("pending", "Questions that wait for an answer", metrics.pending.clone());
        registry.register(
            "seconds",
            "How long clients waited for what was not known",
            metrics.seconds.clone(),
        );
        (metrics, ListenerMetrics::register(registry))
    }

    /// What is counted of a location.
    pub(crate) fn location(&self, name: &str) -> LocationMetrics {
        let of = |outcome: &str| {
            let labels = [("location", name.to_owned()), ("outcome", outcome.to_owned())];
            self.locations.get_or_create(&labels).clone()
        };
        LocationMetrics { resolved: of("resolved"), decided: of("decided"), refused: of("refused") }
    }

    pub(crate) fn refused(&self, why: Refusal, shown: Shown) {
        match why {
            Refusal::NotAllowed if shown == Shown::UnknownToken => self.unknown_token.inc(),
            Refusal::NotAllowed => self.not_allowed.inc(),
            Refusal::TooMany => self.token_rate.inc(),
            Refusal::NoRecursion => self.no_recursion.inc(),
        };
    }

    /// What was found leads through a blocked name.
    pub(crate) fn blocked_behind_an_alias(&self) {
        self.blocked.inc();
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

    /// Counts what a client was told, and whether a policy had decided it before anything was found.
    pub(crate) fn told(
        &self,
        transport: Transport,
        location: Option<&LocationMetrics>,
        (query, written): (&Query, Written),
        is_decided: bool,
    ) -> Answered {
        if written.is_blocked {
            self.blocked_behind_an_alias();
        }
        location.iter().for_each(|location| location.answered(is_decided || written.is_blocked));
        let answered = answered(query, written);
        self.messages.count(transport, Some(answered));
        answered
    }
}
