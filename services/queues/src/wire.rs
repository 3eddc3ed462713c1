//! What servers ask each other for, as octets: pure.
//!
//! A message is a variant of [`Question`] or [`Answer`], as postcard writes it. A later version may append variants, which are
//! refused here as not understood, and nothing else: while a network is upgraded its servers run two versions.
//!
//! Limits: octets of a body ([`BODY_OCTETS_MAX`]), and of each message in it those of v4.

use bytes::Bytes;
use proxima_model::limits;
use proxima_pipeline::{QueueBacklog, QueueError, QueueSettling};
use proxima_store::StoreId;
use serde::{Deserialize, Serialize};

use crate::message::{Lease, Message, MessageId, State};

/// The paths of this version: of what clients ask, and of what replicas tell each other. Each has places of its own where it is
/// answered: what clients ask waits for what replicas tell.
pub(crate) const PATH_OF_CLIENTS: &str = "/1/clients";
pub(crate) const PATH_OF_REPLICAS: &str = "/1/replicas";
/// Operations of one message between replicas.
pub(crate) const OPERATIONS_MAX: usize = 1_000;
/// Octets of the bodies in it, as long as the first is not longer: a few round trips' worth on a long line.
pub(crate) const OPERATIONS_OCTETS_MAX: usize = 1 << 20;
/// Octets of a message: what replicas say at most, and room for what is said of each operation.
pub(crate) const BODY_OCTETS_MAX: usize =
    OPERATIONS_OCTETS_MAX + limits::QUEUE_MESSAGE_OCTETS_MAX + OPERATIONS_MAX * 128;

type Id = [u8; 16];

/// What one server asks of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Whether the server is there, and what it has for the asker that this one has not confirmed.
    Hello,
    /// Messages of clients.
    Send { queue: Id, messages: Vec<Sent> },
    /// Messages that are due, for so many milliseconds.
    Pull { queue: Id, batch_size: u32, visibility_ms: u32 },
    /// What became of them.
    Settle { queue: Id, settled: Vec<(Lease, QueueSettling)> },
    /// What waits.
    Backlog { queue: Id },
    /// All messages are to go that were sent before.
    Purge { queue: Id, before: MessageId },
    /// What the asker's store has taken, in its order, and not told before.
    Replicate { store: StoreId, operations: Vec<Numbered> },
    /// As [`Self::Settle`], which older servers ask: who asks so is told of each.
    SettleEach { queue: Id, settled: Vec<(Lease, QueueSettling)> },
}

impl Question {
    /// What a server of the version before is asked instead, if it knows something like it.
    pub(crate) fn as_before(&self) -> Option<Self> {
        match self {
            Self::SettleEach { queue, settled } => {
                Some(Self::Settle { queue: *queue, settled: settled.clone() })
            }
            _ => None,
        }
    }

    /// By which path it is asked.
    pub(crate) const fn path(&self) -> &'static str {
        match self {
            Self::Hello | Self::Replicate { .. } => PATH_OF_REPLICAS,
            Self::Send { .. }
            | Self::Pull { .. }
            | Self::Settle { .. }
            | Self::SettleEach { .. }
            | Self::Backlog { .. }
            | Self::Purge { .. } => PATH_OF_CLIENTS,
        }
    }
}

/// A message as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) message: Message,
    /// Whether the delay is the queue's.
    pub(crate) waits_as_queue: bool,
}

/// What one replica does after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Operation {
    Put(Id, Message),
    Change(Id, MessageId, State),
    Delete(Id, MessageId),
}

/// An operation under the number that it has in the store that took it: what has been taken of that store is not taken again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
    pub(crate) operation: Operation,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It is there: its store, and the last number that it has for the asker.
    Hello {
        store: StoreId,
        last: u64,
    },
    Backlog(QueueBacklog),
    Pulled(Vec<(Message, Lease)>, QueueBacklog),
    Counts(Counts),
    Purged(u64),
    /// It is done; whether there was no room for some of the messages.
    Replicated {
        lacked_room: bool,
    },
    Refused(Refusal),
    /// Of [`Question::SettleEach`]: also the places of those whose leases had run out.
    Settled(Counts, Vec<u32>),
}

/// How many messages were settled so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Done with.
    pub(crate) acked: usize,
    /// To be delivered again.
    pub(crate) retried: usize,
    /// Of leases that had run out.
    pub(crate) stale: usize,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    Busy,
    Full(String),
    Broken(String),
    Invalid(String),
    /// The server does not have the queue, or another one delivers it.
    NotHere,
    /// No queue of this id is known there.
    Unknown,
    NotUnderstood,
}

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Unknown => Self::Unknown,
            QueueError::Invalid(text) => Self::Invalid(text),
            QueueError::Busy => Self::Busy,
            QueueError::Full(text) => Self::Full(text),
            QueueError::Broken(text) => Self::Broken(text),
            QueueError::Unreachable(_) => Self::NotHere,
        }
    }
}

impl From<Refusal> for QueueError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy => Self::Busy,
            Refusal::Full(text) => Self::Full(text),
            Refusal::Broken(text) => Self::Broken(text),
            Refusal::Invalid(text) => Self::Invalid(text),
            Refusal::Unknown => Self::Unreachable("its home does not know the queue yet".to_owned()),
            Refusal::NotHere | Refusal::NotUnderstood => {
                Self::Unreachable("who should have it does not".to_owned())
            }
        }
    }
}

/// As it goes over the wire.
pub(crate) fn write(what: &impl Serialize) -> Bytes {
    postcard::to_allocvec(what).expect("plain data is written").into()
}

/// What was written so, if each message in it keeps its bounds.
pub(crate) fn read_question(octets: &[u8]) -> Option<Question> {
    let question: Question = postcard::from_bytes(octets).ok()?;
    let keeps_bounds = match &question {
        Question::Send { messages, .. } => {
            messages.len() <= limits::QUEUE_SEND_MESSAGES_MAX
                && messages.iter().all(|sent| is_bounded(&sent.message))
        }
        Question::Settle { settled, .. } | Question::SettleEach { settled, .. } => {
            settled.len() <= OPERATIONS_MAX
        }
        Question::Replicate { operations, .. } => {
            operations.len() <= OPERATIONS_MAX
                && operations.iter().all(|it| match &it.operation {
                    Operation::Put(_, message) => is_bounded(message),
                    Operation::Change(..) | Operation::Delete(..) => true,
                })
        }
        Question::Hello | Question::Pull { .. } | Question::Backlog { .. } | Question::Purge { .. } => true,
    };
    keeps_bounds.then_some(question)
}

/// The same of an answer.
pub(crate) fn read_answer(octets: &[u8]) -> Option<Answer> {
    let answer: Answer = postcard::from_bytes(octets).ok()?;
    let keeps_bounds = match &answer {
        Answer::Pulled(messages, _) => messages.iter().all(|(message, _)| is_bounded(message)),
        Answer::Settled(_, stale) => stale.len() <= OPERATIONS_MAX,
        _ => true,
    };
    keeps_bounds.then_some(answer)
}

fn is_bounded(message: &Message) -> bool {
    message.body.len() <= limits::QUEUE_MESSAGE_OCTETS_MAX
}

/// Reads octets as what another server asks, and answers: what fuzz targets call. What was read is written as the same.
pub(crate) fn exercise(octets: &[u8]) {
    if let Some(question) = read_question(octets) {
        assert_eq!(read_question(&write(&question)), Some(question));
    }
    if let Some(answer) = read_answer(octets) {
        assert_eq!(read_answer(&write(&answer)), Some(answer));
    }
}

#[cfg(test)]
mod tests {
    use proxima_pipeline::QueueContentType;

    use super::*;

    fn message(octets: usize) -> Message {
        Message {
            id: MessageId::from_octets([9; 16]),
            state: State { due_ms: 5, attempts: 1 },
            content_type: QueueContentType::V8,
            body: vec![1; octets].into(),
        }
    }

    #[test]
    fn what_servers_say_is_read_as_it_was_written() {
        let lease = Lease { id: MessageId::from_octets([1; 16]), attempts: 2 };
        let put = Numbered { number: 3, operation: Operation::Put([7; 16], message(128_000)) };
        let questions = [
            Question::Hello,
            Question::Send {
                queue: [7; 16],
                messages: vec![Sent { message: message(9), waits_as_queue: true }],
            },
            Question::Settle { queue: [7; 16], settled: vec![(lease, QueueSettling::Retry(Some(4)))] },
            Question::SettleEach { queue: [7; 16], settled: vec![(lease, QueueSettling::Ack)] },
            Question::Replicate { store: StoreId::from_octets([2; 16]), operations: vec![put] },
        ];
        for question in questions {
            let octets = write(&question);
            assert_eq!(read_question(&octets), Some(question));
            assert_eq!(read_question(&octets[..octets.len() - 1]), None, "cut short");
        }
        let settled = Answer::Settled(Counts { acked: 1, retried: 2, stale: 2 }, vec![0, 300]);
        for answer in [Answer::Pulled(vec![(message(3), lease)], QueueBacklog::default()), settled] {
            assert_eq!(read_answer(&write(&answer)), Some(answer));
        }
    }

    #[test]
    fn what_passes_a_bound_is_not_understood() {
        let sent = |octets| Sent { message: message(octets), waits_as_queue: false };
        for messages in [vec![sent(128_001)], vec![sent(1); 101]] {
            assert_eq!(read_question(&write(&Question::Send { queue: [0; 16], messages })), None);
        }
        let delete =
            Numbered { number: 1, operation: Operation::Delete([0; 16], MessageId::from_octets([0; 16])) };
        let operations = vec![delete; OPERATIONS_MAX + 1];
        assert_eq!(
            read_question(&write(&Question::Replicate { store: StoreId::default(), operations })),
            None
        );
    }
}
