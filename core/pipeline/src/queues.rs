//! The port by which Workers, the API and other services reach queues: who keeps messages knows nothing of code, nor of v4.
//!
//! Whose a queue is, and whether it is there, is for who asks to look up in the replica; a queue that is in no replica takes nothing.
//! A message is delivered at least once: what is acknowledged twice, or too late, is no fault.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use proxima_model::{AccountId, QueueId, QueueName, Timestamp, limits};
use serde::{Deserialize, Serialize};

/// Octets of the messages that one batch has, as long as the first is not longer; what is left comes with the next.
pub const QUEUE_BATCH_OCTETS_MAX: usize = 1 << 20;

/// Messages of all queues.
pub trait Queues: Send + Sync + 'static {
    /// The queue of an account that is called so, as far as this server knows.
    fn find(&self, account: AccountId, name: &QueueName) -> Option<QueueId>;

    /// Sends these, all of them or none; each is durable when this is ready. The delay of those that say nothing is the queue's.
    fn send(
        &self,
        queue: QueueId,
        messages: Vec<QueueMessage>,
    ) -> BoxFuture<'_, Result<QueueBacklog, QueueError>>;

    /// Takes messages that are due: nobody else gets them for as long as is asked. May be fewer than there are.
    fn pull(&self, queue: QueueId, asked: QueuePull) -> BoxFuture<'_, Result<QueuePulled, QueueError>>;

    /// Says what became of messages that were pulled.
    fn settle(
        &self,
        queue: QueueId,
        settled: Vec<QueueSettled>,
    ) -> BoxFuture<'_, Result<QueueSettlement, QueueError>>;

    /// What waits in a queue.
    fn backlog(&self, queue: QueueId) -> BoxFuture<'_, Result<QueueBacklog, QueueError>>;

    /// Deletes all messages that a queue has at this moment; how many.
    fn purge(&self, queue: QueueId) -> BoxFuture<'_, Result<u64, QueueError>>;
}

/// What the octets of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueContentType {
    /// JSON.
    Json,
    /// UTF-8.
    Text,
    /// Octets.
    Bytes,
    /// A structured clone, as the engine of Workers writes it.
    V8,
}

impl QueueContentType {
    /// What v4 calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::V8 => "v8",
        }
    }

    /// The type that v4 calls so.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Json, Self::Text, Self::Bytes, Self::V8].into_iter().find(|it| it.as_str() == text)
    }
}

/// A message that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueMessage {
    /// What its octets are.
    pub content_type: QueueContentType,
    /// At most [`limits::QUEUE_MESSAGE_OCTETS_MAX`].
    pub body: Bytes,
    /// How long it waits before it is delivered, in seconds; at most [`limits::QUEUE_DELAY_SECONDS_MAX`].
    pub delay_seconds: Option<u32>,
}

/// A message as it is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDelivered {
    /// 32 hexadecimal digits.
    pub id: String,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// How often it has been delivered, this time included.
    pub attempts: u32,
    /// What its octets are.
    pub content_type: QueueContentType,
    /// The octets.
    pub body: Bytes,
    /// What [`Queues::settle`] knows this delivery by. Empty where it is pushed.
    pub lease: String,
}

/// How messages are pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePull {
    /// How many at the most.
    pub batch_size: u32,
    /// For how long nobody else gets them, in milliseconds.
    pub visibility_ms: u32,
}

/// Messages that were pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePulled {
    /// The messages.
    pub messages: Vec<QueueDelivered>,
    /// What waits, these included.
    pub backlog: QueueBacklog,
}

/// What became of a message that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettled {
    /// Its lease.
    pub lease: String,
    /// What is to become of it now.
    pub settling: QueueSettling,
}

/// What is to become of a message. Servers tell each other by the order of the variants: others are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueSettling {
    /// It is done with.
    Ack,
    /// It is delivered again, after so many seconds; after those of the consumer, if nothing is said.
    Retry(Option<u32>),
}

/// What became of messages that were settled: those whose leases had not run out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettlement {
    /// How many are done with.
    pub acked: usize,
    /// How many are to be delivered again.
    pub retried: usize,
    /// The leases that had run out, or are none.
    pub stale: Vec<String>,
}

/// What waits in a queue: what was sent and is not done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueBacklog {
    /// Messages.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// When the oldest of them was sent.
    pub oldest: Option<Timestamp>,
}

/// Why a queue cannot be sent to or taken from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// No queue of this id is known.
    #[error("queue not found")]
    Unknown,
    /// What is sent cannot be so.
    #[error("{0}")]
    Invalid(String),
    /// No server that has the queue was reached. What was asked may have been done, or not.
    #[error("no server that has this queue can be reached: {0}")]
    Unreachable(String),
    /// Too much is under way.
    #[error("too much is under way; try again in a moment")]
    Busy,
    /// Nothing more can be kept: of this queue, or at all.
    #[error("nothing more can be kept: {0}")]
    Full(String),
    /// What lies on the disk cannot be read or written.
    #[error("messages cannot be read or written: {0}")]
    Broken(String),
}

/// Whether so many messages of so many octets may be sent at once, as v4 has it.
///
/// # Errors
/// Which bound they pass.
pub fn check_queue_messages(messages: &[QueueMessage]) -> Result<(), QueueError> {
    let invalid = |problem: String| Err(QueueError::Invalid(problem));
    let (count, most) = (messages.len(), limits::QUEUE_SEND_MESSAGES_MAX);
    if !(1..=most).contains(&count) {
        return invalid(format!("batch has {count} messages; give 1 to {most}"));
    }
    let mut octets = 0;
    for message in messages {
        let (length, most) = (message.body.len(), limits::QUEUE_MESSAGE_OCTETS_MAX);
        if length > most {
            return invalid(format!("message length of {length} bytes exceeds limit of {most}"));
        }
        let most = limits::QUEUE_DELAY_SECONDS_MAX;
        if let Some(delay) = message.delay_seconds.filter(|delay| *delay > most) {
            return invalid(format!("delay of {delay} seconds exceeds limit of {most}"));
        }
        octets += length;
    }
    let most = limits::QUEUE_SEND_OCTETS_MAX;
    if octets > most {
        return invalid(format!("batch length of {octets} bytes exceeds limit of {most}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(octets: usize, delay_seconds: Option<u32>) -> QueueMessage {
        QueueMessage { content_type: QueueContentType::Bytes, body: vec![0; octets].into(), delay_seconds }
    }

    #[test]
    fn what_is_sent_keeps_the_bounds_of_v4() {
        for (messages, told) in [
            (vec![], "batch has 0 messages"),
            (vec![message(1, None); 101], "batch has 101 messages"),
            (vec![message(128_001, None)], "message length of 128001"),
            (vec![message(100_000, None); 3], "batch length of 300000"),
            (vec![message(1, Some(43_201))], "delay of 43201"),
        ] {
            let refusal = check_queue_messages(&messages).unwrap_err().to_string();
            assert!(refusal.starts_with(told), "{refusal}");
        }
        for messages in
            [vec![message(0, None); 100], vec![message(128_000, Some(43_200)), message(128_000, None)]]
        {
            assert_eq!(check_queue_messages(&messages), Ok(()));
        }
    }

    #[test]
    fn a_content_type_is_written_as_v4_calls_it() {
        for text in ["json", "text", "bytes", "v8"] {
            assert_eq!(QueueContentType::parse(text).unwrap().as_str(), text);
        }
        assert_eq!(QueueContentType::parse("xml"), None);
    }
}
