//! Tells queues what waits for them in the outbox (`store/outbox.rs`), each by itself.
//!
//! ```text
//!  outbox ─▶ a queue that is told well ─ one of AT_ONCE_MAX places ──────────┐
//!     ▲                                                                      ├▶ batch ─▶ Queues::send ─▶ removed
//!     └───── a queue that was not reached, after a rest ─ AGAIN_AT_ONCE_MAX ─┘                  └─▶ it rests, longer each time
//! ```
//!
//! One task tells a queue one batch; what comes meanwhile goes with the next. A queue that is away, full or slow has places apart from
//! the others', so it holds up none that takes what it is told. No request for objects waits for any of this.
//!
//! A queue that the log does not name any more is told nothing more: what waits for it is dropped, counted and logged.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use proxima_model::{AccountId, QueueId};
use proxima_pipeline::{ObjectError, QueueError, Queues};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use crate::{metrics::Metrics, store::Store};

/// Queues that are told at a time: each has a batch of a quarter of a megabyte at the most, and a place among the queues' requests.
const AT_ONCE_MAX: usize = 16;
/// Of those that were not reached the last time, which may take long to fail again.
const AGAIN_AT_ONCE_MAX: usize = 4;
/// How long a queue rests that was not reached: twice as long each time.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);
/// How often it is looked, also if nothing is known to have been added: another process of a graceful restart may have.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long one sending may take: longer than queues take to find that neither of their servers answers.
const SEND_WITHIN: Duration = Duration::from_secs(20);

/// Says of a queue of an account whether the log is known not to name it.
pub(crate) type QueueIsGone = Arc<dyn Fn(AccountId, QueueId) -> bool + Send + Sync>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Deliverer {
    pub(crate) store: Store,
    pub(crate) queues: Arc<dyn Queues>,
    pub(crate) is_gone: QueueIsGone,
    pub(crate) metrics: Metrics,
}

/// Why something still waits.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Outbox(#[from] ObjectError),
    #[error("the queue did not answer in time")]
    Slow,
}

/// Since when a queue is not reached, and until when it rests.
#[derive(Clone, Copy)]
struct Rest {
    failures: u32,
    until: Instant,
}

/// Who is being told, and who was not reached.
#[derive(Default)]
struct Round {
    tasks: JoinSet<Result<(), Unsent>>,
    under_way: HashMap<Id, QueueId>,
    rests: HashMap<QueueId, Rest>,
    /// The last that was begun with: the next one comes after it.
    last: Option<QueueId>,
}

impl Round {
    /// Which are being told: those that were reached the last time, and the others.
    fn under_way(&self) -> (usize, usize) {
        let again = self.under_way.values().filter(|queue| self.rests.contains_key(queue)).count();
        (self.under_way.len() - again, again)
    }

    /// The queues that have rested, those first that have the longest, as many as there are places for.
    fn rested(&self, now: Instant) -> Vec<QueueId> {
        let busy: HashSet<_> = self.under_way.values().collect();
        let due = self.rests.iter().filter(|(queue, rest)| rest.until <= now && !busy.contains(queue));
        let mut due: Vec<_> = due.map(|(queue, rest)| (rest.until, *queue)).collect();
        due.sort_unstable();
        due.truncate(AGAIN_AT_ONCE_MAX.saturating_sub(self.under_way().1));
        due.into_iter().map(|(_, queue)| queue).collect()
    }

    /// When the next one has rested for whom there is a place.
    fn next(&self) -> Option<Instant> {
        let busy: HashSet<_> = self.under_way.values().collect();
        let rests = self.rests.iter().filter(|(queue, _)| !busy.contains(queue)).map(|(_, rest)| rest.until);
        rests.min().filter(|_| self.under_way().1 < AGAIN_AT_ONCE_MAX)
    }

    fn ended(&mut self, ended: Result<(Id, Result<(), Unsent>), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(ObjectError::Broken(error.to_string()).into())),
        };
        let Some(queue) = self.under_way.remove(&id) else { return };
        let failures = self.rests.remove(&queue).map_or(0, |rest| rest.failures);
        match outcome {
            Ok(()) if failures > 0 => {
                tracing::info!(target: "proxima_r2", %queue, failures, "a queue is told of objects again");
            }
            Ok(()) => {}
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(target: "proxima_r2", %queue, %error, "a queue cannot be told of objects now, and will be");
                }
                let rest = REST_MIN.saturating_mul(1 << failures.min(16)).min(REST_MAX);
                let failures = failures.saturating_add(1);
                self.rests.insert(queue, Rest { failures, until: Instant::now() + rest });
            }
        }
    }
}

impl Deliverer {
    /// Tells queues, until `stop`. What is under way then may have been told, and is told again by the next process.
    pub(crate) async fn run_until(self, stop: impl Future<Output = ()>) {
        let mut round = Round::default();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stop);
        loop {
            if let Err(error) = self.begin(&mut round).await {
                tracing::warn!(target: "proxima_r2", %error, "what queues are to be told cannot be read");
            }
            let next = round.next();
            tokio::select! {
                () = &mut stop => return,
                Some(ended) = round.tasks.join_next_with_id() => round.ended(ended),
                () = self.store.notifications_added() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                _ = looks.tick() => self.tell_overflow(),
            }
        }
    }

    /// Begins to tell those for whom there are places.
    async fn begin(&self, round: &mut Round) -> Result<(), ObjectError> {
        for queue in round.rested(Instant::now()) {
            self.spawn(round, queue);
        }
        let places = AT_ONCE_MAX.saturating_sub(round.under_way().0);
        if places > 0 {
            let but = round.under_way.values().chain(round.rests.keys()).copied().collect();
            for queue in self.store.queues_waiting(but, round.last, places).await? {
                round.last = Some(queue);
                self.spawn(round, queue);
            }
        }
        let waiting = self.store.notifications().await?;
        self.metrics.notifications_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        Ok(())
    }

    fn spawn(&self, round: &mut Round, queue: QueueId) {
        let deliverer = self.clone();
        let task = round.tasks.spawn(async move { deliverer.tell(queue).await });
        round.under_way.insert(task.id(), queue);
    }

    /// Tells a queue some of what waits for it.
    async fn tell(&self, queue: QueueId) -> Result<(), Unsent> {
        let batch = self.store.batch(queue).await?;
        let (count, account) = (batch.len(), batch.account);
        let unread = count - batch.messages.len() as u64;
        let sent = if batch.messages.is_empty() {
            Ok(())
        } else {
            let sending = self.queues.send(queue, batch.messages.clone());
            let sent = timeout(SEND_WITHIN, sending).await.map_err(|_| Unsent::Slow);
            sent.and_then(|sent| sent.map(drop).map_err(Unsent::from))
        };
        match sent {
            Ok(()) => {
                // Also if it is told again because it cannot be removed.
                self.metrics.notifications_sent.inc_by(count - unread);
                self.store.remove_batch(batch).await?;
                self.drop_some(queue, unread, "they cannot be read");
                Ok(())
            }
            Err(Unsent::Queue(QueueError::Unknown)) if self.is_gone(account, queue).await => {
                self.store.remove_batch(batch).await?;
                self.drop_some(queue, count, "the queue is gone: change the bucket's rules");
                Ok(())
            }
            // It would be so again.
            Err(Unsent::Queue(QueueError::Invalid(what))) => {
                self.store.remove_batch(batch).await?;
                self.drop_some(queue, count, &what);
                Ok(())
            }
            Err(error) => {
                self.metrics.notifications_held.inc();
                Err(error)
            }
        }
    }

    async fn is_gone(&self, account: Option<AccountId>, queue: QueueId) -> bool {
        let (Some(account), is_gone) = (account, self.is_gone.clone()) else { return false };
        // It looks in the replica, which may have to be read from the disk.
        tokio::task::spawn_blocking(move || is_gone(account, queue)).await.unwrap_or(false)
    }

    fn drop_some(&self, queue: QueueId, count: u64, why: &str) {
        if count > 0 {
            self.metrics.notifications_dropped.inc_by(count);
            tracing::warn!(target: "proxima_r2", %queue, count, why, "a queue is not told of objects");
        }
    }

    fn tell_overflow(&self) {
        let count = self.store.take_overflowed();
        if count > 0 {
            let what = "queues are not told of objects, since they took nothing for too long: the oldest were dropped";
            tracing::warn!(target: "proxima_r2", count, "{what}");
        }
    }
}
