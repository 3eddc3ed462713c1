//! Where a request stands in the order of purges: noted before anything of its zone is looked up.
//!
//! ```text
//!   request ─▶ here: purged as far as the server that asks? the moment ─▶ zone, rules ─▶ the cache ─▶ a fetch, born here
//! ```
//!
//! What a fetch brings depends on the zone as the request found it: on its origin, above all. Whoever changes that and then
//! purges may rely on it that nothing comes into the cache by way of what was before. So a fetch counts as begun at the
//! moment that is noted here, however long its request waited since for another's fetch or for the disk; and what another
//! server's purge has to be waited for is waited for here.

use std::time::Duration;

use proxima_pipeline::{AskedByPeer, Decision, Exchange, Fault, Flow, Glance, Sight, Stage};

use super::CacheStage;
use crate::{key::PrimaryKey, marks::Birth};

/// How long another server's cache waits for this one to hear of a purge: the time that changes take through the network,
/// with some to spare. Then it asks elsewhere.
const CATCH_UP_WITHIN: Duration = Duration::from_millis(500);

/// The stage. It stands before the one that looks up the zone.
pub struct Entrance(CacheStage);

impl Stage for Entrance {
    fn name(&self) -> &'static str {
        "purges"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        if let Some(asked) = exchange.extensions.get::<AskedByPeer>()
            && !self.0.0.store.progress().has_ended(asked.purged_up_to)
        {
            let seq = asked.purged_up_to;
            return Decision::Later(Box::pin(self.catch_up(exchange, seq)));
        }
        Decision::Now(self.enter(exchange))
    }

    /// The moment is of use to fetches only.
    fn glance(&self, _glance: &mut Glance<'_>) -> Sight {
        Sight::Pass
    }
}

impl Entrance {
    fn enter(&self, exchange: &mut Exchange) -> Flow {
        exchange.purges_seen = Some(self.0.0.store.moment());
        Flow::Continue
    }

    /// Waits until this cache has purged as far as the one that asks; a moment, and then it declines.
    async fn catch_up(&self, exchange: &mut Exchange, seq: u64) -> Flow {
        let caught_up = self.0.0.store.progress().ended(seq);
        if tokio::time::timeout(CATCH_UP_WITHIN, caught_up).await.is_err() {
            return Flow::Fail(Fault::Behind);
        }
        exchange.trace.note(self.name(), || "waited for a purge of which the server that asks has heard");
        self.enter(exchange)
    }
}

impl CacheStage {
    /// The stage at which requests enter.
    pub fn entrance(&self) -> Entrance {
        Entrance(self.clone())
    }

    /// The birth of a fetch for a request. Called under the lock of the key's flights, or where nothing is forgotten that
    /// has none.
    pub(super) fn birth(&self, exchange: &Exchange, key: &PrimaryKey) -> Birth {
        let store = &self.0.store;
        match exchange.purges_seen {
            None => store.begin(key.zone()),
            Some(moment) if self.0.forgotten.after(key, moment) => Birth::hidden(),
            Some(moment) => store.begin_at(key.zone(), moment),
        }
    }
}
