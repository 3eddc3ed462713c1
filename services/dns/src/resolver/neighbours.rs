//! The other servers of this one's PoP: what the resolver does not know is asked of the name's home among them, and theirs is
//! answered here.
//!
//! ```text
//!  a client's question ─▶ places, policies, what is known (mod.rs) ─▶ proxima_resolver ── Homes ─▶ Neighbours (the tiers')
//!  a neighbour's ─▶ AnswersNeighbours ─▶ known? answered ─no─▶ a place? ─▶ proxima_resolver, here
//!                                                                │ no
//!                                                                ▼
//!                                                               declined: it resolves for itself
//! ```
//!
//! What travels and how it is kept is `proxima_resolver`'s; who is home and how is asked, the tiers'. Here is what bounds it:
//! neighbours have places of their own, all of them half as many as the resolver has resolutions at once, and each no more than
//! its share. So a flood of random names at one server is carried to its homes as far as they bear it beside their own clients,
//! and the rest is that server's own. A place is held until there is an answer, whether the asker waits for it or not.

use std::sync::Arc;

use async_trait::async_trait;
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use proxima_chassis::Places;
use proxima_pipeline::{
    AnswersNeighbours, NEIGHBOUR_ANSWER_OCTETS_MAX, NEIGHBOUR_QUESTION_OCTETS_MAX, Neighbours, NoAnswer,
    Taken,
};
use proxima_resolver::{
    Awaited, HOME_ANSWER_OCTETS_MAX, HOME_QUESTION_OCTETS_MAX, HomeQuestion, Homes, NotHome, Resolver,
};

use super::AnyUpstream;

// What is asked and answered is carried.
const _: () = assert!(HOME_QUESTION_OCTETS_MAX <= NEIGHBOUR_QUESTION_OCTETS_MAX);
const _: () = assert!(HOME_ANSWER_OCTETS_MAX <= NEIGHBOUR_ANSWER_OCTETS_MAX);

/// What became of neighbours' questions.
pub(super) struct NeighbourMetrics {
    known: Counter,
    resolved: Counter,
    busy: Counter,
    malformed: Counter,
}

impl NeighbourMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
        registry.register(
            "neighbours",
            "Questions of other servers in this PoP, by what became of them",
            family.clone(),
        );
        let one = |outcome| family.get_or_create(&[("outcome", outcome)]).clone();
        Self {
            known: one("cache"),
            resolved: one("resolution"),
            busy: one("busy"),
            malformed: one("malformed"),
        }
    }
}

/// Neighbours as the resolver asks them.
pub(super) struct AskedHomes(pub(super) Arc<dyn Neighbours>);

#[async_trait]
impl Homes for AskedHomes {
    fn of(&self, neighbourhood: &[u8]) -> Option<usize> {
        self.0.home(neighbourhood)
    }

    async fn ask(&self, home: usize, question: Vec<u8>) -> Result<Awaited, NotHome> {
        let not_home = |why| match why {
            NoAnswer::Lost => NotHome::Lost,
            NoAnswer::Declined => NotHome::Declined,
            NoAnswer::Busy => NotHome::Busy,
        };
        let taken = self.0.put(home, question).await.map_err(not_home)?;
        Ok(Box::pin(async move { taken.await.map(Vec::from).map_err(not_home) }))
    }
}

/// Answers neighbours.
pub(super) struct AnsweringHome {
    resolver: Arc<Resolver<AnyUpstream>>,
    /// For those whose questions are resolved.
    places: Arc<Places<usize>>,
    metrics: NeighbourMetrics,
}

impl AnsweringHome {
    /// Of neighbours' questions so many are resolved at once, and so many of each.
    pub(super) fn new(
        resolver: Arc<Resolver<AnyUpstream>>,
        (all, each): (usize, usize),
        metrics: NeighbourMetrics,
    ) -> Self {
        Self { resolver, places: Places::new(all, each), metrics }
    }
}

impl AnswersNeighbours for AnsweringHome {
    fn take(&self, neighbour: usize, question: &[u8]) -> Taken {
        let Some(question) = HomeQuestion::read(question) else {
            self.metrics.malformed.inc();
            return Taken::Malformed;
        };
        if let Some(answer) = self.resolver.answer_peer_now(&question) {
            self.metrics.known.inc();
            return Taken::Now(answer);
        }
        let Some(place) = self.places.take_for(neighbour) else {
            self.metrics.busy.inc();
            return Taken::Declined;
        };
        self.metrics.resolved.inc();
        let resolver = self.resolver.clone();
        Taken::Later(Box::pin(async move {
            let answer = resolver.answer_peer(&question).await;
            drop(place);
            answer
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::{io, net::IpAddr, time::Duration};

    use proxima_pipeline::NEIGHBOUR_QUESTIONS_MAX;
    use proxima_resolver::{Metrics, Settings, Transport, TrustAnchors, Upstream, ZONE_ASKED_MAX};

    use super::*;

    /// Name servers that do not answer.
    struct Silent;

    #[async_trait]
    impl Upstream for Silent {
        async fn exchange(&self, _: IpAddr, _: &[u8], _: Transport) -> io::Result<Vec<u8>> {
            std::future::pending().await
        }
    }

    fn home() -> AnsweringHome {
        let settings = Settings {
            hints: vec![IpAddr::from([192, 0, 2, 1])],
            anchors: TrustAnchors::fixed(Vec::new()),
            allow_private_servers: true,
            cache_octets: 1 << 20,
            clock: Arc::new(|| 1_800_000_000_000),
            stale_after: Duration::from_millis(1_800),
            stale_for: Duration::from_secs(86_400),
            zone_asked_max: ZONE_ASKED_MAX,
        };
        let mut registry = Registry::default();
        let upstream: AnyUpstream = Arc::new(Silent);
        let resolver = Resolver::new(upstream, settings, Metrics::register(&mut registry));
        let places = (4 * NEIGHBOUR_QUESTIONS_MAX, NEIGHBOUR_QUESTIONS_MAX);
        AnsweringHome::new(resolver, places, NeighbourMetrics::register(&mut registry))
    }

    /// A question for an address of a name of its own.
    fn question(number: u32) -> Vec<u8> {
        [b"\x01\0\0\x01\x0a", format!("{number:010}").as_bytes(), b"\x04test\0"].concat()
    }

    #[tokio::test]
    async fn each_neighbour_has_its_share_and_all_of_them_half_of_what_is_resolved() {
        let home = home();
        let share = u32::try_from(NEIGHBOUR_QUESTIONS_MAX).unwrap();
        let mut taken = Vec::new();
        for neighbour in 0..4_u32 {
            for number in 0..share {
                match home.take(neighbour as usize, &question(neighbour * share + number)) {
                    Taken::Later(later) => taken.push(later),
                    _ => panic!("{neighbour} has no place for {number}"),
                }
            }
            let beyond = home.take(neighbour as usize, &question(u32::MAX));
            assert!(matches!(beyond, Taken::Declined), "{neighbour}");
        }
        assert!(matches!(home.take(4, &question(u32::MAX)), Taken::Declined), "there is none left for it");
        taken.pop();
        assert!(matches!(home.take(4, &question(u32::MAX)), Taken::Later(_)));
        assert!(matches!(home.take(3, b"nonsense"), Taken::Malformed));
        let counted = (home.metrics.busy.get(), home.metrics.malformed.get(), home.metrics.resolved.get());
        assert_eq!(counted, (5, 1, u64::from(share) * 4 + 1));
    }
}
