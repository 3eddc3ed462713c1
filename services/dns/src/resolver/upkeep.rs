//! What the role that resolves does beside answering: says for whom it does, keeps its lists, joins its neighbours.

use std::sync::Arc;

use proxima_chassis::Shutdown;
use proxima_pipeline::{AnswersNeighbours, Neighbours};
use tracing::{info, warn};

use super::{Recursive, lists::WATCH_INTERVAL, neighbours::AskedHomes};
use crate::DnsError;

impl Recursive {
    /// Says in the log for whom it resolves.
    pub(crate) fn announce(&self) {
        let allowed: Vec<String> = self.config.allow.iter().map(ToString::to_string).collect();
        let names: Vec<String> = self.config.names.iter().map(ToString::to_string).collect();
        let locations = self.config.locations.len();
        info!(?allowed, ?names, https = self.config.https, locations, "resolving names for who is allowed");
        self.policies.announce();
        if self.config.is_open() {
            let rate = self.config.rate().unwrap_or(0);
            warn!(
                rate_limit_per_second = rate,
                "this is an open resolver: everybody may ask it, also for others whose addresses are forged"
            );
        }
    }

    /// Reads lists of the policies again when they have changed, until the server drains.
    pub(crate) async fn watch(self: Arc<Self>, shutdown: Shutdown) -> Result<(), DnsError> {
        let policies = &self.policies;
        while policies.has_lists() {
            tokio::select! {
                () = tokio::time::sleep(WATCH_INTERVAL) => {
                    let policies = policies.clone();
                    tokio::task::spawn_blocking(move || policies.refresh()).await.ok();
                }
                () = shutdown.draining() => return Ok(()),
            }
        }
        Ok(())
    }

    /// Asks these what it does not know, from now on, unless the configuration has it resolve alone; who answers theirs. Once.
    pub(crate) fn share(&self, neighbours: Arc<dyn Neighbours>) -> Option<Arc<dyn AnswersNeighbours>> {
        if !self.config.share_in_pop {
            return None;
        }
        self.resolver.share(Arc::new(AskedHomes(neighbours.clone())));
        self.neighbours.set(neighbours).ok();
        Some(self.home.clone())
    }
}
