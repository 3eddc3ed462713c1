//! The HTTP cache: RFC 9111 as a pure core, bounded stores in memory and on disk, and the stage that stands before the
//! origin.
//!
//! ```text
//!              Exchange                                     ledger: Purge
//!                 │ on_request                                  │ prepare, commit
//!                 ▼                                             ▼
//!   stage ── asks ─▶ policy (pure: may it? how long? which part?)   service
//!     │                                                         │
//!     ├── store  ◀── find, insert, forget ──────────────────────┤  zone marks, keys
//!     │     └── disk (what was asked for again; read where memory has nothing)
//!     ├── flights ◀─ join: lead, wait or share ─────────────────┘
//!     └── fill: a task that runs the stages behind, judges the answer,
//!              lets it grow (content) under its readers' eyes, stores it whole
//! ```
//!
//! Invariants:
//! * **Nothing is stored or reused that RFC 9111 forbids a shared cache**, and nothing stale is served without leave
//!   of the origin or the client. Stricter than that in three points: an answer that sets a cookie is not stored
//!   on a guessed lifetime, a request that carries a field known to change answers without being in the key goes past,
//!   and parts (206) are kept for requests of the very same part, never combined but as slices of a large object. File extensions do not matter.
//! * **One fetch for all who ask at once.** The fetch belongs to no client: who leaves takes nothing along. What may
//!   not be shared goes to the one whose request fetched it; the others ask for themselves, all at once.
//! * **What was purged is never served afterwards**, also if it was on its way when the purge came: what counts is when
//!   its request came, before its zone was looked up (`stage::entrance`). No purge walks what is stored: one of a zone takes
//!   one store of an integer, one of a host, prefix or tag one mark for each ([`marks`]).
//! * **A truncated answer is never stored, and never passes for a whole one**: its readers get an error.
//! * **No lock is held across an await**, and a hit takes one look-up, no task and no box.
//! * **What cannot be verified is a miss**, and no request waits for a write to the disk (`disk`).
//!
//! What code keeps here by the port `ResponseCache` lies under keys of its own, in memory alone, and answers code alone (`stage/responses.rs`).
//!
//! A zone's cache rules are asked once, as a request comes (`ruling`): they may send it past, make another key of it
//! (`key`), and wish for other lifetimes than the origin's ([`policy::wishes`]).
//!
//! Limits: memory and disk, and with them the size of one object (`[cache]`, [`CacheConfig`]); what is being fetched (a quarter of
//! the memory); fetches at once ([`flights::FLIGHTS_MAX`]); names of a `Vary`
//! ([`VARY_NAMES_MAX`](policy::vary::VARY_NAMES_MAX)); tags of a response, and marks of what was purged
//! ([`marks`]); how long a request waits for another's fetch.
//! What grows beyond a limit is passed on and not kept.

pub mod config;
pub mod content;
pub(crate) mod disk;
pub mod error;
mod expect;
mod fill;
pub mod flights;
mod forgets;
mod hashing;
pub mod key;
pub mod marks;
pub mod metrics;
mod outliving;
pub mod policy;
mod ruling;
mod serve;
mod service;
mod stage;
pub mod status;
pub mod store;

/// Reads octets as a segment of the disk is read: for fuzzing.
#[doc(hidden)]
pub fn exercise_disk(octets: &[u8]) {
    disk::exercise(octets);
}

/// Reads octets as fields, one a line, of a request and of its answer, and decides by them: for fuzzing.
#[doc(hidden)]
pub fn exercise_policy(octets: &[u8]) {
    policy::exercise(&fields_of(octets));
}

/// Reads octets as the settings of a cache rule (JSON), a URL, and fields, one a line: for fuzzing.
#[doc(hidden)]
pub fn exercise_key(octets: &[u8]) {
    let mut lines = octets.splitn(3, |octet| *octet == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    key::exercise(line(), line(), fields_of(line()));
}

/// Fields, one a line; lines that are none are left out.
fn fields_of(octets: &[u8]) -> http::HeaderMap {
    let mut fields = http::HeaderMap::new();
    for line in octets.split(|octet| *octet == b'\n') {
        let Some(colon) = line.iter().position(|octet| *octet == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) =
            (http::HeaderName::from_bytes(name), http::HeaderValue::from_bytes(value))
        {
            fields.append(name, value);
        }
    }
    fields
}

pub use config::CacheConfig;
pub use error::CacheError;
pub use service::CacheService;
pub use stage::{CacheStage, Entrance};
pub use status::{CACHE_STATUS, CacheStatus};
