//! The one list: which services every server runs, and which stages a request passes, in order.

use std::{error::Error, net::IpAddr, sync::Arc};

use proxima_anycast::{AnycastConfig, AnycastService};
use proxima_cache::CacheService;
use proxima_chassis::{NodeConfig, NodeContext, Service, check_node};
use proxima_compression::Compressor;
use proxima_control::ControlService;
use proxima_dns::DnsService;
use proxima_edge::{
    EdgeConfig, EdgeExplainer, EdgeService, Egress, EgressAddresses, EgressWays,
    origin::{OriginConfig, OriginTimeouts, Origins},
    stages::{
        Alternatives, ClientCertificates, ClientFacts, Compression, LoopGuard, OriginRules, OriginStage,
        PublicPorts, SecurityHeader, Sites, TraceEndpoint, ZoneStage,
    },
};
use proxima_kv::{KvConfig, KvService};
use proxima_ledger::CompiledZones;
use proxima_pipeline::{Pipeline, Site};
use proxima_queues::{QueuesConfig, QueuesService};
use proxima_r2::{R2Config, R2Service};
use proxima_tiers::{TiersConfig, TiersService};
use proxima_tls::Certificates;
use proxima_workers::{Launcher, WorkersConfig, WorkersService, Zones};

/// The services' names: the tables that `node.toml` may have beside the node's own.
pub(crate) const NAMES: [&str; 10] =
    ["anycast", "dns", "edge", "workers", "kv", "queues", "cache", "tiers", "r2", "control"];

/// Compiled zones that one node keeps ready; of others the next request waits for the replica.
const SITES_MAX: u64 = 10_000;

/// Makes the services of a node. In the order of the list they prepare and commit.
pub(crate) fn make(node: &NodeContext) -> Result<Vec<Arc<dyn Service>>, Box<dyn Error + Send + Sync>> {
    let sites = CompiledZones::<Site>::new(node.replica.clone(), SITES_MAX);
    let metrics = node.metrics.register(proxima_compression::NAME, proxima_compression::Metrics::register);
    let compressor = Compressor::new(metrics);
    let cache = CacheService::new(node, Arc::clone(&compressor))?;
    let tiers = TiersService::new(node)?;
    let workers = WorkersService::new(node)?;
    // This program as it runs, also when another version lies where it was.
    workers.launch_by(Launcher { program: "/proc/self/exe".into(), arguments: vec!["workers-cage".into()] });
    let kv = KvService::new(node, tiers.servers())?;
    tiers.answer_service_with(proxima_kv::SERVICE, kv.answers());
    workers.key_values_by(kv.port());
    workers.responses_by(Arc::new(cache.stage()));
    tiers.answer_service_with(proxima_workers::TAILS_SERVICE, workers.tail_answers());
    workers.tails_over(tiers.servers());
    tiers.answer_service_with(proxima_workers::DURABLE_SERVICE, workers.durable_answers());
    workers.durable_objects_over(tiers.servers());
    let queues = QueuesService::new(node, tiers.servers())?;
    tiers.answer_service_with(proxima_queues::SERVICE, queues.answers());
    queues.invoke_by(workers.invoker());
    workers.queues_by(queues.port());
    cache.stage().tell_invalidations(tiers.clone());
    let certificates = Arc::new(Certificates::new(node.replica.clone(), Arc::clone(&node.clock)));
    let dns = DnsService::new(node)?;
    // Servers of one PoP resolve each name once.
    if let Some(answers) = tiers.neighbours().and_then(|neighbours| dns.share(neighbours)) {
        tiers.answer_neighbours_with(answers);
    }
    let r2 = R2Service::new(node, tiers.servers(), Arc::clone(&certificates))?;
    r2.queues_by(queues.port());
    let on_the_way = OnTheWay { dns: &dns, workers: &workers, cache: &cache, tiers: &tiers, r2: &r2 };
    let Ways { visitors: pipeline, fetched, origins } =
        pipelines(node, &sites, &certificates, on_the_way, compressor)?;
    let explainer = EdgeExplainer::new(
        pipeline.clone(),
        node.pop().clone(),
        node.name().clone(),
        Arc::clone(&node.clock),
    );
    let prewarm = workers.prewarm(sites.clone());
    let edge = EdgeService::new(node, pipeline, sites.clone(), certificates)?;
    let zones = Arc::new(Zones::new(node.replica.clone()));
    let ways = EgressWays { own: fetched, others: edge.entry(), zones };
    workers.fetch_by(Arc::new(egress(node, (Arc::new(sites), origins), ways, &workers)?));
    edge.prewarm_by(prewarm);
    let control = ControlService::new(node, Arc::new(explainer), edge.traffic(), dns.query_reports())?;
    control.invoke_by(workers.invoker());
    control.key_values_by(kv.port());
    control.queues_by(queues.port());
    control.tails_by(workers.tails());
    control.checks_by(workers.checks());
    control.durable_objects_by(workers.durable_objects());
    dns.tell_notices(control.notices());
    tiers.answer_service_with(proxima_r2::SERVICE, r2.answers());
    control.objects_by(r2.objects());
    workers.objects_by(r2.objects());
    Ok(vec![AnycastService::new(node)?, dns, edge, workers, kv, queues, cache, tiers, r2, control])
}

/// Other services than the edge that have a stage on the way of a request.
struct OnTheWay<'a> {
    dns: &'a DnsService,
    workers: &'a WorkersService,
    cache: &'a CacheService,
    tiers: &'a TiersService,
    r2: &'a R2Service,
}

/// The ways of requests, and what is at their end.
struct Ways {
    /// From top to bottom.
    visitors: Pipeline,
    /// Of what Workers fetch from sites of their account.
    fetched: Pipeline,
    origins: Arc<Origins>,
}

/// The ways of requests; and, for the tiers, that of another server's.
fn pipelines(
    node: &NodeContext,
    sites: &CompiledZones<Site>,
    certificates: &Arc<Certificates>,
    OnTheWay { dns, workers, cache, tiers, r2 }: OnTheWay<'_>,
    compressor: Arc<Compressor>,
) -> Result<Ways, Box<dyn Error + Send + Sync>> {
    let edge: EdgeConfig = node.config.service(proxima_edge::SERVICE)?;
    let origins = origins(&node.config, &edge);
    let sites: Arc<dyn Sites> = Arc::new(sites.clone());
    // Redirects between the schemes name the ports at which this server really listens.
    let port =
        |addresses: &[std::net::SocketAddr], usual| addresses.first().map_or(usual, |address| address.port());
    let ports = PublicPorts { http: port(&edge.http, 80), https: port(&edge.https, 443) };
    let origins = Arc::new(Origins::new(&origins, Arc::clone(&sites), &node.metrics)?);
    // What the first server has done for the client is not done again; nor what was done before a Worker.
    let behind_workers = Pipeline::new(vec![
        Box::new(cache.stage().entrance()),
        Box::new(ZoneStage::new(Arc::clone(&sites), ports)),
        Box::new(OriginRules),
        Box::new(cache.stage()),
        Box::new(tiers.stage()),
        Box::new(r2.stage()),
        Box::new(OriginStage::new(Arc::clone(&origins))),
    ]);
    tiers.answer_with(behind_workers, Arc::new(cache.stage()));
    // The same, but that at its custom domains a Worker stands in the place of an origin.
    let fetched = Pipeline::new(vec![
        Box::new(cache.stage().entrance()),
        Box::new(ZoneStage::new(Arc::clone(&sites), ports)),
        Box::new(OriginRules),
        Box::new(workers.domains()),
        Box::new(cache.stage()),
        Box::new(tiers.stage()),
        Box::new(r2.stage()),
        Box::new(OriginStage::new(Arc::clone(&origins))),
    ]);
    let visitors = Pipeline::new(vec![
        Box::new(ClientFacts::new(Arc::clone(&node.clock))),
        // Before whatever tells a request's host and path: it takes clients' tokens out of them.
        Box::new(dns.over_https()),
        Box::new(TraceEndpoint::new(node.name().clone(), node.config.node.region.clone())),
        Box::new(LoopGuard::new(&node.config.network)),
        Box::new(cache.stage().entrance()),
        Box::new(ZoneStage::new(sites, ports)),
        Box::new(Alternatives::new(node.config.network.http3)),
        Box::new(SecurityHeader),
        Box::new(ClientCertificates::new(Arc::clone(certificates), Arc::clone(&node.clock))),
        Box::new(OriginRules),
        Box::new(Compression::new(compressor)),
        Box::new(workers.stage()),
        Box::new(cache.stage()),
        Box::new(tiers.stage()),
        Box::new(r2.stage()),
        Box::new(OriginStage::new(Arc::clone(&origins))),
    ]);
    Ok(Ways { visitors, fetched, origins })
}

/// The way out for Workers: to none of this machine's addresses, and to no other server of the network.
fn egress(
    node: &NodeContext,
    (sites, origins): (Arc<dyn Sites>, Arc<Origins>),
    ways: EgressWays,
    workers: &WorkersService,
) -> Result<Egress, Box<dyn Error + Send + Sync>> {
    let mut own = node.config.network.anycast_addresses.clone();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(address) = interface.address else { continue };
        own.extend(address.as_sockaddr_in().map(|address| IpAddr::from(address.ip())));
        own.extend(address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())));
    }
    let allow_private = WorkersConfig::of(&node.config)?.allow_private;
    let guard = LoopGuard::new(&node.config.network);
    let addresses = EgressAddresses { allow_private, own, servers: workers.servers() };
    let edge: EdgeConfig = node.config.service(proxima_edge::SERVICE)?;
    let upgrade_idle = edge.server_timeouts().upgrade_idle;
    Ok(Egress::new(sites, origins, ways, guard, addresses, upgrade_idle))
}

/// What a node's configuration says about origins.
fn origins(config: &NodeConfig, edge: &EdgeConfig) -> OriginConfig {
    OriginConfig {
        allow_private: edge.allow_private_origins,
        anycast_addresses: config.network.anycast_addresses.clone(),
        resolvers: edge.resolvers.clone(),
        origin_ca: edge.origin_ca.as_ref().map(|path| config.path(path)),
        timeouts: OriginTimeouts {
            call_idle: edge.server_timeouts().upgrade_idle,
            ..OriginTimeouts::default()
        },
        ..OriginConfig::default()
    }
}

/// Checks a node's configuration, what each service makes of its table, and the files and programs that they name,
/// without starting anything.
pub(crate) fn check(config: &NodeConfig) -> anyhow::Result<()> {
    check_node(config, &NAMES.into())?;
    AnycastConfig::of(config)?;
    proxima_dns::DnsConfig::of(config)?.check_files(config)?;
    let edge: EdgeConfig = config.service(proxima_edge::SERVICE)?;
    edge.check()?;
    edge.request_log.iter().try_for_each(|log| log.check_path(&config.path(&log.path)))?;
    origins(config, &edge).check()?;
    config.service::<proxima_cache::CacheConfig>("cache")?.check()?;
    TiersConfig::of(config)?;
    WorkersConfig::of(config)?;
    KvConfig::of(config)?;
    QueuesConfig::of(config)?;
    R2Config::of(config)?;
    proxima_control::ControlConfig::of(config)?;
    Ok(())
}
