use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, uri::PathAndQuery};
use prometheus_client::registry::Registry;
use proxima_chassis::SimulatedClock;
use proxima_model::{
    AccountId, CacheSettings, CacheTag, Phase, PopCode, Rule, RuleAction, RuleExpression, RuleId, Ruleset,
    RulesetId, Timestamp, UrlPrefix, Zone, ZoneId, ZoneName, ZoneSettings, ZoneStatus,
};
use proxima_pipeline::{
    AskedByPeer, BodyError, BodySender, CacheFill, Client, Glance, Pipeline, Protocol, RayId, Request,
    Response, Scheme, Sight, Site, Trace,
};
use tokio::sync::{Mutex, mpsc};

use super::super::*;
use crate::{
    config::DISK_BYTES_MIN,
    disk::{Beginning, Disk},
    marks::Mark,
};

pub(super) const HOST: &str = "example.test";
/// The wall clock of all tests: 1994-11-06T08:49:37Z.
pub(super) const NOW: Timestamp = Timestamp::from_millis(784_111_777_000);

/// Field lines, as tests write them.
pub(super) type Fields<'a> = &'a [(&'static str, &'static str)];

/// A request that has reached the origin, and the way to answer it.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    /// What tiers are told.
    pub(super) fill: Option<CacheFill>,
    pub(super) asked: Option<AskedByPeer>,
    /// The zone's serial as the request found it.
    pub(super) serial: u32,
    answer: oneshot::Sender<Result<Response, Fault>>,
}

impl Call {
    pub(super) fn answer(self, status: u16, fields: Fields<'_>, body: &'static str) {
        self.respond(response(status, fields, Body::full(body)));
    }

    pub(super) fn respond(self, response: Response) {
        self.answer.send(Ok(response)).expect("the fetch waits");
    }

    /// Answers with a body that the test goes on to write.
    pub(super) fn stream(self, fields: Fields<'_>, length: Option<u64>) -> BodySender {
        let (sender, body) = Body::channel(1, length);
        self.respond(response(200, fields, body));
        sender
    }

    pub(super) fn fail(self, fault: Fault) {
        self.answer.send(Err(fault)).expect("the fetch waits");
    }

    /// Whether whoever asked is gone.
    pub(super) fn is_cancelled(&self) -> bool {
        self.answer.is_closed()
    }
}

pub(super) fn response(status: u16, fields: Fields<'_>, body: Body) -> Response {
    Response {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: map(fields),
        body,
        ..Response::default()
    }
}

pub(super) fn map(fields: Fields<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

/// Where the zone is looked up: gives it the serial that it has at this moment.
struct Serial(Arc<AtomicU32>);

impl Stage for Serial {
    fn name(&self) -> &'static str {
        "zone"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        if let Some(site) = exchange.site.as_mut().and_then(Arc::get_mut) {
            site.zone.serial = self.0.load(Ordering::SeqCst);
        }
        Decision::Now(Flow::Continue)
    }

    fn glance(&self, _glance: &mut Glance<'_>) -> Sight {
        Sight::Pass
    }
}

/// The last stage.
struct Origin(mpsc::UnboundedSender<Call>);

impl Stage for Origin {
    fn name(&self) -> &'static str {
        "origin"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        exchange.trace.note("origin", || "asked");
        let (answer, answered) = oneshot::channel();
        let call = Call {
            method: exchange.request.method.clone(),
            target: exchange.request.target.to_string(),
            headers: exchange.request.headers.clone(),
            fill: exchange.extensions.get::<CacheFill>().cloned(),
            asked: exchange.extensions.get::<AskedByPeer>().copied(),
            serial: exchange.site.as_ref().map_or(0, |site| site.zone.serial),
            answer,
        };
        self.0.send(call).ok();
        Decision::Later(Box::pin(async move {
            match answered.await {
                Ok(Ok(response)) => Flow::Respond(response),
                Ok(Err(fault)) => Flow::Fail(fault),
                Err(_) => Flow::Fail(Fault::OriginClosed),
            }
        }))
    }
}

/// Everything a test needs.
pub(super) struct World {
    pub(super) stage: CacheStage,
    pub(super) clock: Arc<SimulatedClock>,
    pub(super) metrics: Metrics,
    pub(super) compressor: Arc<Compressor>,
    pub(super) pipeline: Pipeline,
    /// The zone's, for requests that come from now on.
    pub(super) serial: Arc<AtomicU32>,
    calls: Mutex<mpsc::UnboundedReceiver<Call>>,
    settings: ZoneSettings,
    rules: Vec<Rule>,
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        Self::with(CacheConfig::default(), ZoneSettings::default())
    }

    /// With cache rules: expressions, and the parameters of `set_cache_settings`.
    pub(super) fn with_rules(rules: &[(&str, serde_json::Value)]) -> Arc<Self> {
        Self::made(CacheConfig::default(), ZoneSettings::default(), Self::rules(rules))
    }

    pub(super) fn rules(rules: &[(&str, serde_json::Value)]) -> Vec<Rule> {
        let rule = |(number, (expression, parameters)): (u8, &(&str, serde_json::Value))| Rule {
            id: RuleId::from_bytes([number; 16]),
            description: format!("number {number}"),
            expression: RuleExpression::parse(expression).expect("an expression"),
            action: RuleAction::SetCacheSettings(Box::new(
                CacheSettings::parse(parameters).expect("settings"),
            )),
            enabled: true,
            last_updated: NOW,
        };
        (1..).zip(rules).map(rule).collect()
    }

    pub(super) fn with(config: CacheConfig, settings: ZoneSettings) -> Arc<Self> {
        Self::made(config, settings, Vec::new())
    }

    pub(super) fn made(config: CacheConfig, settings: ZoneSettings, rules: Vec<Rule>) -> Arc<Self> {
        let metrics = Metrics::register(&mut Registry::default());
        let store = Store::new(&config, &metrics);
        Self::over(store, metrics, config, (settings, rules))
    }

    /// A cache with a disk in this folder, open.
    pub(super) async fn on_disk(folder: &Path) -> Arc<Self> {
        Self::on_disk_with(folder, Vec::new()).await
    }

    /// The same, with cache rules.
    pub(super) async fn on_disk_with(folder: &Path, rules: Vec<Rule>) -> Arc<Self> {
        let config = CacheConfig { disk_bytes_max: DISK_BYTES_MIN, ..CacheConfig::default() };
        let metrics = Metrics::register(&mut Registry::default());
        let clock = Arc::new(SimulatedClock::new(NOW));
        let store = Store::with_disk(&config, folder.to_owned(), clock, &metrics, Box::new(|| Some(0)))
            .expect("a folder");
        let world = Self::over(store, metrics, config, (ZoneSettings::default(), rules));
        world.disk().begin(Beginning { seq: 1, purges: Some(Vec::new()) });
        world.disk().settle().await;
        world
    }

    pub(super) fn disk(&self) -> &Disk {
        self.stage.store().disk().expect("with a disk")
    }

    /// Has what is to be written written, and memory empty.
    pub(super) async fn leave_only_the_disk(&self) {
        self.disk().settle().await;
        self.stage.store().evict_all();
    }

    fn over(
        store: Store,
        metrics: Metrics,
        config: CacheConfig,
        (settings, rules): (ZoneSettings, Vec<Rule>),
    ) -> Arc<Self> {
        let store = Arc::new(store);
        let clock = Arc::new(SimulatedClock::new(NOW));
        let compressor = Compressor::new(proxima_compression::Metrics::register(&mut Registry::default()));
        let stage = CacheStage::new(store, config, clock.clone(), metrics.clone(), compressor.clone());
        let (sender, calls) = mpsc::unbounded_channel();
        let serial = Arc::new(AtomicU32::new(1));
        let pipeline = Pipeline::new(vec![
            Box::new(stage.entrance()),
            Box::new(Serial(serial.clone())),
            Box::new(stage.clone()),
            Box::new(Origin(sender)),
        ]);
        Arc::new(Self {
            stage,
            clock,
            metrics,
            compressor,
            pipeline,
            serial,
            calls: Mutex::new(calls),
            settings,
            rules,
        })
    }

    /// The next request that reaches the origin.
    pub(super) async fn call(&self) -> Call {
        self.calls.lock().await.recv().await.expect("the origin stage lives")
    }

    /// Whether no request has reached the origin that was not taken yet, after everybody has had their turn.
    pub(super) async fn origin_is_quiet(&self) -> bool {
        settle().await;
        self.calls.lock().await.try_recv().is_err()
    }

    pub(super) fn zone(&self) -> ZoneId {
        ZoneId::from_bytes([7; 16])
    }

    pub(super) fn key(&self, target: &str) -> PrimaryKey {
        PrimaryKey::of_url(self.zone(), &format!("http://{HOST}{target}")).expect("absolute")
    }

    pub(super) fn exchange(&self, method: Method, target: &str, fields: Fields<'_>) -> Exchange {
        let client = Client {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)),
            local: SocketAddr::from((Ipv4Addr::LOCALHOST, 80)),
            protocol: Protocol::Http11,
            tls: None,
        };
        let request = Request {
            method,
            scheme: Scheme::Http,
            host: HOST.into(),
            port: None,
            target: target.parse::<PathAndQuery>().expect("a target"),
            headers: map(fields),
            upgrade: None,
        };
        let pop = PopCode::parse("FRA").expect("a code");
        let mut exchange = Exchange::new(RayId::new(pop), client, request, Body::empty(), NOW);
        exchange.trace = Trace::kept();
        let zone = Zone {
            id: self.zone(),
            account: AccountId::from_bytes([1; 16]),
            name: ZoneName::parse(HOST).expect("a name"),
            status: ZoneStatus::Active,
            paused: false,
            name_servers: Vec::new(),
            settings: self.settings.clone(),
            serial: 1,
            created_at: NOW,
            modified_at: NOW,
            activated_at: Some(NOW),
        };
        let ruleset = Ruleset {
            id: RulesetId::from_bytes([1; 16]),
            zone: zone.id,
            phase: Phase::RequestCacheSettings,
            name: String::new(),
            description: String::new(),
            version: 1,
            rules: self.rules.clone(),
            last_updated: NOW,
        };
        exchange.site = Some(Arc::new(Site::new(zone, [], [ruleset])));
        exchange
    }

    /// Sends a request through the pipeline, in a task of its own: dropping the handle's task is the client leaving.
    pub(super) fn send(
        self: &Arc<Self>,
        method: Method,
        target: &str,
        fields: Fields<'_>,
    ) -> tokio::task::JoinHandle<Answer> {
        self.run(self.exchange(method, target, fields))
    }

    /// The same for another server's cache, which has purged up to this state of the log.
    pub(super) fn send_as_peer(
        self: &Arc<Self>,
        target: &str,
        purged_up_to: u64,
    ) -> tokio::task::JoinHandle<Answer> {
        let mut exchange = self.exchange(Method::GET, target, &[]);
        exchange.extensions.insert(AskedByPeer { level: 1, purged_up_to });
        self.run(exchange)
    }

    fn run(self: &Arc<Self>, mut exchange: Exchange) -> tokio::task::JoinHandle<Answer> {
        let world = self.clone();
        tokio::spawn(async move {
            world.pipeline.run(&mut exchange).await;
            Answer {
                response: exchange.response.take().expect("every exchange ends with a response"),
                trace: exchange
                    .trace
                    .entries()
                    .iter()
                    .map(|entry| format!("{}: {}", entry.stage, entry.decision))
                    .collect(),
            }
        })
    }

    pub(super) fn get(self: &Arc<Self>, target: &str, fields: Fields<'_>) -> tokio::task::JoinHandle<Answer> {
        self.send(Method::GET, target, fields)
    }

    /// Sends a GET, answers it as the origin, and reads the client's answer to its end.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        target: &str,
        request: Fields<'_>,
        fields: Fields<'_>,
        body: &'static str,
    ) -> Read {
        let client = self.get(target, request);
        self.call().await.answer(200, fields, body);
        let read = client.await.expect("no panic").read().await;
        settle().await;
        read
    }

    /// Sends a GET that must be answered without the origin.
    pub(super) async fn from_cache(self: &Arc<Self>, target: &str, fields: Fields<'_>) -> Read {
        let read = self.get(target, fields).await.expect("no panic").read().await;
        assert!(self.origin_is_quiet().await, "the origin was asked: {:?}", read.trace);
        read
    }
}

/// The mark of a purge of this tag.
pub(super) fn tag(text: &str) -> Mark {
    Mark::tag(&CacheTag::parse(text).expect("a tag"))
}

/// The mark of a purge of this prefix.
pub(super) fn prefix(text: &str) -> Mark {
    Mark::prefix(&UrlPrefix::parse(text).expect("a prefix"))
}

/// Gives every task that can go on its turn. Tests run on one thread: after this, everybody waits for the test.
pub(super) async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

/// What a client got.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) trace: Vec<String>,
}

/// The same, read to its end.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<Bytes, BodyError>,
    pub(super) trace: Vec<String>,
}

impl Answer {
    pub(super) async fn read(self) -> Read {
        Read {
            status: self.response.status.as_u16(),
            headers: self.response.headers,
            body: self.response.body.collect(1 << 30).await,
            trace: self.trace,
        }
    }

    pub(super) async fn piece(&mut self) -> Option<Result<Bytes, BodyError>> {
        let frame = self.response.body.next_frame().await?;
        Some(frame.map(|frame| frame.into_data().expect("data only")))
    }

    pub(super) fn cache_status(&self) -> &str {
        cache_status(&self.response.headers)
    }
}

impl Read {
    pub(super) fn cache_status(&self) -> &str {
        cache_status(&self.headers)
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(self.body.as_ref().expect("whole")).expect("text")
    }

    pub(super) fn says(&self, words: &str) -> bool {
        self.trace.iter().any(|entry| entry.contains(words))
    }
}

fn cache_status(headers: &HeaderMap) -> &str {
    headers.get(CACHE_STATUS).map_or("", |value| value.to_str().expect("text"))
}
