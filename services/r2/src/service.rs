//! The service: has the store open, speaks S3 at its listeners, and sweeps.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use proxima_chassis::{Health, NodeContext, Places, PrepareError, Prepared, Service, ServiceError, Shutdown};
use proxima_ledger::{ChangeSet, Snapshot};
use proxima_pipeline::{AnswersServers, ObjectError, Objects, Queues, Servers};
use proxima_tls::Certificates;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::{
    PublicStage, R2Config, R2Error, SERVICE,
    buckets::Buckets,
    deliver::Deliverer,
    local::Local,
    metrics::Metrics,
    others::{Everywhere, answers::Answers, reach::Reach},
    s3::{
        Front, Hosts, Owners, OwnersChanged,
        server::{self, Door, Listener},
        tls,
    },
    store::{Bounds, Store},
};

/// How often files are removed whose time has come: a fraction of what they are kept.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
/// How often closed buckets are looked at: nobody can write to them meanwhile.
const SETTLE_EVERY: Duration = Duration::from_secs(30);
/// How often it is looked for what rules of buckets end, for uploads and for remains of buckets: all of them live for days.
const EXPIRE_EVERY: Duration = Duration::from_secs(3_600);
/// How often it is looked how much of the disk is free, and how much is kept.
const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// How often the engine of blobs is asked whether it answers, where nobody else asks it.
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// How often everything is read to find rot, and files are looked for that a crash left: all of it takes a disk hours.
const SCRUB_EVERY: Duration = Duration::from_secs(86_400);

/// What the listeners of `https` are called when they are handed over.
const HTTPS: &str = "r2-https";

/// The service.
pub struct R2Service {
    config: R2Config,
    local: Local,
    everywhere: Everywhere,
    owners: Owners,
    metrics: Metrics,
    certificates: Arc<Certificates>,
    health: watch::Sender<Health>,
    queues: OnceLock<Arc<dyn Queues>>,
}

impl R2Service {
    /// The service as `[r2]` describes it, among these servers. What lies on the disk is opened: in a graceful restart by both
    /// processes, until the former one ends. `certificates` are those of the edge, which prepares them.
    ///
    /// # Errors
    /// What is wrong in `[r2]`, or on the disk.
    pub fn new(
        node: &NodeContext,
        servers: Arc<dyn Servers>,
        certificates: Arc<Certificates>,
    ) -> Result<Arc<Self>, R2Error> {
        let config = R2Config::of(&node.config)?;
        let metrics = node.metrics.register(SERVICE, Metrics::register);
        let folder = node.config.node.data_dir.join(SERVICE);
        let bounds = Bounds {
            index_octets_max: usize::try_from(config.index_bytes_max).unwrap_or(usize::MAX),
            free_octets_min: config.free_bytes_min,
        };
        let (caught_up, whole) = (node.clone(), node.clone());
        let buckets = Buckets {
            replica: node.replica.clone(),
            log: node.log.clone(),
            clock: node.clock.clone(),
            me: node.name().clone(),
            has_caught_up: Arc::new(move || caught_up.has_caught_up()),
            lacks_nothing: Arc::new(move || whole.lacks_nothing()),
        };
        let engine = config.blobs.as_ref().map(|blobs| blobs.load(&node.config)).transpose()?;
        let clock = node.clock.clone();
        let store = Store::open(&folder, bounds, clock, buckets.presence(), metrics.clone(), engine.as_ref());
        let store = store.map_err(|error| R2Error::Open { folder, error })?;
        let local = Local { store, buckets };
        let everywhere = Everywhere::new(local.clone(), Reach::new(servers));
        let health = watch::Sender::new(Health::Starting);
        Ok(Arc::new(Self {
            config,
            local,
            everywhere,
            owners: Owners::default(),
            metrics,
            certificates,
            health,
            queues: OnceLock::new(),
        }))
    }

    /// The objects, for who reaches them otherwise than by S3.
    pub fn objects(&self) -> Arc<dyn Objects> {
        Arc::new(self.everywhere.clone())
    }

    /// Sets by whom queues are told of what happens to objects.
    pub fn queues_by(&self, queues: Arc<dyn Queues>) {
        self.queues.set(queues).ok();
    }

    /// Who answers everybody at custom domains of buckets: the last stage before the origin.
    pub fn stage(&self) -> PublicStage {
        let (buckets, metrics) = (self.local.buckets.clone(), self.metrics.clone());
        PublicStage { objects: self.objects(), buckets, metrics }
    }

    /// By whom other servers are answered.
    pub fn answers(&self) -> Arc<dyn AnswersServers> {
        Arc::new(Answers::new(self.local.clone()))
    }

    fn bind(&self, node: &NodeContext) -> Result<Vec<Listener>, ServiceError> {
        let R2Config { listen, https, .. } = &self.config;
        let certificates = || self.certificates.clone();
        let tls = (!https.is_empty()).then(|| tls::acceptor(node, certificates())).transpose()?;
        let clear = listen.iter().map(|address| (SERVICE, address, None));
        let https = https.iter().map(|address| (HTTPS, address, tls.clone()));
        let bind = |(name, address, tls): (&'static str, &SocketAddr, Option<TlsAcceptor>)| {
            let listener = node.listeners.tcp(name, *address).map_err(ServiceError::new)?;
            let socket = TcpListener::from_std(listener).map_err(ServiceError::new)?;
            Ok(Listener { socket, tls })
        };
        clear.chain(https).map(bind).collect()
    }

    /// Does its work again and again until the node drains.
    fn repeat<F>(
        tasks: &mut JoinSet<()>,
        shutdown: &Shutdown,
        (what, every): (&'static str, Duration),
        work: impl Fn() -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), ObjectError>> + Send,
    {
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            let mut tick = tokio::time::interval(every);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = shutdown.draining() => return,
                    _ = tick.tick() => {}
                }
                let outcome = tokio::select! {
                    () = shutdown.draining() => return,
                    outcome = work() => outcome,
                };
                if let Err(error) = outcome {
                    tracing::warn!(target: "proxima_r2", %error, "{what} failed, and is tried again");
                }
            }
        });
    }

    /// Tells queues of objects until the node drains: the next process of a graceful restart goes on.
    fn deliver(&self, tasks: &mut JoinSet<()>, shutdown: &Shutdown) {
        let Some(queues) = self.queues.get().cloned() else { return };
        let Local { store, buckets } = self.local.clone();
        let (is_gone, metrics) = (buckets.queue_gone(), self.metrics.clone());
        let (deliverer, shutdown) = (Deliverer { store, queues, is_gone, metrics }, shutdown.clone());
        tasks.spawn(async move { deliverer.run_until(shutdown.draining()).await });
    }

    fn sweep(&self, tasks: &mut JoinSet<()>, shutdown: &Shutdown) {
        if self.config.blobs.is_some() {
            let store = self.local.store.clone();
            Self::repeat(tasks, shutdown, ("asking after the engine of blobs", PROBE_EVERY), move || {
                let store = store.clone();
                async move {
                    store.probe_engine().await;
                    Ok(())
                }
            });
        }
        let store = self.local.store.clone();
        Self::repeat(tasks, shutdown, ("measuring what is kept", MEASURE_EVERY), move || {
            let store = store.clone();
            async move { store.measure().await }
        });
        let store = self.local.store.clone();
        Self::repeat(tasks, shutdown, ("removing files of what was replaced", COLLECT_EVERY), move || {
            let store = store.clone();
            async move { store.collect().await }
        });
        let local = self.local.clone();
        Self::repeat(tasks, shutdown, ("opening buckets that were not deleted", SETTLE_EVERY), move || {
            let Local { store, buckets } = local.clone();
            async move { buckets.settle(&store).await }
        });
        // Each by itself: none waits for another, or fails with it, and each knows the buckets of its own moment.
        let local = self.local.clone();
        Self::repeat(tasks, shutdown, ("ending uploads", EXPIRE_EVERY), move || {
            let Local { store, buckets } = local.clone();
            async move { store.end_uploads(&buckets.living().await?, &buckets.unchanged()).await }
        });
        let local = self.local.clone();
        Self::repeat(tasks, shutdown, ("ending objects by rules", EXPIRE_EVERY), move || {
            let Local { store, buckets } = local.clone();
            async move { store.expire(&buckets.living().await?, &buckets.unchanged()).await }
        });
        let local = self.local.clone();
        Self::repeat(tasks, shutdown, ("sweeping what deleted buckets had", EXPIRE_EVERY), move || {
            let Local { store, buckets } = local.clone();
            async move { store.sweep_gone(&buckets.living().await?, buckets.gone()).await }
        });
        let store = self.local.store.clone();
        Self::repeat(tasks, shutdown, ("reading everything", SCRUB_EVERY), move || {
            let store = store.clone();
            async move {
                let strays = store.remove_strays().await?;
                if strays > 0 {
                    tracing::info!(target: "proxima_r2", strays, "removed files that a crash had left");
                }
                store.scrub().await
            }
        });
    }
}

#[async_trait]
impl Service for R2Service {
    fn name(&self) -> &'static str {
        SERVICE
    }

    /// Whether a bucket is there is looked up in the replica for each request.
    fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> Result<Prepared, PrepareError> {
        let (owners, changed) = (self.owners.clone(), OwnersChanged::of(snapshot, changed)?);
        Ok(Prepared::new(move || owners.apply(changed)))
    }

    async fn run(self: Arc<Self>, node: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
        let listeners = self.bind(&node)?;
        let addresses =
            listeners.iter().map(|listener| listener.socket.local_addr()).collect::<Result<Vec<_>, _>>();
        let addresses = addresses.map_err(ServiceError::new)?;
        if !addresses.is_empty() {
            tracing::info!(target: "proxima_r2", ?addresses, "S3 listens");
        }
        let (buckets, owners) = (self.local.buckets.clone(), self.owners.clone());
        let front = Front { objects: self.objects(), buckets, owners };
        let requests = Places::new(self.config.requests_max, self.config.requests_per_client_max);
        let hosts = Hosts::new(&self.config.host, node.name());
        let door = Door::new(front, (hosts, node.pop().clone()), requests, self.metrics.clone());
        let places = Places::new(self.config.connections_max, self.config.connections_per_client_max);
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn(server::serve(listener, door.clone(), places.clone(), shutdown.clone()));
        }
        self.sweep(&mut tasks, &shutdown);
        self.deliver(&mut tasks, &shutdown);
        self.health.send_replace(Health::Ready);
        shutdown.draining().await;
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(ServiceError::new)?;
        }
        Ok(())
    }

    /// What cannot be written here is no reason to send nobody here: all else is served.
    fn health(&self) -> Health {
        let store = &self.local.store;
        let health = self.health.borrow().clone();
        if health != Health::Ready {
            return health;
        }
        let why = if let Some(fault) = store.fault() {
            format!("no objects are written here: {fault}")
        } else if let Some(shortage) = store.shortage() {
            format!("objects are refused here (507): {shortage}")
        } else if let Some(fault) = store.engine_fault() {
            format!("the engine of larger objects does not answer: {fault}")
        } else {
            return Health::Ready;
        };
        Health::Degraded(why)
    }
}
