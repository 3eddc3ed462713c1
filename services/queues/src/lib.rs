//! Queues: messages that are sent from everywhere, kept on two servers, and delivered at least once.
//!
//! ```text
//!   a Worker, the API, buckets ─▶ Queues (port.rs) ─▶ the queue's home: its first replica that can be reached (home.rs)
//!                                                          │ store/: LMDB, one fsync for what comes in one moment
//!        the other replica does the same, in order ◀───────┤ links.rs: acknowledged when it has
//!                                                          ▼
//!        HTTP: pulled, for as long as a lease lasts ◀── due messages ──▶ deliver.rs: batches to a Worker's `queue` handler (Invoke)
//!                                                          ▲                     │
//!                                                          └── done with, again, or to the dead letter queue ◀──┘
//! ```
//!
//! A queue has two replicas in different PoPs, chosen as those of keys and values are. The first of them is its home; while that is
//! away the other one takes messages, and gives them out. There is no consensus: who is parted from the network may deliver what the
//! other side delivers, too. [Decision 16](../../../docs/decisions/0016-queues.md) says why so.
//!
//! Invariants:
//! * **Nothing is acknowledged that is not on a disk,** and the loss of one server loses nothing that both replicas have.
//! * **At least once:** a message is there until somebody said that it is done with, it is too old, or it was delivered as often as
//!   may be. Until then it is delivered again: also after a process was killed.
//! * **One server gives out the messages of a queue,** unless the network is parted: its home, or the other replica while that is
//!   away; not before it has what was done while it was away itself.
//! * **No thread that serves waits for a disk.** The store is read and written by threads of their own.
//! * **No account takes all places for batches under way,** however long its Workers take ([`fair`]).
//!
//! Limits: the store and what waits in one queue (`[queues]`), requests at once ([`home::REQUESTS_MAX`]), batches under way
//! ([`deliver`]), octets of a batch, and those of v4 (`core/model/src/limits.rs`).

mod answers;
mod config;
mod deliver;
mod fair;
mod home;
mod links;
mod message;
mod metrics;
mod named;
mod port;
mod reach;
mod relocate;
mod service;
mod store;
mod wire;

pub use config::QueuesConfig;
pub use service::QueuesService;

/// The service's name: folder, crate, configuration table, metric prefix, log target, and what servers ask each other for.
pub const SERVICE: &str = "queues";

/// Reads octets as what comes from other servers: what fuzz targets call. Nothing in it may panic but by what it asserts.
#[doc(hidden)]
pub fn exercise(octets: &[u8]) {
    wire::exercise(octets);
}

#[cfg(test)]
mod tests;
