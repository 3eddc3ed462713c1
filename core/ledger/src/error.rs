//! What can go wrong, and whether asking again helps.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use proxima_model::Key;

use crate::{Precondition, Seq};

/// Why an append was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// What the writer decided upon no longer holds. Read again, decide again.
    #[error("{failed:?} does not hold: {}", describe_found(*found))]
    Precondition {
        /// The first precondition that does not hold.
        failed: Precondition,
        /// The revision of what lies there instead, if anything does.
        found: Option<Seq>,
    },
    /// The idempotency key was used for something else. Never taken under this key.
    #[error("the idempotency key was used for something else, in entry {seq}; use another key")]
    KeyReused {
        /// The entry that it was used for.
        seq: Seq,
    },
    /// More than one append may hold.
    #[error("the append has {what} beyond the limit of {limit}; split it")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// The append is not one.
    #[error("the append is not one: {0}")]
    Invalid(String),
    /// The log could not be reached in time; whether the changes were made is not known. Repeating the append under
    /// the same idempotency key is safe.
    #[error(
        "the log at {log} was not reached within {waited:?} ({reason}); reads go on, repeat the change later"
    )]
    Unreachable {
        /// Where the log is.
        log: SocketAddr,
        /// For how long it was tried.
        waited: Duration,
        /// The last thing that went wrong.
        reason: String,
    },
    /// The node that was asked does not keep the log.
    #[error("the node asked does not keep the log; append where `ledger.log` points to")]
    NotTheLog,
    /// No room on the log's disk or in its map. Nothing was written; appends are taken again when there is room.
    #[error("no room for the log ({0}); free disk space on the log's node or raise `ledger.map_bytes_max`")]
    Full(String),
    /// More appends wait than are allowed.
    #[error("too many appends wait for the log; try again later")]
    Busy,
    /// The log stopped.
    #[error("the log is stopping")]
    Closed,
    /// The log's store failed; it must be looked at by a person.
    #[error("the log's store failed: {0}")]
    Store(String),
}

fn describe_found(found: Option<Seq>) -> String {
    found.map_or_else(|| "nothing lies there".to_owned(), |seq| format!("entry {seq} put what lies there"))
}

impl AppendError {
    /// Whether the same append may be taken later, unchanged.
    pub const fn may_retry(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Full(_) | Self::Busy | Self::Closed)
    }
}

/// Why a state could not be read. Never is a value returned instead that was not put.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The replica is damaged. A follower rebuilds it from an upstream; until then nothing is read from it.
    #[error(
        "the replica is damaged ({0}); nothing is read from it until it is rebuilt from an upstream, or, on the log's \
         node, restored from a peer"
    )]
    Corrupt(String),
    /// The replica has no state yet: it is new and waits for its first snapshot.
    #[error("the replica has no state yet; it waits for a snapshot from an upstream")]
    NotReady,
    /// A secret was sealed with another key.
    #[error("{key} cannot be unsealed; is `node.key_file` the same on every node?")]
    Unseal {
        /// Where the secret lies.
        key: Key,
    },
    /// A value is not what this version takes it for.
    #[error("{key} does not hold a {kind}: {reason}")]
    Decode {
        /// Where the value lies.
        key: String,
        /// What it should be.
        kind: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// Too many snapshots are held at once.
    #[error("more than {} snapshots are held at once", crate::limits::READERS_MAX)]
    TooManyReaders,
    /// A zone is large, and who asks does not wait until it is compiled.
    #[error("{zone} is large and not compiled yet; ask again")]
    NotCompiled {
        /// Its name.
        zone: String,
    },
    /// Compiling a zone panicked.
    #[error("compiling {zone} panicked; the log says where, and the fault is Proxima's")]
    Fault {
        /// Its name.
        zone: String,
    },
}

/// Why a replica could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The folder cannot be used.
    #[error("cannot use the folder {path}: {source}; is it writable, and on a local disk?")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store was not opened.
    #[error("cannot open the store in {path}: {reason}")]
    Open {
        /// Its folder.
        path: PathBuf,
        /// What LMDB said.
        reason: String,
    },
    /// The key for secrets is not the one that the store was made with.
    #[error(
        "the store in {path} was made with another key; give the key that is in `node.key_file` of the other nodes"
    )]
    WrongKey {
        /// The store's folder.
        path: PathBuf,
    },
    /// The log itself is damaged.
    #[error(
        "the log in {path} is damaged ({reason}); it is not served. Stop the node and restore the log from its \
         peers (`proxima log restore`), or remove the folder to begin an empty network"
    )]
    LogCorrupt {
        /// The log's folder.
        path: PathBuf,
        /// What is damaged.
        reason: String,
    },
}

/// Why a log cannot be followed from where the follower is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The entries are no longer held: take a snapshot.
    #[error("the entries after {from} are no longer held; the first one held is {first}")]
    Compacted {
        /// After which they were wanted.
        from: Seq,
        /// The first one that is held.
        first: Seq,
    },
    /// The follower is ahead of what it wants to follow.
    #[error("{from} is ahead of the last entry here, {last}")]
    Ahead {
        /// The follower's cursor.
        from: Seq,
        /// The last entry here.
        last: Seq,
    },
    /// Both hold an entry of this place, and not the same.
    #[error(
        "the histories differ at or before entry {at}: one of the two logs was restored from an older state"
    )]
    Diverged {
        /// Where they are known to differ.
        at: Seq,
    },
    /// The peer follows another log.
    #[error("the peer follows another log ({theirs}) than this node ({ours})")]
    OtherLog {
        /// This node's log.
        ours: String,
        /// The peer's.
        theirs: String,
    },
    /// The peer cannot be used now.
    #[error("{0}")]
    Upstream(String),
    /// What is here cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a key for secrets was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key for secrets is not 64 hexadecimal digits; make one with `proxima init`")]
pub struct KeyError;

/// Why the way back to a former state could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevertError {
    /// The log no longer holds what is needed, or never held it.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// More changed since than one append may hold.
    #[error("{keys} keys changed since {since}; an append holds {}", crate::limits::CHANGES_PER_APPEND_MAX)]
    TooFar {
        /// The state to go back to.
        since: Seq,
        /// How many keys changed after it.
        keys: usize,
    },
}
