//! A node with nothing but Workers, and requests for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use nix::unistd::{Pid, getpid};
use proxima_chassis::{Health, NodeConfig, NodeContext, Service, random_id, run_node};
use proxima_ledger::{Append, Change, IdempotencyKey};
use proxima_model::{
    AccountId, AssetConfig, AssetFile, AssetHash, AssetManifest, BindingName, BindingValue,
    CompatibilityDate, ContentHash, ContentRef, Deployment, DeploymentId, ModuleKind, ModuleName, PopCode,
    RoutePattern, Timestamp, VersionShare, VersionShares, Worker, WorkerAnnotations, WorkerAsset,
    WorkerAssets, WorkerBinding, WorkerContent, WorkerModule, WorkerName, WorkerRoute, WorkerRouteId,
    WorkerSecrets, WorkerSyntax, WorkerTag, WorkerVersion, WorkerVersionId, Zone, ZoneId, ZoneName,
    ZoneSettings, ZoneStatus,
};
use proxima_pipeline::{
    Body, Client, Decision, Exchange, Fetch, Flow, KeyValue, Pipeline, Protocol, Queues, RayId, Request,
    Response, ResponseCache, Scheme, Site, SiteWorkers, Stage, Trace,
};
use proxima_workers::{Launcher, WorkersService};

use crate::{fetched::Fetched, memory_kv::MemoryKv, memory_queues::MemoryQueues, responses::MemoryResponses};

/// What must happen, happens by then, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
pub(crate) const HOST: &str = "www.example.com";
/// The account of most tests.
pub(crate) const OWN: AccountId = AccountId::from_bytes([1; 16]);
/// Another one.
pub(crate) const OTHER: AccountId = AccountId::from_bytes([2; 16]);

pub(crate) struct Running {
    pub(crate) node: NodeContext,
    pub(crate) service: Arc<WorkersService>,
    pub(crate) fetched: Arc<Fetched>,
    pub(crate) key_values: Arc<MemoryKv>,
    pub(crate) queues: Arc<MemoryQueues>,
    pub(crate) responses: Arc<MemoryResponses>,
    pipeline: Pipeline,
    /// What Workers fetch from sites of their account.
    behind: Pipeline,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// A version that a test makes.
pub(crate) struct Code {
    pub(crate) modules: Vec<(&'static str, ModuleKind, Vec<u8>)>,
    pub(crate) syntax: WorkerSyntax,
    pub(crate) bindings: Vec<(&'static str, BindingValue)>,
    pub(crate) secrets: BTreeMap<BindingName, String>,
    pub(crate) compatibility_date: &'static str,
    pub(crate) compatibility_flags: Vec<&'static str>,
    pub(crate) subrequests_max: Option<u32>,
    pub(crate) assets: Option<Assets>,
}

/// What it has of files.
#[derive(Default)]
pub(crate) struct Assets {
    /// Path, content type, octets.
    pub(crate) files: Vec<(&'static str, Option<&'static str>, Vec<u8>)>,
    pub(crate) config: AssetConfig,
    pub(crate) headers: &'static str,
    pub(crate) redirects: &'static str,
}

/// The program, as the set-up installs it.
pub(crate) fn workerd() -> PathBuf {
    let modules = std::env::var_os("PROXIMA_WORKERS_PACKAGES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/workers/node_modules"),
        PathBuf::from,
    );
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "64" };
    let program = modules.join(format!("@cloudflare/workerd-linux-{machine}/bin/workerd"));
    assert!(
        program.exists(),
        "{} is not there: run `cargo xtask setup`, or let PROXIMA_WORKERS_PACKAGES name a folder node_modules with it",
        program.display()
    );
    program
}

/// The program that puts up cages here, and looks around in them.
pub(crate) fn probe() -> PathBuf {
    std::env::var_os("PROXIMA_CAGE_PROBE")
        .map_or_else(|| env!("CARGO_BIN_EXE_cage-probe").into(), PathBuf::from)
}

/// What the kernel says of a process (proc(5)): up to its name, and the fields after that.
pub(crate) fn stat(id: i32) -> Option<(String, Vec<String>)> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (begin, fields) = stat.rsplit_once(") ").unwrap();
    Some((begin.to_owned(), fields.split(' ').map(str::to_owned).collect()))
}

/// This process's children of that name.
pub(crate) fn children(name: &str) -> Vec<Pid> {
    let (end, own) = (format!("({name}"), getpid().to_string());
    let is_child =
        |id: &i32| stat(*id).is_some_and(|(begin, fields)| begin.ends_with(&end) && fields[1] == own);
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(is_child).map(Pid::from_raw).collect()
}

/// The processes of the engine.
pub(crate) fn processes() -> Vec<Pid> {
    children("workerd")
}

/// Runs a test against a node with one process for all accounts, however often they are asked, and this in its table `[workers]`
/// besides.
pub(crate) fn with_engine<F: Future<Output = ()>>(workers: &str, test: impl FnOnce(Arc<Running>) -> F) {
    with_node(&format!("workerd = {:?}\nshards = 1\nown_processes_max = 0\n{workers}", workerd()), test);
}

/// The same, with nothing else in the table.
pub(crate) fn with_node<F: Future<Output = ()>>(workers: &str, test: impl FnOnce(Arc<Running>) -> F) {
    run("test", workers, test);
}

/// A node of this name with an engine, as one of several.
pub(crate) fn with_named<F: Future<Output = ()>>(
    name: &str,
    workers: &str,
    test: impl FnOnce(Arc<Running>) -> F,
) {
    run(name, &format!("workerd = {:?}\nshards = 1\n{workers}", workerd()), test);
}

fn run<F: Future<Output = ()>>(name: &str, workers: &str, test: impl FnOnce(Arc<Running>) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "11".repeat(32)).unwrap();
        let config = format!(
            "[node]\nname = \"{name}\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = {:?}\nkey_file = {:?}\n\
             admin = \"127.0.0.1:0\"\ndrain_seconds = 10\n[network]\n[workers]\n{workers}\n",
            folder.path().join("data"),
            folder.path().join("key"),
        );
        let (made, fetched) = (Arc::new(OnceLock::new()), Arc::<Fetched>::default());
        let (key_values, queues) = (Arc::<MemoryKv>::default(), Arc::<MemoryQueues>::default());
        let responses = Arc::<MemoryResponses>::default();
        let caching = Arc::clone(&responses);
        let (making, fetching, keeping) = (Arc::clone(&made), Arc::clone(&fetched), Arc::clone(&key_values));
        let sending = Arc::clone(&queues);
        let make = move |node: &NodeContext| -> Result<Vec<Arc<dyn Service>>, _> {
            let service = WorkersService::new(node)?;
            service.launch_by(Launcher { program: probe(), arguments: Vec::new() });
            service.fetch_by(Arc::clone(&fetching) as Arc<dyn Fetch>);
            service.key_values_by(Arc::clone(&keeping) as Arc<dyn KeyValue>);
            service.queues_by(Arc::clone(&sending) as Arc<dyn Queues>);
            service.responses_by(Arc::clone(&caching) as Arc<dyn ResponseCache>);
            making.set(Arc::clone(&service)).ok();
            Ok(vec![service as Arc<dyn Service>])
        };
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let known = BTreeSet::from(["workers"]);
        let run = run_node(NodeConfig::parse(&config).unwrap(), &known, &make, |node| {
            ready.send(node.clone()).ok();
        });
        let body = async {
            let node = is_ready.await.unwrap();
            let service: Arc<WorkersService> = Arc::clone(made.get().unwrap());
            let pipeline = Pipeline::new(vec![Box::new(service.stage()), Box::new(Behind)]);
            let behind = Pipeline::new(vec![Box::new(service.domains()), Box::new(Behind)]);
            let running =
                Arc::new(Running { node, service, fetched, key_values, queues, responses, pipeline, behind });
            let tested = async {
                running.engine_is_ready().await;
                test(Arc::clone(&running)).await;
            };
            tokio::time::timeout(DEADLINE, tested).await.expect("the test ends in time");
        };
        tokio::pin!(run, body);
        tokio::select! {
            // A test may end the node itself, and look at what is left then.
            ended = &mut run => {
                eprintln!("the node ended: {ended:?}");
                body.await;
            }
            () = &mut body => {}
        }
    });
}

/// The last stage: what is behind Workers.
struct Behind;

impl Stage for Behind {
    fn name(&self) -> &'static str {
        "behind"
    }

    fn on_request<'a>(&'a self, _: &'a mut Exchange) -> Decision<'a> {
        Decision::Now(Flow::Respond(Response { body: Body::full("behind"), ..Response::default() }))
    }
}

impl Code {
    /// One module with this text.
    pub(crate) fn module(text: &str) -> Self {
        Self {
            modules: vec![("main.js", ModuleKind::EsModule, text.into())],
            syntax: WorkerSyntax::Modules,
            bindings: Vec::new(),
            secrets: BTreeMap::new(),
            compatibility_date: "2026-11-01",
            compatibility_flags: Vec::new(),
            subrequests_max: None,
            assets: None,
        }
    }

    /// Assets, and no code.
    pub(crate) fn none(assets: Assets) -> Self {
        Self { modules: Vec::new(), assets: Some(assets), ..Self::module("") }
    }

    /// A module whose default export answers `fetch` with what the body of this function returns.
    pub(crate) fn fetch(body: &str) -> Self {
        Self::module(&format!("export default {{ async fetch(request, env, ctx) {{ {body} }} }}"))
    }
}

impl Running {
    /// Until the engine is there, if its program is: nothing tells of it.
    async fn engine_is_ready(&self) {
        let mut due = tokio::time::interval(Duration::from_millis(5));
        while self.service.health() == Health::Starting {
            due.tick().await;
        }
    }

    /// Puts a version into the replica.
    pub(crate) async fn version(&self, account: AccountId, name: &str, code: Code) -> WorkerVersionId {
        let (worker, id) = (WorkerName::parse(name).unwrap(), WorkerVersionId::from_random(random_id()));
        let mut changes = Vec::new();
        let mut modules = Vec::new();
        for (name, kind, octets) in &code.modules {
            let ContentRef { hash, octets } = self.content(account, octets, &mut changes);
            modules.push(WorkerModule { name: ModuleName::parse(name).unwrap(), kind: *kind, octets, hash });
        }
        let assets = code.assets.as_ref().map(|assets| self.assets(account, assets, &mut changes));
        let binding = |(name, value): (&str, BindingValue)| WorkerBinding {
            name: BindingName::parse(name).unwrap(),
            value,
        };
        changes.push(self.node.replica.put(&WorkerVersion {
            account,
            worker: worker.clone(),
            id,
            number: 1,
            created_at: Timestamp::from_millis(0),
            author: "test".to_owned(),
            source: "api".to_owned(),
            annotations: WorkerAnnotations::default(),
            syntax: code.syntax,
            main: ModuleName::parse(code.modules.first().map_or("worker.js", |(name, ..)| name)).unwrap(),
            compatibility_date: CompatibilityDate::parse(code.compatibility_date).unwrap(),
            compatibility_flags: code.compatibility_flags.iter().map(|flag| flag.parse().unwrap()).collect(),
            bindings: code.bindings.into_iter().map(binding).collect(),
            modules,
            cpu_ms_max: None,
            subrequests_max: code.subrequests_max,
            assets,
        }));
        if !code.secrets.is_empty() {
            let secrets = WorkerSecrets { account, worker, version: id, texts: code.secrets };
            changes.push(self.node.replica.put(&secrets));
        }
        self.change(changes).await;
        id
    }

    /// Puts octets; what they are called by is drawn.
    fn content(&self, account: AccountId, octets: &[u8], changes: &mut Vec<Change>) -> ContentRef {
        let mut hash = [0; 32];
        hash[..16].copy_from_slice(&random_id());
        let hash = ContentHash::from_bytes(hash);
        changes
            .extend(WorkerContent::pieces(account, hash, octets).map(|piece| self.node.replica.put(&piece)));
        ContentRef { hash, octets: octets.len().try_into().unwrap() }
    }

    fn assets(&self, account: AccountId, assets: &Assets, changes: &mut Vec<Change>) -> WorkerAssets {
        let mut files = Vec::new();
        for (path, content_type, octets) in &assets.files {
            let ContentRef { hash: content, octets } = self.content(account, octets, changes);
            let hash = AssetHash::from_bytes(random_id());
            let content_type = content_type.map(str::to_owned);
            let asset = WorkerAsset { account, hash, content, octets, content_type, is_whole: true };
            changes.push(self.node.replica.put(&asset));
            files.push(AssetFile { path: path.parse().unwrap(), hash, octets });
        }
        let manifest = AssetManifest::try_from(files).unwrap().to_octets();
        let mut rules =
            |text: &str| (!text.is_empty()).then(|| self.content(account, text.as_bytes(), changes));
        let (headers, redirects) = (rules(assets.headers), rules(assets.redirects));
        let manifest = self.content(account, &manifest, changes);
        WorkerAssets { manifest, config: assets.config.clone(), headers, redirects }
    }

    /// Has versions answer: each with its hundredths of a percent.
    pub(crate) async fn deploy(&self, account: AccountId, name: &str, shares: &[(WorkerVersionId, u16)]) {
        let now = Timestamp::from_millis(0);
        let shares = shares.iter().map(|&(version, hundredths)| VersionShare { version, hundredths });
        let versions = VersionShares::try_from(shares.collect::<Vec<_>>()).unwrap();
        let deployment = Deployment {
            id: DeploymentId::from_random(random_id()),
            created_at: now,
            author: "test".to_owned(),
            source: "api".to_owned(),
            annotations: WorkerAnnotations::default(),
            versions,
        };
        let worker = Worker {
            account,
            name: WorkerName::parse(name).unwrap(),
            tag: WorkerTag::from_bytes([3; 16]),
            created_at: now,
            modified_at: now,
            subdomain_enabled: false,
            previews_enabled: false,
            tags: Vec::new(),
            observability: None,
            deployment: Some(deployment),
            versions: Vec::new(),
            former_deployments: Vec::new(),
            next_number: 2,
            migration_tag: None,
        };
        self.change(vec![self.node.replica.put(&worker)]).await;
    }

    /// Both, for all requests.
    pub(crate) async fn upload(&self, account: AccountId, name: &str, code: Code) {
        let version = self.version(account, name, code).await;
        self.deploy(account, name, &[(version, VersionShares::ALL)]).await;
    }

    /// Makes changes and waits until they are in force.
    pub(crate) async fn change(&self, changes: Vec<Change>) {
        let append = Append {
            changes,
            preconditions: Vec::new(),
            idempotency_key: IdempotencyKey(format!("{:x?}", random_id())),
            fingerprint: None,
            author: "test".to_owned(),
        };
        let appended = self.node.log.append(append).await.unwrap();
        self.node.in_force.clone().wait_for(|seq| *seq >= appended.seq).await.unwrap();
    }

    /// An exchange with the Worker of this name, whose route is `www.example.com/*`.
    pub(crate) fn exchange(&self, account: AccountId, name: &str, target: &str) -> Exchange {
        let nobody = SocketAddr::from(([192, 0, 2, 7], 1234));
        let client = Client { address: nobody, local: nobody, protocol: Protocol::Http2, tls: None };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(HOST));
        headers.insert("cf-connecting-ip", HeaderValue::from_static("192.0.2.7"));
        let request = Request {
            method: Method::GET,
            scheme: Scheme::Https,
            host: HOST.into(),
            port: None,
            target: target.parse().unwrap(),
            headers,
            upgrade: None,
        };
        let ray = RayId::new(PopCode::parse("FRA").unwrap());
        let mut exchange = Exchange::new(ray, client, request, Body::empty(), Timestamp::from_millis(0));
        exchange.site = Some(Arc::new(site(account, name)));
        exchange.trace = Trace::kept();
        exchange
    }

    /// One that asks it for a WebSocket.
    pub(crate) fn switching(&self, account: AccountId, name: &str) -> Exchange {
        let mut exchange = self.exchange(account, name, "/");
        exchange.request.upgrade = Some("websocket".into());
        let headers = &mut exchange.request.headers;
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        exchange
    }

    /// Runs it; its response is there then.
    pub(crate) async fn run(&self, exchange: &mut Exchange) -> Response {
        self.pipeline.run(exchange).await;
        exchange.response.take().unwrap()
    }

    /// The same, as what a Worker of its account fetches.
    pub(crate) async fn run_fetched(&self, exchange: &mut Exchange) -> Answer {
        self.behind.run(exchange).await;
        Answer::read(exchange.response.take().unwrap()).await
    }

    /// What the Worker answers to a GET.
    pub(crate) async fn get(&self, account: AccountId, name: &str, target: &str) -> Answer {
        let mut exchange = self.exchange(account, name, target);
        Answer::read(self.run(&mut exchange).await).await
    }

    /// The same, with a field.
    pub(crate) async fn get_with(&self, name: &str, field: (&'static str, &str)) -> Answer {
        let mut exchange = self.exchange(OWN, name, "/");
        let value = HeaderValue::from_str(field.1).unwrap();
        exchange.request.headers.insert(HeaderName::from_static(field.0), value);
        Answer::read(self.run(&mut exchange).await).await
    }
}

impl Answer {
    pub(crate) async fn read(response: Response) -> Self {
        let octets = response.body.collect(1 << 20).await.unwrap();
        let text = String::from_utf8(octets.to_vec()).unwrap();
        Self { status: response.status, headers: response.headers, text }
    }

    /// Status and text.
    pub(crate) fn is(&self, status: u16, text: &str) -> bool {
        self.status == status && self.text == text
    }

    /// Whether it is the page of the error of this code.
    pub(crate) fn is_error(&self, status: u16, code: u16) -> bool {
        self.status == status && self.text.starts_with(&format!("error {code}: "))
    }
}

fn site(account: AccountId, name: &str) -> Site {
    let now = Timestamp::from_millis(0);
    let zone = Zone {
        id: ZoneId::from_bytes([4; 16]),
        account,
        name: ZoneName::parse("example.com").unwrap(),
        status: ZoneStatus::Active,
        paused: false,
        name_servers: Vec::new(),
        settings: ZoneSettings::default(),
        serial: 1,
        created_at: now,
        modified_at: now,
        activated_at: Some(now),
    };
    let route = WorkerRoute {
        id: WorkerRouteId::from_bytes([5; 16]),
        zone: zone.id,
        pattern: RoutePattern::parse("www.example.com/*").unwrap(),
        script: Some(WorkerName::parse(name).unwrap()),
    };
    let mut site = Site::new(zone, [], []);
    site.workers = SiteWorkers::new([route], []);
    site
}
