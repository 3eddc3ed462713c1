//! The replicated log of changes, and every server's replica of it.
//!
//! ```text
//!   control ── Append ──▶ RemoteLog ── TLS ──▶ Server ──▶ EmbeddedLog ── one writer, group commit ──▶ Store
//!  (any node)                                 (log's node)                                             │ state + log
//!                                                                                                      ▼
//!   services ◀── Snapshot, ChangeSet, CompiledZones ◀── Replica ◀── Follower ◀── TLS ◀── Server ◀── Replica
//!  (any node)                                            (this node)        entries, heartbeats,   (log's node, or
//!                                                                           or a snapshot           any other node)
//! ```
//!
//! There is one ordered log of changes, kept on one node ([`EmbeddedLog`]). A state is the fold of its entries; every
//! node holds one ([`Replica`]) together with the recent entries, and serves it to others. So any node can be an
//! upstream, and a follower ([`Ledger::start`]) takes whichever serves best. Start reading at [`Log`], [`Replica`]
//! and [`Snapshot`].
//!
//! # Invariants
//! * **An acknowledged append is durable**, and is never made twice: entry, state and idempotency key are one LMDB
//!   transaction, synced before the answer. A key that comes again for something else is refused
//!   ([`AppendError::KeyReused`]).
//! * **A state is whole.** A change and its place in the log are applied together; a snapshot that is loaded is seen
//!   when its last octet was right, and not before.
//! * **A replica never goes back.** Its cursor is its own; what is known is passed over, a gap is not jumped, and
//!   another log or another history (a chain of digests tells) is refused.
//! * **What was not put is not read.** Every value and entry carries a checksum. Damage ends all reading from that
//!   replica until a follower has rebuilt it; on the log's node it is refused with what to do ([`LogRestore`]). A check
//!   of everything runs in the background, daily.
//! * **Secrets are sealed before they leave the writer** ([`Replica::put`]): in the log, on the wire and at rest.
//! * **The request path reads only what is here.** Losing the log, or every upstream, stops changes and nothing else.
//!
//! # Limits
//! Every bound is a named constant in [`limits`]. Two are of the design: the log is on one node, so its loss stops
//! writes until it is back or restored; and LMDB trusts its own pages, so a page that is damaged in its structure can
//! end the process instead of being reported: the node is then restarted, and its file's length and head are checked
//! when it opens.

mod ahead;
mod aside;
mod asks;
mod change;
mod check;
mod choice;
mod codec;
mod compiled;
mod compiling;
mod config;
mod embedded;
mod error;
mod exercise;
mod follower;
mod history;
mod ledger;
pub mod limits;
mod log;
pub mod message;
mod nearest;
mod peer;
mod recent;
mod remote;
mod replica;
mod resident;
mod restore;
mod revert;
mod room;
mod seal;
mod server;
mod snapshot;
mod states;
mod store;
mod tail;
mod transfer;
mod verify;
mod vitals;
mod writer;
mod zone_names;

pub use ahead::Unserved;
pub use asks::{ASK_DEADLINE, ASK_OCTETS_MAX, Answers, AskError};
pub use change::{Append, Change, ChangeSet, Entry, Fingerprint, IdempotencyKey, Precondition, Seq};
pub use check::StepBounds;
pub use codec::{DecodeError, Digest};
pub use compiled::{CompileZone, CompiledZones, ENTRY_OCTETS, Look, Pending};
pub use config::LedgerConfig;
pub use embedded::{Clock, EmbeddedLog, system_clock};
pub use error::{AppendError, FollowError, KeyError, ReadError, ReplicaError, RevertError};
#[doc(hidden)]
pub use exercise::exercise;
pub use ledger::{Ledger, LedgerError, LedgerStatus, PeerTls, Role};
pub use limits::{CHANGES_PER_APPEND_MAX, HEARTBEAT_INTERVAL};
pub use log::{Appended, Log, Update};
pub use nearest::{OfZone, first_active, nearest_active};
pub use peer::certificate_name;
pub use remote::RemoteLog;
pub use replica::{Replica, ReplicaOptions};
pub use restore::{LogRestore, Source};
pub use revert::{Replaced, WayBack};
pub use seal::Sealer;
pub use snapshot::Snapshot;
pub use store::LogId;
pub use verify::{Verification, VerifyPace};
