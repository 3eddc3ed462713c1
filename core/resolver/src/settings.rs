//! What a resolver is told.

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::anchors::TrustAnchors;

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a resolver is told.
#[derive(Clone)]
pub struct Settings {
    /// The root's name servers ([`crate::parse_hints`]).
    pub hints: Vec<IpAddr>,
    /// What the root's keys are known by.
    pub anchors: Arc<TrustAnchors>,
    /// Whether name servers at addresses of this host and of private networks are asked.
    pub allow_private_servers: bool,
    /// Octets of memory for what was found, about.
    pub cache_octets: u64,
    /// Questions to the servers of one zone at once: a part of those that may wait, so that the others' are not all taken by one
    /// whose servers are slow, and [`crate::ZONE_ASKED_MAX`] at the most.
    pub zone_asked_max: usize,
    /// What time it is.
    pub clock: Clock,
    /// How long a client waits before it gets what has expired (RFC 8767, 5: 1.8 seconds).
    pub stale_after: Duration,
    /// How long what has expired is kept for that.
    pub stale_for: Duration,
}
