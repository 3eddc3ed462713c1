//! The service: has the engine ready, answers what it asks, and keeps what is deployed in step with the replica.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use proxima_chassis::{Health, NodeContext, Places, PrepareError, Prepared, Service, ServiceError, Shutdown};
use proxima_ledger::{ChangeSet, CompiledZones, Snapshot};
use proxima_model::{Kind, Node};
use proxima_pipeline::{
    AnswersServers, CheckWorkers, DurableObjects, Fetch, Invoke, KeyValue, Objects, Prewarm, Queues,
    ResponseCache, Servers, Site, Tails,
};
use tokio_util::sync::CancellationToken;

use crate::{
    SERVICE, WorkersConfig, WorkersError, WorkersStage,
    answering::Answering,
    assets::{Binding, Sites},
    cage::Launcher,
    checks::Checks,
    code::Code,
    durable::{self, Durable},
    egress::{Egress, SUBREQUESTS_PER_ACCOUNT_MAX},
    engine::{Asked, Engine, Programs},
    key_values::KeyValues,
    metrics::Metrics,
    objects::BucketObjects,
    prewarm::{Warmer, prewarming},
    queues::QueueMessages,
    responses::Responses,
    scheduled::Scheduled,
    stage::{DomainsStage, Shared},
    tails::{Answers, Events, Looks, Network},
    version::Deployments,
};

/// How to get the program.
const HOW_TO_GET_IT: &str = "install the npm package `workerd` and name its program, node_modules/@cloudflare/workerd-linux-64/bin/workerd, in [workers] \
     workerd, or put it into PATH";

/// The service.
pub struct WorkersService {
    config: WorkersConfig,
    program: Option<PathBuf>,
    shared: Arc<Shared>,
    launcher: OnceLock<Launcher>,
    fetch: OnceLock<Arc<dyn Fetch>>,
    key_values: OnceLock<Arc<dyn KeyValue>>,
    objects: OnceLock<Arc<dyn Objects>>,
    queues: OnceLock<Arc<dyn Queues>>,
    responses: OnceLock<Arc<dyn ResponseCache>>,
    /// Where the network's servers are: nobody fetches from them.
    servers: Arc<ArcSwap<Vec<IpAddr>>>,
    tails: Arc<Network>,
    durable: Arc<Durable>,
    /// Who loads what clients are about to ask for, until the service runs.
    warmer: Mutex<Option<Warmer>>,
    /// Why there is no engine though its program is there.
    failed: OnceLock<WorkersError>,
}

impl WorkersService {
    /// The service as `[workers]` describes it.
    ///
    /// # Errors
    /// What is wrong there.
    pub fn new(node: &NodeContext) -> Result<Arc<Self>, WorkersError> {
        let config = WorkersConfig::of(&node.config)?;
        let program = config.program(std::env::var_os("PATH").as_deref());
        let metrics = node.metrics.register(SERVICE, Metrics::register);
        let looks = Looks::new(metrics.clone());
        let tails = Arc::new(Network::new(Arc::clone(&looks)));
        let shared = Arc::new(Shared {
            deployments: Deployments::new(node.replica.clone()),
            assets: Sites::new(node.replica.clone()),
            engine: OnceLock::new(),
            missed: AtomicBool::new(false),
            looks,
            metrics,
        });
        let durable = Durable::new(node, Arc::clone(&shared), &config);
        Ok(Arc::new(Self {
            config,
            program,
            shared,
            launcher: OnceLock::new(),
            fetch: OnceLock::new(),
            key_values: OnceLock::new(),
            objects: OnceLock::new(),
            queues: OnceLock::new(),
            responses: OnceLock::new(),
            servers: Arc::default(),
            tails,
            durable,
            warmer: Mutex::default(),
            failed: OnceLock::new(),
        }))
    }

    /// The stage that runs Workers.
    pub fn stage(&self) -> WorkersStage {
        WorkersStage(Arc::clone(&self.shared))
    }

    /// The stage that runs Workers from whose custom domains others fetch.
    pub fn domains(&self) -> DomainsStage {
        DomainsStage(self.stage())
    }

    /// Who runs Workers that no request asks for.
    pub fn invoker(&self) -> Arc<dyn Invoke> {
        Arc::new(Scheduled(Arc::clone(&self.shared)))
    }

    /// Who is told of clients that come, by whoever shakes hands with them; `sites` say which Worker a host has. Asked for once,
    /// before the service runs.
    pub fn prewarm(&self, sites: CompiledZones<Site>) -> Arc<dyn Prewarm> {
        let (greeted, warmer) = prewarming(&self.shared, sites);
        *self.warmer.lock().unwrap_or_else(PoisonError::into_inner) = Some(warmer);
        greeted
    }

    /// Who tries versions before they are kept.
    pub fn checks(self: &Arc<Self>) -> Arc<dyn CheckWorkers> {
        Arc::new(Checks::new(Arc::clone(self)))
    }

    /// What of it others share.
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The most time of a processor that an invocation gets, in milliseconds.
    pub(crate) const fn cpu_ms_most(&self) -> u64 {
        self.config.cpu_ms_max
    }

    /// Whether there is no engine yet, and will be.
    pub(crate) fn is_starting(&self) -> bool {
        self.program.is_some() && self.failed.get().is_none() && self.shared.engine.get().is_none()
    }

    /// Who shows what Workers do.
    pub fn tails(&self) -> Arc<dyn Tails> {
        self.tails.clone()
    }

    /// By whom the network's other servers are asked what Workers do there. Given once: without, only what they do here is seen.
    pub fn tails_over(&self, servers: Arc<dyn Servers>) {
        self.tails.over(servers);
    }

    /// Who tells other servers what Workers do here ([`TAILS_SERVICE`](crate::TAILS_SERVICE)).
    pub fn tail_answers(&self) -> Arc<dyn AnswersServers> {
        Arc::new(Answers(Arc::clone(&self.shared.looks)))
    }

    /// Who knows where Durable Objects are.
    pub fn durable_objects(&self) -> Arc<dyn DurableObjects> {
        self.durable.clone()
    }

    /// By whom Durable Objects are asked whose home is another server. Given once: without, only those whose home is here are.
    pub fn durable_objects_over(&self, servers: Arc<dyn Servers>) {
        self.durable.over(servers);
    }

    /// Who asks Durable Objects here for other servers ([`DURABLE_SERVICE`](crate::DURABLE_SERVICE)).
    pub fn durable_answers(&self) -> Arc<dyn AnswersServers> {
        Arc::new(durable::Answers(Arc::clone(&self.durable)))
    }

    /// Where the network's servers are, as the replica has it at the moment.
    pub fn servers(&self) -> Arc<ArcSwap<Vec<IpAddr>>> {
        Arc::clone(&self.servers)
    }

    /// By what processes are started, in a cage. Given once, before the service runs: without, it does not.
    pub fn launch_by(&self, launcher: Launcher) {
        self.launcher.set(launcher).ok();
    }

    /// By whom Workers fetch. Given once, before the service runs: without, it does not.
    pub fn fetch_by(&self, fetch: Arc<dyn Fetch>) {
        self.fetch.set(fetch).ok();
    }

    /// By whom Workers read and write keys and values. Given once, before the service runs: without, what they ask for fails.
    pub fn key_values_by(&self, key_values: Arc<dyn KeyValue>) {
        self.key_values.set(key_values).ok();
    }

    /// By whom Workers read and write objects. Given once, before the service runs: without, what they ask for fails.
    pub fn objects_by(&self, objects: Arc<dyn Objects>) {
        self.objects.set(objects).ok();
    }

    /// By whom Workers send to queues. Given once, before the service runs: without, what they send fails.
    pub fn queues_by(&self, queues: Arc<dyn Queues>) {
        self.queues.set(queues).ok();
    }

    /// By whom Workers keep responses. Given once, before the service runs: without, what they ask of their Cache API fails.
    pub fn responses_by(&self, responses: Arc<dyn ResponseCache>) {
        self.responses.set(responses).ok();
    }
}

#[async_trait]
impl Service for WorkersService {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> Result<Prepared, PrepareError> {
        let (shared, changed) = (Arc::clone(&self.shared), changed.clone());
        let servers = match changed.touches(Kind::Node) {
            true => Some(addresses(snapshot, self.config.allow_private)?),
            false => None,
        };
        let kept = Arc::clone(&self.servers);
        let durable = changed.touches(Kind::DurableNamespace).then(|| Arc::clone(&self.durable));
        Ok(Prepared::new(move || {
            shared.deployments.forget(&changed);
            if let Some(servers) = servers {
                kept.store(Arc::new(servers));
            }
            if let Some(durable) = durable {
                durable.namespaces_changed();
            }
        }))
    }

    async fn run(self: Arc<Self>, node: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
        let Some(fetch) = self.fetch.get().cloned() else {
            return Err(ServiceError::new("nobody fetches for Workers"));
        };
        let Some(launcher) = self.launcher.get().cloned() else {
            return Err(ServiceError::new("nobody starts processes for Workers"));
        };
        let (looks, ending) = (Arc::clone(&self.shared.looks), shutdown.clone());
        tokio::spawn(async move {
            ending.draining().await;
            looks.end_all();
        });
        let Some(program) = self.program.clone() else {
            tracing::info!("there is no program workerd, so no Workers run here: {HOW_TO_GET_IT}");
            shutdown.draining().await;
            return Ok(());
        };
        let data = node.config.node.data_dir.join(SERVICE);
        let metrics = self.shared.metrics.clone();
        let made = Engine::new(launcher, program.clone(), &data, &self.config, metrics.clone()).await;
        let (engine, asked) = match made {
            Ok(made) => made,
            // All else is served.
            Err(error) => {
                tracing::error!(%error, "no Workers run here until the node is started anew");
                self.failed.set(error).ok();
                shutdown.draining().await;
                return Ok(());
            }
        };
        tracing::info!(program = %program.display(), "Workers run here");
        // Requests that are answered until the node stops may need Workers until then.
        let stopped = shutdown.stop_token();
        let programs: Arc<dyn Programs> =
            self.answer(asked, &node, fetch, &Answering::new(&engine, metrics, stopped.clone()));
        engine.programs_by(&programs);
        let running = Arc::clone(&engine);
        tokio::spawn(async move {
            stopped.cancelled().await;
            running.stop();
        });
        self.shared.engine.set(engine).ok();
        // What nobody waits for does not begin any more when the node is about to end.
        let background = CancellationToken::new();
        let _ends = background.clone().drop_guard();
        self.durable.begin_alarms(background.clone());
        tokio::spawn(Arc::clone(&self.durable).hand_over_until(background.clone()));
        tokio::spawn(Arc::clone(&self.durable).sweep_until(background));
        let warmer = self.warmer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let warming = async {
            match warmer {
                Some(warmer) => warmer.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = warming => {}
            () = shutdown.draining() => return Ok(()),
        }
        shutdown.draining().await;
        Ok(())
    }

    fn health(&self) -> Health {
        if let Some(error) = self.failed.get() {
            return Health::Degraded(format!("no Workers: {error}"));
        }
        match &self.config.workerd {
            Some(named) if self.program.is_none() => {
                Health::Degraded(format!("no Workers: {} is no program; {HOW_TO_GET_IT}", named.display()))
            }
            // Who has no Workers needs none to be run.
            None if self.program.is_none() && self.shared.missed.load(Ordering::Relaxed) => {
                Health::Degraded(format!("a Worker was asked for, and there is no workerd: {HOW_TO_GET_IT}"))
            }
            _ if self.is_starting() => Health::Starting,
            _ => Health::Ready,
        }
    }
}

impl WorkersService {
    /// Answers processes of the engine; who gives it programs.
    fn answer(
        &self,
        asked: Asked,
        node: &NodeContext,
        fetch: Arc<dyn Fetch>,
        answering: &Answering,
    ) -> Arc<Code> {
        let code = Arc::new(Code {
            replica: node.replica.clone(),
            shared: Arc::clone(&self.shared),
            subrequests_max: self.config.subrequests_max,
        });
        let metrics = self.shared.metrics.clone();
        let responses = Arc::new(Responses::new(self.responses.get().cloned(), Arc::clone(&fetch), metrics));
        let egress = Arc::new(Egress {
            fetch,
            clock: Arc::clone(&node.clock),
            pop: node.pop().clone(),
            metrics: self.shared.metrics.clone(),
            under_way: Places::new(usize::MAX, SUBREQUESTS_PER_ACCOUNT_MAX),
            threw: Mutex::default(),
        });
        let key_values =
            Arc::new(KeyValues::new(node, self.key_values.get().cloned(), self.shared.metrics.clone()));
        let objects =
            Arc::new(BucketObjects::new(node, self.objects.get().cloned(), self.shared.metrics.clone()));
        let queues = Arc::new(QueueMessages::new(self.queues.get().cloned(), self.shared.metrics.clone()));
        let assets = Arc::new(Binding(Arc::clone(&self.shared)));
        answering.at(asked.assets, move |request| Arc::clone(&assets).answer(request));
        let programs = Arc::clone(&code);
        answering.at(asked.cache, move |request| Arc::clone(&responses).answer(request));
        answering.at_code(asked.code, move |request| Arc::clone(&code).answer(request));
        let durable = Arc::new(durable::Binding(Arc::clone(&self.durable)));
        answering.at(asked.durable, move |request| Arc::clone(&durable).answer(request));
        answering.at(asked.egress, move |request| Arc::clone(&egress).answer(request));
        answering.at(asked.key_values, move |request| Arc::clone(&key_values).answer(request));
        answering.at(asked.objects, move |request| Arc::clone(&objects).answer(request));
        answering.at(asked.queues, move |request| Arc::clone(&queues).answer(request));
        let events = Arc::new(Events::new(Arc::clone(&self.shared.looks), Arc::clone(&node.clock)));
        answering.at_known(asked.tails, move |process, request| {
            Arc::clone(&events).answer(Arc::clone(process), request)
        });
        programs
    }
}

/// The addresses of all servers. On one machine, where private ones are allowed, origins stand beside them at other ports.
fn addresses(snapshot: &Snapshot, allow_private: bool) -> Result<Vec<IpAddr>, PrepareError> {
    let mut found = Vec::new();
    for node in snapshot.scan::<Node>(&[]) {
        found.extend(node?.addresses.iter().map(IpAddr::to_canonical));
    }
    found.retain(|address| !(allow_private && address.is_loopback()));
    Ok(found)
}
