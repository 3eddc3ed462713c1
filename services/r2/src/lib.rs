//! Object storage: what is in buckets, on this server's disk or in an S3 engine behind it, and S3 in front of it.
//!
//! ```text
//!  S3 client ─▶ s3/server ─▶ s3s: signatures, XML ─▶ s3 (Front): whose bucket? may they? ─┐
//!  API (services/control), Workers ────── port Objects ───────────────────────────────────┤
//!  everybody, at custom domains ─▶ edge, cache ─▶ public ──────────────────────────────────┤
//!                                                                                         ▼
//!  its home, by connections between servers ◀── another's ── others: whose home is it? ── mine ─▶ local
//!        │                                                                        ▲               ├─▶ store: index (LMDB), files or engine, sweep
//!        └──────────── another server's question, about a bucket of mine ─────────┴─ others/answers └─▶ buckets: nouns of the log
//! ```
//!
//! What happens to objects is put down with it, for the queues that are told of it: store's outbox ─▶ deliver ─▶ port Queues.
//!
//! Invariants:
//! * **What was acknowledged outlives a crash**: octets are synced before their row is, and the row before the answer is.
//! * **Nothing half is seen.** An object is its row, of one transaction, which comes after its octets.
//! * **One server decides about a bucket**, its home; conditions are looked at in the transaction that writes.
//! * **No key is a path.** Files, and objects of the engine, have names that are drawn at random.
//! * **Rot is told and not passed on**: what is read whole is compared with its checksum before its end is sent, and all of it is
//!   read now and then.
//! * **A queue is told at least once of what its rules cover**, and of nothing else; nobody who asks for objects waits for it.
//! * **Who may not write, writes nothing**: signatures are checked as octets come, before they are seen.
//!
//! Limits: keys, metadata, parts, pages ([`proxima_pipeline::OBJECT_KEY_OCTETS_MAX`] and its kin), connections, those of one client, and requests
//! at a time, how long any of them may take without getting on (`s3/pacing.rs`), the index and what of the disk is left free (`[r2]`, [`R2Config`]), pauses of bodies,
//! what waits for queues (`store/outbox.rs`) and how many are told at a time (`deliver.rs`).
//!
//! Not here yet: object lock, versions of objects, access control lists, and copies on other servers ([decision 14](../../../docs/decisions/0014-r2.md)).

mod buckets;
mod config;
mod deliver;
mod error;
mod local;
mod metrics;
mod others;
mod public;
mod s3;
mod service;
mod store;
mod wanted;

/// The name of the service: folder, configuration key, metric prefix.
pub const SERVICE: &str = "r2";

pub use config::{BlobsConfig, R2Config};
pub use error::R2Error;
pub use public::PublicStage;
pub use service::R2Service;

/// Reads octets as what comes from other servers: what fuzz targets call. Nothing in it may panic but by what it asserts.
#[doc(hidden)]
pub fn exercise(octets: &[u8]) {
    others::wire::exercise(octets);
}
