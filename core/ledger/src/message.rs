//! What peers say to each other: a pure, bounded encoding, one message a frame.
//!
//! ```text
//!  client                                  server
//!    Hello { version, log }        ──▶
//!                                  ◀──  Welcome { version, log, pulse }
//!    Append { id, … }              ──▶                                     (to the log's node)
//!                                  ◀──  Appended { id, … } | Refused { id, … }
//!    Ask { id, … }                 ──▶                                     (to the log's node)
//!                                  ◀──  Told { id, … }
//!    SnapshotRequest               ──▶
//!                                  ◀──  SnapshotBegin, SnapshotChunk …, SnapshotEnd
//!    Subscribe { from, digest }    ──▶
//!                                  ◀──  Entry …                            (in order, without a gap)
//!                                  ◀──  Heartbeat(pulse)                   (at least every HEARTBEAT_INTERVAL)
//!                                  ◀──  Failed(why)                        (instead of what was asked for)
//! ```
//!
//! A frame is four octets of length, one of type, and the message. Any of it that is not as it should be ends the
//! connection.

use std::time::Duration;

use proxima_model::{Key, Timestamp};

use crate::{
    Append, AppendError, AskError, Fingerprint, FollowError, Precondition, Seq, codec::Digest, store::LogId,
};

mod wire;

/// The version of this protocol. Peers of another one are refused, so that an upgrade shows at once what is wrong.
pub(crate) const VERSION: u16 = 3;

/// How an upstream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Its own last entry.
    pub seq: Seq,
    /// The log's last entry, as far as it knows.
    pub log_last: Seq,
    /// How long ago it, or whom it follows, heard from the log; zero at the log, `None` if never.
    pub log_heard: Option<Duration>,
}

/// One thing of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotItem {
    /// A value of the state.
    Value {
        /// Where it lies.
        key: Key,
        /// The entry that put it.
        revision: Seq,
        /// The value.
        value: Vec<u8>,
    },
    /// An idempotency key that is remembered.
    Seen {
        /// The key.
        key: String,
        /// The entry that it was used for.
        seq: Seq,
        /// When.
        at: Timestamp,
        /// What it was used for, if that is known.
        fingerprint: Option<Fingerprint>,
    },
}

/// A message between peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The client's greeting.
    Hello {
        /// Its version of the protocol.
        version: u16,
        /// The log that it follows, if it knows.
        log: Option<LogId>,
    },
    /// The server's answer.
    Welcome {
        /// Its version of the protocol.
        version: u16,
        /// The log that it follows, if it has a state.
        log: Option<LogId>,
        /// Whether it keeps the log.
        keeps_log: bool,
        /// How it is.
        pulse: Pulse,
    },
    /// Changes to append.
    Append {
        /// Names the append on this connection.
        id: u64,
        /// The changes.
        append: Append,
    },
    /// They were appended.
    Appended {
        /// Which append.
        id: u64,
        /// The entry.
        seq: Seq,
        /// Whether it had been there before.
        repeated: bool,
    },
    /// They were not.
    Refused {
        /// Which append.
        id: u64,
        /// Why.
        refusal: Refusal,
    },
    /// A question that is no part of the state.
    Ask {
        /// Names the question on this connection.
        id: u64,
        /// Who is to answer it.
        topic: String,
        /// The question.
        question: Vec<u8>,
    },
    /// Its answer.
    Told {
        /// To which question.
        id: u64,
        /// The answer, or why there is none.
        answer: Result<Vec<u8>, NoAnswer>,
    },
    /// Asks for the entries after `from` and those to come.
    Subscribe {
        /// The follower's cursor.
        from: Seq,
        /// The digest of its log up to there, if it has one.
        digest: Option<Digest>,
    },
    /// An entry, in its canonical encoding.
    Entry(Vec<u8>),
    /// The server lives.
    Heartbeat(Pulse),
    /// Asks for the whole state.
    SnapshotRequest,
    /// The state of which the chunks are that follow.
    SnapshotBegin {
        /// The log.
        log: LogId,
        /// Its place in it.
        seq: Seq,
        /// The time of that entry.
        at: Timestamp,
        /// The digest up to it.
        digest: Digest,
    },
    /// Some of the state: values in the order of their keys, then idempotency keys in the order of their entries.
    SnapshotChunk(Vec<SnapshotItem>),
    /// That was all of it.
    SnapshotEnd {
        /// How many items there were.
        items: u64,
        /// CRC-32 over all chunks as they travelled.
        checksum: u32,
    },
    /// What was asked for cannot be given.
    Failed(Failure),
}

/// Why an append was refused; [`AppendError`] as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A precondition does not hold.
    Precondition(Precondition, Option<Seq>),
    /// The idempotency key was used for something else, in this entry.
    KeyReused(Seq),
    /// The node does not keep the log.
    NotTheLog,
    /// No room.
    Full(String),
    /// Too many appends wait.
    Busy,
    /// The log stops.
    Closed,
    /// The append is not one.
    Invalid(String),
    /// The store failed.
    Store(String),
}

/// Why a question is not answered; [`AskError`] as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The node does not keep the log, or nobody there answers such questions.
    Nobody(String),
    /// It, or its answer, is too large.
    TooLarge,
    /// Something else, in words.
    Other(String),
}

/// Why a subscription or a snapshot is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The entries are no longer kept; this is the first that is.
    Compacted(Seq),
    /// The follower is ahead; this is the last entry here.
    Ahead(Seq),
    /// The histories differ.
    Diverged(Seq),
    /// Something else, in words.
    Other(String),
}

impl Refusal {
    /// As it travels.
    pub(crate) fn of(error: AppendError) -> Self {
        match error {
            AppendError::Precondition { failed, found } => Self::Precondition(failed, found),
            AppendError::KeyReused { seq } => Self::KeyReused(seq),
            AppendError::NotTheLog => Self::NotTheLog,
            AppendError::Full(reason) => Self::Full(reason),
            AppendError::Busy => Self::Busy,
            AppendError::Closed => Self::Closed,
            AppendError::Store(reason) => Self::Store(reason),
            error @ (AppendError::TooLarge { .. }
            | AppendError::Invalid(_)
            | AppendError::Unreachable { .. }) => Self::Invalid(error.to_string()),
        }
    }

    /// As it is answered.
    pub(crate) fn into_error(self) -> AppendError {
        match self {
            Self::Precondition(failed, found) => AppendError::Precondition { failed, found },
            Self::KeyReused(seq) => AppendError::KeyReused { seq },
            Self::NotTheLog => AppendError::NotTheLog,
            Self::Full(reason) => AppendError::Full(reason),
            Self::Busy => AppendError::Busy,
            Self::Closed => AppendError::Closed,
            Self::Invalid(reason) => AppendError::Invalid(reason),
            Self::Store(reason) => AppendError::Store(reason),
        }
    }
}

impl NoAnswer {
    /// As it travels.
    pub(crate) fn of(error: AskError) -> Self {
        match error {
            AskError::Nobody(topic) => Self::Nobody(topic),
            AskError::TooLarge => Self::TooLarge,
            AskError::Refused(reason) => Self::Other(reason),
            error @ (AskError::Unreachable(_) | AskError::Busy) => Self::Other(error.to_string()),
        }
    }

    /// As who asked is told.
    pub(crate) fn into_error(self) -> AskError {
        match self {
            Self::Nobody(topic) => AskError::Nobody(topic),
            Self::TooLarge => AskError::TooLarge,
            Self::Other(reason) => AskError::Refused(reason),
        }
    }
}

impl Failure {
    /// As it travels.
    pub(crate) fn of(error: &FollowError) -> Self {
        match error {
            FollowError::Compacted { first, .. } => Self::Compacted(*first),
            FollowError::Ahead { last, .. } => Self::Ahead(*last),
            FollowError::Diverged { at } => Self::Diverged(*at),
            error => Self::Other(error.to_string()),
        }
    }

    /// As the follower at `from` is told.
    pub(crate) fn into_error(self, from: Seq) -> FollowError {
        match self {
            Self::Compacted(first) => FollowError::Compacted { from, first },
            Self::Ahead(last) => FollowError::Ahead { from, last },
            Self::Diverged(at) => FollowError::Diverged { at },
            Self::Other(reason) => FollowError::Upstream(reason),
        }
    }
}
