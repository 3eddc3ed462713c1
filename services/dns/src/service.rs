//! The service: made, bound, run, drained.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use proxima_chassis::{Health, NodeContext, Places, PrepareError, Prepared, Service, ServiceError, Shutdown};
use proxima_ledger::{ChangeSet, Snapshot, Unserved};
use proxima_model::{DnsName, Kind, TicketKeys};
use proxima_pipeline::{AnswersNeighbours, Neighbours, QueryReports, ZoneNotices};
use proxima_resolver::{Sockets, Upstream};
use tokio::{sync::oneshot, task::JoinSet};
use tracing::info;

use crate::{
    DnsError,
    analytics::Analytics,
    answerer::Listening,
    bound::{Bound, Listen},
    config::DnsConfig,
    flattening::Flattening,
    https::{DnsOverHttps, Role},
    metrics::{DnsMetrics, ListenerMetrics, register_zones},
    resolver::Recursive,
    respond::Responder,
    root::{Root, Tending},
    server::Server,
    tls::Secure,
};

/// Its name: configuration table, metric prefix, owner of its listeners.
pub(crate) const NAME: &str = "dns";

/// The port of name servers.
const PORT: u16 = 53;
/// What tickets for sessions of each role are bound to: they open at its own ports only.
const TICKETS: &[u8] = b"dns";
const RESOLVER_TICKETS: &[u8] = b"dns resolver";

/// DNS: with authority, and, where that is configured, resolving.
pub struct DnsService {
    server: Arc<Server>,
    /// Where queries come encrypted.
    secure: Option<Arc<Secure>>,
    resolving: Option<Resolving>,
    /// Where it begins to resolve, for clients or for aliases.
    root: Option<Arc<Root>>,
    analytics: Arc<Analytics>,
    name_servers: Vec<String>,
    health: Mutex<Health>,
    addresses: Mutex<DnsAddresses>,
}

/// Where DNS is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsAddresses {
    /// Over UDP and TCP.
    pub clear: Vec<SocketAddr>,
    /// Over TLS.
    pub tls: Vec<SocketAddr>,
    /// Over QUIC.
    pub quic: Vec<SocketAddr>,
    /// Where names are resolved, if they are.
    pub resolver: Option<Box<DnsAddresses>>,
}

/// Where resolving begins; none, if nothing is resolved here: for nobody, and for aliases only where the root's files are.
///
/// # Errors
/// It is asked for, and a file that it begins with cannot be used.
fn open_root(node: &NodeContext, config: &DnsConfig) -> Result<Option<Arc<Root>>, DnsError> {
    let outside = config.flattening.outside;
    if !config.resolver.is_on() && outside == Some(false) {
        return Ok(None);
    }
    match Root::open(node, &config.resolver) {
        Ok(root) => Ok(Some(root)),
        Err(error) if !config.resolver.is_on() && outside.is_none() => {
            info!(%error, "aliases that lead outside are not flattened: [dns.flattening] outside");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The role that resolves.
struct Resolving {
    role: Arc<Recursive>,
    /// Where questions come encrypted.
    secure: Option<Arc<Secure>>,
}

impl DnsService {
    /// Reads `[dns]` and makes the service; nothing is bound yet.
    ///
    /// # Errors
    /// What is wrong in the configuration.
    pub fn new(node: &NodeContext) -> Result<Arc<Self>, DnsError> {
        Self::with_upstream(node, Arc::new(Sockets { port: PORT }))
    }

    /// As [`Self::new`]; where names are resolved, name servers are asked by `upstream`.
    ///
    /// # Errors
    /// What is wrong in the configuration.
    pub fn with_upstream(node: &NodeContext, upstream: Arc<dyn Upstream>) -> Result<Arc<Self>, DnsError> {
        let config = DnsConfig::of(&node.config)?;
        let network = &node.config.network;
        let responder = Responder::new(
            &network.anycast_addresses,
            network.http3,
            node.name().as_str(),
            config.udp_payload_bytes_max,
            node.clock.clone(),
        )
        .with_keepalive(config.tcp_idle())
        .with_cookies_required(config.udp_cookies_required)
        .with_rate_limit(
            config.rate_limit_per_second,
            config.rate_limit_slip,
            &config.rate_limit_exempt,
        );
        let secure = |listen: &Listen<'_>, names: &[DnsName], tickets| {
            let secure = || Secure::new(node, names, tickets).map(Arc::new);
            listen.is_encrypted().then(secure).transpose()
        };
        let root = open_root(node, &config)?;
        let flattening = root.as_ref().filter(|_| config.flattening.outside != Some(false));
        let flattening = flattening.map(|root| Flattening::new(node, &config, root, upstream.clone()));
        let resolving = root.as_ref().filter(|_| config.resolver.is_on()).map(|root| {
            let role = Arc::new(Recursive::new(node, &config, root, upstream)?);
            let secure = secure(&config.resolver.listen(), &config.resolver.names, RESOLVER_TICKETS)?;
            Ok::<_, DnsError>(Resolving { role, secure })
        });
        let resolving = resolving.transpose()?;
        let secure = secure(&config.authority(), &network.name_servers, TICKETS)?;
        let (metrics, listeners) = node
            .metrics
            .register(NAME, |registry| (DnsMetrics::register(registry), ListenerMetrics::register(registry)));
        let listening = Listening::new(&config, listeners);
        let replica = node.replica.clone();
        let analytics = Analytics::new(node, &config.analytics);
        let sampler = analytics.sampler();
        let server =
            Arc::new(Server::new(config, (metrics, sampler), listening, responder, replica, flattening));
        node.metrics.register(NAME, |registry| register_zones(registry, server.zones.clone()));
        let health = Mutex::new(Health::Starting);
        let name_servers = network.name_servers.iter().map(ToString::to_string).collect();
        let addresses = Mutex::default();
        Ok(Arc::new(Self { server, secure, resolving, root, analytics, name_servers, health, addresses }))
    }

    /// Where it answers, once it does; port 0 of the configuration is here what the kernel chose.
    pub fn addresses(&self) -> DnsAddresses {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The stage by which the edge answers queries within HTTP; it passes everything on if that is switched off.
    pub fn over_https(&self) -> DnsOverHttps {
        let hosts = if self.server.config.https { self.name_servers.clone() } else { Vec::new() };
        let resolver = self.resolving.as_ref().map(|Resolving { role, .. }| {
            let hosts = role.hosts();
            Role::new(role.clone(), hosts).with_json()
        });
        DnsOverHttps::new(Role::new(self.server.clone(), hosts), resolver)
    }

    /// How many times zones were compiled: by a thread that was asked for them, by another one since they were large, and ahead
    /// since they changed.
    pub fn zones_compiled(&self) -> [u64; 3] {
        let zones = &self.server.zones;
        [zones.compiled_for_requests(), zones.compiled_aside(), zones.compiled_ahead()]
    }

    /// Who tells what the network's name servers were asked.
    pub fn query_reports(&self) -> Arc<dyn QueryReports> {
        self.analytics.clone()
    }

    /// Tells who sees to zones that come from elsewhere when they have changed there. Once.
    pub fn tell_notices(&self, notices: Arc<dyn ZoneNotices>) {
        self.server.notices.set(notices).ok();
    }

    /// Has the resolver ask the other servers of its PoP what it does not know; who answers them, unless names are not resolved
    /// here, or by each server for itself. Once.
    pub fn share(&self, neighbours: Arc<dyn Neighbours>) -> Option<Arc<dyn AnswersNeighbours>> {
        self.resolving.as_ref()?.role.share(neighbours)
    }

    fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Binds every address, and begins to answer.
    fn begin(
        &self,
        node: &NodeContext,
        shutdown: &Shutdown,
    ) -> Result<JoinSet<Result<(), DnsError>>, DnsError> {
        let config = &self.server.config;
        // A role whose connections are flooded leaves the other its places.
        let places = || Places::new(config.tcp_connections_max, config.tcp_connections_per_client_max);
        let authority = Bound::new(node, config, &config.authority(), self.secure.as_deref())?;
        let mut addresses = authority.addresses.clone();
        let mut tasks = JoinSet::new();
        let mut resolving = None;
        if let Some(Resolving { role, secure }) = &self.resolving {
            let bound = Bound::new(node, config, &config.resolver.listen(), secure.as_deref())?;
            addresses.resolver = Some(Box::new(bound.addresses.clone()));
            resolving = Some((bound, role));
        }
        authority.serve(&self.server, &places(), shutdown, &mut tasks);
        if let Some(flattening) = &self.server.flattening {
            tasks.spawn(flattening.clone().keep(shutdown.clone()));
        }
        if let (Some(root), Some(flattening)) = (&self.root, &self.server.flattening) {
            let resolver = flattening.resolver().clone();
            tasks.spawn(root.clone().tend(resolver, Tending::OnceUsed, shutdown.clone()));
        }
        if let (Some(root), Some(Resolving { role, .. })) = (&self.root, &self.resolving) {
            let resolver = role.resolver().clone();
            tasks.spawn(root.clone().tend(resolver, Tending::AtOnce, shutdown.clone()));
        }
        if let Some((bound, role)) = resolving {
            bound.serve(role, &places(), shutdown, &mut tasks);
            tasks.spawn(role.clone().watch(shutdown.clone()));
        }
        self.set_addresses(addresses);
        Ok(tasks)
    }

    /// What is encrypted with, of both roles.
    fn secures(&self) -> Vec<Arc<Secure>> {
        let resolving = self.resolving.as_ref().and_then(|resolving| resolving.secure.clone());
        self.secure.clone().into_iter().chain(resolving).collect()
    }

    fn set_addresses(&self, addresses: DnsAddresses) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }
}

#[async_trait]
impl Service for DnsService {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> Result<Prepared, PrepareError> {
        let keys = match changed.touches(Kind::TicketKeys) {
            true => {
                let keys = snapshot.get::<TicketKeys>(&())?.unwrap_or(TicketKeys { keys: Vec::new() });
                let tls: Vec<_> = self.secures().iter().map(|secure| secure.prepare_keys(&keys)).collect();
                let resolvers = self.resolving.as_ref().map(|found| found.role.prepare_cookies(&keys));
                Some((self.server.responder.prepare_cookies(&keys), resolvers, tls))
            }
            false => None,
        };
        let zones = self.server.zones.prepare(snapshot, changed);
        let secures: Vec<_> =
            self.secures().iter().map(|secure| secure.prepare_zones(snapshot, changed)).collect();
        Ok(Prepared::new(move || {
            zones();
            secures.into_iter().for_each(|put_in_force| put_in_force());
            if let Some((cookies, resolvers, tls)) = keys {
                cookies();
                resolvers.into_iter().for_each(|put_in_force| put_in_force());
                tls.into_iter().for_each(|put_in_force| put_in_force());
            }
        }))
    }

    fn unserved(&self) -> Vec<Unserved> {
        let secures = self.secures();
        let certificates = secures.iter().map(|secure| secure.unserved());
        certificates.chain([self.server.zones.unserved()]).collect()
    }

    async fn run(self: Arc<Self>, node: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
        let mut tasks = self.begin(&node, &shutdown).map_err(ServiceError::new)?;
        let (counts, ends) = oneshot::channel();
        let mut counting = JoinSet::new();
        counting.spawn(self.analytics.clone().run(ends));
        info!(addresses = ?self.addresses(), "answering DNS");
        self.resolving.iter().for_each(|resolving| resolving.role.announce());
        self.set_health(Health::Ready);
        let serve = async {
            while let Some(ended) = tasks.join_next().await {
                let ended = ended.map_err(ServiceError::new)?;
                if let Err(error) = ended {
                    self.set_health(Health::Failed(error.to_string()));
                    return Err(ServiceError::new(error));
                }
            }
            Ok(())
        };
        tokio::select! {
            outcome = serve => outcome?,
            () = shutdown.stopping() => return Ok(()),
        }
        // With nothing to listen on there is nothing to drain, and nothing ends before it is told to.
        shutdown.draining().await;
        // All is answered by now; what was counted of it is reported, within a bound of its own.
        drop(counts);
        counting.join_all().await;
        Ok(())
    }

    fn health(&self) -> Health {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if health.can_serve() && !self.server.can_read() {
            return Health::Failed("the replica cannot be read".to_owned());
        }
        health
    }
}
