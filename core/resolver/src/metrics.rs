//! What is counted. Labels have fixed values only.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::denials::Synthesis;

/// Upper bounds of the histogram's buckets, in seconds: from a server in the same PoP to one that is waited for in vain.
const SECONDS: [f64; 9] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 1.0];

type Labels = [(&'static str, &'static str); 1];

/// The metrics of a resolver.
pub struct Metrics {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) stale: Counter,
    pub(crate) prefetched: Counter,
    pub(crate) anew: Counter,
    pub(crate) bogus: Counter,
    pub(crate) failed: Counter,
    pub(crate) busy: Counter,
    pub(crate) udp: Counter,
    pub(crate) tcp: Counter,
    pub(crate) silent: Counter,
    pub(crate) lame: Counter,
    pub(crate) hearsay: Counter,
    pub(crate) mismatched: Counter,
    pub(crate) seconds: Histogram,
    pub(crate) synthesized: [Counter; 3],
    pub(crate) primed: Counter,
    pub(crate) unprimed: Counter,
    pub(crate) homes: HomeMetrics,
}

/// What became of what other servers of the PoP were asked.
pub(crate) struct HomeMetrics {
    pub(crate) kept: Counter,
    pub(crate) found: Counter,
    pub(crate) stale: Counter,
    pub(crate) failed: Counter,
    pub(crate) declined: Counter,
    pub(crate) busy: Counter,
    pub(crate) lost: Counter,
    pub(crate) malformed: Counter,
    pub(crate) late: Counter,
}

impl HomeMetrics {
    fn register(registry: &mut Registry) -> Self {
        let family = Family::<Labels, Counter>::default();
        registry.register(
            "homes",
            "Questions to the names' homes in this PoP, by what came of them, and those that were late",
            family.clone(),
        );
        let one = |outcome| family.get_or_create(&[("outcome", outcome)]).clone();
        Self {
            kept: one("cache"),
            found: one("resolution"),
            stale: one("stale"),
            failed: one("failure"),
            declined: one("declined"),
            busy: one("busy"),
            lost: one("lost"),
            malformed: one("malformed"),
            late: one("late"),
        }
    }
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let answers = Family::<Labels, Counter>::default();
        let queries = Family::<Labels, Counter>::default();
        let wrong = Family::<Labels, Counter>::default();
        let seconds = Histogram::new(SECONDS);
        registry.register("answers", "Questions of clients, by how they were answered", answers.clone());
        let synthesized = Family::<Labels, Counter>::default();
        registry.register(
            "synthesized",
            "Sets that were not asked for, because they follow from denials of other names, by what they are",
            synthesized.clone(),
        );
        let priming = Family::<Labels, Counter>::default();
        registry.register(
            "priming",
            "Questions which servers the root has, by what came of it",
            priming.clone(),
        );
        registry.register("queries", "Questions to name servers, by transport", queries.clone());
        registry.register(
            "unanswered",
            "Questions to name servers without an answer, or with one that others are asked for first, by why",
            wrong.clone(),
        );
        registry.register("server_seconds", "How long name servers took to answer", seconds.clone());
        let one =
            |family: &Family<Labels, Counter>, label, value| family.get_or_create(&[(label, value)]).clone();
        let answer = |value| one(&answers, "by", value);
        let homes = HomeMetrics::register(registry);
        Self {
            homes,
            hits: answer("cache"),
            misses: answer("resolution"),
            stale: answer("stale"),
            prefetched: answer("prefetch"),
            anew: answer("anew"),
            bogus: answer("bogus"),
            failed: answer("failure"),
            busy: answer("busy"),
            udp: one(&queries, "transport", "udp"),
            tcp: one(&queries, "transport", "tcp"),
            silent: one(&wrong, "why", "silent"),
            lame: one(&wrong, "why", "lame"),
            hearsay: one(&wrong, "why", "no_authority"),
            mismatched: one(&wrong, "why", "mismatched"),
            seconds,
            primed: one(&priming, "outcome", "done"),
            unprimed: one(&priming, "outcome", "failed"),
            synthesized: ["nxdomain", "nodata", "wildcard"].map(|what| one(&synthesized, "what", what)),
        }
    }

    pub(crate) fn synthesized(&self, what: Synthesis) {
        let [no_name, no_data, wildcard] = &self.synthesized;
        match what {
            Synthesis::NoName => no_name.inc(),
            Synthesis::NoData => no_data.inc(),
            Synthesis::Wildcard => wildcard.inc(),
        };
    }
}
