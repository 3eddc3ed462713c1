//! Two servers on loopback, with certificates of one authority; the tests play the stages behind.

mod neighbours;
mod others;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, uri::PathAndQuery};
use prometheus_client::registry::Registry;
use proxima_chassis::{ClusterAuthority, Identity, Shutdown, SimulatedClock};
use proxima_model::{
    AccountId, NodeName, PopCode, RegionName, Timestamp, Zone, ZoneId, ZoneName, ZoneSettings, ZoneStatus,
};
use proxima_pipeline::{
    AnswersNeighbours, AnswersServers, AskedByPeer, Body, BodyError, BodySender, CacheFill, Client, Decision,
    Exchange, Fault, Flow, FromPeer, Invalidations, Pipeline, Protocol, RayId, Request, Response, Scheme,
    Site, Stage, Trace,
};
use tokio::{net::TcpListener, runtime::Handle, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    TiersConfig, TiersStage,
    config::Server as About,
    map::{HOME, Map},
    metrics::Metrics,
    peers::Peers,
    serve::Server,
};

const NOW: Timestamp = Timestamp::from_millis(784_111_777_000);

/// Answers what a test has put there.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<VecDeque<Result<Response, Fault>>>>, Arc<Mutex<Vec<Seen>>>);

/// What the other side's stages saw.
#[derive(Clone, Debug)]
struct Seen {
    url: String,
    by: Option<AskedByPeer>,
    client: SocketAddr,
}

impl Answers {
    fn put(&self, answer: Result<Response, Fault>) {
        self.0.lock().expect("no panic").push_back(answer);
    }

    fn seen(&self) -> Vec<Seen> {
        self.1.lock().expect("no panic").clone()
    }
}

impl Stage for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        self.1.lock().expect("no panic").push(Seen {
            url: exchange.request.url(),
            by: exchange.extensions.get::<AskedByPeer>().copied(),
            client: exchange.client.address,
        });
        Decision::Now(match self.0.lock().expect("no panic").pop_front() {
            Some(Ok(response)) => Flow::Respond(response),
            Some(Err(fault)) => Flow::Fail(fault),
            None => Flow::Respond(response(200, &[], Body::full("the origin's"))),
        })
    }
}

struct Forgotten(mpsc::UnboundedSender<(ZoneId, String)>);

impl Invalidations for Forgotten {
    fn invalidated(&self, zone: ZoneId, url: &str) {
        self.0.send((zone, url.to_owned())).ok();
    }
}

fn response(status: u16, fields: &[(&'static str, &'static str)], body: Body) -> Response {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    Response { status: StatusCode::from_u16(status).expect("a status"), headers, body, ..Response::default() }
}

/// `here` asks, `there` is asked.
struct World {
    folder: tempfile::TempDir,
    authority: ClusterAuthority,
    there: Answers,
    peers: Arc<Peers>,
    pipeline: Pipeline,
    address: SocketAddr,
    /// The other side's.
    refused: Metrics,
    stop_there: CancellationToken,
    forgotten: mpsc::UnboundedReceiver<(ZoneId, String)>,
    stop: CancellationToken,
}

fn identity(authority: &ClusterAuthority, folder: &Path, name: &str) -> Identity {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    let name = NodeName::parse(name).expect("a name");
    Identity::load(&authority.issue(&name, &folder).expect("a certificate")).expect("an identity")
}

fn servers(names: &[&str], address: SocketAddr) -> TiersConfig {
    let servers = names.iter().map(|name| About {
        name: NodeName::parse(name).expect("a name"),
        pop: PopCode::parse("FRA").expect("a code"),
        region: RegionName::parse("europe").expect("a region"),
        address,
    });
    TiersConfig { listen: vec![address], upper_pops: Vec::new(), servers: servers.collect() }
}

fn metrics() -> Metrics {
    Metrics::register(&mut Registry::default())
}

fn peers(config: &TiersConfig, me: &str) -> Arc<Peers> {
    Peers::new(Map::new(config, &NodeName::parse(me).expect("a name")).expect("among them"), metrics())
}

impl World {
    /// The certificate there says `named`; `known` are the servers that it knows.
    async fn with(named: &str, known: &[&str]) -> Self {
        Self::within(&Handle::current(), named, known, true)
    }

    /// The other side is in this runtime; there may be a service that neighbours ask, or not.
    fn within(runtime: &Handle, named: &str, known: &[&str], with_resolver: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = ClusterAuthority::create(&folder.path().join("ca")).expect("an authority");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("it can be");
        let address = listener.local_addr().expect("an address");
        let there = Answers::default();
        let (sender, forgotten) = mpsc::unbounded_channel();
        let refused = metrics();
        let server = Arc::new(Server {
            tls: TlsAcceptor::from(identity(&authority, folder.path(), named).server),
            peers: peers(&servers(known, address), known[0]),
            connections: TaskTracker::new(),
            pipeline: Pipeline::new(vec![Box::new(there.clone())]),
            cache: Arc::new(Forgotten(sender)),
            neighbours: with_resolver.then(|| Arc::new(neighbours::Resolves) as Arc<dyn AnswersNeighbours>),
            services: HashMap::from([("echo", Arc::new(others::Echo) as Arc<dyn AnswersServers>)]),
            pop: PopCode::parse("FRA").expect("a code"),
            clock: Arc::new(SimulatedClock::new(NOW)),
            metrics: refused.clone(),
        });
        let stop_there = CancellationToken::new();
        let (stopped, shutdown) = (stop_there.clone(), Shutdown::new(Duration::from_secs(1)));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let connections = server.connections.clone();
            tokio::select! {
                () = server.listen(listener, shutdown) => {}
                () = stopped.cancelled() => {}
            }
            drop(connections);
        });
        let peers = peers(&servers(&["here", "there"], address), "here");
        let stop = CancellationToken::new();
        peers.keep(&identity(&authority, folder.path(), "here"), &stop);
        let stage = TiersStage { peers: Some(peers.clone()), metrics: metrics() };
        let pipeline = Pipeline::new(vec![Box::new(stage), Box::new(Answers::default())]);
        Self { folder, authority, there, peers, pipeline, address, refused, stop_there, forgotten, stop }
    }

    async fn new() -> Self {
        let world = Self::with("there", &["there", "here"]).await;
        world.until_up(true).await;
        world
    }

    /// Another certificate of the same authority.
    fn identity(&self, name: &str) -> Identity {
        identity(&self.authority, self.folder.path(), name)
    }

    async fn until_up(&self, up: bool) {
        while self.peers.is_up(1) != up {
            tokio::task::yield_now().await;
        }
    }

    /// A URL whose home is the other server.
    fn target(&self) -> String {
        let is_there = |target: &String| {
            let url = format!("https://a.test{target}");
            self.peers.map.next(0, zone(), &url, |_| true).is_some()
        };
        (0..).map(|n| format!("/{n}")).find(is_there).expect("one of two")
    }

    /// What a cache gets that wants to store this.
    async fn fetch(&self, target: &str, asked: Option<AskedByPeer>) -> Exchange {
        let mut exchange = exchange(target);
        exchange
            .extensions
            .insert(CacheFill { url: format!("https://a.test{target}").into(), purged_up_to: 7 });
        if let Some(asked) = asked {
            exchange.extensions.insert(asked);
        }
        self.pipeline.run(&mut exchange).await;
        exchange
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        self.stop_there.cancel();
    }
}

fn zone() -> ZoneId {
    ZoneId::from_bytes([3; 16])
}

fn exchange(target: &str) -> Exchange {
    let client = Client {
        address: ([192, 0, 2, 1], 5_000).into(),
        local: ([198, 51, 100, 1], 443).into(),
        protocol: Protocol::Http2,
        tls: None,
    };
    let request = Request {
        method: Method::GET,
        scheme: Scheme::Https,
        host: "a.test".into(),
        port: None,
        target: target.parse::<PathAndQuery>().expect("a target"),
        headers: HeaderMap::new(),
        upgrade: None,
    };
    let pop = PopCode::parse("FRA").expect("a code");
    let mut exchange = Exchange::new(RayId::new(pop), client, request, Body::empty(), NOW);
    exchange.trace = Trace::kept();
    let zone = Zone {
        id: zone(),
        account: AccountId::from_bytes([1; 16]),
        name: ZoneName::parse("a.test").expect("a name"),
        status: ZoneStatus::Active,
        paused: false,
        name_servers: Vec::new(),
        settings: ZoneSettings::default(),
        serial: 1,
        created_at: NOW,
        modified_at: NOW,
        activated_at: Some(NOW),
    };
    exchange.site = Some(Arc::new(Site::new(zone, [], None)));
    exchange
}

async fn text(exchange: Exchange) -> Result<Bytes, BodyError> {
    exchange.response.expect("every exchange ends with a response").body.collect(1 << 20).await
}

#[tokio::test]
async fn the_home_answers_instead_of_the_origin() {
    let world = World::new().await;
    let target = world.target();
    world.there.put(Ok(response(200, &[("age", "5"), ("cache-tag", "x")], Body::full("the home's"))));
    let exchange = world.fetch(&target, None).await;
    assert_eq!(exchange.extensions.get::<FromPeer>(), Some(&FromPeer { same_pop: true }));
    let headers = &exchange.response.as_ref().expect("a response").headers;
    assert_eq!(headers.get("cache-tag").map(HeaderValue::as_bytes), Some(&b"x"[..]));
    assert_eq!(text(exchange).await.expect("whole"), "the home's");
    let seen = world.there.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].url, format!("https://a.test{target}"));
    assert_eq!(seen[0].by, Some(AskedByPeer { level: HOME, purged_up_to: 7 }));
    assert_eq!(seen[0].client, SocketAddr::from(([192, 0, 2, 1], 5_000)));
}

#[tokio::test]
async fn what_is_not_to_be_stored_or_comes_from_a_peer_goes_to_the_origin() {
    let world = World::new().await;
    let target = world.target();
    let mut exchange = exchange(&target);
    world.pipeline.run(&mut exchange).await;
    assert_eq!(text(exchange).await.expect("whole"), "the origin's");
    let asked = AskedByPeer { level: HOME, purged_up_to: 1 };
    assert_eq!(text(world.fetch(&target, Some(asked)).await).await.expect("whole"), "the origin's");
    assert!(world.there.seen().is_empty());
}

#[tokio::test]
async fn a_home_that_is_behind_or_refuses_costs_one_try() {
    let world = World::new().await;
    world.there.put(Err(Fault::Behind));
    let exchange = world.fetch(&world.target(), None).await;
    assert!(exchange.extensions.get::<FromPeer>().is_none());
    let told = exchange.trace.entries().iter().any(|entry| entry.decision.contains("declined: behind"));
    assert!(told, "{:?}", exchange.trace.entries());
    assert_eq!(text(exchange).await.expect("whole"), "the origin's");
    // It is left out for a moment.
    assert!(!world.peers.is_up(1));
}

#[tokio::test]
async fn a_failure_of_the_origin_comes_as_one() {
    let world = World::new().await;
    world.there.put(Err(Fault::OriginDown));
    let exchange = world.fetch(&world.target(), None).await;
    assert_eq!(exchange.extensions.get::<Fault>(), Some(&Fault::OriginDown));
    assert_eq!(exchange.response.as_ref().map(|response| response.status.as_u16()), Some(521));
    // Of one origin too much is asked: neither is it asked past the home, nor the home left out for the others.
    world.there.put(Err(Fault::Overloaded));
    let exchange = world.fetch(&world.target(), None).await;
    assert_eq!(exchange.extensions.get::<Fault>(), Some(&Fault::Overloaded));
    assert!(world.peers.is_up(1));
    // What is the home's own is asked of the origin.
    world.there.put(Err(Fault::Internal("a defect")));
    assert_eq!(text(world.fetch(&world.target(), None).await).await.expect("whole"), "the origin's");
    assert!(world.peers.is_up(1));
    // An origin that speaks of us is not heard.
    let posing = response(
        200,
        &[("proxima-tier-declined", "x"), ("proxima-tier-fault", "origin_down")],
        Body::full("x"),
    );
    world.there.put(Ok(posing));
    assert_eq!(text(world.fetch(&world.target(), None).await).await.expect("whole"), "x");
}

/// An answer that the test goes on to write.
fn streamed() -> (BodySender, Response) {
    let (sender, body) = Body::channel(1, None);
    (sender, response(200, &[], body))
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_never_a_short_answer() {
    let world = World::new().await;
    let (mut sender, response) = streamed();
    world.there.put(Ok(response));
    let exchange = world.fetch(&world.target(), None).await;
    let mut body = exchange.response.expect("a response").body;
    sender.send(Bytes::from_static(b"the beginning")).await.expect("read");
    let first = body.next_frame().await.expect("a frame").expect("whole").into_data().expect("data");
    assert_eq!(first, "the beginning");
    // Whoever wrote it is gone before its end.
    drop(sender);
    assert!(matches!(body.next_frame().await, Some(Err(BodyError::Aborted))));
}

#[tokio::test]
async fn a_large_answer_comes_whole_and_no_faster_than_it_is_read() {
    let world = World::new().await;
    let (mut sender, response) = streamed();
    world.there.put(Ok(response));
    let exchange = world.fetch(&world.target(), None).await;
    let piece = Bytes::from(vec![7; 64 << 10]);
    let written = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (pieces, counted) = (256, written.clone());
    let writer = tokio::spawn(async move {
        for _ in 0..pieces {
            sender.send(piece.clone()).await.expect("read");
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        sender.finish().await;
    });
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
    let before = written.load(std::sync::atomic::Ordering::Relaxed);
    assert!(before < 64, "{before} pieces were written before anybody read");
    let mut body = exchange.response.expect("a response").body;
    let mut octets = 0;
    while let Some(frame) = body.next_frame().await {
        octets += frame.expect("whole").into_data().expect("data").len();
    }
    assert_eq!(octets, pieces * (64 << 10));
    writer.await.expect("no panic");
}

#[tokio::test]
async fn a_url_that_is_invalid_is_forgotten_at_its_home() {
    let mut world = World::new().await;
    let url = format!("https://a.test{}", world.target());
    let request = crate::wire::forget(zone(), &url).expect("a request");
    let above = world.peers.map.above(zone(), &url, |server| world.peers.is_up(server));
    assert_eq!(above, [1]);
    let answer = world.peers.ask(1, request).await.expect("answered");
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(world.forgotten.recv().await, Some((zone(), url)));
}

#[tokio::test]
async fn a_server_that_is_another_or_no_member_is_not_asked_and_not_answered() {
    // Another server's address.
    let world = World::with("somebody", &["somebody", "here"]).await;
    assert!(!becomes_up(&world).await);
    // A server that does not know this one closes the connection.
    let world = World::with("there", &["there", "others"]).await;
    while world.refused.refused.get() == 0 {
        tokio::task::yield_now().await;
    }
    let exchange = world.fetch(&world.target(), None).await;
    assert_eq!(text(exchange).await.expect("whole"), "the origin's");
    assert!(world.there.seen().is_empty());
}

/// Whether a connection stands after the first tries.
async fn becomes_up(world: &World) -> bool {
    let again = tokio::net::TcpStream::connect(world.address).await;
    assert!(again.is_ok());
    let up = world.until_up(true);
    tokio::time::timeout(Duration::from_millis(500), up).await.is_ok()
}
