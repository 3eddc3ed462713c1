//! Whether a zone's delegation names our name servers.

use std::{collections::BTreeSet, net::SocketAddr};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{RData, RecordType},
};
use proxima_model::Zone;

use crate::{error::ControlError, limits};

/// Looks up delegations with the configured resolvers.
pub(crate) struct Delegations {
    resolver: Option<TokioResolver>,
}

impl Delegations {
    /// With these resolvers; without any, no zone is found delegated.
    pub(crate) fn new(resolvers: &[SocketAddr]) -> Result<Self, ControlError> {
        if resolvers.is_empty() {
            return Ok(Self { resolver: None });
        }
        let servers = resolvers.iter().map(|address| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = address.port();
                connection
            });
            NameServerConfig::new(address.ip(), true, connections.to_vec())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        // What was true five minutes ago is no answer to "check now".
        builder.options_mut().cache_size = 0;
        builder.options_mut().timeout = limits::ACTIVATION_DEADLINE;
        let resolver = builder.build().map_err(|error| ControlError::Resolver(error.to_string()))?;
        Ok(Self { resolver: Some(resolver) })
    }

    /// Whether the zone is delegated to at least one of its name servers; if not, what was found instead.
    pub(crate) async fn check(&self, zone: &Zone) -> Result<(), String> {
        let Some(resolver) = &self.resolver else {
            return Err("no resolvers are configured; set `resolvers` in [control]".to_owned());
        };
        let question = resolver.ns_lookup(format!("{}.", zone.name));
        let answer = tokio::time::timeout(limits::ACTIVATION_DEADLINE, question).await;
        let lookup = match answer {
            Err(_) => return Err(format!("the resolvers did not answer for {} in time", zone.name)),
            Ok(Err(error)) => return Err(format!("looking up the name servers of {}: {error}", zone.name)),
            Ok(Ok(lookup)) => lookup,
        };
        let found = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::NS(host) => Some(host.0.to_ascii().trim_end_matches('.').to_ascii_lowercase()),
            _ => None,
        });
        verdict(zone, &found.collect())
    }

    /// The data of the DS records that the zone's parent has for it: none if it says that it has none.
    pub(crate) async fn ds(&self, zone: &Zone) -> Result<BTreeSet<Vec<u8>>, String> {
        let Some(resolver) = &self.resolver else {
            return Err("no resolvers are configured; set `resolvers` in [control]".to_owned());
        };
        let question = resolver.lookup(format!("{}.", zone.name), RecordType::DS);
        let lookup = match tokio::time::timeout(limits::ACTIVATION_DEADLINE, question).await {
            Err(_) => {
                return Err(format!("the resolvers did not answer for the DS of {} in time", zone.name));
            }
            Ok(Err(error)) if error.is_no_records_found() => return Ok(BTreeSet::new()),
            Ok(Err(error)) => return Err(format!("looking up the DS of {}: {error}", zone.name)),
            Ok(Ok(lookup)) => lookup,
        };
        let records = lookup.answers().iter().filter(|record| record.record_type() == RecordType::DS);
        let data = records.map(|record| match &record.data {
            RData::Unknown { rdata, .. } => Ok(rdata.anything.to_vec()),
            // Taken for none it would end a zone's signatures too early.
            _ => Err(format!("a DS record of {} cannot be read", zone.name)),
        });
        data.collect()
    }
}

/// Whoever can name one of our servers in the parent zone owns the name; further servers beside ours are their choice.
fn verdict(zone: &Zone, found: &BTreeSet<String>) -> Result<(), String> {
    if zone.name_servers.iter().any(|server| found.contains(server.as_str())) {
        return Ok(());
    }
    let list = |names: Vec<&str>| if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    Err(format!(
        "{} is delegated to {}; delegate it to {}",
        zone.name,
        list(found.iter().map(String::as_str).collect()),
        list(zone.name_servers.iter().map(|server| server.as_str()).collect()),
    ))
}

#[cfg(test)]
mod tests {
    use proxima_model::{AccountId, DnsName, Timestamp, ZoneId, ZoneName, ZoneSettings, ZoneStatus};

    use super::*;

    #[test]
    fn a_zone_is_delegated_when_one_of_its_name_servers_is_named() {
        let zone = Zone {
            id: ZoneId::from_bytes([1; 16]),
            account: AccountId::from_bytes([2; 16]),
            name: ZoneName::parse("example.com").unwrap(),
            status: ZoneStatus::Pending,
            paused: false,
            name_servers: vec![DnsName::parse("ns1.proxima.example").unwrap()],
            settings: ZoneSettings::default(),
            serial: 1,
            created_at: Timestamp::from_millis(0),
            modified_at: Timestamp::from_millis(0),
            activated_at: None,
        };
        let found = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(verdict(&zone, &found(&["ns1.proxima.example", "ns.old.example"])), Ok(()));
        assert!(verdict(&zone, &found(&["ns.old.example"])).unwrap_err().contains("ns.old.example"));
        assert!(verdict(&zone, &found(&[])).unwrap_err().contains("nobody"));
    }
}
