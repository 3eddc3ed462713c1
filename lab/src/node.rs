//! The configuration of a node, as the node reads it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Serialize;

use crate::error::{LabError, Result};
use crate::plan::{ADMIN_PORT, Host, HostKind, Plan, S3_PORT};
use crate::state::LabState;
use crate::topology::Topology;

/// A lab's node drains quickly: whoever waits for it sits in front of it.
pub(crate) const DRAIN_SECONDS: u32 = 10;
/// Where servers resolve for clients, at the anycast addresses: what has authority there is at 53.
const RESOLVER_PORT: u16 = 5353;
/// Where clients are ([`Plan`]).
const CLIENTS: [&str; 2] = ["172.16.0.0/16", "fd00:16::/32"];
/// Cache of one node: six of them share 4 GiB with everything else.
const CACHE_BYTES: u64 = 64 << 20;
/// And of the disk: the least that there is.
const CACHE_DISK_BYTES: u64 = 64 << 20;
/// Processes that Workers of one node are spread over: the lab has the processors of one machine for all nodes.
const WORKERS_SHARDS: usize = 1;

#[derive(Serialize)]
struct NodeFile {
    node: NodeTable,
    network: NetworkTable,
    identity: IdentityTable,
    ledger: LedgerTable,
    dns: DnsTable,
    edge: EdgeTable,
    cache: CacheTable,
    tiers: TiersTable,
    control: ControlTable,
    r2: R2Table,
    anycast: AnycastTable,
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<WorkersTable>,
}

#[derive(Serialize)]
struct NodeTable {
    name: String,
    pop: String,
    region: String,
    data_dir: PathBuf,
    key_file: PathBuf,
    admin: SocketAddr,
    drain_seconds: u32,
}

#[derive(Serialize)]
struct NetworkTable {
    anycast_addresses: Vec<IpAddr>,
    name_servers: Vec<String>,
}

#[derive(Serialize)]
struct IdentityTable {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Serialize)]
struct LedgerTable {
    listen: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upstreams: Vec<SocketAddr>,
}

#[derive(Serialize)]
struct DnsTable {
    listen: Vec<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolver: Option<ResolverTable>,
}

#[derive(Serialize)]
struct EdgeTable {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    allow_private_origins: bool,
    resolvers: Vec<SocketAddr>,
}

#[derive(Serialize)]
struct CacheTable {
    memory_bytes_max: u64,
    disk_bytes_max: u64,
}

#[derive(Serialize)]
struct TiersTable {
    listen: Vec<SocketAddr>,
    upper_pops: Vec<String>,
    servers: Vec<TiersServer>,
}

#[derive(Serialize)]
struct TiersServer {
    name: String,
    pop: String,
    region: String,
    address: SocketAddr,
}

#[derive(Serialize)]
struct ResolverTable {
    listen: Vec<SocketAddr>,
    allow: [&'static str; 2],
    hints_file: PathBuf,
    anchors_file: PathBuf,
    allow_private_name_servers: bool,
}

#[derive(Serialize)]
struct ControlTable {
    listen: Vec<SocketAddr>,
    activation: &'static str,
}

#[derive(Serialize)]
struct R2Table {
    listen: Vec<SocketAddr>,
}

#[derive(Serialize)]
struct AnycastTable {
    enabled: bool,
    prefixes: Vec<IpNet>,
    local_as: u32,
    router_id: IpAddr,
    run_dir: PathBuf,
    bfd: BfdTable,
    forward_listen: SocketAddr,
    peers: Vec<SocketAddr>,
    neighbors: Vec<NeighborTable>,
}

#[derive(Serialize)]
struct WorkersTable {
    workerd: PathBuf,
    shards: usize,
    own_processes_max: usize,
}

#[derive(Serialize)]
struct BfdTable {
    interval_ms: u32,
    multiplier: u32,
}

#[derive(Serialize)]
struct NeighborTable {
    name: String,
    address: IpAddr,
    #[serde(rename = "as")]
    asn: u32,
}

/// node.toml of a server. With `workerd`, the program of that name, it runs Workers.
pub(crate) fn render(
    state: &LabState,
    topology: &Topology,
    plan: &Plan,
    server: &Host,
    workerd: Option<&Path>,
) -> Result<String> {
    let HostKind::Server { pop } = &server.kind else {
        return Err(LabError::UnknownName {
            wanted: "server",
            name: server.name.clone(),
            known: plan.servers().map(|host| host.name.as_str()).collect::<Vec<_>>().join(", "),
        });
    };
    let network = &topology.network;
    let addresses: Vec<_> = network.anycast.iter().map(|anycast| anycast.address).collect();
    let on = |port: u16| addresses.iter().map(|address| SocketAddr::new(*address, port)).collect::<Vec<_>>();
    let config = state.config_dir(&server.name);
    let file = NodeFile {
        node: NodeTable {
            name: server.name.clone(),
            pop: pop.clone(),
            region: server.region.clone(),
            data_dir: state.data_dir(&server.name),
            key_file: state.at_rest_key(),
            admin: SocketAddr::from(([127, 0, 0, 1], ADMIN_PORT)),
            drain_seconds: DRAIN_SECONDS,
        },
        network: NetworkTable {
            anycast_addresses: addresses.clone(),
            name_servers: network.name_servers.clone(),
        },
        identity: IdentityTable {
            ca: config.join("ca.pem"),
            certificate: config.join("node.pem"),
            key: config.join("node.key"),
        },
        ledger: ledger(topology, plan, server)?,
        dns: DnsTable { listen: on(53), resolver: resolver(state, topology, on(RESOLVER_PORT)) },
        edge: EdgeTable { http: on(80), https: on(443), allow_private_origins: true, resolvers: Vec::new() },
        cache: CacheTable { memory_bytes_max: CACHE_BYTES, disk_bytes_max: CACHE_DISK_BYTES },
        tiers: tiers(topology, plan, server),
        control: ControlTable { listen: vec![server.api()], activation: "trust" },
        r2: R2Table { listen: on(S3_PORT) },
        anycast: anycast(state, topology, plan, server),
        workers: workerd.map(|workerd| WorkersTable {
            workerd: workerd.to_owned(),
            shards: WORKERS_SHARDS,
            own_processes_max: 0,
        }),
    };
    toml::to_string(&file).map_err(|error| LabError::Malformed {
        what: format!("node.toml of {}", server.name),
        why: error.to_string(),
    })
}

/// Where the topology has a root to begin at, every server resolves for the clients.
fn resolver(state: &LabState, topology: &Topology, listen: Vec<SocketAddr>) -> Option<ResolverTable> {
    (!topology.zones.is_empty()).then(|| ResolverTable {
        listen,
        allow: CLIENTS,
        hints_file: state.root_hints(),
        anchors_file: state.root_anchor(),
        allow_private_name_servers: true,
    })
}

fn tiers(topology: &Topology, plan: &Plan, server: &Host) -> TiersTable {
    let uppers = topology.pops.iter().filter(|pop| pop.upper_tier);
    let servers = plan.servers().map(|host| TiersServer {
        name: host.name.clone(),
        pop: host.kind.pop().unwrap_or_default().to_owned(),
        region: host.region.clone(),
        address: host.tiers(),
    });
    TiersTable {
        listen: vec![server.tiers()],
        upper_pops: uppers.map(|pop| pop.code.clone()).collect(),
        servers: servers.collect(),
    }
}

fn anycast(state: &LabState, topology: &Topology, plan: &Plan, server: &Host) -> AnycastTable {
    let network = &topology.network;
    let neighbors = server.interfaces.iter().flat_map(|interface| {
        // `router` alone would be a keyword of BIRD's.
        [("uplink4", IpAddr::from(interface.peer4)), ("uplink6", interface.peer6.into())]
    });
    AnycastTable {
        enabled: true,
        prefixes: network.anycast.iter().map(|anycast| anycast.prefix).collect(),
        local_as: network.asn,
        router_id: server.address4.into(),
        run_dir: state.run_dir(&server.name),
        bfd: BfdTable { interval_ms: network.bfd.interval_ms, multiplier: network.bfd.multiplier },
        forward_listen: server.forward(),
        peers: plan.servers().filter(|other| other.name != server.name).map(Host::forward).collect(),
        neighbors: neighbors
            .map(|(name, address)| NeighborTable { name: name.to_owned(), address, asn: network.asn })
            .collect(),
    }
}

/// Whom a server follows, best first. The first server of each PoP follows the log, the others the first one, so
/// that a change crosses each long link once and nobody prefers a server that prefers him. Then come other PoPs, so
/// that the log is never the only way.
fn ledger(topology: &Topology, plan: &Plan, server: &Host) -> Result<LedgerTable> {
    let log = plan.server(&topology.network.log)?;
    if log.name == server.name {
        return Ok(LedgerTable { listen: server.ledger(), log: None, upstreams: Vec::new() });
    }
    let pop = server.kind.pop().unwrap_or_default();
    let peers = plan.pop_servers(pop)?;
    let is_first = peers.first().is_some_and(|first| first.name == server.name);
    let firsts_elsewhere = topology.pops.iter().filter(|other| other.code != pop);
    let firsts_elsewhere: Vec<_> =
        firsts_elsewhere.filter_map(|other| plan.server(&other.servers().next()?).ok()).collect();
    let order: Vec<&Host> = if is_first {
        [log].into_iter().chain(firsts_elsewhere).chain(peers).collect()
    } else {
        peers.into_iter().chain([log]).chain(firsts_elsewhere).collect()
    };
    let mut upstreams = Vec::new();
    for host in order {
        if host.name != server.name && !upstreams.contains(&host.ledger()) {
            upstreams.push(host.ledger());
        }
    }
    Ok(LedgerTable { listen: server.ledger(), log: Some(log.ledger()), upstreams })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(server: &str) -> toml::Table {
        let topology = Topology::default_three_continents();
        let plan = Plan::new(&topology);
        let state = LabState::new("t", Path::new("/run/x")).unwrap();
        render(&state, &topology, &plan, plan.server(server).unwrap(), None).unwrap().parse().unwrap()
    }

    fn upstreams(server: &str) -> Vec<String> {
        let list = rendered(server)["ledger"]["upstreams"].as_array().unwrap().clone();
        list.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_nodes_own_reader_accepts_the_configuration() {
        let topology = Topology::default_three_continents();
        let plan = Plan::new(&topology);
        let state = LabState::new("t", Path::new("/run/x")).unwrap();
        for server in plan.servers() {
            let text = render(&state, &topology, &plan, server, Some(Path::new("/opt/workerd"))).unwrap();
            let config =
                proxima_chassis::NodeConfig::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(config.node.name.as_str(), server.name);
        }
    }

    #[test]
    fn servers_run_workers_where_their_engine_is_given() {
        let topology = Topology::default_three_continents();
        let plan = Plan::new(&topology);
        let state = LabState::new("t", Path::new("/run/x")).unwrap();
        let (server, engine) = (plan.server("fra-1").unwrap(), Path::new("/opt/workerd"));
        let text = render(&state, &topology, &plan, server, Some(engine)).unwrap();
        assert_eq!(text.parse::<toml::Table>().unwrap()["workers"]["workerd"].as_str(), Some("/opt/workerd"));
        assert!(rendered("fra-1").get("workers").is_none(), "its own reader looks in PATH");
    }

    #[test]
    fn servers_speak_s3_at_the_anycast_addresses() {
        let listen = rendered("sin-2")["r2"]["listen"].as_array().unwrap().clone();
        let listen: Vec<_> = listen.iter().filter_map(toml::Value::as_str).collect();
        assert_eq!(listen, ["198.18.0.1:9000", "[fd00:198:18::1]:9000"]);
    }

    #[test]
    fn servers_resolve_for_clients_where_there_is_a_root() {
        let dns = &rendered("fra-1")["dns"];
        assert_eq!(dns["resolver"]["listen"][0].as_str(), Some("198.18.0.1:5353"));
        assert_eq!(dns["resolver"]["hints_file"].as_str(), Some("/run/x/t/names/root.hints"));
        let topology = Topology { zones: Vec::new(), ..Topology::default_three_continents() };
        let plan = Plan::new(&topology);
        let state = LabState::new("t", Path::new("/run/x")).unwrap();
        assert!(resolver(&state, &topology, Vec::new()).is_none());
        let client = plan.host("paris").unwrap().address4;
        assert!(CLIENTS[0].parse::<ipnet::Ipv4Net>().unwrap().contains(&client));
    }

    #[test]
    fn the_log_follows_nobody_and_the_others_have_several_upstreams() {
        let log = rendered("fra-1");
        assert!(log["ledger"].get("log").is_none() && log["ledger"].get("upstreams").is_none());
        assert_eq!(upstreams("iad-1"), ["10.1.1.2:7400", "10.3.1.2:7400", "10.2.2.2:7400"]);
        assert_eq!(upstreams("iad-2"), ["10.2.1.2:7400", "10.1.1.2:7400", "10.3.1.2:7400"]);
        assert_eq!(upstreams("fra-2"), ["10.1.1.2:7400", "10.2.1.2:7400", "10.3.1.2:7400"]);
    }

    #[test]
    fn a_server_has_one_neighbor_in_each_family_of_its_own_as() {
        let anycast = &rendered("sin-2")["anycast"];
        let neighbors = anycast["neighbors"].as_array().unwrap();
        assert_eq!(neighbors[0]["address"].as_str(), Some("10.3.2.1"));
        assert_eq!(neighbors[1]["address"].as_str(), Some("fd00:10:3:2::1"));
        assert!(neighbors.iter().all(|neighbor| neighbor["as"].as_integer() == Some(64512)));
        assert_eq!(anycast["bfd"]["interval_ms"].as_integer(), Some(50));
    }

    #[test]
    fn a_server_forwards_for_all_others_at_their_own_addresses() {
        let anycast = &rendered("fra-2")["anycast"];
        assert_eq!(anycast["forward_listen"].as_str(), Some("10.1.2.2:7500"));
        let peers: Vec<_> =
            anycast["peers"].as_array().unwrap().iter().filter_map(|peer| peer.as_str()).collect();
        assert!(peers.contains(&"10.1.1.2:7500") && peers.contains(&"10.3.2.2:7500"), "{peers:?}");
        assert!(!peers.contains(&"10.1.2.2:7500"));
    }
}
