//! Following the list of servers: where one is added or taken out, some queues get other replicas.
//!
//! What lies on a server that has its queue no more is sent to the queue's home as it is, under its id, and goes here when that has it.
//! Where this server still has the queue, and the other one is another than before, that one is told of all messages anew.

use std::{sync::Arc, time::Duration};

use proxima_model::{NodeName, QueueId};
use proxima_pipeline::QueueError;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    home::{Home, lacks_room},
    links::Told,
    store::{Job, Settle, StoreError},
    wire::{Question, Sent},
};

/// How often it is looked what lies here that other servers have: who is to take it may be away.
const RELOCATED_EVERY: Duration = Duration::from_secs(30);
/// Messages of one transaction.
const TOLD_AT_ONCE: usize = 1_000;

impl Home {
    /// Has messages follow their queues, until `stop`.
    pub(crate) async fn relocate_until(self: Arc<Self>, stop: CancellationToken) {
        if self.own.store().is_err() || self.links.all().next().is_none() {
            return;
        }
        let mut ticks = interval(RELOCATED_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            // What was done with while this server was away must not be sent on.
            if !self.links.are_settled() {
                continue;
            }
            let relocated = async {
                for id in self.own.read(|store, _| store.queues()).await? {
                    let relocated = match self.other_of(id).filter(|_| self.is_replica(id)) {
                        Some(other) => self.tell_anew(id, other).await,
                        None => self.send_on(id).await,
                    };
                    // One that is full, or whose home is away, keeps no other one here.
                    if let Err(error) = relocated {
                        tracing::warn!(queue = %id, %error, "messages of a queue that other servers have stay here for now");
                    }
                }
                Ok::<_, StoreError>(())
            };
            tokio::select! {
                relocated = relocated => if let Err(error) = relocated {
                    tracing::warn!(%error, "which queues lie here cannot be read");
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Has the other replica told of all messages, if it is another one than before. It has taken some before it is told of more: who
    /// has no room is not sent all of them time and again.
    async fn tell_anew(&self, queue: QueueId, other: NodeName) -> Result<(), QueueError> {
        let now = other.clone();
        let is_known = self.own.read(move |store, _| store.is_told(queue, &now)).await?;
        if is_known || self.links.get(&other).is_none_or(|link| link.is_away()) {
            return Ok(());
        }
        let mut after = None;
        loop {
            let job = Job::TellAnew { queue, other: other.clone(), after, count: TOLD_AT_ONCE };
            let done = self.commit(job).await?;
            match self.told(Some(&other), done.number).await? {
                Told::Done => {}
                Told::Away => return Ok(()),
                Told::LackedRoom => return Err(lacks_room()),
            }
            if done.messages < TOLD_AT_ONCE {
                return Ok(());
            }
            after = done.last;
        }
    }

    /// Sends the messages of a queue that others have to its home.
    async fn send_on(&self, id: QueueId) -> Result<(), QueueError> {
        // One that is not named goes by itself.
        while self.named.get(id).is_some() {
            let messages = self.own.read(move |store, _| store.oldest(id)).await?;
            if messages.is_empty() {
                break;
            }
            let settles = messages.iter().map(|message| Settle::gone(message.id)).collect();
            let sent = messages.into_iter().map(|message| Sent { message, waits_as_queue: false }).collect();
            self.ask(id, Question::Send { queue: *id.as_bytes(), messages: sent }).await?;
            self.commit(Job::Settle { queue: id, settles, other: None }).await?;
        }
        Ok(())
    }
}
