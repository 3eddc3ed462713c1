//! A node in this process, and a client of its API.

use std::{
    collections::BTreeSet,
    error::Error as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    thread::JoinHandle,
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::StatusCode;
use proxima_chassis::{NodeConfig, NodeContext, Service, run_node};
use proxima_control::{ControlService, FIRST_ACCOUNT};
use proxima_ledger::{Append, Change, IdempotencyKey};
use proxima_model::{
    Account, AccountId, ApiToken, EdgeAuthority, Entity, Invalid, Permission, TicketKeys, Timestamp, TokenId,
    TokenPolicy, TokenScope, TokenStatus, ZoneId, ZoneName,
};
use proxima_pipeline::{
    Ended, ExplainRequest, Explainer, Explanation, NoQueryReport, QueryReport, QueryReportAsked,
    QueryReports, QueryRow, TrafficNumbers, TrafficReader, ZoneTraffic,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    durable::FiveObjects, memory_kv::MemoryKv, memory_queues::MemoryQueues, tails::MemoryTails,
    worker_checks::AsTold,
};

/// What no test waits beyond.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Answers every trace with one step.
struct Parrot;

/// Every zone has been asked for once.
impl TrafficReader for Parrot {
    fn of(&self, _zone: ZoneId) -> Option<TrafficNumbers> {
        let traffic = ZoneTraffic::new(ZoneName::parse("example.com").unwrap());
        let answered = Some((StatusCode::OK, Duration::from_millis(5)));
        let ended = Ended { answered, cache: 0, request_bytes: 10, response_bytes: 100, origin: None };
        traffic.count(&ended);
        Some(traffic.numbers())
    }
}

/// Every combination of values is the dimensions' names, with 1, 2, 3 … queries in each interval. Who filters by the type
/// `TYPE0` is told that nobody can be asked, and by `TYPE1`, that it is too much.
impl QueryReports for Parrot {
    fn report(&self, asked: QueryReportAsked) -> BoxFuture<'_, Result<QueryReport, NoQueryReport>> {
        let filtered = |value: &str| asked.any_of.iter().flatten().any(|condition| condition.value == value);
        let report = match (filtered("TYPE0"), filtered("TYPE1")) {
            (true, _) => Err(NoQueryReport::Unavailable("it is away".to_owned())),
            (_, true) => Err(NoQueryReport::TooMuch("it is too much".to_owned())),
            (false, false) => {
                let counts: Vec<u64> = (1..asked.boundaries.len() as u64).collect();
                let dimensions =
                    asked.dimensions.iter().map(|dimension| dimension.name().to_owned()).collect();
                let total = counts.iter().sum();
                Ok(QueryReport { rows: vec![QueryRow { dimensions, counts }], total, lag_seconds: 10 })
            }
        };
        async move { report }.boxed()
    }
}

impl Explainer for Parrot {
    fn explain(&self, request: ExplainRequest) -> BoxFuture<'_, Result<Explanation, Invalid>> {
        let trace = vec![];
        async move {
            Ok(Explanation {
                ray: "0123456789abcdef-TST".to_owned(),
                node: "test".to_owned(),
                status_code: 200,
                headers: vec![("x-url".to_owned(), request.url)],
                trace,
            })
        }
        .boxed()
    }
}

/// A node that runs until it is dropped.
pub(crate) struct Node {
    pub(crate) context: NodeContext,
    pub(crate) base: String,
    /// Where it listens, in clear and then with TLS.
    pub(crate) bound: Vec<SocketAddr>,
    pub(crate) token: String,
    pub(crate) key_values: Arc<MemoryKv>,
    pub(crate) queues: Arc<MemoryQueues>,
    pub(crate) tails: Arc<MemoryTails>,
    client: reqwest::Client,
    thread: Option<JoinHandle<()>>,
    _folder: Option<tempfile::TempDir>,
}

/// What is different about a node.
#[derive(Default)]
pub(crate) struct Options {
    /// Lines of `[control]`.
    pub(crate) control: String,
    /// Whole tables.
    pub(crate) tables: String,
    /// Where it keeps its data; a new folder unless given.
    pub(crate) dir: Option<PathBuf>,
    /// Whether it reaches no keys and values.
    pub(crate) without_kv: bool,
    /// Whether it tries versions of Workers before it writes them.
    pub(crate) tries_workers: bool,
    /// The token with which it is asked; its own operator's unless given.
    pub(crate) token: Option<String>,
}

impl Node {
    /// A node that keeps the log, and trusts whoever puts a zone on it.
    pub(crate) async fn start() -> Self {
        Self::with(Options { control: "activation = \"trust\"".to_owned(), ..Options::default() }).await
    }

    /// A node of this kind.
    pub(crate) async fn with(options: Options) -> Self {
        let folder = options.dir.is_none().then(|| tempfile::tempdir().unwrap());
        let dir = options.dir.unwrap_or_else(|| folder.as_ref().unwrap().path().to_owned());
        std::fs::create_dir_all(&dir).unwrap();
        let key = dir.join("at-rest.key");
        std::fs::write(&key, "ab".repeat(32)).unwrap();
        let text = format!(
            "[node]\nname = \"test-1\"\npop = \"TST\"\nregion = \"test\"\ndata_dir = {dir:?}\nkey_file = {key:?}\n\
             admin = \"127.0.0.1:0\"\ndrain_seconds = 1\n\
             [network]\nanycast_addresses = [\"198.18.0.1\"]\nname_servers = [\"ns1.proxima.example\", \"ns2.proxima.example\"]\n\
             [control]\nlisten = [\"127.0.0.1:0\"]\n{}\n{}",
            options.control, options.tables
        );
        let key_values = Arc::<MemoryKv>::default();
        let reached = (!options.without_kv).then(|| key_values.clone());
        let (tails, queues) = (Arc::<MemoryTails>::default(), Arc::<MemoryQueues>::default());
        let config = NodeConfig::parse(&text).unwrap();
        let (context, bound, thread) =
            run(config, reached, tails.clone(), queues.clone(), options.tries_workers).await;
        let base = format!("http://{}/client/v4", bound[0]);
        let token = options
            .token
            .unwrap_or_else(|| std::fs::read_to_string(dir.join("token")).unwrap().trim().to_owned());
        let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let thread = Some(thread);
        Self { context, base, bound, token, key_values, queues, tails, client, thread, _folder: folder }
    }

    /// A node of this kind that has made what it makes by itself: nothing but the test writes to its log from now on,
    /// as long as no zone becomes active.
    pub(crate) async fn settled(options: Options) -> Self {
        let node = Self::with(options).await;
        let founded = |snapshot: &proxima_ledger::Snapshot| {
            let keys = snapshot.get::<TicketKeys>(&()).unwrap();
            keys.is_some() && snapshot.get::<EdgeAuthority>(&()).unwrap().is_some()
        };
        node.until("the node's keys and its authority", founded).await;
        node
    }

    /// A request without anything; the path is below `/client/v4`.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// A request of the operator's, and its answer: status and envelope.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.call_as(&self.token, method, path, body).await
    }

    /// A request with this token.
    pub(crate) async fn call_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request = self.request(method.parse().unwrap(), path).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A request of the operator's that must succeed, and its result.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, envelope) = self.call(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {envelope}");
        assert_eq!(envelope["success"], true, "{method} {path}: {envelope}");
        assert_eq!(envelope["errors"], json!([]));
        envelope["result"].clone()
    }

    /// A request of the operator's that must be refused, and the status and number of its first error.
    pub(crate) async fn refused(&self, method: &str, path: &str, body: Option<Value>) -> (u16, u64) {
        let (status, envelope) = self.call(method, path, body).await;
        assert_eq!(envelope["success"], false, "{method} {path}: {envelope}");
        assert_eq!(envelope["result"], Value::Null);
        (status, envelope["errors"][0]["code"].as_u64().unwrap())
    }

    /// A new zone's id.
    pub(crate) async fn zone(&self, name: &str) -> String {
        let account = json!({"id": FIRST_ACCOUNT.to_string()});
        let zone = self.ok("POST", "/zones", Some(json!({"name": name, "account": account}))).await;
        zone["id"].as_str().unwrap().to_owned()
    }

    /// Puts nouns, around the API.
    pub(crate) async fn append(&self, changes: Vec<Change>) {
        let append = Append {
            changes,
            preconditions: Vec::new(),
            idempotency_key: IdempotencyKey(hex::encode(rand::random::<[u8; 16]>())),
            fingerprint: None,
            author: "node/test".to_owned(),
        };
        let appended = self.context.log.append(append).await.unwrap();
        assert!(self.context.replica.wait_for(appended.seq, PATIENCE).await);
    }

    /// Another account.
    pub(crate) async fn account(&self, name: &str) -> AccountId {
        let id = AccountId::from_bytes(rand::random());
        let account = Account { id, name: name.to_owned(), created_at: Timestamp::from_millis(0) };
        self.append(vec![self.context.replica.put(&account)]).await;
        id
    }

    /// A token with these policies.
    pub(crate) async fn token(&self, policies: Vec<(TokenScope, Vec<Permission>)>) -> String {
        self.token_with(policies, |_| {}).await
    }

    /// A token with these policies, changed.
    pub(crate) async fn token_with(
        &self,
        policies: Vec<(TokenScope, Vec<Permission>)>,
        change: impl FnOnce(&mut ApiToken),
    ) -> String {
        use sha2::Digest;
        let (id, secret) = (TokenId::from_bytes(rand::random()), rand::random::<[u8; 32]>());
        let policies =
            policies.into_iter().map(|(scope, permissions)| TokenPolicy { scope, permissions }).collect();
        let mut token = ApiToken {
            id,
            name: "test".to_owned(),
            secret_hash: sha2::Sha256::digest(secret).into(),
            s3_secret: None,
            policies,
            status: TokenStatus::Active,
            not_before: None,
            expires_on: None,
            issued_on: Timestamp::from_millis(0),
        };
        change(&mut token);
        self.append(vec![self.context.replica.put(&token)]).await;
        format!("{id}_{}", hex::encode(secret))
    }

    /// Waits until something holds of the state.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&proxima_ledger::Snapshot) -> bool) {
        let mut applied = self.context.replica.watch();
        let wait = async {
            loop {
                applied.borrow_and_update();
                if holds(&self.context.replica.snapshot().unwrap()) {
                    return;
                }
                applied.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what} did not come"));
    }

    /// How many nouns of a kind there are.
    pub(crate) fn count<E: Entity>(&self) -> usize {
        self.context.replica.snapshot().unwrap().scan::<E>(&[]).map(Result::unwrap).count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.context.shutdown.begin_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Runs a node on a thread of its own, since it waits for signals; returns once it is ready.
async fn run(
    config: NodeConfig,
    key_values: Option<Arc<MemoryKv>>,
    tails: Arc<MemoryTails>,
    queues: Arc<MemoryQueues>,
    tries_workers: bool,
) -> (NodeContext, Vec<SocketAddr>, JoinHandle<()>) {
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let ready = Mutex::new(Some(ready));
    let thread = std::thread::spawn(move || {
        let service: Arc<OnceLock<Arc<ControlService>>> = Arc::default();
        let made = service.clone();
        let make = move |node: &NodeContext| {
            let control = ControlService::new(node, Arc::new(Parrot), Arc::new(Parrot), Arc::new(Parrot))?;
            if let Some(key_values) = key_values.clone() {
                control.key_values_by(key_values);
            }
            control.queues_by(queues.clone());
            control.tails_by(tails.clone());
            control.durable_objects_by(Arc::new(FiveObjects));
            if tries_workers {
                control.checks_by(Arc::new(AsTold));
            }
            made.set(control.clone()).ok();
            Ok(vec![control as Arc<dyn Service>])
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let outcome = runtime.block_on(run_node(config, &BTreeSet::from(["control"]), &make, |node| {
            let (node, control) = (node.clone(), service.get().unwrap().clone());
            let ready = ready.lock().unwrap().take().unwrap();
            tokio::spawn(async move { ready.send((node, control.bound().await)).ok() });
        }));
        if let Err(error) = outcome {
            eprintln!("the node ended: {error}: {:?}", error.source());
        }
    });
    let (node, bound) =
        tokio::time::timeout(PATIENCE, is_ready).await.expect("the node is ready in time").unwrap();
    (node, bound, thread)
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
