//! Durable Objects: each one runs on one server, in one process, and what it keeps lies there.
//!
//! ```text
//!  Worker ─▶ env.COUNTER.get(id).increment() (durable_objects.js, values.js)
//!              │ one request, the object and the method in a field
//!              ▼
//!  dispatcher's entrypoint Durable ─▶ durable.sock ─▶ Binding ─▶ Durable::ask ── place: is this its home? ──┐
//!                                                                   ▲   │ yes                               │ no
//!  another server ─▶ Answers ───────────────────────────────────────┘   ▼                                   ▼ Servers (port)
//!                                            Engine::ask_objects: the account's process          that home's Answers
//!                                                                       │ host.js
//!                                             Supervisor ─▶ the Worker's class as a facet, with SQLite in data/workers/objects/ACCOUNT
//!                                             Registry: which objects there are, and alarms ◀─ Alarms, which runs those that are due
//! ```
//!
//! Invariants:
//! * **An object is in one place.** Its namespace names the slots that its objects are spread over, once and for all; its id chooses
//!   one of them ([`place`]), and the log says which server has that. No server that comes or goes changes it: of a home that is
//!   away, or not of this network any more, it is told that it is, and nowhere is a second, empty object. An operator alone has a
//!   slot handed over to another server ([`hand_over`]).
//! * **One process at a time** has what an account's objects keep: it holds a lock of the kernel's on their folder.
//! * **What an object has acknowledged is on the disk** of its home (SQLite, fsync), and on no other: with that disk it is lost.
//! * **Nothing is done twice here**: a request that was lost is told to be lost, and who asked decides.
//!
//! Limits: requests of an account's objects at a time, which also ends a chain of objects that ask each other without end
//! ([`REQUESTS_PER_ACCOUNT_MAX`]); their open WebSockets ([`sockets`]); octets of what is passed to a method ([`PASSED_OCTETS_MAX`]); octets of an object and of an
//! account, and processes (`[workers] durable_…`). Why it is built so: `docs/decisions/0017-durable-objects.md`.
//!
//! [`hand_over`]: self
//! [`place`]: self
//! [`sockets`]: self

mod alarms;
mod answers;
mod asked;
mod binding;
mod elsewhere;
mod hand_over;
mod place;
mod port;
mod room;
mod sending;
mod sockets;
mod sweep;

use std::{
    io,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use http::{Method, StatusCode, Uri, header};
use proxima_chassis::{Clock, NodeContext, Places};
use proxima_ledger::Replica;
use proxima_model::{AccountId, DurableNamespace, DurableNamespaceId, NodeName};
use proxima_pipeline::{Body, Fault, Response, Servers, strip_hop_by_hop};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Value, json};

use self::{
    alarms::Alarms,
    asked::{Asked, OUTCOME, Refusal},
    elsewhere::Elsewhere,
    hand_over::{HandOver, LOOKED_AGAIN, MOVES_WITHIN},
    room::Room,
    sending::Sending,
    sockets::{Sockets, keeping},
    sweep::Sweep,
};
pub(crate) use self::{answers::Answers, binding::Binding};
use crate::{
    config::WorkersConfig,
    engine::{ANSWER_WITHIN, Engine, Head, Invoked},
    facts::Facts,
    metrics::Handler,
    stage::Shared,
    switched::asks_for_websocket,
    tails::lost::Times,
    version::VersionKey,
};

/// What other servers ask this one as.
pub const DURABLE_SERVICE: &str = "durable";
/// Requests that the objects of one account have at a time, on one server: below what one process takes, so that its alarms and the
/// registry have room.
const REQUESTS_PER_ACCOUNT_MAX: usize = 512;
/// Octets that are passed to a method, as text; what v4 allows.
const PASSED_OCTETS_MAX: u64 = 32 << 20;
/// How long the process may take for what it is asked by the node itself.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// How long an alarm may run: what Cloudflare documents.
const ALARM_WITHIN: Duration = Duration::from_secs(15 * 60);
/// Octets of its answer: a list of objects, of some seventy octets each.
const ANSWER_OCTETS_MAX: usize = 2 << 20;
/// And of one that says nothing.
const TOLD_OCTETS_MAX: usize = 1_024;
/// The URL of what no Worker asks for.
const NOWHERE: &str = "http://durable.internal/";

/// Durable Objects of all namespaces, as this server reaches them.
pub(crate) struct Durable {
    replica: Replica,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    me: NodeName,
    elsewhere: OnceLock<Elsewhere>,
    under_way: Arc<Places<AccountId>>,
    /// Those that wait until their object was handed over.
    waiting: Arc<Places<AccountId>>,
    sockets: Sockets,
    hand_over: HandOver,
    room: Room,
    alarms: Alarms,
    sweep: Sweep,
}

/// What a process is asked beside a request.
struct Task {
    /// For our own code there.
    said: Value,
    /// How long the head of the answer may take.
    within: Duration,
    /// What of a version it invokes, if it does.
    invoked: Option<Invoked>,
}

impl Durable {
    pub(crate) fn new(node: &NodeContext, shared: Arc<Shared>, config: &WorkersConfig) -> Arc<Self> {
        Arc::new(Self {
            replica: node.replica.clone(),
            shared,
            clock: Arc::clone(&node.clock),
            me: node.name().clone(),
            elsewhere: OnceLock::new(),
            under_way: Places::new(usize::MAX, REQUESTS_PER_ACCOUNT_MAX),
            waiting: Places::new(usize::MAX, REQUESTS_PER_ACCOUNT_MAX),
            sockets: Sockets::new(),
            hand_over: HandOver::new(Arc::clone(&node.log)),
            room: Room::new(config.durable_account_bytes_max),
            alarms: Alarms::default(),
            sweep: Sweep::default(),
        })
    }

    /// Objects of other homes are asked by these. Given once: without, only those whose home is here are.
    pub(crate) fn over(&self, servers: Arc<dyn Servers>) {
        self.elsewhere.set(Elsewhere::new(servers)).ok();
    }

    /// The log says something new of namespaces.
    pub(crate) fn namespaces_changed(&self) {
        self.hand_over.tell();
    }

    fn engine(&self) -> Result<&Arc<Engine>, Refusal> {
        Ok(self.shared.engine()?)
    }

    /// The other servers, of which this one is to be asked.
    fn elsewhere(&self, server: &NodeName) -> Result<&Elsewhere, Refusal> {
        let away = || Refusal::away(format!("its home, {server}, is not within reach of this server"));
        self.elsewhere.get().ok_or_else(away)
    }

    fn namespace(&self, account: AccountId, id: DurableNamespaceId) -> Result<DurableNamespace, Refusal> {
        let unreadable = |error| {
            tracing::error!(%error, "a namespace of Durable Objects cannot be read");
            Refusal::broken("the replica cannot be read")
        };
        let snapshot = self.replica.snapshot().map_err(unreadable)?;
        let found = snapshot.get::<DurableNamespace>(&(account, id)).map_err(unreadable)?;
        found.ok_or_else(|| Refusal::refused("its class was deleted"))
    }

    /// Asks an object, wherever it is, and waits while it is being handed over. The request is as its Worker has written it.
    async fn ask(
        &self,
        account: AccountId,
        namespace: DurableNamespaceId,
        asked: Asked,
        request: http::Request<Body>,
    ) -> Result<Response, Refusal> {
        let (mut request, begun) = (Sending::new(request), Instant::now());
        let mut waiting = None;
        loop {
            let refusal = match self.ask_once(account, namespace, &asked, &mut request).await {
                Err(refusal) if refusal.is_moving() => refusal,
                answered => return answered,
            };
            if !request.can_be_sent() || begun.elapsed() > MOVES_WITHIN {
                return Err(refusal.given_up());
            }
            if waiting.is_none() {
                waiting = Some(self.waiting.take_for(account).ok_or_else(Refusal::busy)?);
            }
            self.hand_over.pause(LOOKED_AGAIN).await;
        }
    }

    async fn ask_once(
        &self,
        account: AccountId,
        id: DurableNamespaceId,
        asked: &Asked,
        request: &mut Sending,
    ) -> Result<Response, Refusal> {
        let namespace = self.namespace(account, id)?;
        let slot = slot_of(&namespace, asked)?;
        let home = namespace.server(slot);
        if *home == self.me {
            return self.ask_here(account, id, asked, request).await;
        }
        if let Some(to) = namespace.handed.get(slot).and_then(|handed| handed.to.as_ref()) {
            return Err(Refusal::moving(&format!("it is being handed over to {to}")));
        }
        let elsewhere = self.elsewhere(home)?;
        request.keep().await?;
        elsewhere.ask(home, &namespace, asked.clone(), request.take()?).await
    }

    /// Asks an object whose home this server is.
    async fn ask_here(
        &self,
        account: AccountId,
        namespace: DurableNamespaceId,
        asked: &Asked,
        request: &mut Sending,
    ) -> Result<Response, Refusal> {
        let said = match (&asked.method, &asked.property) {
            (Some(method), _) => json!({ "method": method }),
            (None, Some(property)) => json!({ "property": property }),
            (None, None) => json!({}),
        };
        self.run(account, namespace, asked, said, request).await
    }

    /// Has the process ask an object, if this server runs it. `said`: what of it.
    async fn run(
        &self,
        account: AccountId,
        namespace: DurableNamespaceId,
        asked: &Asked,
        mut said: Value,
        request: &mut Sending,
    ) -> Result<Response, Refusal> {
        let engine = self.engine()?;
        let place = self.under_way.take_for(account).ok_or_else(Refusal::busy)?;
        // Only then is it looked what the log says; and until it is answered no hand-over takes its files.
        let _entered = self.hand_over.gates.enter(account).await;
        let namespace = &self.namespace(account, namespace)?;
        self.check_home(namespace, slot_of(namespace, asked)?).await?;
        self.room.check(engine, account)?;
        self.note(namespace).await?;
        let chosen = self.shared.chosen(namespace.account, &namespace.worker, Some(asked.id.as_bytes()));
        let key = chosen.map_err(|_| Refusal::broken("the replica cannot be read"))?;
        let key = key.ok_or_else(|| Refusal::refused("no version of its Worker is deployed"))?;
        let is_looked_at = self.shared.looks.is_looked_at(key.account, &key.worker);
        said["code"] = key.code(is_looked_at).into();
        said["account"] = json!(namespace.account);
        said["namespace"] = json!(namespace.id);
        said["object"] = json!({ "id": asked.id, "name": asked.name });
        said["class"] = namespace.class.as_str().into();
        said["sql"] = namespace.has_sql.into();
        said["turn"] = json!(asked.turn);
        said["octets_max"] = engine.hosts().object_octets_max().into();
        let within = if said.get("alarm").is_some() { ALARM_WITHIN } else { ANSWER_WITHIN };
        let request = request.take()?;
        let socket = asks_for_websocket(request.headers()).then(|| self.sockets.take(account));
        let socket = socket.transpose()?;
        let event = if is_looked_at { invocation(&said, &request) } else { Value::Null };
        let (began, begun) = (self.clock.now(), Instant::now());
        let invoked = Invoked::new(Handler::Object);
        let invocation = Arc::clone(&invoked.took);
        let task = Task { said, within, invoked: Some(invoked) };
        let answered = self.send(engine, &key, task, request).await.inspect_err(|fault| {
            let times = Times { began, took: begun.elapsed(), cpu: invocation.cpu() };
            self.shared.looks.tell_lost_object(&key, fault, times, || event);
        });
        let mut response = answered.map_err(Refusal::from)?;
        response.body = std::mem::take(&mut response.body).holding(place);
        Ok(match socket {
            Some(place) => keeping(response, place),
            None => response,
        })
    }

    async fn send(
        &self,
        engine: &Engine,
        key: &VersionKey,
        Task { said, within, invoked }: Task,
        request: http::Request<Body>,
    ) -> Result<Response, Fault> {
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        let upgrade = headers.remove(header::UPGRADE).filter(|_| parts.method == Method::GET);
        strip_hop_by_hop(&mut headers);
        let (url, facts) = (parts.uri.to_string(), Facts::of_node(&said));
        let head = Head::new(parts.method, &url, &headers, facts, within, invoked)?;
        let head = match upgrade {
            Some(protocol) => head.switching(protocol),
            None => head,
        };
        engine.ask_objects(key, head, body).await
    }

    /// Asks what the process knows of its objects; starts one, if there is none.
    async fn registry<T: DeserializeOwned>(
        &self,
        account: AccountId,
        operation: &str,
        said: Value,
    ) -> Result<T, Refusal> {
        self.registry_given(account, operation, said, Body::empty(), ANSWER_OCTETS_MAX).await
    }

    /// Tells it something of objects of a namespace.
    async fn registry_told(
        &self,
        account: AccountId,
        namespace: DurableNamespaceId,
        operation: &str,
        objects: &[impl Serialize],
    ) -> Result<(), Refusal> {
        let told = serde_json::to_vec(objects);
        let told =
            Body::full(told.map_err(|_| Refusal::broken("what it is told of objects cannot be written"))?);
        let said = json!({ "namespace": namespace });
        self.registry_given::<IgnoredAny>(account, operation, said, told, TOLD_OCTETS_MAX).await.map(drop)
    }

    /// The same, with what it is given, and how long its answer may be.
    async fn registry_given<T: DeserializeOwned>(
        &self,
        account: AccountId,
        operation: &str,
        mut said: Value,
        given: Body,
        octets_max: usize,
    ) -> Result<T, Refusal> {
        said["registry"] = operation.into();
        let mut request = http::Request::new(given);
        *request.uri_mut() = Uri::from_static(NOWHERE);
        *request.method_mut() = Method::POST;
        let key = VersionKey::nobodys(account);
        let task = Task { said, within: ANSWERS_WITHIN, invoked: None };
        let answered = self.send(self.engine()?, &key, task, request).await?;
        let (status, threw) = (answered.status, answered.headers.contains_key(OUTCOME));
        let octets = answered.body.collect(octets_max).await;
        let octets = octets.map_err(|_| Refusal::lost())?;
        if status != StatusCode::OK || threw {
            let said: String = String::from_utf8_lossy(&octets).chars().take(1_000).collect();
            tracing::warn!(%account, operation, said, "the registry of Durable Objects fails");
            return Err(Refusal::broken("what is known of its objects cannot be read"));
        }
        serde_json::from_slice(&octets)
            .map_err(|_| Refusal::broken("what is known of its objects is damaged"))
    }
}

/// The slot of an object.
fn slot_of<'a>(namespace: &'a DurableNamespace, asked: &Asked) -> Result<&'a NodeName, Refusal> {
    place::slot(namespace, asked.id).ok_or_else(|| Refusal::broken("it has no home"))
}

/// What an object was asked, as events show it.
fn invocation(said: &Value, request: &http::Request<Body>) -> Value {
    match (said.get("alarm"), said.get("method").or_else(|| said.get("property"))) {
        (Some(alarm), _) => json!({ "scheduledTime": alarm.get("now") }),
        (None, Some(method)) => json!({ "rpcMethod": method }),
        (None, None) => {
            let (url, method) = (request.uri().to_string(), request.method().as_str());
            // What in a query is a secret, the engine would have known.
            let url = url.split_once('?').map_or(&*url, |(path, _)| path);
            json!({ "request": { "url": url, "method": method, "headers": {} } })
        }
    }
}

/// Has a thread that may wait for the disk do this.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
