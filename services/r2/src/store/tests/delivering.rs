//! Telling queues: those that take it, and those that do not.

use std::{collections::HashMap, sync::Mutex};

use futures_util::future::BoxFuture;
use proxima_model::{QueueId, QueueName};
use proxima_pipeline::{
    QueueBacklog, QueueContentType, QueueError, QueueMessage, QueuePull, QueuePulled, QueueSettled,
    QueueSettlement, Queues,
};
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    outbox::{QUEUE, everything, told},
    *,
};
use crate::deliver::Deliverer;

/// What a queue does with what it is sent.
#[derive(Clone, Debug)]
enum Manner {
    Takes,
    Refuses(QueueError),
    /// It takes it, and who sent it never hears so.
    TakesAndSaysNothing,
    Hangs,
}

/// Queues that take what they are sent, but for those of another manner.
#[derive(Default)]
struct TestQueues {
    manners: Mutex<HashMap<QueueId, Manner>>,
    /// The keys of which each was told.
    told: watch::Sender<HashMap<QueueId, Vec<String>>>,
}

impl TestQueues {
    fn are(&self, manner: &Manner, queues: impl IntoIterator<Item = QueueId>) {
        self.manners.lock().unwrap().extend(queues.into_iter().map(|queue| (queue, manner.clone())));
    }

    /// Waits until a queue was told of so many, and of which.
    async fn told(&self, queue: QueueId, count: usize) -> Vec<String> {
        let mut told = self.told.subscribe();
        let told = told.wait_for(|told| told.get(&queue).is_some_and(|keys| keys.len() >= count)).await;
        told.unwrap()[&queue].clone()
    }

    fn take(&self, queue: QueueId, messages: &[QueueMessage]) {
        let key = |message: &QueueMessage| {
            assert_eq!(message.content_type, QueueContentType::Json);
            let message: Value = serde_json::from_slice(&message.body).unwrap();
            message["object"]["key"].as_str().unwrap().to_owned()
        };
        self.told.send_modify(|told| told.entry(queue).or_default().extend(messages.iter().map(key)));
    }
}

impl Queues for TestQueues {
    fn find(&self, _: AccountId, _: &QueueName) -> Option<QueueId> {
        unreachable!("queues are named by their ids")
    }

    fn send(
        &self,
        queue: QueueId,
        messages: Vec<QueueMessage>,
    ) -> BoxFuture<'_, Result<QueueBacklog, QueueError>> {
        Box::pin(async move {
            let manner = self.manners.lock().unwrap().get(&queue).cloned().unwrap_or(Manner::Takes);
            match manner {
                Manner::Takes => self.take(queue, &messages),
                Manner::Refuses(error) => return Err(error),
                Manner::TakesAndSaysNothing => {
                    self.take(queue, &messages);
                    std::future::pending().await
                }
                Manner::Hangs => std::future::pending().await,
            }
            Ok(QueueBacklog::default())
        })
    }

    fn pull(&self, _: QueueId, _: QueuePull) -> BoxFuture<'_, Result<QueuePulled, QueueError>> {
        unreachable!("nobody pulls here")
    }

    fn settle(&self, _: QueueId, _: Vec<QueueSettled>) -> BoxFuture<'_, Result<QueueSettlement, QueueError>> {
        unreachable!("nobody pulls here")
    }

    fn backlog(&self, _: QueueId) -> BoxFuture<'_, Result<QueueBacklog, QueueError>> {
        unreachable!("nobody asks here")
    }

    fn purge(&self, _: QueueId) -> BoxFuture<'_, Result<u64, QueueError>> {
        unreachable!("nobody purges here")
    }
}

/// A deliverer that runs until it is stopped.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(fixture: &Fixture, queues: &Arc<TestQueues>, gone: Vec<QueueId>) -> Self {
        let stop = CancellationToken::new();
        let deliverer = Deliverer {
            store: fixture.store.clone(),
            queues: queues.clone(),
            is_gone: Arc::new(move |account, queue| account == bucket().account && gone.contains(&queue)),
            metrics: fixture.store.metrics.clone(),
        };
        let task = tokio::spawn(deliverer.run_until(stop.clone().cancelled_owned()));
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Waits until nothing waits any more.
async fn emptied(fixture: &Fixture) {
    while fixture.store.notifications().await.unwrap() > 0 {
        tokio::task::yield_now().await;
    }
}

fn queue(at: u8) -> QueueId {
    QueueId::from_bytes([at; 16])
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_told_in_order_of_what_was_and_of_what_comes() {
    let fixture = Fixture { bucket: told(&[(QUEUE, everything())]), ..Fixture::new() };
    let queues = Arc::<TestQueues>::default();
    for name in ["a", "b", "c"] {
        fixture.put(name, "x").await.unwrap();
    }
    let running = Running::start(&fixture, &queues, vec![]);
    assert_eq!(queues.told(QUEUE, 3).await, ["a", "b", "c"]);
    fixture.put("d", "x").await.unwrap();
    assert_eq!(queues.told(QUEUE, 4).await, ["a", "b", "c", "d"]);
    emptied(&fixture).await;
    assert_eq!(fixture.store.metrics.notifications_sent.get(), 4);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_and_not_known_to_be_is_sent_again_by_the_next_process() {
    let fixture = Fixture { bucket: told(&[(QUEUE, everything())]), ..Fixture::new() };
    let queues = Arc::<TestQueues>::default();
    queues.are(&Manner::TakesAndSaysNothing, [QUEUE]);
    fixture.put("a", "x").await.unwrap();
    let running = Running::start(&fixture, &queues, vec![]);
    queues.told(QUEUE, 1).await;
    running.end().await;
    let fixture = fixture.restart();
    queues.are(&Manner::Takes, [QUEUE]);
    let running = Running::start(&fixture, &queues, vec![]);
    assert_eq!(queues.told(QUEUE, 2).await, ["a", "a"]);
    emptied(&fixture).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn queues_that_are_away_full_or_silent_hold_up_no_other_and_are_told_when_they_are_back() {
    // More of each than there are places.
    let (away, full, silent) = (1..21_u8, 21..41_u8, 41..61_u8);
    let all: Vec<_> = (1..=61).map(|at| (queue(at), everything())).collect();
    let fixture = Fixture { bucket: told(&all), ..Fixture::new() };
    let queues = Arc::<TestQueues>::default();
    queues.are(&Manner::Refuses(QueueError::Unreachable("on purpose".to_owned())), away.map(queue));
    queues.are(&Manner::Refuses(QueueError::Full("on purpose".to_owned())), full.map(queue));
    queues.are(&Manner::Hangs, silent.map(queue));
    let running = Running::start(&fixture, &queues, vec![]);
    for name in ["a", "b", "c"] {
        fixture.put(name, "x").await.unwrap();
        queues.told(queue(61), 1).await;
    }
    assert_eq!(queues.told(queue(61), 3).await, ["a", "b", "c"]);
    assert!(fixture.store.metrics.notifications_held.get() > 0);
    queues.are(&Manner::Takes, (1..=61).map(queue));
    for at in 1..=61 {
        assert_eq!(queues.told(queue(at), 3).await, ["a", "b", "c"], "{at}");
    }
    emptied(&fixture).await;
    assert_eq!(fixture.store.metrics.notifications_dropped.get(), 0);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_gone_is_told_nothing_and_one_that_is_not_known_yet_is_told_later() {
    let (gone, new) = (queue(1), queue(2));
    let all = [(gone, everything()), (new, everything()), (QUEUE, everything())];
    let fixture = Fixture { bucket: told(&all), ..Fixture::new() };
    let queues = Arc::<TestQueues>::default();
    queues.are(&Manner::Refuses(QueueError::Unknown), [gone, new]);
    queues.are(&Manner::Refuses(QueueError::Invalid("on purpose".to_owned())), [QUEUE]);
    for name in ["a", "b"] {
        fixture.put(name, "x").await.unwrap();
    }
    let running = Running::start(&fixture, &queues, vec![gone]);
    while fixture.store.notifications().await.unwrap() > 2 {
        tokio::task::yield_now().await;
    }
    queues.are(&Manner::Takes, [gone, new]);
    assert_eq!(queues.told(new, 2).await, ["a", "b"]);
    emptied(&fixture).await;
    let told = queues.told.borrow().keys().copied().collect::<Vec<_>>();
    assert_eq!((told, fixture.store.metrics.notifications_dropped.get()), (vec![new], 4));
    running.end().await;
}
