//! What a resolver does of itself: nothing, unless it is called for that.

use std::{sync::atomic::Ordering, time::Duration};

use tracing::{debug, info};

use crate::{
    anchors::{Observation, Unobserved},
    iterate::{Core, DOUBTS_MAX, Failure, Work},
    message::rtype,
    name::Name,
    resolver::Resolver,
    upstream::Upstream,
};

/// How long it need not be called again: seldom enough to cost nothing, and often enough for a clock that was put right.
const REST_SECONDS: u64 = 60;

/// What was done, and when to come again.
#[derive(Debug)]
pub struct Tended {
    /// How long it need not be called again.
    pub again: Duration,
    /// What came of asking the root for its keys, if it was time for that: what is to be kept may be another then.
    pub keys: Option<Observation>,
}

impl<U: Upstream> Resolver<U> {
    /// Does what is due for the root, and says when to call it again. It waits for name servers, for each thing as long as one
    /// question may at most. Resolvers that share anchors do the work once.
    pub async fn tend(&self) -> Tended {
        let core = self.core();
        let keys = match core.settings.anchors.take_probe(core.seconds()) {
            true => Some(core.observe_keys(&Work::new(true, false)).await),
            false => None,
        };
        core.trust_anew();
        if core.root_servers.due_in(core.seconds()) == 0 {
            match core.prime(&Work::new(true, false)).await {
                Ok(addresses) => info!(addresses, "the root's servers are known"),
                Err(Failure(ede)) => {
                    debug!(ede, "the root's servers cannot be found out: the hints are used")
                }
            }
        }
        let wait = core.root_servers.due_in(core.seconds());
        Tended { again: Duration::from_secs(wait.clamp(1, REST_SECONDS)), keys }
    }

    /// Whether anything was resolved yet that was begun at the root.
    pub fn is_in_use(&self) -> bool {
        self.core().is_in_use()
    }
}

impl<U: Upstream> Core<U> {
    /// Asks the root for its keys, and has the anchors follow them. What one server has old another may have new.
    async fn observe_keys(&self, work: &Work) -> Observation {
        let mut observed = Observation { changes: Vec::new(), outcome: Err(Unobserved::Unanswered) };
        for _ in 0..=DOUBTS_MAX {
            // Anew each time: it may be trusted no longer.
            let Ok(root) = self.nearest(&Name::root(), rtype::DNSKEY, work).await else { break };
            let Ok(reply) = self.ask(&root, &root.name, rtype::DNSKEY, work, 0).await else { break };
            if let Some(set) = reply.answer.first().filter(|set| set.rtype == rtype::DNSKEY) {
                let Observation { changes, outcome } =
                    self.settings.anchors.observe(set, self.seconds(), work);
                observed.changes.extend(changes);
                observed.outcome = outcome;
            }
            if matches!(observed.outcome, Ok(()) | Err(Unobserved::NoAnchor)) {
                break;
            }
            self.doubt(reply.from, &root.name);
        }
        observed
    }

    /// Forgets which zones are signed by which keys, if it was changed what is trusted.
    fn trust_anew(&self) {
        let generation = self.settings.anchors.generation();
        if self.generation.swap(generation, Ordering::AcqRel) != generation {
            self.zones.clear();
        }
    }
}
