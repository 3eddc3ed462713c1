//! The engine: processes of `workerd`, and which of them runs a Worker.
//!
//! ```text
//!  version + request ─▶ Verdicts: locked out? suspect? ─▶ Shard (by account, or by suspicion) ─▶ Process ─▶ dispatcher.js
//!                                     ▲                        │ starts, watches, replaces          │ workerLoader
//!                                     └──── judge: who spun ───┘                                    ▼
//!                                                                           the Worker, by its name ACCOUNT/WORKER/VERSION
//! ```
//!
//! Versions that are asked most have a process each (`own/mod.rs`).

mod answer;
mod end;
mod folder;
mod groups;
mod hosts;
mod isolation;
mod own;
mod pace;
mod process;
mod settings;
mod shard;
mod shares;
mod spawner;
mod verdicts;
mod watch;
mod wire;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use proxima_model::AccountId;
use proxima_pipeline::{Body, Fault, Response, strip_hop_by_hop};
use serde_json::Value;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use self::{
    answer::{AnswerBody, UpgradedWorker},
    folder::Folder,
    groups::Groups,
    hosts::Hosts,
    isolation::Isolation,
    own::Own,
    process::{AtWork, Verdict},
    settings::{
        ASSETS_SOCKET, BUDGETS, BUDGETS_SOURCE, CACHE_SOCKET, CODE_SOCKET, DISPATCHER, DISPATCHER_SOURCE,
        DURABLE_SOCKET, EGRESS_SOCKET, HOST_SOURCES, KV_SOCKET, QUEUE_SOCKET, R2_SOCKET, Runs, SETTINGS,
        TAIL_SOCKET, process_settings,
    },
    shard::{Common, Place, Shard, Unavailable},
    spawner::Spawner,
    verdicts::{PLACES, Record, Verdicts},
    watch::Limits,
};
pub(crate) use self::{
    hosts::Owner,
    own::Programs,
    pace::Pace,
    process::{Process, Processes},
    shares::{Apart, Shares},
};
use crate::{
    WorkersConfig, WorkersError,
    cage::Launcher,
    facts::{FIELD, Facts},
    metrics::{Metrics, Wall},
    version::VersionKey,
};

const FACTS: HeaderName = HeaderName::from_static(FIELD);
/// The field by which the dispatcher tells that there is no answer: the engine's secret, and what failed.
const FAULT: HeaderName = HeaderName::from_static("proxima-fault");
/// Octets of what it says of that.
const FAULT_OCTETS_MAX: usize = 64 << 10;
/// Letters of that in the log.
const FAULT_LETTERS_LOGGED: usize = 1_000;
/// How long the head of an answer may take: as long as an origin's.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(100);

/// A request for a Worker, but for its body.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) method: Method,
    /// Absolute: a Worker sees it.
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// What it is told beside it.
    pub(crate) facts: Facts,
    /// How long the head of the answer may take.
    pub(crate) within: Duration,
}

impl Head {
    /// That of what the node itself asks of the dispatcher. Its method is not one that may be sent again.
    pub(crate) fn of_node(uri: &'static str, run: &Value, within: Duration) -> Self {
        let (uri, headers) = (Uri::from_static(uri), HeaderMap::new());
        Self { method: Method::POST, uri, headers, facts: Facts::of_node(run), within }
    }
}

/// The engine of a node.
pub(crate) struct Engine {
    common: Arc<Common>,
    /// For accounts.
    shards: Box<[Arc<Shard>]>,
    /// For suspects.
    apart: Box<[Arc<Shard>]>,
    /// For those that are asked most.
    own: Arc<Own>,
    /// For Durable Objects of accounts.
    hosts: Mutex<HashMap<AccountId, Arc<Shard>>>,
    hosts_max: usize,
}

/// Why a request has no answer.
enum Lost {
    Fault(Fault),
    /// The process ended, and it was not this Worker's fault as far as is known.
    Cut,
}

/// The sockets at which processes ask the node.
pub(crate) struct Asked {
    pub(crate) assets: UnixListener,
    pub(crate) cache: UnixListener,
    pub(crate) code: UnixListener,
    pub(crate) durable: UnixListener,
    pub(crate) egress: UnixListener,
    pub(crate) key_values: UnixListener,
    pub(crate) objects: UnixListener,
    pub(crate) queues: UnixListener,
    pub(crate) tails: UnixListener,
}

impl Engine {
    /// An engine of this program, with its files in a folder of its own below `data`. Starts no process of it yet.
    pub(crate) async fn new(
        launcher: Launcher,
        program: PathBuf,
        data: &Path,
        config: &WorkersConfig,
        metrics: Metrics,
    ) -> Result<(Arc<Self>, Asked), WorkersError> {
        let failed = |source| WorkersError::Folder { path: data.to_owned(), source };
        let folder = Folder::make(data).map_err(failed)?;
        // Letters and digits, of which no Worker can guess 128 bits.
        let secret = format!("{:032x}", rand::random::<u128>());
        folder.write(DISPATCHER, DISPATCHER_SOURCE.as_bytes()).map_err(failed)?;
        folder.write(BUDGETS, BUDGETS_SOURCE.as_bytes()).map_err(failed)?;
        folder.write(SETTINGS, process_settings(&secret, Runs::Workers).as_bytes()).map_err(failed)?;
        for (name, source) in HOST_SOURCES {
            folder.write(name, source.as_bytes()).map_err(failed)?;
        }
        let asked = Asked {
            assets: folder.answering(ASSETS_SOCKET).map_err(failed)?,
            cache: folder.answering(CACHE_SOCKET).map_err(failed)?,
            code: folder.answering(CODE_SOCKET).map_err(failed)?,
            durable: folder.answering(DURABLE_SOCKET).map_err(failed)?,
            egress: folder.answering(EGRESS_SOCKET).map_err(failed)?,
            key_values: folder.answering(KV_SOCKET).map_err(failed)?,
            objects: folder.answering(R2_SOCKET).map_err(failed)?,
            queues: folder.answering(QUEUE_SOCKET).map_err(failed)?,
            tails: folder.answering(TAIL_SOCKET).map_err(failed)?,
        };
        let spawner = Spawner::start().map_err(failed)?;
        let isolation = Isolation::find(launcher, &program, &folder, &spawner, config).await?;
        metrics.stands(Wall::Namespaces, isolation.has_walls());
        metrics.stands(Wall::Filter, isolation.has_filter());
        let groups = Groups::find(config, &isolation, &spawner).await?;
        let bounded = groups.as_ref().map(Groups::controllers).unwrap_or_default();
        metrics.stands(Wall::Memory, bounded.memory);
        metrics.stands(Wall::Threads, bounded.pids);
        metrics.stands(Wall::Processor, bounded.cpu);
        // Of a node that is root, folders may have been a caged process's.
        let owner = isolation.user().or_else(|| nix::unistd::geteuid().is_root().then_some(0));
        let hosts = Hosts::new(data, secret.clone(), config.durable_object_bytes_max, owner);
        let common = Arc::new(Common {
            program,
            settings: SETTINGS.to_owned(),
            secret: secret.into(),
            folder,
            isolation,
            groups: groups.map(Arc::new),
            spawner,
            hosts,
            limits: Limits { cpu: Duration::from_millis(config.cpu_ms_max), memory: config.memory_bytes_max },
            verdicts: Mutex::new(Verdicts::default()),
            metrics,
            failures: Mutex::default(),
            shares: Arc::default(),
            processes: Arc::default(),
            ended: CancellationToken::new(),
            started: AtomicU64::new(0),
        });
        let processors = || std::thread::available_parallelism().map_or(1, Into::into);
        let shards = config.shards.unwrap_or_else(processors);
        let own = Own::new(Arc::clone(&common), config.own_processes_max.unwrap_or_else(processors));
        let places = |count, kind| (0..count).map(|_| Shard::new(Arc::clone(&common), kind)).collect();
        let (shards, apart) = (places(shards, Place::Shared), places(PLACES, Place::Apart));
        let (hosts, hosts_max) = (Mutex::default(), config.durable_accounts_max);
        Ok((Arc::new(Self { shards, apart, own, common, hosts, hosts_max }), asked))
    }

    /// By whom programs are given to processes that run one version alone; without, there are none.
    pub(crate) fn programs_by(&self, programs: &Arc<dyn Programs>) {
        self.own.programs_by(programs);
    }

    /// Where Durable Objects are kept.
    pub(crate) fn hosts(&self) -> &Hosts {
        &self.common.hosts
    }

    /// Those that run.
    pub(crate) fn processes(&self) -> Arc<Processes> {
        Arc::clone(&self.common.processes)
    }

    /// What invocations may ask for that the dispatcher does not count.
    pub(crate) fn shares(&self) -> Arc<Shares> {
        Arc::clone(&self.common.shares)
    }

    /// What the objects of an account answer, of which this version's is asked. Sent once: who asks knows whether it may be sent again.
    pub(crate) async fn ask_objects(
        &self,
        key: &VersionKey,
        head: Head,
        body: Body,
    ) -> Result<Response, Fault> {
        admit(self.record(key))?;
        let host = self.host(key.account).ok_or(Fault::Overloaded)?;
        self.ask_once(&host, key, head, body, false).await.map_err(|lost| match lost {
            Lost::Fault(fault) => fault,
            Lost::Cut => Fault::WorkerLost,
        })
    }

    /// Ends the process that has the objects of an account, if there is one; nobody has their files open then.
    pub(crate) async fn end_objects(&self, account: AccountId) -> Result<(), WorkersError> {
        let host = self.hosts.lock().unwrap_or_else(PoisonError::into_inner).get(&account).cloned();
        if let Some(host) = host {
            host.stop();
        }
        self.common.hosts.freed(account).await
    }

    /// What is held against a version, if it was convicted of something.
    pub(crate) fn record(&self, key: &VersionKey) -> Option<Record> {
        let verdicts = self.common.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.record(key, Instant::now())
    }

    /// Where the objects of an account run; `None` where those of too many do.
    fn host(&self, account: AccountId) -> Option<Arc<Shard>> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(&account) {
            return Some(Arc::clone(host));
        }
        if hosts.len() >= self.hosts_max {
            // Whoever is about to start one holds it.
            hosts.retain(|_, host| Arc::strong_count(host) > 1 || !host.is_idle());
        }
        let has_room = hosts.len() < self.hosts_max;
        has_room.then(|| {
            let host = Shard::new(Arc::clone(&self.common), Place::Objects(account));
            hosts.insert(account, Arc::clone(&host));
            host
        })
    }

    /// Ends all processes.
    pub(crate) fn stop(&self) {
        self.common.ended.cancel();
        self.shards.iter().chain(&self.apart).for_each(|shard| shard.stop());
        self.own.stop();
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|host| host.stop());
    }

    /// The answer of a version. A request whose process ends, or is kept busy by another one, is sent once more, where that cannot
    /// do anything twice (RFC 9110, 9.2.2) and none of its body is gone.
    pub(crate) async fn run(&self, key: &VersionKey, head: Head, body: Body) -> Result<Response, Fault> {
        let again = (head.method.is_idempotent() && body.is_empty()).then(|| head.clone());
        match (self.try_once(key, head, body, again.is_some()).await, again) {
            (Ok(response), _) => Ok(response),
            (Err(Lost::Fault(fault)), _) => Err(fault),
            (Err(Lost::Cut), None) => Err(Fault::WorkerLost),
            (Err(Lost::Cut), Some(head)) => {
                self.common.metrics.retried.inc();
                self.try_once(key, head, Body::empty(), false).await.map_err(|lost| match lost {
                    Lost::Fault(fault) => fault,
                    Lost::Cut => Fault::WorkerLost,
                })
            }
        }
    }

    async fn try_once(
        &self,
        key: &VersionKey,
        head: Head,
        body: Body,
        may_be_sent_again: bool,
    ) -> Result<Response, Lost> {
        let shard = self.shard(key, head.facts.may_run_alone())?;
        self.ask_once(&shard, key, head, body, may_be_sent_again).await
    }

    async fn ask_once(
        &self,
        shard: &Arc<Shard>,
        key: &VersionKey,
        head: Head,
        body: Body,
        may_be_sent_again: bool,
    ) -> Result<Response, Lost> {
        let entered = match shard.enter(key).await {
            Err(Unavailable::Gone) => self.shared(key).enter(key).await,
            entered => entered,
        };
        let mut at_work = entered.map_err(|unavailable| {
            Lost::Fault(match unavailable {
                Unavailable::Full | Unavailable::Gone => Fault::Overloaded,
                Unavailable::BacksOff => Fault::WorkersUnavailable("their engine ends again and again"),
                Unavailable::Failed(error) => {
                    tracing::error!(%error, "the engine does not start");
                    Fault::WorkersUnavailable("their engine does not start")
                }
            })
        })?;
        let (process, within) = (Arc::clone(at_work.process()), head.within);
        if let Some(apart) = process.place.counted_by_node() {
            at_work.counts(self.common.shares.begin(apart, key));
        }
        tokio::select! {
            biased;
            answered = tokio::time::timeout(within, self.ask(key, at_work, head, body)) => {
                answered.unwrap_or(Err(Lost::Fault(Fault::OriginTimeout)))
            }
            () = process.avoided.cancelled(), if may_be_sent_again => Err(Lost::Cut),
        }
    }

    /// Where a version runs.
    fn shard(&self, key: &VersionKey, may_run_alone: bool) -> Result<Arc<Shard>, Lost> {
        let verdicts = self.common.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        admit(verdicts.record(key, now)).map_err(Lost::Fault)?;
        if let Some(place) = verdicts.place(key, now) {
            return Ok(Arc::clone(&self.apart[place]));
        }
        drop(verdicts);
        let own = if may_run_alone { self.own.place(key) } else { None };
        Ok(own.unwrap_or_else(|| Arc::clone(self.shared(key))))
    }

    /// The place of its account.
    fn shared(&self, key: &VersionKey) -> &Arc<Shard> {
        let mut hasher = DefaultHasher::new();
        key.account.hash(&mut hasher);
        let count = u64::try_from(self.shards.len()).unwrap_or(1);
        &self.shards[usize::try_from(hasher.finish() % count).unwrap_or_default()]
    }

    async fn ask(
        &self,
        key: &VersionKey,
        at_work: AtWork,
        Head { method, uri, mut headers, facts, .. }: Head,
        body: Body,
    ) -> Result<Response, Lost> {
        let process = Arc::clone(at_work.process());
        let is_alone = process.place == Place::Own;
        let facts = if is_alone { facts.alone() } else { facts.dispatched(key).map_err(Lost::Fault)? };
        headers.insert(FACTS, facts);
        let mut request = Request::new(body);
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
        let answered = async {
            let mut connection = process.connection().await?;
            let response = connection.send_request(request).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((connection, response))
        };
        let (connection, mut response) = match answered.await {
            Ok(answered) => answered,
            // More fields than are taken, or a longer head: the process is well.
            Err(error) if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) => {
                tracing::debug!(%error, %key, "the answer of a Worker cannot be read");
                at_work.spoilt();
                return Err(Lost::Fault(Fault::WorkerBroken("its answer has too many fields")));
            }
            Err(error) => {
                let verdict = process.verdict().await;
                tracing::debug!(%error, %key, ?verdict, "a process was lost before it answered");
                return Err(match verdict {
                    Verdict::Guilty(exceeded) => Lost::Fault(Fault::WorkerExceeded(exceeded)),
                    Verdict::Unknown => Lost::Cut,
                });
            }
        };
        at_work.progressed();
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let upgraded =
                hyper::upgrade::on(&mut response).await.map_err(|_| Lost::Fault(Fault::WorkerLost))?;
            let mut headers = std::mem::take(response.headers_mut());
            let protocol = headers.get(http::header::UPGRADE).cloned();
            strip_hop_by_hop(&mut headers);
            headers.extend(protocol.map(|protocol| (http::header::UPGRADE, protocol)));
            let upgraded = UpgradedWorker { io: TokioIo::new(upgraded), at_work };
            return Ok(Response {
                status,
                headers,
                upgraded: Some(Box::new(upgraded)),
                ..Response::default()
            });
        }
        let (mut parts, incoming) = response.into_parts();
        let body = AnswerBody::new(incoming, at_work, connection);
        if let Some(kind) = fault_kind(&parts.headers, &process.secret) {
            return Err(Lost::Fault(self.tell(key, &kind, Body::stream(body)).await));
        }
        strip_hop_by_hop(&mut parts.headers);
        let body = if http_body::Body::is_end_stream(&body) { Body::empty() } else { Body::stream(body) };
        Ok(Response { status, headers: parts.headers, body, ..Response::default() })
    }

    /// What failed in a Worker; its owner's to know, so it is logged.
    async fn tell(&self, key: &VersionKey, kind: &str, said: Body) -> Fault {
        let said = said.collect(FAULT_OCTETS_MAX).await.unwrap_or_default();
        if self.common.failures.lock().unwrap_or_else(PoisonError::into_inner).may_tell() {
            let said: String = String::from_utf8_lossy(&said).chars().take(FAULT_LETTERS_LOGGED).collect();
            tracing::info!(worker = %key, kind, said, "a Worker failed");
        }
        match kind {
            "start" => Fault::WorkerBroken("it does not start"),
            "loop" => Fault::WorkerLoop,
            "load" => Fault::WorkerBroken("its code cannot be loaded"),
            _ => Fault::WorkerThrew,
        }
    }
}

/// Whether somebody of this record is run.
fn admit(record: Option<Record>) -> Result<(), Fault> {
    match record {
        Some(Record { last, locked_out: Some(left), .. }) => {
            // Whoever waits for so long is not too early.
            Err(Fault::WorkerLockedOut { last, seconds: left.as_secs() + 1 })
        }
        _ => Ok(()),
    }
}

/// What failed, if our own code in a process of this secret says so.
fn fault_kind(headers: &HeaderMap, secret: &str) -> Option<String> {
    let said = headers.get(FAULT)?.to_str().ok()?;
    Some(said.strip_prefix(secret)?.trim().to_owned())
}
