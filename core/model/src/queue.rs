//! Queues: what they are called, how their messages are kept, and who takes them. The messages themselves are no part of the log:
//! `services/queues` has them.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Entity, Invalid, Key, Kind, QueueConsumerId, QueueId, Timestamp, WorkerName, excerpt, limits,
    name::text_name,
};

/// What a queue is called: 1 to 63 lower-case letters, digits and hyphens, which neither begin nor end it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueName(String);

impl QueueName {
    /// Parses a queue's name.
    ///
    /// # Errors
    /// What is not one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_of_it = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if !(1..=limits::QUEUE_NAME_OCTETS_MAX).contains(&text.len())
            || !text.bytes().all(is_of_it)
            || text.starts_with('-')
            || text.ends_with('-')
        {
            return Err(Invalid::new(
                "queue_name",
                format!("{} is not a queue's name", excerpt(text)),
                "give 1 to 63 lower-case letters, digits and -, neither beginning nor ending with -",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(QueueName);

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Whose it is.
    pub account: AccountId,
    /// Its id: what its messages lie under. Never given twice.
    pub id: QueueId,
    /// What people and Workers call it: one of its account.
    pub name: QueueName,
    /// When it was made.
    pub created_at: Timestamp,
    /// When anything of it last changed.
    pub modified_at: Timestamp,
    /// How its messages are kept.
    pub settings: QueueSettings,
    /// Who takes them; without, they wait until they are too old.
    pub consumer: Option<QueueConsumer>,
}

impl Entity for Queue {
    const KIND: Kind = Kind::Queue;
    type Id = (AccountId, QueueId);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.id))
    }

    fn key_of((account, id): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, id])
    }
}

/// How a queue's messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// How long a message of which nothing else is said waits before it is delivered, in seconds; at most
    /// [`limits::QUEUE_DELAY_SECONDS_MAX`].
    pub delivery_delay_seconds: u32,
    /// Whether nothing is delivered for now; messages are still taken.
    pub is_paused: bool,
    /// How long a message is kept at the most, in seconds: [`limits::QUEUE_RETENTION_SECONDS`].
    pub retention_seconds: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            delivery_delay_seconds: 0,
            is_paused: false,
            retention_seconds: limits::QUEUE_RETENTION_SECONDS_DEFAULT,
        }
    }
}

/// Who takes the messages of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueConsumer {
    /// Its id.
    pub id: QueueConsumerId,
    /// When it was made.
    pub created_at: Timestamp,
    /// How it takes them.
    pub reader: QueueReader,
    /// How many messages it gets at once: [`limits::QUEUE_BATCH`].
    pub batch_size: u32,
    /// How often a message is delivered again that it did not acknowledge; at most [`limits::QUEUE_RETRIES_MAX`].
    pub max_retries: u32,
    /// How long one waits before that, in seconds, if nothing else is said of it.
    pub retry_delay_seconds: u32,
    /// The queue of the account to which messages go that were delivered so often; without, they are dropped.
    pub dead_letter_queue: Option<QueueName>,
}

/// How the messages of a queue are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueReader {
    /// They are pushed to a Worker's `queue` handler.
    Worker {
        /// The Worker.
        worker: WorkerName,
        /// How long a batch waits to be full, in milliseconds; at most [`limits::QUEUE_WAIT_MS_MAX`].
        max_wait_ms: u32,
        /// How many batches are under way at once; as many as are useful without it.
        max_concurrency: Option<u32>,
    },
    /// They are pulled by HTTP.
    Pull {
        /// How long a message that was pulled is shown to nobody else, in milliseconds; at most
        /// [`limits::QUEUE_VISIBILITY_MS_MAX`].
        visibility_timeout_ms: u32,
    },
}

/// How many queues an account has. Written with each of them that is made, renamed or deleted, so that two writers of one account
/// never count, nor take one name, at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueUsage {
    /// Whose.
    pub account: AccountId,
    /// How many; at most [`limits::QUEUES_PER_ACCOUNT_MAX`].
    pub queues: usize,
}

impl Entity for QueueUsage {
    const KIND: Kind = Kind::QueueUsage;
    type Id = AccountId;

    fn key(&self) -> Key {
        Self::key_of(&self.account)
    }

    fn key_of(account: &AccountId) -> Key {
        Key::new(Self::KIND, &[account])
    }
}
