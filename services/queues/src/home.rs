//! What the parts share, and the way of what is asked through them: to the queue's home, and what is done there.

use std::sync::{Arc, OnceLock};

use proxima_chassis::Clock;
use proxima_model::{NodeName, Queue, QueueConsumer, QueueId, QueueReader, Timestamp, limits};
use proxima_pipeline::{
    Invoke, QueueBacklog, QueueError, QueueMessage, QueuePull, QueueSettled, QueueSettlement, QueueSettling,
    Servers, check_queue_messages, replicas,
};
use proxima_store::Own;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::{
    QueuesConfig,
    deliver::Deliveries,
    links::{Links, Told},
    message::{Lease, Message, MessageId, State},
    metrics::Metrics,
    named::Named,
    reach::{Reach, Unanswered, WITHIN_HERE},
    store::{Change, Done, Job, Put, Settle, Store, StoreError},
    wire::{Answer, Counts, OPERATIONS_MAX, Question, Refusal, Sent},
};

/// Requests at once, of clients and of other servers, each: of messages in them, 256 MiB at the worst.
pub(crate) const REQUESTS_MAX: usize = 256;
/// Messages of one transaction of a purge.
const PURGED_AT_ONCE: usize = 1_000;

/// Queues, as this server has and reaches them.
pub(crate) struct Home {
    pub(crate) me: NodeName,
    pub(crate) servers: Arc<dyn Servers>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) own: Own<Store>,
    pub(crate) reach: Reach,
    pub(crate) links: Links,
    pub(crate) named: Named,
    pub(crate) deliveries: Deliveries,
    pub(crate) invoke: OnceLock<Arc<dyn Invoke>>,
    /// Whether the replica has all that is in the log ([`NodeContext::lacks_nothing`]): asked before queues are looked up.
    ///
    /// [`NodeContext::lacks_nothing`]: proxima_chassis::NodeContext::lacks_nothing
    pub(crate) lacks_nothing: Box<dyn Fn() -> bool + Send + Sync>,
    pub(crate) metrics: Metrics,
    /// Requests of clients, and those that other servers pass on: neither must wait for the other.
    pub(crate) clients: Semaphore,
    pub(crate) others: Semaphore,
    backlog_octets_max: u64,
}

/// A server that has a queue.
enum Replica<'a> {
    Me,
    Other(&'a NodeName),
}

impl Home {
    pub(crate) fn new(
        config: &QueuesConfig,
        store: Result<Store, StoreError>,
        servers: Arc<dyn Servers>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        lacks_nothing: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Arc<Self> {
        let me = servers.me().clone();
        let others = servers.all().iter().map(|server| server.name.clone()).filter(|name| *name != me);
        Arc::new(Self {
            own: Own::new(store, Arc::clone(&clock)),
            reach: Reach::new(Arc::clone(&servers)),
            links: Links::new(others),
            named: Named::default(),
            deliveries: Deliveries::default(),
            invoke: OnceLock::new(),
            lacks_nothing: Box::new(lacks_nothing),
            clients: Semaphore::new(REQUESTS_MAX),
            others: Semaphore::new(REQUESTS_MAX),
            backlog_octets_max: config.backlog_bytes_max,
            me,
            servers,
            clock,
            metrics,
        })
    }

    /// A place for a request.
    pub(crate) fn place(requests: &Semaphore) -> Result<SemaphorePermit<'_>, QueueError> {
        requests.try_acquire().map_err(|_| QueueError::Busy)
    }

    /// Counts it if it failed.
    pub(crate) fn counted<T>(&self, outcome: Result<T, QueueError>) -> Result<T, QueueError> {
        if matches!(outcome, Err(QueueError::Unreachable(_) | QueueError::Broken(_) | QueueError::Full(_))) {
            self.metrics.errors.inc();
        }
        outcome
    }

    /// The servers that have a queue, its home first.
    fn replicas_of(&self, queue: QueueId) -> Vec<&NodeName> {
        replicas(self.servers.all(), queue.as_bytes()).into_iter().map(|server| &server.name).collect()
    }

    /// Whether this server has a queue, and knows what was done while it was away.
    pub(crate) fn has(&self, queue: QueueId) -> bool {
        self.own.store().is_ok() && self.links.are_settled() && self.is_replica(queue)
    }

    /// Whether this server gives out the messages of a queue: as its home, or while that one is away.
    pub(crate) fn gives_out(&self, queue: QueueId) -> bool {
        let home = self.replicas_of(queue).first().copied();
        let is_home_gone = |home| self.links.get(home).is_some_and(|link| link.is_gone());
        self.has(queue) && home.is_some_and(|home| *home == self.me || is_home_gone(home))
    }

    /// Whether this server is one of both.
    pub(crate) fn is_replica(&self, queue: QueueId) -> bool {
        self.replicas_of(queue).contains(&&self.me)
    }

    /// The other server that has a queue.
    pub(crate) fn other_of(&self, queue: QueueId) -> Option<NodeName> {
        self.replicas_of(queue).into_iter().find(|name| **name != self.me).cloned()
    }

    /// In the order in which they are asked: the home first, and last those that were found to be away.
    fn order(&self, queue: QueueId) -> Vec<Replica<'_>> {
        let mut names = self.replicas_of(queue);
        names.sort_by_key(|name| match **name == self.me {
            true => i32::from(!self.has(queue)),
            false => i32::from(self.links.get(name).is_some_and(|link| link.is_away())),
        });
        let replica = |name: &NodeName| *name == self.me;
        names.into_iter().map(|name| if replica(name) { Replica::Me } else { Replica::Other(name) }).collect()
    }

    /// Asks the servers that have a queue, one after the other, until one of them answers.
    pub(crate) async fn ask(&self, queue: QueueId, question: Question) -> Result<Answer, QueueError> {
        let mut why = QueueError::Unreachable("there is no server".to_owned());
        for replica in self.order(queue) {
            let answered = match replica {
                Replica::Me => self.answer_here(question.clone()).await,
                Replica::Other(server) => {
                    let answered = self.reach.ask(server, &question).await;
                    match (answered, question.as_before()) {
                        // It is of the version before.
                        (Err(Unanswered::Refused(Refusal::NotUnderstood)), Some(older)) => {
                            self.reach.ask(server, &older).await
                        }
                        (answered, _) => answered,
                    }
                    .map_err(QueueError::from)
                }
            };
            match answered {
                Err(error @ (QueueError::Unreachable(_) | QueueError::Broken(_))) => why = error,
                // It is there, and another one would say the same, or does not know what it knows.
                answered => return answered,
            }
        }
        Err(why)
    }

    /// Answers as a server that has the queue.
    pub(crate) async fn answer_here(&self, question: Question) -> Result<Answer, QueueError> {
        let not_here = || QueueError::from(Refusal::NotHere);
        let check = |queue: [u8; 16], gives_out: bool| {
            let queue = QueueId::from_bytes(queue);
            let is_so = if gives_out { self.gives_out(queue) } else { self.has(queue) };
            if is_so { Ok(queue) } else { Err(not_here()) }
        };
        match question {
            Question::Send { queue, messages } => {
                Ok(Answer::Backlog(self.send_here(check(queue, false)?, messages).await?))
            }
            Question::Pull { queue, batch_size, visibility_ms } => {
                let queue = check(queue, true)?;
                let (messages, backlog) =
                    self.pull_here(queue, QueuePull { batch_size, visibility_ms }).await?;
                Ok(Answer::Pulled(messages, backlog))
            }
            Question::Settle { queue, settled } => {
                Ok(Answer::Counts(self.settle_here(check(queue, false)?, settled).await?.counts))
            }
            Question::SettleEach { queue, settled } => {
                let Done { counts, stale, .. } = self.settle_here(check(queue, false)?, settled).await?;
                Ok(Answer::Settled(
                    counts,
                    stale.into_iter().filter_map(|at| u32::try_from(at).ok()).collect(),
                ))
            }
            Question::Backlog { queue } => {
                let queue = check(queue, false)?;
                Ok(Answer::Backlog(self.own.read(move |store, _| store.backlog(queue)).await?))
            }
            Question::Purge { queue, before } => {
                Ok(Answer::Purged(self.purge_here(check(queue, false)?, before).await?))
            }
            Question::Hello | Question::Replicate { .. } => Err(not_here()),
        }
    }

    /// Sends messages at the home.
    pub(crate) async fn send(
        &self,
        queue: QueueId,
        messages: Vec<QueueMessage>,
    ) -> Result<QueueBacklog, QueueError> {
        check_queue_messages(&messages)?;
        let now = self.clock.now();
        // Their ids are given here: whichever replica takes them, and if both do, they are the same messages.
        let sent = messages.into_iter().map(|QueueMessage { content_type, body, delay_seconds }| Sent {
            message: Message {
                id: MessageId::new(now),
                state: State { due_ms: after(now, delay_seconds.unwrap_or_default()), attempts: 0 },
                content_type,
                body,
            },
            waits_as_queue: delay_seconds.is_none(),
        });
        let question = Question::Send { queue: *queue.as_bytes(), messages: sent.collect() };
        match self.ask(queue, question).await? {
            Answer::Backlog(backlog) => Ok(backlog),
            _ => Err(Refusal::NotUnderstood.into()),
        }
    }

    async fn send_here(&self, queue: QueueId, sent: Vec<Sent>) -> Result<QueueBacklog, QueueError> {
        let known = self.named.known(queue).await.ok_or(QueueError::Unknown)?;
        let now = self.clock.now();
        let delayed = |Sent { mut message, waits_as_queue }| {
            if waits_as_queue {
                message.state.due_ms = after(now, known.settings.delivery_delay_seconds);
            }
            message
        };
        let messages: Vec<_> = sent.into_iter().map(delayed).collect();
        let (ids, count) = (messages.iter().map(|it| it.id).collect::<Vec<_>>(), messages.len());
        let other = self.other_of(queue);
        let octets_max = self.backlog_octets_max;
        let put = Put { queue, messages, other: other.clone(), octets_max };
        let done = self.commit(Job::Put(put)).await?;
        self.metrics.sent.inc_by(count as u64);
        self.wake(queue);
        match self.told(other.as_ref(), done.number).await? {
            Told::Done => {}
            Told::Away => {
                self.metrics.alone.inc_by(count as u64);
            }
            Told::LackedRoom => {
                // It would be acknowledged with one copy.
                let settles = ids.into_iter().map(Settle::gone).collect();
                self.commit(Job::Settle { queue, settles, other }).await?;
                return Err(lacks_room());
            }
        }
        Ok(done.backlog)
    }

    /// Writes this here. A disk that stands still holds up nobody: the other replica is there.
    pub(crate) async fn commit(&self, job: Job) -> Result<Done, QueueError> {
        let silent = || QueueError::Unreachable(format!("the store of {} does not answer", self.me));
        Ok(timeout(WITHIN_HERE, self.write(job)).await.map_err(|_| silent())??)
    }

    /// The same, however long it takes.
    pub(crate) async fn write(&self, job: Job) -> Result<Done, StoreError> {
        self.own.commit(job).await
    }

    /// Takes messages at the home.
    pub(crate) async fn pull(
        &self,
        queue: QueueId,
        asked: QueuePull,
    ) -> Result<(Vec<(Message, Lease)>, QueueBacklog), QueueError> {
        let QueuePull { batch_size, visibility_ms } = asked;
        let question = Question::Pull { queue: *queue.as_bytes(), batch_size, visibility_ms };
        match self.ask(queue, question).await? {
            Answer::Pulled(messages, backlog) => Ok((messages, backlog)),
            _ => Err(Refusal::NotUnderstood.into()),
        }
    }

    async fn pull_here(
        &self,
        queue: QueueId,
        asked: QueuePull,
    ) -> Result<(Vec<(Message, Lease)>, QueueBacklog), QueueError> {
        let known = self.named.known(queue).await.ok_or(QueueError::Unknown)?;
        let consumer = known.consumer.as_ref().filter(|it| matches!(it.reader, QueueReader::Pull { .. }));
        let consumer = consumer
            .ok_or_else(|| QueueError::Invalid("the queue has no consumer that pulls by HTTP".to_owned()))?;
        let count = asked.batch_size.clamp(1, *limits::QUEUE_BATCH.end()) as usize;
        if !known.settings.is_paused {
            self.bury_exhausted(&known, consumer, count).await?;
        }
        let other = self.other_of(queue);
        let visibility = i64::from(asked.visibility_ms.min(limits::QUEUE_VISIBILITY_MS_MAX));
        let job = Job::Lease {
            queue,
            count: if known.settings.is_paused { 0 } else { count },
            until_ms: self.clock.now().as_millis().saturating_add(visibility),
            other: other.clone(),
        };
        let done = self.commit(job).await?;
        self.tell(other.as_ref());
        self.metrics.delivered.inc_by(done.leased.len() as u64);
        let leased = |message: Message| {
            let lease = message.lease();
            (message, lease)
        };
        Ok((done.leased.into_iter().map(leased).collect(), done.backlog))
    }

    /// Moves away those of the messages that come next which were delivered as often as may be.
    async fn bury_exhausted(
        &self,
        queue: &Queue,
        consumer: &QueueConsumer,
        count: usize,
    ) -> Result<(), QueueError> {
        let (id, max_retries) = (queue.id, consumer.max_retries);
        loop {
            let exhausted =
                self.own.read(move |store, now| store.exhausted(id, now, count, max_retries)).await?;
            if exhausted.is_empty() || !self.bury(queue, consumer, exhausted).await? {
                return Ok(());
            }
        }
    }

    /// Says what became of messages, at the home.
    pub(crate) async fn settle(
        &self,
        queue: QueueId,
        settled: Vec<QueueSettled>,
    ) -> Result<QueueSettlement, QueueError> {
        let (mut settlement, mut read) = (QueueSettlement::default(), Vec::new());
        for QueueSettled { lease, settling } in settled {
            match Lease::parse(&lease) {
                Some(parsed) => read.push((lease, (parsed, settling))),
                None => settlement.stale.push(lease),
            }
        }
        for part in read.chunks(OPERATIONS_MAX) {
            let settled = part.iter().map(|(_, settled)| *settled).collect();
            let (counts, stale) = self.settle_part(*queue.as_bytes(), settled).await?;
            settlement.acked += counts.acked;
            settlement.retried += counts.retried;
            let stale = stale.into_iter().filter_map(|at| part.get(usize::try_from(at).ok()?));
            settlement.stale.extend(stale.map(|(lease, _)| lease.clone()));
        }
        Ok(settlement)
    }

    /// How many were settled so, and the places of those that were not; of a server of the version before only the former.
    async fn settle_part(
        &self,
        queue: [u8; 16],
        settled: Vec<(Lease, QueueSettling)>,
    ) -> Result<(Counts, Vec<u32>), QueueError> {
        let question = Question::SettleEach { queue, settled };
        match self.ask(QueueId::from_bytes(queue), question).await? {
            Answer::Settled(counts, stale) => Ok((counts, stale)),
            Answer::Counts(counts) => Ok((counts, Vec::new())),
            _ => Err(Refusal::NotUnderstood.into()),
        }
    }

    async fn settle_here(
        &self,
        queue: QueueId,
        settled: Vec<(Lease, QueueSettling)>,
    ) -> Result<Done, QueueError> {
        let known = self.named.known(queue).await.ok_or(QueueError::Unknown)?;
        let delay_of_queue = known.consumer.as_ref().map_or(0, |consumer| consumer.retry_delay_seconds);
        let now = self.clock.now();
        let settle = |(lease, settling): (Lease, QueueSettling)| {
            let change = match settling {
                QueueSettling::Ack => Change::Delete,
                QueueSettling::Retry(delay) => Change::Again(State {
                    due_ms: after(now, delay.unwrap_or(delay_of_queue)),
                    attempts: lease.attempts,
                }),
            };
            Settle { lease, change }
        };
        self.settle_all(queue, settled.into_iter().map(settle).collect()).await
    }

    /// Does this with messages that were delivered.
    pub(crate) async fn settle_all(&self, queue: QueueId, settles: Vec<Settle>) -> Result<Done, QueueError> {
        let other = self.other_of(queue);
        let done = self.commit(Job::Settle { queue, settles, other: other.clone() }).await?;
        self.tell(other.as_ref());
        self.metrics.acked.inc_by(done.counts.acked as u64);
        self.metrics.retried.inc_by(done.counts.retried as u64);
        if done.lacked_room {
            let problem = "what is done with is noted, and what is to be delivered again is not: that comes when its lease \
                           has run out";
            return Err(QueueError::Full(problem.to_owned()));
        }
        Ok(done)
    }

    /// What waits in a queue, as its home knows.
    pub(crate) async fn backlog(&self, queue: QueueId) -> Result<QueueBacklog, QueueError> {
        match self.ask(queue, Question::Backlog { queue: *queue.as_bytes() }).await? {
            Answer::Backlog(backlog) => Ok(backlog),
            _ => Err(Refusal::NotUnderstood.into()),
        }
    }

    /// Deletes all messages that were sent until now, at the home. What "now" is is said here: who takes over from one that fell
    /// silent must not take what came meanwhile.
    pub(crate) async fn purge(&self, queue: QueueId) -> Result<u64, QueueError> {
        let before = MessageId::first_of(Timestamp::from_millis(self.clock.now().as_millis() + 1));
        match self.ask(queue, Question::Purge { queue: *queue.as_bytes(), before }).await? {
            Answer::Purged(count) => Ok(count),
            _ => Err(Refusal::NotUnderstood.into()),
        }
    }

    async fn purge_here(&self, queue: QueueId, before: MessageId) -> Result<u64, QueueError> {
        let (other, mut purged) = (self.other_of(queue), 0);
        loop {
            let job = Job::Purge { queue, before, count: PURGED_AT_ONCE, other: other.clone() };
            let done = self.commit(job).await?;
            self.tell(other.as_ref());
            purged += done.messages as u64;
            if done.messages < PURGED_AT_ONCE {
                return Ok(purged);
            }
        }
    }
}

/// The other replica cannot keep a copy.
pub(crate) fn lacks_room() -> QueueError {
    QueueError::Full("the other server that has the queue has no room".to_owned())
}

/// Whether a message was delivered as often as may be.
pub(crate) const fn is_exhausted(message: &Message, consumer: &QueueConsumer) -> bool {
    message.state.attempts > consumer.max_retries
}

/// So many seconds from now, as far as may be.
pub(crate) fn after(now: Timestamp, seconds: u32) -> i64 {
    let seconds = seconds.min(limits::QUEUE_DELAY_SECONDS_MAX);
    now.as_millis().saturating_add(i64::from(seconds) * 1_000)
}
