//! The engine: processes of `workerd`, and which of them runs a Worker.
//!
//! ```text
//!  version + request ─▶ Verdicts: locked out? suspect? ─▶ Shard (by account, or by suspicion) ─▶ Process ─▶ dispatcher.js
//!                                     ▲                        │ starts, watches, replaces          │ workerLoader
//!                                     └──── judge: who spun ───┘                                    ▼
//!                                                                           the Worker, by its name ACCOUNT/WORKER/VERSION
//! ```
//!
//! Who computes for long keeps nobody else waiting: others are asked in the next process (`held.rs`).
//!
//! What an invocation has of a processor is measured from outside (`spent.rs`).
//!
//! Versions that are asked most have a process each (`own/mod.rs`). One that comes to be is tried before it is kept (`check/mod.rs`).

mod answer;
mod asking;
mod check;
mod connection;
mod end;
mod folder;
mod groups;
mod head;
mod held;
mod hosts;
mod invocation;
mod isolation;
mod own;
mod pace;
mod place;
mod process;
mod requests;
mod settings;
mod shard;
mod shares;
mod spawner;
mod spent;
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

use proxima_model::AccountId;
use proxima_pipeline::{Body, Fault, Response};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    asking::FAULT_LETTERS_LOGGED,
    check::{Checked, Started},
    head::Head,
    hosts::Owner,
    invocation::Invoked,
    own::Programs,
    pace::Pace,
    process::{Process, Processes},
    shares::{Apart, Shares},
};
use self::{
    folder::Folder,
    groups::Groups,
    hosts::Hosts,
    isolation::Isolation,
    own::Own,
    place::Place,
    settings::{
        ASSETS_SOCKET, BUDGETS, BUDGETS_SOURCE, CACHE_SOCKET, CODE_SOCKET, DISPATCHER, DISPATCHER_SOURCE,
        DURABLE_SOCKET, EGRESS_SOCKET, HOST_SOURCES, KV_SOCKET, QUEUE_SOCKET, R2_SOCKET, Runs, SETTINGS,
        TAIL_SOCKET, process_settings,
    },
    shard::{Common, Shard},
    spawner::Spawner,
    verdicts::{PLACES, Record, Verdicts},
    watch::Limits,
};
use crate::{
    WorkersConfig, WorkersError,
    cage::Launcher,
    metrics::{Metrics, Wall},
    version::VersionKey,
};

/// How long the head of an answer may take: as long as an origin's.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(100);

/// How long the process of an account's objects has been quiet at least that is ended since another account needs its place. A start
/// takes a tenth of a second and more: with less, accounts that are all asked all the time would have nothing but starts.
const QUIET_IN_PLACE: Duration = Duration::from_secs(1);

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
        // One more than a single processor has use for: who is kept from theirs by a neighbour is answered by the other.
        let shards = config.shards.unwrap_or_else(|| processors().max(2));
        let own = Own::new(Arc::clone(&common), config.own_processes_max.unwrap_or_else(processors));
        let places =
            |count, kind| -> Box<[_]> { (0..count).map(|_| Shard::new(Arc::clone(&common), kind)).collect() };
        let (shards, apart) = (places(shards, Place::Shared), places(PLACES, Place::Apart));
        Shard::stand_by_each_other(&shards);
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
        self.ask_once(&host, key, head, body, false).await.map_err(Fault::from)
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

    /// Where the objects of an account run; `None` where those of too many do, and none of them has been quiet for
    /// [`QUIET_IN_PLACE`].
    fn host(&self, account: AccountId) -> Option<Arc<Shard>> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(&account) {
            return Some(Arc::clone(host));
        }
        if hosts.len() >= self.hosts_max {
            // Whoever is about to start one holds it.
            hosts.retain(|_, host| Arc::strong_count(host) > 1 || !host.is_idle());
        }
        if hosts.len() >= self.hosts_max {
            end_quietest(&mut hosts);
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

    /// Where a version runs.
    fn shard(&self, key: &VersionKey, may_run_alone: bool) -> Result<Arc<Shard>, Fault> {
        let verdicts = self.common.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        admit(verdicts.record(key, now))?;
        if let Some(place) = verdicts.place(key, now) {
            return Ok(Arc::clone(&self.apart[place]));
        }
        drop(verdicts);
        let own = if may_run_alone { self.own.place(key) } else { None };
        Ok(own.unwrap_or_else(|| Arc::clone(&self.shards[self.shared(key)])))
    }

    /// The place of its account among those of accounts.
    fn shared(&self, key: &VersionKey) -> usize {
        let mut hasher = DefaultHasher::new();
        key.account.hash(&mut hasher);
        let count = u64::try_from(self.shards.len()).unwrap_or(1);
        usize::try_from(hasher.finish() % count).unwrap_or_default()
    }
}

/// Ends the process that has had nothing to do for longest, if one has had for long enough, and frees its place. Its account's next one
/// waits for the lock of their folder.
fn end_quietest(hosts: &mut HashMap<AccountId, Arc<Shard>>) {
    // Whoever is about to ask one holds it, beside the map and who looks after its process.
    let unasked = hosts.iter().filter(|(_, host)| Arc::strong_count(host) <= 2);
    let quiet = unasked.filter_map(|(account, host)| Some((host.quiet_for()?, *account)));
    let Some((_, account)) = quiet.filter(|(quiet, _)| *quiet >= QUIET_IN_PLACE).max() else { return };
    if hosts.get(&account).is_some_and(|host| host.stop_if_quiet()) {
        hosts.remove(&account);
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
