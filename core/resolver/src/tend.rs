//! What a resolver does of itself: nothing, unless it is called for that.

use std::time::Duration;

use tracing::{debug, info};

use crate::{
    iterate::{Failure, Work},
    resolver::Resolver,
    upstream::Upstream,
};

/// How long it need not be called again: seldom enough to cost nothing, and often enough for a clock that was put right.
const REST_SECONDS: u64 = 60;

impl<U: Upstream> Resolver<U> {
    /// Does what is due for the root, and says when to call it again. It waits for name servers, as long as one question may
    /// at most.
    pub async fn tend(&self) -> Duration {
        let core = self.core();
        if core.root_servers.due_in(core.seconds()) == 0 {
            match core.prime(&Work::new(true, false)).await {
                Ok(addresses) => info!(addresses, "the root's servers are known"),
                Err(Failure(ede)) => {
                    debug!(ede, "the root's servers cannot be found out: the hints are used")
                }
            }
        }
        let wait = core.root_servers.due_in(core.seconds());
        Duration::from_secs(wait.clamp(1, REST_SECONDS))
    }

    /// Whether anything was resolved yet that was begun at the root.
    pub fn is_in_use(&self) -> bool {
        self.core().is_in_use()
    }
}
