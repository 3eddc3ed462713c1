//! Giving messages to Workers, on the queue's home.
//!
//! ```text
//!   a message comes, or is due ─▶ a task for its queue ─▶ a batch: full, or its first message has waited as long as may be
//!                                        ▲                     │ a place (fair.rs)
//!                                        │                     ▼ Invoke, as many at a time as the backlog is worth
//!                                        └─ what the Worker said: done with, or again ◀─┘
//! ```
//!
//! A place is held while its Worker runs, and until it is written what became of the messages: a disk that stands still is not given
//! more. A batch that waits for one is not in memory, and is read when its turn has come.
//!
//! What is under way is known in memory alone: a process that is killed meanwhile has it delivered once more. A message counts as
//! delivered when its Worker began; what could not be run at all is tried again, and counts nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proxima_model::{AccountId, Queue, QueueConsumer, QueueId, QueueReader, Timestamp, WorkerName, limits};
use proxima_pipeline::{
    Invoke, NotConsumed, QueueBatch, QueueError, QueueMessage, QueueOutcome, QueueSettling,
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    fair::{Bounds, FairPlaces, Place, Turn},
    home::{Home, after, is_exhausted},
    message::{Message, MessageId, State},
    store::{Change, Settle},
};

/// How often it is looked which queues have messages, without a reason: another server may have come or gone.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Batches under way on this server: the engine runs hundreds of requests at once, and has those of visitors to answer, too. A batch
/// may take a quarter of an hour, so a quarter is for accounts that have none under way: however much others send, 64 more of them are
/// served at once. One account has a quarter at the most, and less, the more others have.
const DELIVERIES: Bounds = Bounds { all: 256, for_first: 64, of_account: 64 };
/// How long one waits before a Worker is given messages that could not be run, the first time, and at the most.
const HELD_BACK_FIRST: Duration = Duration::from_secs(1);
const HELD_BACK_MAX: Duration = Duration::from_secs(30);
/// How long a message stays that cannot be moved to its dead letter queue yet, in seconds.
const BURIED_LATER_SECONDS: u32 = 60;

/// Which queues' messages are being delivered.
pub(crate) struct Deliveries {
    tasks: Mutex<HashMap<QueueId, Arc<Task>>>,
    /// Queues of which something has changed.
    woken: Mutex<HashSet<QueueId>>,
    wake: Notify,
    places: Arc<FairPlaces>,
}

impl Default for Deliveries {
    fn default() -> Self {
        Self {
            tasks: Mutex::default(),
            woken: Mutex::default(),
            wake: Notify::new(),
            places: FairPlaces::new(DELIVERIES),
        }
    }
}

#[derive(Default)]
struct Task {
    wake: Notify,
    /// Whether it was woken since it looked.
    is_woken: AtomicBool,
}

/// A queue whose messages go to a Worker.
#[derive(Clone)]
struct Pushed {
    queue: Arc<Queue>,
    consumer: QueueConsumer,
    worker: WorkerName,
    max_wait_ms: i64,
    concurrency_max: usize,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    Badly,
    /// Nothing was run.
    NotAtAll,
}

/// What became of the messages among some that were delivered as often as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exhausted {
    /// There were none.
    None,
    /// They are gone, or come later.
    SeenTo,
    /// They are as they were.
    Left,
}

/// What a task knows of its queue.
struct Progress {
    /// Shared with those who read the store; changed when none does.
    under_way: Arc<HashSet<MessageId>>,
    running: JoinSet<(Vec<MessageId>, Ended)>,
    /// Batches at once: one more for each that ends well while there is more, down to one when there is nothing.
    allowed: usize,
    held_back: Option<(Instant, Duration)>,
    /// Of the next batch: its turn, and the place that has come of it.
    turn: Option<Turn>,
    place: Option<Place>,
}

impl Home {
    /// The queue of this id, if this server pushes its messages now.
    fn pushed(&self, id: QueueId) -> Option<Pushed> {
        let queue = self.named.get(id).filter(|queue| !queue.settings.is_paused)?;
        let consumer = queue.consumer.clone()?;
        let QueueReader::Worker { worker, max_wait_ms, max_concurrency } = &consumer.reader else {
            return None;
        };
        let concurrency = max_concurrency.unwrap_or(limits::QUEUE_CONCURRENCY_MAX).max(1) as usize;
        let (worker, max_wait_ms) = (worker.clone(), i64::from(*max_wait_ms));
        let is_here = self.gives_out(id) && self.invoke.get().is_some();
        is_here.then_some(Pushed { queue, consumer, worker, max_wait_ms, concurrency_max: concurrency })
    }

    /// Something has changed of a queue: its messages are looked at.
    pub(crate) fn wake(&self, id: QueueId) {
        lock(&self.deliveries.woken).insert(id);
        self.deliveries.wake.notify_one();
    }

    /// Has the task of a queue look at its messages; begins one, if this server pushes them.
    fn wake_task(self: &Arc<Self>, id: QueueId, stop: &CancellationToken) {
        let mut tasks = lock(&self.deliveries.tasks);
        if let Some(task) = tasks.get(&id) {
            task.is_woken.store(true, Ordering::Release);
            task.wake.notify_one();
        } else if self.pushed(id).is_some() {
            let task = Arc::<Task>::default();
            tasks.insert(id, Arc::clone(&task));
            tokio::spawn(Arc::clone(self).deliver(id, task, stop.clone()));
        }
    }

    /// Looks after all queues, until `stop`.
    pub(crate) async fn deliver_until(self: Arc<Self>, stop: CancellationToken) {
        if self.own.store().is_err() {
            return;
        }
        let (mut ticks, mut changes) = (interval(LOOK_EVERY), self.named.changes());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = changes.next() => {}
                () = self.deliveries.wake.notified() => {
                    let woken = std::mem::take(&mut *lock(&self.deliveries.woken));
                    woken.into_iter().for_each(|id| self.wake_task(id, &stop));
                    continue;
                }
                () = stop.cancelled() => return,
            }
            match self.own.read(|store, _| store.queues()).await {
                Ok(queues) => queues.into_iter().for_each(|id| self.wake_task(id, &stop)),
                Err(error) => tracing::warn!(%error, "queues cannot be read, and are delivered later"),
            }
        }
    }

    /// Delivers the messages of a queue as long as there are some.
    async fn deliver(self: Arc<Self>, id: QueueId, task: Arc<Task>, stop: CancellationToken) {
        let mut progress = Progress::new();
        loop {
            task.is_woken.store(false, Ordering::Release);
            let next = self.begin(id, &mut progress).await;
            if next.is_none() && progress.running.is_empty() && self.leave(id, &task) {
                return;
            }
            let at = next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = progress.running.join_next() => {
                    // A panic has been told of: what was under way is as before, and looked at anew with the next task.
                    let Ok((ids, ended)) = ended else { break };
                    progress.ended(&ids, ended);
                }
                place = turn_of(&mut progress.turn) => {
                    progress.turn = None;
                    progress.place = place;
                }
                () = task.wake.notified() => {}
                () = sleep_until(Instant::now() + at) => {}
            }
        }
        (progress.turn, progress.place) = (None, None);
        // What is under way may end, and say what became of its messages.
        while progress.running.join_next().await.is_some() {}
        lock(&self.deliveries.tasks).remove(&id);
    }

    /// Whether a task may end: nobody has woken it meanwhile.
    fn leave(&self, id: QueueId, task: &Task) -> bool {
        let mut tasks = lock(&self.deliveries.tasks);
        let is_over = !task.is_woken.load(Ordering::Acquire);
        if is_over {
            tasks.remove(&id);
        }
        is_over
    }

    /// Begins what deliveries may begin. When to look again; not, if nothing waits.
    async fn begin(self: &Arc<Self>, id: QueueId, progress: &mut Progress) -> Option<Duration> {
        // Where nothing is begun, somebody else gets it.
        let mut place = progress.place.take();
        loop {
            let pushed = self.pushed(id)?;
            if let Some(left) = progress.held_back_for() {
                return Some(left);
            }
            progress.allowed = progress.allowed.min(pushed.concurrency_max);
            if progress.running.len() >= progress.allowed || progress.turn.is_some() {
                return Some(LOOK_EVERY);
            }
            let (count, except) = (pushed.consumer.batch_size as usize, Arc::clone(&progress.under_way));
            let read = self.own.read(move |store, now| {
                let ready = store.ready(id, now, count, &except)?;
                let next = if ready.is_empty() { store.next_due(id, &except)? } else { None };
                Ok((ready, next, now))
            });
            let (ready, next, now) = match read.await {
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!(queue = %pushed.queue.name, %error, "messages cannot be read, and are delivered later");
                    return Some(LOOK_EVERY);
                }
            };
            let Some(first) = ready.first() else {
                progress.allowed = 1;
                return next.map(|due_ms| until(now, due_ms));
            };
            match self.see_to_exhausted(&pushed, &ready).await {
                Exhausted::None => {}
                Exhausted::SeenTo => continue,
                Exhausted::Left => return Some(LOOK_EVERY),
            }
            let full_at = first.state.due_ms.saturating_add(pushed.max_wait_ms);
            let octets: usize = ready.iter().map(|message| message.body.len()).sum();
            let is_full = ready.len() >= count || octets >= proxima_pipeline::QUEUE_BATCH_OCTETS_MAX / 2;
            if !is_full && full_at > now.as_millis() {
                return Some(until(now, full_at));
            }
            let account = pushed.queue.account;
            let held = place.take().or_else(|| progress.take_from(&self.deliveries.places, account));
            let Some(held) = held else { return Some(LOOK_EVERY) };
            let ids: Vec<_> = ready.iter().map(|message| message.id).collect();
            Arc::make_mut(&mut progress.under_way).extend(&ids);
            let home = Arc::clone(self);
            progress.running.spawn(async move {
                let ended = home.push(&pushed, ready, now).await;
                drop(held);
                (ids, ended)
            });
        }
    }

    /// Moves away the messages among these that were delivered as often as may be.
    async fn see_to_exhausted(&self, pushed: &Pushed, ready: &[Message]) -> Exhausted {
        let exhausted: Vec<_> =
            ready.iter().filter(|message| is_exhausted(message, &pushed.consumer)).cloned().collect();
        if exhausted.is_empty() {
            return Exhausted::None;
        }
        match self.bury(&pushed.queue, &pushed.consumer, exhausted).await {
            Ok(_) => Exhausted::SeenTo,
            Err(error) => {
                tracing::warn!(queue = %pushed.queue.name, %error, "messages cannot be moved away, and are later");
                Exhausted::Left
            }
        }
    }

    /// Gives a Worker a batch, and does what it says of it.
    async fn push(&self, pushed: &Pushed, messages: Vec<Message>, now: Timestamp) -> Ended {
        let Pushed { queue, consumer, worker, .. } = pushed;
        let Some(invoke) = self.invoke.get() else { return Ended::NotAtAll };
        let outcome = self.invoke_with(&**invoke, pushed, &messages, now).await;
        let (settlings, ended) = match outcome {
            Ok(outcome) => {
                let ended = if outcome.threw { Ended::Badly } else { Ended::Well };
                (settlings(&messages, &outcome), ended)
            }
            Err(NotConsumed::Failed(fault)) => {
                tracing::info!(account = %queue.account, queue = %queue.name, %worker, %fault, "a Worker failed with messages, which are delivered again");
                (vec![QueueSettling::Retry(None); messages.len()], Ended::Badly)
            }
            Err(why @ (NotConsumed::Absent | NotConsumed::NotNow(_))) => {
                self.metrics.held_back.inc();
                tracing::warn!(account = %queue.account, queue = %queue.name, %worker, %why, "messages wait: nobody takes them");
                return Ended::NotAtAll;
            }
        };
        self.metrics.delivered.inc_by(messages.len() as u64);
        let now = self.clock.now();
        let settle = |(message, settling): (&Message, QueueSettling)| Settle {
            lease: message.lease(),
            change: match settling {
                QueueSettling::Ack => Change::Delete,
                QueueSettling::Retry(delay) => {
                    let attempts = message.state.attempts.saturating_add(1);
                    // Nobody waits for what is not delivered any more.
                    let delay = if attempts > consumer.max_retries {
                        0
                    } else {
                        delay.unwrap_or(consumer.retry_delay_seconds)
                    };
                    Change::Again(State { due_ms: after(now, delay), attempts })
                }
            },
        };
        let settles = messages.iter().zip(settlings).map(settle).collect();
        match self.settle_all(queue.id, settles).await {
            Ok(_) => ended,
            Err(error) => {
                tracing::warn!(queue = %queue.name, %error, "it cannot be noted what became of messages: they are delivered again");
                Ended::NotAtAll
            }
        }
    }

    async fn invoke_with(
        &self,
        invoke: &dyn Invoke,
        pushed: &Pushed,
        messages: &[Message],
        at: Timestamp,
    ) -> Result<QueueOutcome, NotConsumed> {
        let delivered: Vec<_> = messages.iter().map(Message::delivered).collect();
        let batch = QueueBatch { queue: &pushed.queue.name, at, messages: &delivered };
        invoke.queue(pushed.queue.account, &pushed.worker, batch).await
    }

    /// Moves messages that were delivered as often as may be to the dead letter queue, or drops them where there is none. Whether
    /// they are gone.
    pub(crate) async fn bury(
        &self,
        queue: &Queue,
        consumer: &QueueConsumer,
        messages: Vec<Message>,
    ) -> Result<bool, QueueError> {
        let moved = match &consumer.dead_letter_queue {
            None => {
                self.metrics.dropped.inc_by(messages.len() as u64);
                Ok(())
            }
            Some(name) => match self.named.find(queue.account, name) {
                // They would come back, as new ones, for ever.
                Some(_) if self.named.is_in_circle(queue) => {
                    Err(QueueError::Invalid("dead letter queues lead in a circle".to_owned()))
                }
                Some(id) => self.send_dead(id, &messages).await,
                None => Err(QueueError::Unknown),
            },
        };
        if let Err(error) = moved {
            tracing::warn!(
                account = %queue.account, queue = %queue.name, dead_letter_queue = ?consumer.dead_letter_queue, %error,
                "messages that were delivered too often stay, since their dead letter queue does not take them"
            );
            let due_ms = after(self.clock.now(), BURIED_LATER_SECONDS);
            let again = messages.iter().map(|message| Settle {
                lease: message.lease(),
                change: Change::Again(State { due_ms, ..message.state }),
            });
            self.settle_all(queue.id, again.collect()).await?;
            return Ok(false);
        }
        let gone = messages.iter().map(|message| Settle { lease: message.lease(), change: Change::Delete });
        self.settle_all(queue.id, gone.collect()).await?;
        Ok(true)
    }

    async fn send_dead(&self, to: QueueId, messages: &[Message]) -> Result<(), QueueError> {
        let (mut batch, mut octets) = (Vec::new(), 0);
        for message in messages {
            octets += message.body.len();
            if octets > limits::QUEUE_SEND_OCTETS_MAX || batch.len() >= limits::QUEUE_SEND_MESSAGES_MAX {
                // To the other queue's home, which may be this server: a future of its own kind.
                Box::pin(self.send(to, std::mem::take(&mut batch))).await?;
                octets = message.body.len();
            }
            batch.push(QueueMessage {
                content_type: message.content_type,
                body: message.body.clone(),
                delay_seconds: None,
            });
        }
        if !batch.is_empty() {
            Box::pin(self.send(to, batch)).await?;
        }
        self.metrics.buried.inc_by(messages.len() as u64);
        Ok(())
    }
}

/// The place that a turn gives, if there is a turn.
async fn turn_of(turn: &mut Option<Turn>) -> Option<Place> {
    match turn {
        Some(turn) => turn.await.ok(),
        None => std::future::pending().await,
    }
}

impl Progress {
    fn new() -> Self {
        Self {
            under_way: Arc::default(),
            running: JoinSet::new(),
            allowed: 1,
            held_back: None,
            turn: None,
            place: None,
        }
    }

    /// A place, or a turn to get one.
    fn take_from(&mut self, places: &Arc<FairPlaces>, account: AccountId) -> Option<Place> {
        places.take(account).map_err(|turn| self.turn = Some(turn)).ok()
    }

    fn ended(&mut self, ids: &[MessageId], ended: Ended) {
        let under_way = Arc::make_mut(&mut self.under_way);
        for id in ids {
            under_way.remove(id);
        }
        match ended {
            Ended::Well => {
                self.allowed = self.allowed.saturating_add(1);
                self.held_back = None;
            }
            // More of what fails helps nobody.
            Ended::Badly => {
                self.allowed = (self.allowed / 2).max(1);
                self.held_back = None;
            }
            Ended::NotAtAll => {
                let rest = self.held_back.map_or(HELD_BACK_FIRST, |(_, rest)| (rest * 2).min(HELD_BACK_MAX));
                self.held_back = Some((Instant::now() + rest, rest));
                self.allowed = 1;
            }
        }
    }

    /// How long nothing is delivered yet.
    fn held_back_for(&self) -> Option<Duration> {
        let (until, _) = self.held_back?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What becomes of each message of a batch.
fn settlings(messages: &[Message], outcome: &QueueOutcome) -> Vec<QueueSettling> {
    let said: HashMap<&str, QueueSettling> =
        outcome.messages.iter().map(|(id, settling)| (id.as_str(), *settling)).collect();
    let of = |message: &Message| said.get(message.id.to_string().as_str()).copied().unwrap_or(outcome.others);
    messages.iter().map(of).collect()
}

/// How long it is until then.
fn until(now: Timestamp, then_ms: i64) -> Duration {
    let millis = then_ms.saturating_sub(now.as_millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or_default().max(1))
}
