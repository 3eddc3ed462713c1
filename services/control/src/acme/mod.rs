//! Certificates of a public authority, ordered and renewed by the network itself (ACME, RFC 8555).
//!
//! ```text
//!  zones that changed, every hour all ─▶ Schedule ─▶ plan::next (pure) ─▶ order: account ─▶ new order ─▶ challenges
//!            ▲                            (who is                            │                               │
//!            │                             looked at when)                   │      AcmeOrder in the log ◀───┘
//!            │                                                               │      every server answers its texts
//!            │                                                               ▼      at _acme-challenge.ZONE
//!            └── AcmeOrder: failure, when next ◀── refused ◀── validated, key drawn, signed ─▶ Certificate in the log
//! ```
//!
//! It runs where the log is, as all upkeep does: one server orders, the log is at hand for every step, and there is no
//! claim that could be left lying. What is in flight is known to this process alone; an order that lies in the log as
//! under way and is not in flight was left by a process that ended, and is taken back and begun anew. So a crash leaves
//! challenges behind until the log's node runs again, and no longer.
//!
//! Invariants:
//! * **Only DNS-01, only for active zones.** An active zone is delegated to us, so its owner need do nothing; and only
//!   DNS-01 gives a wildcard (RFC 8555, 8.4).
//! * **Challenges are no records.** They lie in a noun of their own, the API's lists and zone files do not have them, and
//!   the zone's serial does not change: a zone's peers (`transfers`) have no part in them.
//! * **A key is in the log only together with its certificate**, and never leaves by the API. An order that ends in
//!   between is ordered again.
//! * **Whose fault it was decides who waits.** A zone that the authority refuses waits longer each time; while the
//!   authority itself is out of reach or asks for patience, all of them wait, and none is blamed.
//!
//! How it is known that the servers answer: this server's own services must have the challenges in force; the others are
//! given [`AcmeConfig::propagation_ms`], since followers do not say how far they have come, and more after each failure.
//!
//! Limits: `limits::ACME_…`. The certificates of the network's own authority stay beside those ordered, and serve where
//! there is none or it has run out.

mod client;
mod config;
mod obstacle;
mod order;
mod plan;
mod runner;
mod schedule;
mod state;

pub use config::AcmeConfig;
pub(crate) use config::AcmeSettings;
pub(crate) use obstacle::obstacle;
pub(crate) use runner::run;
