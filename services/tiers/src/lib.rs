//! Tiers: a cache that does not have an answer asks another server's cache before the origin is asked.
//!
//! ```text
//!   a client's server ──1──▶ home in its PoP ──2──▶ home in the upper PoP of its region ──3──▶ home in the zone's root PoP
//!         cache                   cache                        cache                                cache ──▶ origin
//! ```
//!
//! Of the servers of a PoP, each URL has one as its home (rendezvous hashing, [`map`]): there the PoP stores it. Of the
//! upper PoPs, each zone has one as its root: from there alone the caches ask its origin, so that the whole network stores
//! an object that was fetched once. A PoP in whose region an upper PoP stands asks that one first. Whoever is itself what comes next is not
//! asked: two servers in one PoP make one hop, one server none.
//!
//! The stage stands between the cache and the origin, and takes what the cache wants to store ([`CacheFill`]); all else
//! goes straight to the origin. It asks by HTTP/2 over mutual TLS, on one connection for each other server, kept open by a
//! task ([`peers`]). The other side ([`serve`]) makes an exchange of what it hears and sends it through stages of its own:
//! zone, rules, cache, and this stage again, one level up.
//!
//! The same connections carry the questions of services that share what they have within a PoP, as the resolver does
//! ([`neighbours`]): of its servers each key has one as its home; and those of services that ask their like on any server of the
//! network (`others`).
//!
//! Invariants:
//! * **Upwards only.** A request carries its level and asks for nothing below it: servers that disagree about who is home
//!   make a detour, never a circle.
//! * **What was purged does not come back from another server.** A request says up to which state of the log its cache has
//!   purged; a cache that has not come so far waits for a moment and then declines.
//! * **A server that is lost costs one retry.** Only servers with an open connection are asked; one that breaks off before
//!   its answer began is left out and the next is asked once, then the origin.
//! * **A truncated answer is an error.** A stream that ends early ends the body with an error, which no cache stores.
//! * **Nobody else is answered.** Both sides show a certificate of the network's authority, and are among the servers
//!   of the configuration.
//!
//! Limits: servers ([`config::SERVERS_MAX`]), requests at once on a connection ([`serve::STREAMS_MAX`]), time for a
//! connection and its handshake ([`peers::CONNECT_WITHIN`]), and after how long a silent peer is given up
//! ([`peers::SILENCE_MAX`]).
//!
//! [`CacheFill`]: proxima_pipeline::CacheFill

pub mod config;
mod exercise;
pub mod map;
mod metrics;
pub mod neighbours;
mod others;
pub mod peers;
pub mod serve;
mod service;
mod stage;
mod wire;

pub use config::TiersConfig;
#[doc(hidden)]
pub use exercise::exercise;
pub use service::TiersService;
pub use stage::TiersStage;

/// Its name: its table in the configuration, its metrics' prefix.
pub const SERVICE: &str = "tiers";

#[cfg(test)]
mod tests;
