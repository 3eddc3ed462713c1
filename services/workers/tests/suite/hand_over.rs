//! Slots of Durable Objects that go from one server to another: three servers of one log in this process. `test`, the node, asks; `one`
//! and `two` have the objects.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{future::BoxFuture, future::join_all};
use http::{Request, Response};
use proxima_chassis::{Health, NodeContext, Service as _, Shutdown};
use proxima_ledger::ChangeSet;
use proxima_model::{DurableNamespace, DurableSlot, DurableUsage, Invalid, NodeName, PopCode, RegionName};
use proxima_pipeline::{AnswersServers, Body, Fetch, NoAnswer, ServerAbout, Servers};
use proxima_workers::{DURABLE_SERVICE, Launcher, WorkersService};
use tokio::sync::{Notify, watch};

use crate::{
    durable::{NAMESPACE, code, namespaces},
    harness::{OWN, Running, probe, with_engine},
};

/// What each object named in the query is asked for, by the method named there.
const ASKS: &str = "await (async () => {
    const { searchParams: asked } = new URL(request.url);
    const object = COUNTER.getByName(asked.get('object'));
    const method = asked.get('method');
    return method === 'rows' ? object.rows : object[method](...(asked.has('with') ? [Number(asked.get('with'))] : []));
})().catch((error) => String(error))";

/// The other servers, as one of them sees them.
struct Seen {
    network: Arc<Network>,
    me: usize,
}

/// The connections between the servers, of which those for hand-overs may break.
struct Network {
    about: Vec<ServerAbout>,
    answering: [Mutex<Option<Arc<dyn AnswersServers>>>; 3],
    /// Steps of hand-overs that were asked for.
    steps: AtomicUsize,
    breaks: Mutex<Breaks>,
    broke: Notify,
}

/// When they break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaks {
    Never,
    /// At this step, once: before it has come, or before its answer has.
    Once {
        step: usize,
        after: bool,
    },
    /// From now on.
    Always,
}

impl Network {
    fn new() -> Arc<Self> {
        let about = |name| ServerAbout {
            name: NodeName::parse(name).unwrap(),
            pop: PopCode::parse("FRA").unwrap(),
            region: RegionName::parse("europe").unwrap(),
        };
        Arc::new(Self {
            about: ["test", "one", "two"].map(about).into(),
            answering: Default::default(),
            steps: AtomicUsize::new(0),
            breaks: Mutex::new(Breaks::Never),
            broke: Notify::new(),
        })
    }

    /// From now on it breaks so; steps are counted anew.
    fn breaks(&self, breaks: Breaks) {
        *self.breaks.lock().unwrap() = breaks;
        self.steps.store(0, Ordering::SeqCst);
    }

    /// Whether it breaks now: before the step, or after it.
    fn broken(&self) -> Option<bool> {
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        let after = match *self.breaks.lock().unwrap() {
            Breaks::Once { step: broken, after } if broken == step => after,
            Breaks::Always => false,
            _ => return None,
        };
        self.broke.notify_one();
        Some(after)
    }
}

impl Servers for Seen {
    fn all(&self) -> &[ServerAbout] {
        &self.network.about
    }

    fn me(&self) -> &NodeName {
        &self.network.about[self.me].name
    }

    fn ask<'a>(
        &'a self,
        server: &'a NodeName,
        service: &'static str,
        request: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, NoAnswer>> {
        assert_eq!(service, DURABLE_SERVICE);
        Box::pin(async move {
            let number = self.network.about.iter().position(|about| about.name == *server).unwrap();
            let answers = self.network.answering[number].lock().unwrap().clone().ok_or(NoAnswer::Lost)?;
            let broken = (request.uri().path() == "/hand-over").then(|| self.network.broken()).flatten();
            if broken == Some(false) {
                return Err(NoAnswer::Lost);
            }
            let answered = answers.answer(self.me(), request).await;
            if broken == Some(true) { Err(NoAnswer::Lost) } else { Ok(answered) }
        })
    }
}

/// A server with nothing but Workers, of the log of the node.
struct Server {
    shutdown: Shutdown,
    service: Arc<WorkersService>,
    running: Vec<tokio::task::JoinHandle<()>>,
    folder: PathBuf,
    number: usize,
}

impl Server {
    fn start(of: &Running, network: &Arc<Network>, number: usize, folder: &Path) -> Self {
        let mut node: NodeContext = of.node.clone();
        let mut config = (*node.config).clone();
        config.node.name = network.about[number].name.clone();
        config.node.data_dir = folder.to_owned();
        node.config = Arc::new(config);
        let service = WorkersService::new(&node).unwrap();
        service.launch_by(Launcher { program: probe(), arguments: Vec::new() });
        service.fetch_by(Arc::clone(&of.fetched) as Arc<dyn Fetch>);
        service.durable_objects_over(Arc::new(Seen { network: Arc::clone(network), me: number }));
        *network.answering[number].lock().unwrap() = Some(service.durable_answers());
        let shutdown = Shutdown::new(Duration::from_secs(1));
        let (preparing, replica) = (Arc::clone(&service), node.replica.clone());
        let preparing = tokio::spawn(async move {
            let mut state: watch::Receiver<_> = replica.watch();
            loop {
                let snapshot = replica.snapshot().unwrap();
                preparing.prepare(&snapshot, &ChangeSet::everything(snapshot.seq())).unwrap().commit();
                drop(snapshot);
                if state.changed().await.is_err() {
                    return;
                }
            }
        });
        let (ending, serving) = (shutdown.clone(), Arc::clone(&service));
        let serving = tokio::spawn(async move { serving.run(node, ending).await.unwrap() });
        let running = vec![preparing, serving];
        Self { shutdown, service, running, folder: folder.to_owned(), number }
    }

    /// Until its engine is there.
    async fn when_ready(self) -> Self {
        let mut due = tokio::time::interval(Duration::from_millis(5));
        while self.service.health() == Health::Starting {
            due.tick().await;
        }
        self
    }

    /// Ends it at once, and starts another one with what is on its disk.
    async fn restart(self, of: &Running, network: &Arc<Network>) -> Self {
        *network.answering[self.number].lock().unwrap() = None;
        self.shutdown.begin_drain();
        self.shutdown.begin_stop();
        for task in &self.running {
            task.abort();
        }
        join_all(self.running).await;
        drop(self.service);
        // The folder of its engine is called after this process, and so is that of the next: what still goes on would take it along.
        let run = self.folder.join(format!("workers/run-{}", std::process::id()));
        let mut due = tokio::time::interval(Duration::from_millis(5));
        while run.exists() {
            due.tick().await;
        }
        Self::start(of, network, self.number, &self.folder).when_ready().await
    }

    /// The files of objects on its disk.
    fn files(&self) -> usize {
        let folder = self.folder.join(format!("workers/objects/{OWN}/objects"));
        std::fs::read_dir(folder).map_or(0, |entries| {
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.len() > 64 && !name.ends_with("-shm")).count()
        })
    }

    /// Its folder for what comes, or what was given up.
    fn has(&self, folder: &str) -> bool {
        let folder = self.folder.join(format!("workers/objects/{OWN}/{folder}"));
        std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
    }
}

/// The servers, and who asks.
struct Network3 {
    running: Arc<Running>,
    network: Arc<Network>,
    one: Server,
    two: Server,
    _folder: tempfile::TempDir,
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

/// Runs a test with these servers, and namespaces whose objects are all on `one`.
fn with_servers<F: Future<Output = ()>>(test: impl FnOnce(Network3) -> F) {
    with_engine("", async |running| {
        let (network, folder) = (Network::new(), tempfile::tempdir().unwrap());
        running.service.durable_objects_over(Arc::new(Seen { network: Arc::clone(&network), me: 0 }));
        *network.answering[0].lock().unwrap() = Some(running.service.durable_answers());
        namespaces(&running, &["one"]).await;
        running.change(vec![running.node.replica.put(&DurableUsage { account: OWN, namespaces: 2 })]).await;
        running.upload(OWN, "app", code("1", ASKS)).await;
        let [one, two] = [1, 2].map(|number| {
            let folder = folder.path().join(number.to_string());
            Server::start(&running, &network, number, &folder)
        });
        let (one, two) = tokio::join!(one.when_ready(), two.when_ready());
        test(Network3 { running, network, one, two, _folder: folder }).await;
    });
}

impl Network3 {
    async fn ask(&self, object: &str, method: &str) -> String {
        let answer = self.running.get(OWN, "app", &format!("/?object={object}&method={method}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text
    }

    fn slot(&self) -> DurableSlot {
        let snapshot = self.running.node.replica.snapshot().unwrap();
        snapshot.get::<DurableNamespace>(&(OWN, NAMESPACE)).unwrap().unwrap().slot(&name("one"))
    }

    /// Changes the slot, as an operator does.
    async fn change(&self, change: impl FnOnce(&mut DurableNamespace, &NodeName) -> Result<(), Invalid>) {
        let found = self.running.node.replica.snapshot().unwrap().get::<DurableNamespace>(&(OWN, NAMESPACE));
        let mut namespace = found.unwrap().unwrap();
        change(&mut namespace, &name("one")).unwrap();
        self.running.change(vec![self.running.node.replica.put(&namespace)]).await;
    }

    async fn begin(&self, to: &str) {
        self.change(|namespace, slot| namespace.begin_hand_over(slot, &name(to))).await;
    }

    /// Until the log says that a server has the slot.
    async fn until_had_by(&self, server: &str) {
        let mut state = self.running.node.replica.watch();
        while self.slot().server != name(server) {
            state.changed().await.unwrap();
        }
    }

    /// Until there are no files of objects on a server, and nothing that came.
    async fn until_empty(&self, server: &Server) {
        let mut due = tokio::time::interval(Duration::from_millis(20));
        while server.files() > 0 || server.has("incoming") {
            due.tick().await;
        }
    }
}

#[test]
fn counters_that_are_asked_throughout_keep_each_increment_once_and_alarms_ring_at_the_new_home() {
    with_servers(async |servers| {
        let alarm = servers.running.get(OWN, "app", "/?object=z&method=set&with=3000").await;
        assert_eq!(alarm.text, "true");
        let ends = AtomicUsize::new(0);
        let counters = ["a", "c", "d", "e"].map(|object| (object, AtomicU64::new(0)));
        let counts = async |(object, acknowledged): &(&'static str, AtomicU64)| {
            while ends.load(Ordering::SeqCst) == 0 {
                let told = servers.ask(object, "increment").await;
                let sum: u64 = told.parse().unwrap_or_else(|_| panic!("{object}: {told}"));
                assert_eq!(sum, acknowledged.fetch_add(1, Ordering::SeqCst) + 1, "{object}");
            }
        };
        let counted = || counters.each_ref().map(|(_, acknowledged)| acknowledged.load(Ordering::SeqCst));
        let moves = async {
            // There and back, with some increments in between.
            for (to, empty) in [("two", &servers.one), ("one", &servers.two), ("two", &servers.one)] {
                servers.begin(to).await;
                servers.until_had_by(to).await;
                servers.until_empty(empty).await;
                assert_eq!(servers.ask("b", "rows").await, "0");
                let before = counted();
                while counted().iter().zip(before).any(|(now, before)| *now < before + 2) {
                    tokio::task::yield_now().await;
                }
            }
            ends.store(1, Ordering::SeqCst);
        };
        tokio::join!(join_all(counters.iter().map(counts)), moves);
        for (object, acknowledged) in &counters {
            let acknowledged = acknowledged.load(Ordering::SeqCst);
            assert!(acknowledged > 3, "{object} was asked while it moved");
            assert_eq!(servers.ask(object, "sum").await, acknowledged.to_string(), "{object}");
        }
        let mut due = tokio::time::interval(Duration::from_millis(100));
        while servers.ask("z", "sum").await != "100" {
            due.tick().await;
        }
        assert_eq!(servers.ask("z", "rang").await, "1");
        assert!(servers.two.files() > 0 && servers.one.files() == 0);
        let metrics = servers.running.node.metrics.encode();
        assert!(metrics.contains("proxima_workers_hand_overs_total{outcome=\"Given\"} 2"), "{metrics}");
    });
}

#[test]
fn connections_that_break_at_whichever_step_lose_nothing() {
    with_servers(async |servers| {
        let mut expected = 0;
        let mut homes = ["two", "one"].into_iter().cycle();
        // Begin, one batch, end; and whether it was taken.
        for (step, after) in (0..4).flat_map(|step| [(step, false), (step, true)]) {
            expected += 1;
            assert_eq!(servers.ask("a", "increment").await, expected.to_string(), "{step} {after}");
            servers.network.breaks(Breaks::Once { step, after });
            let to = homes.next().unwrap();
            servers.begin(to).await;
            servers.until_had_by(to).await;
            let (has, had) = match to {
                "two" => (&servers.two, &servers.one),
                _ => (&servers.one, &servers.two),
            };
            assert_eq!(servers.ask("a", "sum").await, expected.to_string(), "{step} {after}");
            servers.until_empty(had).await;
            assert!(has.files() > 0);
            assert!(servers.network.steps.load(Ordering::SeqCst) > step, "it broke");
        }
    });
}

#[test]
fn servers_that_end_in_the_middle_lose_nothing_and_go_on_when_they_are_back() {
    with_servers(async |mut servers| {
        for count in 1..=5 {
            assert_eq!(servers.ask("a", "increment").await, count.to_string());
        }
        servers.network.breaks(Breaks::Once { step: 1, after: true });
        servers.begin("two").await;
        servers.network.broke.notified().await;
        // A part of it has come.
        servers.two = servers.two.restart(&servers.running, &servers.network).await;
        servers.until_had_by("two").await;
        servers.two = servers.two.restart(&servers.running, &servers.network).await;
        assert_eq!(servers.ask("a", "increment").await, "6");
        servers.until_empty(&servers.one).await;

        servers.network.breaks(Breaks::Once { step: 2, after: true });
        servers.begin("one").await;
        servers.network.broke.notified().await;
        // All of it has come, and it was not told of that.
        servers.two = servers.two.restart(&servers.running, &servers.network).await;
        servers.until_had_by("one").await;
        assert_eq!(servers.ask("a", "increment").await, "7");
        servers.until_empty(&servers.two).await;
        servers.one = servers.one.restart(&servers.running, &servers.network).await;
        assert_eq!(servers.ask("a", "increment").await, "8");
    });
}

#[test]
fn a_hand_over_that_is_cancelled_leaves_the_objects_where_they_are() {
    with_servers(async |servers| {
        assert_eq!(servers.ask("a", "increment").await, "1");
        servers.network.breaks(Breaks::Always);
        servers.begin("two").await;
        servers.network.broke.notified().await;
        let waits = async { servers.ask("a", "increment").await };
        let cancels = async {
            servers.network.broke.notified().await;
            servers.change(DurableNamespace::cancel_hand_over).await;
        };
        let (told, ()) = tokio::join!(waits, cancels);
        assert_eq!((told.as_str(), servers.slot().server), ("2", name("one")));
        assert!(!servers.two.has("incoming") && servers.two.files() == 0);
        servers.network.breaks(Breaks::Never);
        servers.begin("two").await;
        servers.until_had_by("two").await;
        assert_eq!(servers.ask("a", "increment").await, "3");
    });
}

#[test]
fn objects_that_are_given_up_begin_empty_elsewhere_and_are_set_aside_if_their_server_comes_back() {
    with_servers(async |servers| {
        assert_eq!(servers.ask("a", "increment").await, "1");
        servers.change(|namespace, slot| namespace.give_up(slot, &name("two"))).await;
        assert_eq!(servers.ask("a", "increment").await, "1");
        servers.until_empty(&servers.one).await;
        assert!(servers.one.has("given-up"));
        // It may have it again, and has nothing of before.
        servers.begin("one").await;
        servers.until_had_by("one").await;
        assert_eq!(servers.ask("a", "increment").await, "2");
    });
}
