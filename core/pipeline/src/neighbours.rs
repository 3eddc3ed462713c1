//! Neighbours: the servers of one PoP, as services on them ask their like. Of a PoP's servers each key has one as its home.
//!
//! ```text
//!   resolver ── home of a key, another server ──▶ Neighbours (the tiers' connections) ──▶ that server: AnswersNeighbours ─┐
//!      ▲                                                                                                 (its resolver)   │
//!      └────────────── the answer's octets, once the neighbour has taken the question ◀──────────────────────────────────┘
//! ```
//!
//! Who carries questions knows nothing of what they say: they are octets with bounds. Who asks and who answers know nothing of
//! connections and certificates.

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// Octets of the longest question.
pub const NEIGHBOUR_QUESTION_OCTETS_MAX: usize = 1 << 10;
/// Octets of the longest answer.
pub const NEIGHBOUR_ANSWER_OCTETS_MAX: usize = 128 << 10;
/// Questions under way from one server to another: a flood that one server has is not all that another one has to do.
pub const NEIGHBOUR_QUESTIONS_MAX: usize = 1_024;

/// Why a neighbour does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It was lost, before or after it took the question.
    #[error("it was lost")]
    Lost,
    /// A neighbour says that it cannot now, or as many questions are under way to it as may be; a server says that it does not
    /// have the service that is asked.
    #[error("it declines")]
    Declined,
    /// A neighbour took the question, and says then that it has no answer: it has too much to do; or as many requests are under
    /// way to a server as may be.
    #[error("it is busy")]
    Busy,
}

/// The answer to a question that a neighbour has taken.
pub type NeighbourAnswer = BoxFuture<'static, Result<Bytes, NoAnswer>>;

/// The other servers of this one's PoP.
pub trait Neighbours: Send + Sync {
    /// The neighbour that is home of a key: of the PoP's servers that can be asked. `None`: this server is.
    fn home(&self, key: &[u8]) -> Option<usize>;

    /// What a neighbour is called.
    fn name(&self, neighbour: usize) -> String;

    /// Puts a question to a neighbour. Ready when it has taken it, which is at once: the answer may take longer.
    fn put(&self, neighbour: usize, question: Vec<u8>) -> BoxFuture<'_, Result<NeighbourAnswer, NoAnswer>>;
}

/// What becomes of a neighbour's question.
pub enum Taken {
    /// It is answered, with an octet at least.
    Now(Vec<u8>),
    /// It will be; nothing, if it cannot, which the neighbour is told ([`NoAnswer::Busy`]). Is driven to its end, also if the
    /// neighbour has gone.
    Later(BoxFuture<'static, Option<Vec<u8>>>),
    /// Too much is under way.
    Declined,
    /// It is none.
    Malformed,
}

/// Who answers the neighbours' questions.
pub trait AnswersNeighbours: Send + Sync {
    /// Takes a question of a neighbour. Must not wait.
    fn take(&self, neighbour: usize, question: &[u8]) -> Taken;
}
