//! The API: v4 conventions under `/client/v4`, on every server. It reads this server's replica and writes to the log.
//!
//! ```text
//!  request ─▶ door (bounds, deadline, metrics) ─▶ route ─▶ authorise (who, may they, on what) ─▶ handler
//!                                                                                                 │
//!     ┌── read: one snapshot of the replica ◀─────────────────────────────────────────────────────┤
//!     │                                                                                           ▼
//!     │        write: snapshot ─▶ decide (pure) ─▶ append with preconditions ─▶ wait until it is here
//!     ▼                               ▲                      │ another write came between
//!  envelope {success, errors, …}      └──────────────────────┘
//!
//!  on the log's node only: background ─▶ ticket keys, the authority, zones' certificates, pending zones
//!                           └─▶ acme ─▶ certificates of a public authority, if one is configured
//! ```
//!
//! Invariants:
//! * **No endpoint without its need.** [`routes`] is the one table, and a test asks every one of its endpoints as those
//!   who may not. What belongs to another account answers as what does not exist.
//! * **Decide upon what is.** A write names the revisions that it read; where another write came between, it is decided
//!   anew. Every change of a record puts its zone too, so that two writes that clash cannot both be made.
//! * **Whole or not at all.** A batch and an imported file are one append.
//! * **Read your writes.** An answer to a write comes when this server shows it; `proxima-seq` names the state, and
//!   `?wait=SEQ` asks any server for it.
//! * **One place where an error becomes an envelope:** [`error`].
//!
//! Without the log everything is read as before, and writes answer 503 with when to ask again.
//!
//! Limits are in [`limits`]. A record's write reads all records of its zone; a zone list reads all zones unless one name
//! is asked for.

mod accounts;
mod acme;
mod activation;
mod api;
mod authority;
mod background;
mod bootstrap;
mod certificates;
mod client_auth;
mod code;
mod compat;
mod config;
mod dns_analytics;
mod dns_settings;
mod dnssec;
mod error;
mod exercise;
mod first_octets;
#[cfg(test)]
mod fixtures;
mod history;
mod hosts;
mod kv;
pub mod limits;
mod metrics;
mod purge;
mod queues;
mod r2;
mod records;
mod routes;
mod rulesets;
mod server;
mod service;
mod settings;
mod ssl;
mod token;
mod tokens;
mod trace;
mod traffic;
mod transfers;
mod unread;
mod workers;
pub mod zonefile;
mod zones;

pub use acme::AcmeConfig;
pub use bootstrap::{BootstrapOutcome, FIRST_ACCOUNT, bootstrap};
pub use config::{Activation, ControlConfig};
pub use error::ControlError;
#[doc(hidden)]
pub use exercise::{exercise, exercise_filters, exercise_import, exercise_transfers};
pub use routes::{EndpointRow, NeededScope, endpoint_table};
pub use service::ControlService;
