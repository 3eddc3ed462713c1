//! Keys and values: what Workers KV is. Written in one place, read from everywhere.
//!
//! ```text
//!   a Worker, the API ─▶ KeyValue (port.rs) ─┬─ read ──▶ this server's cache ─▶ the cache of its PoP ─┐ cache.rs
//!                                            │                                                        ▼
//!                                            └─ write, list, read the latest ─▶ the namespace's home: its first replica
//!                                                                               that can be reached         │
//!        caches of all other servers forget the key ◀── forgets.rs ─────────────────────────────────────────┤
//!        the other replica has it ◀──────────────────── replicate.rs: pushed at once, or pulled later ──────┤
//!                                                                                                           ▼
//!                                      store/: LMDB, one fsync for what is written in one moment ◀─ stamped by stamp.rs
//! ```
//!
//! A namespace has two replicas in different PoPs (`place.rs`): there is no consensus, and no primary that would have to be
//! elected. Whichever of them can be reached takes a write; each write carries a stamp of a hybrid logical clock, and of two
//! writes of one key the later stamp stays, wherever and in whatever order they come. What is acknowledged has been synced to
//! the disk of both, or of the one while the other is found to be away; that one takes over what it missed, from the order in
//! which the first has taken it, before it answers as a home again. [Decision 13](../../../docs/decisions/0013-kv.md) says why
//! so.
//!
//! Invariants:
//! * **Nothing is acknowledged that is not on a disk,** and the loss of one server loses nothing that both replicas have.
//! * **Any order and repetition of deliveries leads to the same values.** A deletion is a write; it is remembered for a week.
//! * **What was written is seen at its home at once, and everywhere within 60 s:** caches are told to forget, and no entry is
//!   given to a reader for longer than that reader asked for, told or not. Only where no replica can be reached, what a cache
//!   has is given for up to [`STALE_MAX`](cache::STALE_MAX).
//! * **No thread that serves waits for a disk.** The store is read and written by threads of their own.
//! * **Without the others, what lies here is served.** A server that is alone has all namespaces, and asks nobody.
//!
//! Limits: octets of values under way ([`room::ROOM_OCTETS`]), requests at once ([`kv::REQUESTS_MAX`]), the store and the cache
//! (`[kv]`), keys of a page and of a message, keys to forget, how long another server may take.

mod answers;
mod cache;
mod config;
mod flights;
mod forgets;
mod kv;
mod lacks;
mod metrics;
mod named;
mod own;
mod place;
mod port;
mod reach;
mod replicate;
mod room;
mod service;
mod stamp;
mod store;
mod wire;

pub use config::KvConfig;
pub use service::KvService;

/// The service's name: folder, crate, configuration table, metric prefix, log target, and what servers ask each other for.
pub const SERVICE: &str = "kv";

/// Reads octets as what comes from other servers and from the disk: what fuzz targets call. Nothing in it may panic but by what
/// it asserts.
#[doc(hidden)]
pub fn exercise(octets: &[u8]) {
    wire::exercise(octets);
    store::exercise(octets);
}

#[cfg(test)]
mod tests;
