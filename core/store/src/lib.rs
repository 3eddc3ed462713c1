//! What a service keeps on this server's disk: an LMDB environment of its own.
//!
//! ```text
//!  services ─▶ Own (own.rs) ─┬─ read ──▶ a thread that may wait ─────────────┐
//!                            └─ commit ─▶ jobs of one moment, in one ────────┤
//!                                         transaction that is on the disk    ▼
//!                                                       environment.rs: opened, its file looked at
//! ```
//!
//! Each service says what its rows are and how they are written; here stands what all of them do alike. (The ledger, a floor
//! below, opens its own: what it keeps of durability, and of who else may have it open, is another matter.)
//!
//! Invariants:
//! * **A file that is shorter than its pages is not opened:** touching what is missing would kill the process.
//! * **No thread that serves waits for a disk** ([`Own`]).
//! * **Nobody fills the disk:** so much of it is left free, for deletions and for the log ([`Space`]).
//!
//! Limits: readers ([`READERS_MAX`]), reads and writes under way (`own.rs`), octets (whoever opens says how many, within
//! [`check_octets`] where they are configured).

mod environment;
mod fault;
mod id;
mod own;
mod space;

pub use environment::{Db, Durability, OpenError, READERS_MAX, check_octets, open, used};
pub use fault::Fault;
pub use id::StoreId;
pub use own::{Commit, Outcome, Own};
pub use space::{FREE_OCTETS_MIN, FileUse, Free, Space, SpaceMetrics, Taken};
