//! Where the cache and the tiers meet: what a request says of itself when one server's cache asks another's.
//!
//! ```text
//!   cache ──CacheFill──▶ tiers ──▶ another server: AskedByPeer ──▶ its cache ──CacheFill──▶ its tiers ──▶ … ──▶ origin
//!     ▲                    │
//!     └── FromPeer ────────┘
//! ```
//!
//! All of them lie in an exchange's extensions.

use std::sync::Arc;

use proxima_model::ZoneId;

/// On a request whose answer a cache means to store: the cache of another server may have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheFill {
    /// The URL under which it is stored, which a cache rule may have made: by it the servers to ask are chosen.
    pub url: Arc<str>,
    /// The state of the log whose purges the asking cache has carried out, at least. Who answers from its own cache must
    /// have carried out these, too: else what was purged here would come back from there.
    pub purged_up_to: u64,
}

/// On a request of another server's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedByPeer {
    /// How far up it has come; it goes up only.
    pub level: u8,
    /// See [`CacheFill::purged_up_to`].
    pub purged_up_to: u64,
}

/// On an exchange that another server's cache has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromPeer {
    /// Whether that server stands in the same PoP, which stores an object once.
    pub same_pop: bool,
}

/// Who is told of what an unsafe request has made invalid (RFC 9111, 4.4), beside the cache that saw it.
pub trait Invalidations: Send + Sync {
    /// This URL of this zone is to be forgotten. Must not wait.
    fn invalidated(&self, zone: ZoneId, url: &str);
}
