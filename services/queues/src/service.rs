//! The service: opens the store, keeps it in step with the log and with the others, delivers, and sweeps.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use proxima_chassis::{
    ConfigError, Health, NodeContext, PrepareError, Prepared, Service, ServiceError, Shutdown,
};
use proxima_ledger::{ChangeSet, Snapshot};
use proxima_model::{NodeName, QueueId, Timestamp};
use proxima_pipeline::{AnswersServers, Invoke, Queues, Servers};
use proxima_store::Space;
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    QueuesConfig, SERVICE,
    answers::Answers,
    home::Home,
    message::MessageId,
    metrics::Metrics,
    named::Renamed,
    port::Port,
    store::{Store, StoreError},
};

/// How often the store is swept, and measured.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Transactions of one sweep: those of clients come in between, and what is left has its turn a moment later.
const SWEEPS_AT_ONCE: usize = 32;
const SWEEP_REST: Duration = Duration::from_secs(1);
/// How long the messages of a queue are kept that the log does not name: an hour. It may have been made a moment ago, and the
/// deletion of one may be reverted.
const NAMELESS_KEPT: Duration = Duration::from_secs(3_600);

/// The service.
pub struct QueuesService {
    home: Arc<Home>,
}

impl QueuesService {
    /// The service as `[queues]` describes it, among these servers.
    ///
    /// # Errors
    /// What is wrong there. A store that cannot be opened is none: all else of the node is served.
    pub fn new(node: &NodeContext, servers: Arc<dyn Servers>) -> Result<Arc<Self>, ConfigError> {
        let config = QueuesConfig::of(&node.config)?;
        let path = node.config.node.data_dir.join(SERVICE);
        let metrics = node.metrics.register(SERVICE, Metrics::register);
        let space = Space::of(&path, config.free_bytes_min, metrics.space.clone());
        let store = Store::open(&path, config.store_bytes_max, space);
        if let Err(error) = &store {
            tracing::error!(path = %path.display(), %error, "messages that lie here cannot be read or written");
        }
        let (clock, node) = (Arc::clone(&node.clock), node.clone());
        let home = Home::new(&config, store, servers, clock, metrics, move || node.lacks_nothing());
        Ok(Arc::new(Self { home }))
    }

    /// By whom messages are sent and taken.
    pub fn port(&self) -> Arc<dyn Queues> {
        Arc::new(Port(Arc::clone(&self.home)))
    }

    /// By whom other servers are answered.
    pub fn answers(&self) -> Arc<dyn AnswersServers> {
        Arc::new(Answers(Arc::clone(&self.home)))
    }

    /// By whom Workers are given messages. Given once, before the service runs: without, they wait.
    pub fn invoke_by(&self, invoke: Arc<dyn Invoke>) {
        self.home.invoke.set(invoke).ok();
    }
}

#[async_trait]
impl Service for QueuesService {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> Result<Prepared, PrepareError> {
        let renamed = Renamed::of(snapshot, changed)?;
        let named = self.home.named.clone();
        Ok(Prepared::new(move || named.apply(renamed)))
    }

    async fn run(self: Arc<Self>, _: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
        // Those who are served until the node stops may send until then.
        let stop = shutdown.stop_token();
        let mut running = run(&self.home, &stop);
        // Who drains begins nothing: the next process, or another server, delivers.
        let drains = stop.child_token();
        running.push(tokio::spawn(Arc::clone(&self.home).deliver_until(drains.clone())));
        shutdown.draining().await;
        drains.cancel();
        drop(running);
        Ok(())
    }

    fn health(&self) -> Health {
        match self.home.own.store() {
            Err(error) => Health::Degraded(format!("no messages are kept here: {error}")),
            Ok(store) => match store.space().shortage() {
                Some(shortage) => Health::Degraded(format!("messages are refused here: {shortage}")),
                None => Health::Ready,
            },
        }
    }
}

/// What is known from one sweep to the next.
#[derive(Default)]
struct Sweep {
    /// Since when the log has not named a queue of which messages lie here.
    absent: HashMap<QueueId, Instant>,
    /// Of which queue messages were swept last, if more is due than one sweep does.
    last: Option<QueueId>,
}

impl Sweep {
    fn absent_for(&mut self, id: QueueId) -> Duration {
        self.absent.entry(id).or_insert_with(Instant::now).elapsed()
    }
}

/// Begins what goes on beside the requests and deliveries, until `stop`.
pub(crate) fn run(home: &Arc<Home>, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
    let writing = {
        let (home, stop) = (Arc::clone(home), stop.clone());
        tokio::spawn(async move { home.own.write_until(stop).await })
    };
    vec![
        writing,
        tokio::spawn(Arc::clone(home).link_until(stop.clone())),
        tokio::spawn(Arc::clone(home).relocate_until(stop.clone())),
        tokio::spawn(Arc::clone(home).sweep_until(stop.clone())),
    ]
}

impl Home {
    async fn sweep_until(self: Arc<Self>, stop: CancellationToken) {
        if self.own.store().is_err() {
            return;
        }
        let mut ticks = interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweep = Sweep::default();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            match self.sweep(&mut sweep).await {
                Ok(()) if sweep.last.is_some() => ticks.reset_after(SWEEP_REST),
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "messages that are too old stay in the store for now"),
            }
            self.measure().await;
        }
    }

    /// Does what is due, in bounds: a transaction of each queue in turn, so that none waits for another one to be done with.
    async fn sweep(&self, sweep: &mut Sweep) -> Result<(), StoreError> {
        let lacks_nothing = (self.lacks_nothing)();
        let others: Vec<NodeName> = self.links.all().map(|link| link.server.clone()).collect();
        self.own.read(move |store, _| store.forget_others(&others)).await?;
        let mut queues = self.own.read(|store, _| store.queues()).await?;
        sweep.absent.retain(|id, _| queues.contains(id));
        if let Some(last) = sweep.last.take() {
            let behind = queues.partition_point(|id| *id <= last);
            queues.rotate_left(behind);
        }
        let (mut queues, mut left) = (VecDeque::from(queues), SWEEPS_AT_ONCE);
        while let Some(id) = queues.pop_front() {
            let before = match self.named.get(id) {
                Some(queue) => {
                    sweep.absent.remove(&id);
                    let kept_ms = i64::from(queue.settings.retention_seconds) * 1_000;
                    let oldest_ms = self.clock.now().as_millis().saturating_sub(kept_ms);
                    Some(MessageId::first_of(Timestamp::from_millis(oldest_ms)))
                }
                None if sweep.absent_for(id) < NAMELESS_KEPT => continue,
                // A replica that lags may not know it yet.
                None if !lacks_nothing => continue,
                None => None,
            };
            let work = move |store: &Store, _| store.sweep(id, before).map_err(|error| store.explain(error));
            let swept = self.own.read(work).await?;
            if swept == 0 {
                continue;
            }
            self.metrics.swept.inc_by(swept as u64);
            queues.push_back(id);
            left -= 1;
            if left == 0 {
                sweep.last = Some(id);
                break;
            }
        }
        Ok(())
    }

    async fn measure(&self) {
        let as_number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let others: Vec<NodeName> = self.links.all().map(|link| link.server.clone()).collect();
        let measured = self.own.read(move |store, _| {
            store.space().look();
            let untold =
                others.iter().map(|server| Ok(store.untold(server)?.1)).sum::<Result<u64, StoreError>>()?;
            Ok((untold, store.messages()?, store.octets()?))
        });
        if let Ok((untold, messages, octets)) = measured.await {
            self.metrics.untold.set(as_number(untold));
            self.metrics.messages.set(as_number(messages));
            self.metrics.store_octets.set(as_number(octets as u64));
        }
    }
}
