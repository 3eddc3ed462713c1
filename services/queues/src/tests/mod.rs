//! Several servers in one process, joined by links that the tests cut. Time is tokio's, paused; the wall clock goes with it.

mod consuming;
mod losses;
mod room;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use proxima_chassis::Clock;
use proxima_model::{
    AccountId, NodeName, PopCode, Queue, QueueConsumer, QueueConsumerId, QueueId, QueueName, QueueReader,
    QueueSettings, RegionName, Timestamp, WorkerName,
};
use proxima_pipeline::{
    AnswersServers, Body, CronTrigger, Fault, Invoke, NoAnswer, NotConsumed, QueueBacklog, QueueBatch,
    QueueContentType, QueueError, QueueMessage, QueueOutcome, QueuePull, QueuePulled, QueueSettled,
    QueueSettling, Queues, ServerAbout, Servers, replicas,
};
use proxima_store::Space;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    QueuesConfig,
    answers::Answers,
    home::Home,
    metrics::Metrics,
    named::Renamed,
    port::Port,
    service,
    store::Store,
    wire::{self, Answer, BODY_OCTETS_MAX, Question, Refusal},
};

const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);
const BEGAN: i64 = 1_700_000_000_000;
/// Longer than it takes until one that is away is found to be gone, and another one has taken over.
const TAKEN_OVER: Duration = Duration::from_secs(30);

/// The wall clock, which goes with tokio's time.
struct Paused(Instant);

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.0.elapsed().as_millis()).expect("no test takes so long");
        Timestamp::from_millis(BEGAN + passed)
    }
}

/// All links.
#[derive(Default)]
struct Network {
    answering: Mutex<HashMap<NodeName, Arc<dyn AnswersServers>>>,
    cut: Mutex<HashSet<(NodeName, NodeName)>>,
    /// Who waits for whom in vain: what the one asks the other is done, or not, and never answered.
    silent: Mutex<HashSet<(NodeName, NodeName)>>,
    /// Servers of the version before.
    old: Mutex<HashSet<NodeName>>,
}

/// The network as one server sees it.
struct Link {
    network: Arc<Network>,
    about: Vec<ServerAbout>,
    me: NodeName,
}

impl Servers for Link {
    fn all(&self) -> &[ServerAbout] {
        &self.about
    }

    fn me(&self) -> &NodeName {
        &self.me
    }

    fn ask<'a>(
        &'a self,
        server: &'a NodeName,
        service: &'static str,
        request: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, NoAnswer>> {
        assert_eq!(service, crate::SERVICE);
        Box::pin(async move {
            let network = &self.network;
            let (parts, body) = request.into_parts();
            let octets = body.collect(BODY_OCTETS_MAX).await.expect("a question is bounded");
            let question = wire::read_question(&octets).expect("a question");
            let is_cut = lock(&network.cut).contains(&(self.me.clone(), server.clone()));
            let answers = lock(&network.answering).get(server).cloned();
            let Some(answers) = answers.filter(|_| !is_cut) else { return Err(NoAnswer::Lost) };
            if lock(&network.silent).contains(&(self.me.clone(), server.clone())) {
                return std::future::pending().await;
            }
            if matches!(question, Question::SettleEach { .. }) && lock(&network.old).contains(server) {
                return Ok(Response::new(Body::full(wire::write(&Answer::Refused(Refusal::NotUnderstood)))));
            }
            let answer = answers.answer(&self.me, Request::from_parts(parts, Body::full(octets))).await;
            let (parts, body) = answer.into_parts();
            let octets = body.collect(BODY_OCTETS_MAX).await.expect("an answer is bounded");
            Ok(Response::from_parts(parts, Body::full(octets)))
        })
    }
}

/// What a Worker says of a batch, given the texts in it.
type Says = dyn Fn(&[String]) -> Result<QueueOutcome, NotConsumed> + Send + Sync;

/// A batch: the server on which it was run, and of each message its text and how often it was delivered.
type Given = (NodeName, Vec<(String, u32)>);

/// The Workers of all servers.
struct Workers {
    /// Batches, in their order.
    given: Mutex<Vec<Given>>,
    says: Mutex<Box<Says>>,
    /// While it is held, no batch ends.
    gate: tokio::sync::RwLock<()>,
    running: Mutex<(usize, usize)>,
}

/// The Workers, as one server runs them.
struct Engine(NodeName, Arc<Workers>);

impl Invoke for Engine {
    fn scheduled<'a>(
        &'a self,
        _: AccountId,
        _: &'a WorkerName,
        _: CronTrigger<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }

    fn queue<'a>(
        &'a self,
        _: AccountId,
        worker: &'a WorkerName,
        batch: QueueBatch<'a>,
    ) -> BoxFuture<'a, Result<QueueOutcome, NotConsumed>> {
        assert_eq!(worker.as_str(), "consumer");
        Box::pin(async move {
            let workers = &self.1;
            let of = |it: &proxima_pipeline::QueueDelivered| (text(&it.body), it.attempts);
            let given: Vec<_> = batch.messages.iter().map(of).collect();
            let texts: Vec<_> = given.iter().map(|(text, _)| text.clone()).collect();
            lock(&workers.given).push((self.0.clone(), given));
            {
                let mut running = lock(&workers.running);
                running.0 += 1;
                running.1 = running.1.max(running.0);
            }
            pass(Duration::from_millis(1)).await;
            drop(workers.gate.read().await);
            lock(&workers.running).0 -= 1;
            let mut said = lock(&workers.says)(&texts)?;
            // What was said of a text is said of its message.
            for (said, _) in &mut said.messages {
                let message = batch.messages.iter().find(|it| text(&it.body) == *said).expect("it was given");
                said.clone_from(&message.id);
            }
            Ok(said)
        })
    }
}

/// A running server.
struct Server {
    home: Arc<Home>,
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

struct World {
    folder: tempfile::TempDir,
    network: Arc<Network>,
    about: Vec<ServerAbout>,
    clock: Arc<Paused>,
    workers: Arc<Workers>,
    servers: HashMap<NodeName, Server>,
    named: Vec<Queue>,
    config: QueuesConfig,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic")
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).expect("a name")
}

/// Servers, each with its PoP.
fn about(servers: &[(&str, &str)]) -> Vec<ServerAbout> {
    let about = |(name_of, pop): &(&str, &str)| ServerAbout {
        name: name(name_of),
        pop: PopCode::parse(pop).expect("a code"),
        region: RegionName::parse("europe").expect("a region"),
    };
    servers.iter().map(about).collect()
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).expect("text")
}

fn acked() -> Result<QueueOutcome, NotConsumed> {
    Ok(QueueOutcome { threw: false, messages: Vec::new(), others: QueueSettling::Ack })
}

/// Lets paused time pass, once everything that could be done has been.
async fn pass(time: Duration) {
    timeout(time, std::future::pending::<()>()).await.ok();
}

/// A consumer that takes so many at a time and waits for none.
fn worker(batch_size: u32) -> QueueConsumer {
    QueueConsumer {
        id: QueueConsumerId::from_bytes([3; 16]),
        created_at: Timestamp::from_millis(BEGAN),
        reader: QueueReader::Worker {
            worker: WorkerName::parse("consumer").expect("a name"),
            max_wait_ms: 0,
            max_concurrency: None,
        },
        batch_size,
        max_retries: 3,
        retry_delay_seconds: 0,
        dead_letter_queue: None,
    }
}

fn puller() -> QueueConsumer {
    QueueConsumer { reader: QueueReader::Pull { visibility_timeout_ms: 30_000 }, ..worker(10) }
}

impl World {
    /// Servers, each with its PoP; all of them run.
    async fn new(servers: &[(&str, &str)]) -> Self {
        let workers = Workers {
            given: Mutex::default(),
            says: Mutex::new(Box::new(|_| acked())),
            gate: tokio::sync::RwLock::default(),
            running: Mutex::default(),
        };
        let mut world = Self {
            folder: tempfile::tempdir().expect("a folder"),
            network: Arc::default(),
            about: about(servers),
            clock: Arc::new(Paused(Instant::now())),
            workers: Arc::new(workers),
            servers: HashMap::new(),
            named: Vec::new(),
            config: QueuesConfig { store_bytes_max: 64 << 20, ..QueuesConfig::default() },
        };
        for (name, _) in servers {
            world.start(name);
        }
        // Until all have greeted all.
        pass(Duration::from_secs(10)).await;
        world
    }

    /// Two servers in FRA, one in AMS and one in SIN.
    async fn of_four() -> Self {
        Self::new(&[("fra1", "FRA"), ("fra2", "FRA"), ("ams1", "AMS"), ("sin1", "SIN")]).await
    }

    fn start(&mut self, server: &str) {
        let me = name(server);
        let store =
            Store::open(&self.folder.path().join(server), self.config.store_bytes_max, Space::endless());
        assert!(store.is_ok(), "{:?}", store.err());
        let (network, about) = (Arc::clone(&self.network), self.about.clone());
        let link = Arc::new(Link { network, about, me: me.clone() });
        let clock = Arc::clone(&self.clock);
        let home = Home::new(&self.config, store, link, clock, Metrics::default(), || true);
        home.named.apply(Renamed::All(self.named.clone()));
        home.invoke.set(Arc::new(Engine(me.clone(), Arc::clone(&self.workers)))).ok();
        let stop = CancellationToken::new();
        let mut running = service::run(&home, &stop);
        running.push(tokio::spawn(Arc::clone(&home).deliver_until(stop.clone())));
        lock(&self.network.answering).insert(me.clone(), Arc::new(Answers(Arc::clone(&home))));
        self.servers.insert(me, Server { home, stop, running });
    }

    /// Ends a server as it stands.
    async fn kill(&mut self, server: &str) {
        lock(&self.network.answering).remove(&name(server));
        let Server { home, stop, running } = self.servers.remove(&name(server)).expect("it runs");
        stop.cancel();
        for task in running {
            task.await.expect("no panic");
        }
        pass(Duration::from_millis(1)).await;
        assert_eq!(Arc::strong_count(&home), 1, "nobody uses its store any more");
    }

    /// Cuts the link between two, or mends it.
    fn link(&self, one: &str, other: &str, stands: bool) {
        let mut cut = lock(&self.network.cut);
        for pair in [(name(one), name(other)), (name(other), name(one))] {
            if stands {
                cut.remove(&pair)
            } else {
                cut.insert(pair)
            };
        }
    }

    /// What Workers say from now on.
    fn says(&self, says: impl Fn(&[String]) -> Result<QueueOutcome, NotConsumed> + Send + Sync + 'static) {
        *lock(&self.workers.says) = Box::new(says);
    }

    /// What Workers were given since this was called last: the server, and each batch.
    fn given(&self) -> Vec<Given> {
        std::mem::take(&mut *lock(&self.workers.given))
    }

    /// The same: only the texts.
    fn texts(&self) -> Vec<String> {
        let mut texts: Vec<_> =
            self.given().into_iter().flat_map(|(_, batch)| batch).map(|(text, _)| text).collect();
        texts.sort_unstable();
        texts
    }

    /// A new queue, whose home is the first of these, and the other one its other replica.
    fn queue(&mut self, called: &str, [home, other]: [&str; 2], consumer: Option<QueueConsumer>) -> QueueId {
        let is_so = |id: &QueueId| {
            let replicas = replicas(&self.about, id.as_bytes());
            replicas.iter().map(|server| server.name.as_str()).eq([home, other])
        };
        let taken: HashSet<_> = self.named.iter().map(|queue| queue.id).collect();
        let mut all = (0..=255).map(|number| QueueId::from_bytes([number; 16]));
        let id = all.find(|id| !taken.contains(id) && is_so(id)).expect("one of 256");
        self.name(id, called, consumer);
        id
    }

    fn name(&mut self, id: QueueId, called: &str, consumer: Option<QueueConsumer>) {
        self.named.push(Queue {
            account: ACCOUNT,
            id,
            name: QueueName::parse(called).expect("a name"),
            created_at: Timestamp::from_millis(BEGAN),
            modified_at: Timestamp::from_millis(BEGAN),
            settings: QueueSettings::default(),
            consumer,
        });
        self.tell_names();
    }

    /// Leaves what one asks the other without an answer, or no more.
    fn silence(&self, one: &str, other: &str, is_silent: bool) {
        let mut silent = lock(&self.network.silent);
        let pair = (name(one), name(other));
        if is_silent {
            silent.insert(pair)
        } else {
            silent.remove(&pair)
        };
    }

    /// Changes a queue, as all servers know it.
    fn change(&mut self, id: QueueId, change: impl FnOnce(&mut Queue)) {
        change(self.named.iter_mut().find(|queue| queue.id == id).expect("it is there"));
        self.tell_names();
    }

    fn tell_names(&self) {
        for server in self.servers.values() {
            server.home.named.apply(Renamed::All(self.named.clone()));
        }
    }

    fn home(&self, server: &str) -> &Arc<Home> {
        &self.servers[&name(server)].home
    }

    fn port(&self, server: &str) -> Port {
        Port(Arc::clone(self.home(server)))
    }

    async fn send(&self, server: &str, id: QueueId, texts: &[&str]) -> Result<QueueBacklog, QueueError> {
        let message = |text: &&str| QueueMessage {
            content_type: QueueContentType::Text,
            body: (*text).to_owned().into(),
            delay_seconds: None,
        };
        self.port(server).send(id, texts.iter().map(message).collect()).await
    }

    async fn pull(&self, server: &str, id: QueueId) -> Result<QueuePulled, QueueError> {
        self.port(server).pull(id, QueuePull { batch_size: 10, visibility_ms: 60_000 }).await
    }

    async fn settle(&self, server: &str, id: QueueId, lease: &str, settling: QueueSettling) -> [usize; 3] {
        let settled = vec![QueueSettled { lease: lease.to_owned(), settling }];
        let counts = self.port(server).settle(id, settled).await.expect("it is reached");
        assert!(counts.stale.iter().all(|stale| stale == lease));
        [counts.acked, counts.retried, counts.stale.len()]
    }

    /// How many messages a server's own store has of a queue.
    fn stored(&self, server: &str, id: QueueId) -> u64 {
        self.home(server).own.store().expect("it is there").backlog(id).expect("readable").messages
    }
}

fn texts_of(pulled: &QueuePulled) -> Vec<String> {
    let mut texts: Vec<_> = pulled.messages.iter().map(|message| text(&message.body)).collect();
    texts.sort_unstable();
    texts
}
