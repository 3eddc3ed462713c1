//! BGP announcements of the anycast prefixes: made while this server can serve, taken back the moment it cannot.
//!
//! ```text
//!  node                                        watchdog (the same program, a process of its own)
//!  ┌───────────────────────────┐  a pipe       ┌──────────────────────────────────────────────┐
//!  │ HealthBoard ─▶ Heart ─────┼─ beat, 50 ms ─▶ Deadman ──▶ enable / disable ──▶ BIRD (child) ──┼──▶ BGP, BFD
//!  │ (announce|leave|withdraw) │               │   no beat for `silence_ms`: disable           │    PoP router
//!  └───────────────────────────┘               │   pipe closed: disable, end BIRD, end         │
//!                                              └──────────────────────────────────────────────┘
//! ```
//!
//! When a route moves, connections under way go on: [`forward`] says how. Before a server withdraws for a drain it asks its
//! peers to forward to it, and its announcements say for a moment that they are about to go (RFC 8326), so that routers find
//! another way while they still have this one; and before it is announced it connects to them as forwarder.
//!
//! If the node died, BIRD alone would go on announcing; so the one who speaks to BIRD is a process that outlives the
//! node. SIGKILL closes the pipe; SIGSTOP, a hung runtime and a starved machine make it silent. On a graceful restart the
//! next process inherits the pipe, and nobody notices.
//!
//! Invariants:
//! * **Nothing is announced without a beat that says so**, not older than `silence_ms`. BIRD starts with the
//!   announcements disabled.
//! * **One writer:** only the watchdog changes BIRD's state; the node only looks.
//! * **Nothing outlives its reason:** BIRD dies with the watchdog (parent-death signal), the watchdog with the pipe.
//! * **Withdrawal is at once, announcement is not:** a server is announced after [`STEADY_FOR`] of unbroken health,
//!   at its start too, so that one that comes and goes does not make the network flap (RFC 2439's concern).
//!
//! Limits: prefixes, neighbours, reply sizes: see the constants in `config`, and in `proxima_bird`.

mod approach;
mod config;
mod deadman;
mod error;
pub mod forward;
mod heart;
mod metrics;
mod service;
pub mod watchdog;

pub use config::{AnycastConfig, Bfd, Neighbor};
pub use error::AnycastError;
pub use heart::STEADY_FOR;
pub use service::AnycastService;
