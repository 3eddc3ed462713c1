//! Several servers in one process, joined by links that the tests cut. Time is tokio's, paused; the wall clock is the tests'.

mod caching;
mod clocks;
mod losses;
mod short;
mod single;
mod slow;
mod upgrades;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use proxima_chassis::SimulatedClock;
use proxima_model::{KvKey, KvNamespaceId, NodeName, PopCode, RegionName, Timestamp};
use proxima_pipeline::{
    AnswersServers, Body, KeyValue, KvError, KvListing, KvPair, KvRead, KvValue, NoAnswer, ServerAbout,
    Servers,
};
use proxima_store::Space;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    KvConfig,
    answers::Answers,
    kv::Kv,
    metrics::Metrics,
    named::Renamed,
    place,
    port::Port,
    service,
    store::Store,
    wire::{Answer, BODY_OCTETS_MAX, Question, Refusal},
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const MINUTE: KvRead = KvRead::Cached(Duration::from_secs(60));

/// Longer than it takes until servers have told each other what they missed.
const CAUGHT_UP: Duration = Duration::from_secs(25);

/// A store that ten values of a MiB fill.
const SMALL_OCTETS: u64 = 8 << 20;

/// What is left free of a disk.
const FREE_MIN: u64 = 100 << 20;

/// Whether a question is lost on its way.
type Loses = fn(&Question) -> bool;

/// What becomes of a question to a server, if it does not simply get there.
type Meets = fn(&str, &Question) -> Option<Met>;

/// See [`Meets`].
#[derive(Clone, Copy)]
enum Met {
    /// It is not answered.
    Nothing,
    /// The server's version does not have the service.
    NoService,
    /// The server says this, whatever it has.
    Says(fn() -> Answer),
}

/// All links.
#[derive(Default)]
struct Network {
    answering: Mutex<HashMap<NodeName, Arc<dyn AnswersServers>>>,
    cut: Mutex<HashSet<(NodeName, NodeName)>>,
    loses: Mutex<Option<Loses>>,
    meets: Mutex<Option<Meets>>,
    /// Who has it for writing holds up all questions.
    gate: tokio::sync::RwLock<()>,
    /// Questions that came through, by who was asked.
    asked: Mutex<Vec<(NodeName, Question)>>,
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
            let _passed = network.gate.read().await;
            let (parts, body) = request.into_parts();
            let octets = body.collect(BODY_OCTETS_MAX).await.expect("a question is bounded");
            let question = Question::read(octets.clone()).expect("a question");
            let is_cut = network.cut.lock().expect("no panic").contains(&(self.me.clone(), server.clone()));
            let is_lost = network.loses.lock().expect("no panic").is_some_and(|loses| loses(&question));
            let answers = network.answering.lock().expect("no panic").get(server).cloned();
            let Some(answers) = answers.filter(|_| !is_cut && !is_lost) else { return Err(NoAnswer::Lost) };
            let meets = *network.meets.lock().expect("no panic");
            match meets.and_then(|meets| meets(server.as_str(), &question)) {
                None => {}
                Some(Met::Nothing) => std::future::pending().await,
                Some(Met::NoService) => return Err(NoAnswer::Declined),
                Some(Met::Says(says)) => return Ok(Response::new(Body::full(says().write()))),
            }
            network.asked.lock().expect("no panic").push((server.clone(), question));
            let answer = answers.answer(&self.me, Request::from_parts(parts, Body::full(octets))).await;
            let (parts, body) = answer.into_parts();
            let octets = body.collect(BODY_OCTETS_MAX).await.expect("an answer is bounded");
            Ok(Response::from_parts(parts, Body::full(octets)))
        })
    }
}

/// A running server.
struct Server {
    kv: Arc<Kv>,
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

struct World {
    folder: tempfile::TempDir,
    network: Arc<Network>,
    /// Servers, as one knows them that is started now.
    about: Vec<ServerAbout>,
    clock: Arc<SimulatedClock>,
    /// Clocks of servers that are wrong, from when these are started.
    wrong: HashMap<NodeName, Arc<SimulatedClock>>,
    servers: HashMap<NodeName, Server>,
    named: HashSet<KvNamespaceId>,
    /// Servers that have next to no room, and those whose store is to be found damaged.
    small: HashSet<NodeName>,
    damaged: HashSet<NodeName>,
    /// What is free of the disks of servers, of those that have an end.
    free: HashMap<NodeName, Arc<AtomicU64>>,
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).expect("a name")
}

fn key(text: &str) -> KvKey {
    KvKey::parse(text).expect("a key")
}

fn value(octets: &str) -> KvValue {
    KvValue { value: octets.to_owned().into(), metadata: None, expires: None }
}

/// Lets paused time pass, once everything that could be done has been.
async fn pass(time: Duration) {
    timeout(time, std::future::pending::<()>()).await.ok();
}

/// Lets what is under way end.
async fn settle() {
    pass(Duration::from_millis(1)).await;
}

impl World {
    /// Servers, each with its PoP; all of them run, and know namespaces 0 to 255.
    async fn new(servers: &[(&str, &str)]) -> Self {
        let about = |(name_of, pop): &(&str, &str)| ServerAbout {
            name: name(name_of),
            pop: PopCode::parse(pop).expect("a code"),
            region: RegionName::parse("europe").expect("a region"),
        };
        let mut world = Self {
            folder: tempfile::tempdir().expect("a folder"),
            network: Arc::default(),
            about: servers.iter().map(about).collect(),
            clock: Arc::new(SimulatedClock::new(NOW)),
            wrong: HashMap::new(),
            servers: HashMap::new(),
            named: (0..=255).map(|number| KvNamespaceId::from_bytes([number; 16])).collect(),
            small: HashSet::new(),
            damaged: HashSet::new(),
            free: HashMap::new(),
        };
        for (name, _) in servers {
            world.start(name);
        }
        // Until all have taken over from all.
        pass(Duration::from_secs(2)).await;
        world
    }

    /// Two servers in FRA, one in AMS and one in SIN.
    async fn of_four() -> Self {
        Self::new(&[("fra1", "FRA"), ("fra2", "FRA"), ("ams1", "AMS"), ("sin1", "SIN")]).await
    }

    fn start(&mut self, server: &str) {
        let me = name(server);
        let octets =
            if self.small.contains(&me) { SMALL_OCTETS } else { KvConfig::default().store_bytes_max };
        let space = self.free.get(&me).cloned().map_or_else(Space::endless, |free| {
            Space::with(Arc::new(move || Ok(free.load(Ordering::Relaxed))), FREE_MIN)
        });
        let store = Store::open(&self.folder.path().join(server), octets, space, &me);
        assert_eq!(store.is_err(), self.damaged.contains(&me), "{:?}", store.err());
        let (network, about) = (Arc::clone(&self.network), self.about.clone());
        let link = Arc::new(Link { network, about, me: me.clone() });
        let clock = self.wrong.get(&me).unwrap_or(&self.clock).clone();
        let kv = Kv::new(&KvConfig::default(), store, link, clock, Metrics::default());
        kv.named.apply(Renamed::All(self.named.clone()));
        let stop = CancellationToken::new();
        let running = service::run(&kv, &stop);
        self.answering().insert(me.clone(), Arc::new(Answers(Arc::clone(&kv))));
        self.servers.insert(me, Server { kv, stop, running });
    }

    /// Ends a server as it stands.
    async fn kill(&mut self, server: &str) {
        self.answering().remove(&name(server));
        let Server { kv, stop, running } = self.servers.remove(&name(server)).expect("it runs");
        stop.cancel();
        for task in running {
            task.await.expect("no panic");
        }
        settle().await;
        assert_eq!(Arc::strong_count(&kv), 1, "nobody uses its store any more");
    }

    fn answering(&self) -> std::sync::MutexGuard<'_, HashMap<NodeName, Arc<dyn AnswersServers>>> {
        self.network.answering.lock().expect("no panic")
    }

    /// Cuts the link between two, or mends it.
    fn link(&self, one: &str, other: &str, stands: bool) {
        let mut cut = self.network.cut.lock().expect("no panic");
        for pair in [(name(one), name(other)), (name(other), name(one))] {
            if stands {
                cut.remove(&pair)
            } else {
                cut.insert(pair)
            };
        }
    }

    fn lose(&self, loses: Option<Loses>) {
        *self.network.loses.lock().expect("no panic") = loses;
    }

    fn meet(&self, meets: Option<Meets>) {
        *self.network.meets.lock().expect("no panic") = meets;
    }

    /// What is written at this moment comes after what was written before.
    fn later(&self, ms: i64) {
        self.clock.set(Timestamp::from_millis(NOW.as_millis() + ms));
    }

    /// What was asked since this was called last.
    fn asked(&self) -> Vec<(NodeName, Question)> {
        std::mem::take(&mut *self.network.asked.lock().expect("no panic"))
    }

    fn kv(&self, server: &str) -> &Arc<Kv> {
        &self.servers[&name(server)].kv
    }

    fn port(&self, server: &str) -> Port {
        Port(Arc::clone(self.kv(server)))
    }

    /// A namespace whose home is the first of these, and the other one its other replica.
    fn namespace(&self, home: &str, other: &str) -> KvNamespaceId {
        let is_so = |id: &KvNamespaceId| {
            let replicas = place::replicas(&self.about, *id);
            replicas.iter().map(|server| server.name.as_str()).eq([home, other])
        };
        let mut all: Vec<_> = self.named.iter().copied().collect();
        all.sort_unstable();
        all.into_iter().find(is_so).expect("one of 256")
    }

    async fn put(&self, server: &str, id: KvNamespaceId, text: &str, octets: &str) -> Result<(), KvError> {
        self.port(server).put(id, vec![KvPair { key: key(text), value: value(octets) }]).await
    }

    async fn get(
        &self,
        server: &str,
        id: KvNamespaceId,
        text: &str,
        how: KvRead,
    ) -> Result<Option<String>, KvError> {
        let found = self.port(server).get(id, &key(text), how).await?;
        Ok(found.map(|value| String::from_utf8(value.value.into()).expect("text")))
    }

    /// What a server's own store has.
    async fn stored(&self, server: &str, id: KvNamespaceId, text: &str) -> Option<String> {
        let found = self.kv(server).own.get(id, key(text)).await.expect("readable");
        found.map(|(value, _)| String::from_utf8(value.value.into()).expect("text"))
    }
}

fn found(octets: &str) -> Result<Option<String>, KvError> {
    Ok(Some(octets.to_owned()))
}

fn listing(prefix: &str, limit: usize) -> KvListing {
    KvListing { prefix: prefix.to_owned(), after: None, limit }
}
