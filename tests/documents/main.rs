//! What operators are told of `node.toml` is what servers read.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

mod fields;

use std::{collections::BTreeMap, path::Path};

use fields::fields;
use proxima_anycast::{AnycastConfig, Bfd, Neighbor};
use proxima_cache::CacheConfig;
use proxima_chassis::{IdentityConfig, NetworkConfig, NodeConfig, NodeSection};
use proxima_control::{AcmeConfig, Activation, ControlConfig};
use proxima_dns::{
    AnalyticsConfig, DnsConfig, FlatteningConfig, LocationConfig, PolicyConfig, ResolverConfig,
};
use proxima_edge::{EdgeConfig, LimitsConfig, RequestLogConfig, TimeoutsConfig};
use proxima_kv::KvConfig;
use proxima_ledger::LedgerConfig;
use proxima_queues::QueuesConfig;
use proxima_r2::{BlobsConfig, R2Config};
use proxima_tiers::{TiersConfig, config::Server as TierServer};
use proxima_workers::WorkersConfig;

fn operating(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating").join(file);
    std::fs::read_to_string(path).unwrap()
}

/// The keys of each table, as serde knows them.
fn tables() -> BTreeMap<&'static str, Vec<&'static str>> {
    BTreeMap::from([
        ("node", fields::<NodeSection>()),
        ("network", fields::<NetworkConfig>()),
        ("identity", fields::<IdentityConfig>()),
        ("ledger", fields::<LedgerConfig>()),
        ("dns", fields::<DnsConfig>()),
        ("dns.analytics", fields::<AnalyticsConfig>()),
        ("dns.flattening", fields::<FlatteningConfig>()),
        ("dns.resolver", fields::<ResolverConfig>()),
        ("dns.resolver.locations", fields::<LocationConfig>()),
        ("dns.resolver.policies", fields::<PolicyConfig>()),
        ("edge", fields::<EdgeConfig>()),
        ("edge.request_log", fields::<RequestLogConfig>()),
        ("edge.limits", fields::<LimitsConfig>()),
        ("edge.timeouts", fields::<TimeoutsConfig>()),
        ("cache", fields::<CacheConfig>()),
        ("tiers", fields::<TiersConfig>()),
        ("tiers.servers", fields::<TierServer>()),
        ("workers", fields::<WorkersConfig>()),
        ("kv", fields::<KvConfig>()),
        ("queues", fields::<QueuesConfig>()),
        ("r2", fields::<R2Config>()),
        ("r2.blobs", fields::<BlobsConfig>()),
        ("control", fields::<ControlConfig>()),
        ("control.acme", fields::<AcmeConfig>()),
        ("anycast", fields::<AnycastConfig>()),
        ("anycast.neighbors", fields::<Neighbor>()),
        ("anycast.bfd", fields::<Bfd>()),
    ])
}

#[test]
fn the_configuration_reference_lists_every_key_of_every_table_and_no_other() {
    let text = operating("configuration.md");
    let mut listed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut table = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            table = heading.strip_prefix("`[").and_then(|rest| rest.split_once("]`")).map(|(name, _)| name);
            table
                .into_iter()
                .for_each(|table| assert!(listed.insert(table, Vec::new()).is_none(), "[{table}] twice"));
        } else if let (Some(table), Some(row)) = (table, line.strip_prefix("| `")) {
            assert_eq!(row.matches(" | ").count(), 3, "a row has key, type, default and meaning: {line}");
            listed.get_mut(table).unwrap().push(row.split_once('`').unwrap().0);
        }
    }
    for keys in listed.values_mut() {
        keys.sort_unstable();
    }
    let mut there = tables();
    for keys in there.values_mut() {
        keys.sort_unstable();
    }
    assert_eq!(listed, there);
}

#[test]
fn the_sample_node_toml_is_accepted_by_every_service_and_its_zones_become_active() {
    let text = operating("start.md");
    let sample = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = NodeConfig::parse(sample).unwrap();
    assert!(config.identity.is_some());
    config.ledger.check().unwrap();
    DnsConfig::of(&config).unwrap();
    config.service::<EdgeConfig>("edge").unwrap().check().unwrap();
    config.service::<CacheConfig>("cache").unwrap().check().unwrap();
    config.service::<AnycastConfig>("anycast").unwrap().check().unwrap();
    let control = config.service::<ControlConfig>("control").unwrap();
    control.check().unwrap();
    assert!(control.activation == Activation::Trust || !control.resolvers.is_empty());
    config.check_services(&["anycast", "cache", "control", "dns", "edge"].into()).unwrap();
}
