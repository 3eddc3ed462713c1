//! Queues in memory: what tests of those who reach them by the port run against.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::BoxFuture;
use proxima_model::{AccountId, QueueId, QueueName, Timestamp};
use proxima_pipeline::{
    QueueBacklog, QueueDelivered, QueueError, QueueMessage, QueuePull, QueuePulled, QueueSettled,
    QueueSettlement, QueueSettling, Queues,
};

/// When all messages in memory were sent.
pub(crate) const SENT: Timestamp = Timestamp::from_millis(1_700_000_040_000);
/// A body that is not taken.
pub(crate) const REFUSED: &[u8] = b"\"full\"";

/// See the module. Nothing in it is delivered by itself, nor waits.
#[derive(Default)]
pub(crate) struct MemoryQueues {
    /// What lies in each queue, and whether it was pulled.
    kept: Mutex<BTreeMap<QueueId, Vec<(QueueMessage, bool)>>>,
    pub(crate) names: Mutex<BTreeMap<(AccountId, QueueName), QueueId>>,
    /// Whether nothing of it can be reached.
    pub(crate) is_away: AtomicBool,
}

impl MemoryQueues {
    /// Takes all messages out of a queue.
    pub(crate) fn taken(&self, queue: QueueId) -> Vec<QueueMessage> {
        let taken = self.kept.lock().unwrap().remove(&queue).unwrap_or_default();
        taken.into_iter().map(|(message, _)| message).collect()
    }

    fn with<T>(
        &self,
        queue: QueueId,
        does: impl FnOnce(&mut Vec<(QueueMessage, bool)>) -> T,
    ) -> Result<T, QueueError> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(QueueError::Unreachable("it is away".to_owned()));
        }
        Ok(does(self.kept.lock().unwrap().entry(queue).or_default()))
    }
}

fn backlog(kept: &[(QueueMessage, bool)]) -> QueueBacklog {
    let octets = kept.iter().map(|(message, _)| message.body.len() as u64).sum();
    QueueBacklog { messages: kept.len() as u64, octets, oldest: (!kept.is_empty()).then_some(SENT) }
}

impl Queues for MemoryQueues {
    fn find(&self, account: AccountId, name: &QueueName) -> Option<QueueId> {
        self.names.lock().unwrap().get(&(account, name.clone())).copied()
    }

    fn send(
        &self,
        queue: QueueId,
        messages: Vec<QueueMessage>,
    ) -> BoxFuture<'_, Result<QueueBacklog, QueueError>> {
        Box::pin(async move {
            if messages.iter().any(|message| message.body == REFUSED) {
                return Err(QueueError::Full("there is no room".to_owned()));
            }
            self.with(queue, |kept| {
                kept.extend(messages.into_iter().map(|message| (message, false)));
                backlog(kept)
            })
        })
    }

    fn pull(&self, queue: QueueId, asked: QueuePull) -> BoxFuture<'_, Result<QueuePulled, QueueError>> {
        Box::pin(async move {
            self.with(queue, |kept| {
                let due = kept.iter_mut().enumerate().filter(|(_, (_, is_pulled))| !is_pulled);
                let messages = due.take(asked.batch_size as usize).map(|(number, (message, is_pulled))| {
                    *is_pulled = true;
                    QueueDelivered {
                        id: format!("{number:032}"),
                        sent_at: SENT,
                        attempts: 1,
                        content_type: message.content_type,
                        body: message.body.clone(),
                        lease: format!("{number}-{}", asked.visibility_ms),
                    }
                });
                let messages = messages.collect();
                QueuePulled { messages, backlog: backlog(kept) }
            })
        })
    }

    fn settle(
        &self,
        queue: QueueId,
        settled: Vec<QueueSettled>,
    ) -> BoxFuture<'_, Result<QueueSettlement, QueueError>> {
        Box::pin(async move {
            self.with(queue, |kept| {
                let mut counts = QueueSettlement::default();
                for QueueSettled { lease, settling } in settled {
                    let number = lease.split_once('-').and_then(|(number, _)| number.parse::<usize>().ok());
                    match (number.filter(|number| *number < kept.len()), settling) {
                        (None, _) => counts.stale.push(lease),
                        (Some(_), QueueSettling::Ack) => counts.acked += 1,
                        (Some(number), QueueSettling::Retry(delay)) => {
                            kept[number].0.delay_seconds = delay;
                            kept[number].1 = false;
                            counts.retried += 1;
                        }
                    }
                }
                counts
            })
        })
    }

    fn backlog(&self, queue: QueueId) -> BoxFuture<'_, Result<QueueBacklog, QueueError>> {
        Box::pin(async move { self.with(queue, |kept| backlog(kept)) })
    }

    fn purge(&self, queue: QueueId) -> BoxFuture<'_, Result<u64, QueueError>> {
        Box::pin(async move { self.with(queue, |kept| std::mem::take(kept).len() as u64) })
    }
}
