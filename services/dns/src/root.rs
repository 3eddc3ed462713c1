//! The root, as resolvers here know it: who tends what they know of it.
//!
//! ```text
//!  Recursive (at once), Flattening (once it has resolved something)
//!        └──────────────┬───────────────┘
//!                       ▼
//!        tend ─▶ Resolver::tend ── servers of the root (priming) ──▶ again in a minute at most
//! ```
//!
//! Invariant: nobody waits for it, and what fails here leaves what there was.

use std::{sync::Arc, time::Duration};

use proxima_chassis::Shutdown;
use proxima_resolver::{Resolver, Upstream};

use crate::DnsError;

/// How long a resolver that nobody has used yet is left alone before it is looked at again.
const IDLE: Duration = Duration::from_secs(60);

/// When a resolver begins to tend what it knows of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tending {
    /// With the server.
    AtOnce,
    /// When it was used: a server that resolves nothing asks nobody anything.
    OnceUsed,
}

/// Has a resolver tend what it knows of the root, until the server drains.
pub(crate) async fn tend<U: Upstream>(
    resolver: Arc<Resolver<U>>,
    when: Tending,
    shutdown: Shutdown,
) -> Result<(), DnsError> {
    loop {
        let one = async {
            let is_idle = when == Tending::OnceUsed && !resolver.is_in_use();
            let wait = if is_idle { IDLE } else { resolver.tend().await };
            tokio::time::sleep(wait).await;
        };
        tokio::select! {
            () = shutdown.draining() => return Ok(()),
            () = one => {}
        }
    }
}
