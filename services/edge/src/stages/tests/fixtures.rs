//! Zones, records and exchanges for tests.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use proxima_ledger::ReadError;
use proxima_model::{
    AccountId, DnsName, Phase, PopCode, Record, RecordData, RecordId, Rule, Ruleset, RulesetId, Timestamp,
    Ttl, Zone, ZoneId, ZoneName, ZoneSettings, ZoneStatus,
};
use proxima_pipeline::{Body, Client, Exchange, Protocol, RayId, Request, Scheme, Site, TlsFacts, Trace};

use crate::stages::{Missing, Sites};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_123);

/// Zones in a list.
#[derive(Default)]
pub(crate) struct FixedSites(pub(crate) Vec<Arc<Site>>);

impl Sites for FixedSites {
    fn find(&self, host: &str) -> Result<Option<Arc<Site>>, Missing> {
        let encloses = |site: &&Arc<Site>| {
            let zone = site.zone.name.as_str();
            host == zone || host.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
        };
        Ok(self.0.iter().filter(encloses).max_by_key(|site| site.zone.name.as_str().len()).cloned())
    }
}

/// A replica that cannot be read.
pub(crate) struct BrokenSites;

impl Sites for BrokenSites {
    fn find(&self, _host: &str) -> Result<Option<Arc<Site>>, Missing> {
        Err(ReadError::Corrupt("a test".to_owned()).into())
    }
}

pub(crate) fn zone(name: &str) -> Zone {
    let mut id = [0; 16];
    let octets = name.as_bytes();
    id[..octets.len().min(16)].copy_from_slice(&octets[..octets.len().min(16)]);
    Zone {
        id: ZoneId::from_bytes(id),
        account: AccountId::from_bytes([1; 16]),
        name: ZoneName::parse(name).unwrap(),
        status: ZoneStatus::Active,
        paused: false,
        name_servers: Vec::new(),
        settings: ZoneSettings::default(),
        serial: 1,
        created_at: NOW,
        modified_at: NOW,
        activated_at: Some(NOW),
    }
}

/// Proxied records: a name and its content, which is an address or an alias.
pub(crate) fn site_of(zone: Zone, records: &[(&str, &str)], rules: Vec<Rule>) -> Arc<Site> {
    let id = zone.id;
    let records: Vec<Record> = records
        .iter()
        .map(|(name, content)| Record {
            id: RecordId::from_bytes([2; 16]),
            zone: id,
            name: DnsName::parse(name).unwrap(),
            data: match content.parse() {
                Ok(std::net::IpAddr::V4(address)) => RecordData::A { address },
                Ok(std::net::IpAddr::V6(address)) => RecordData::Aaaa { address },
                Err(_) => RecordData::Cname { target: DnsName::parse(content).unwrap() },
            },
            ttl: Ttl::Auto,
            proxied: true,
            flatten: false,
            comment: None,
            tags: Vec::new(),
            created_at: NOW,
            modified_at: NOW,
        })
        .collect();
    let ruleset = Ruleset {
        id: RulesetId::from_bytes([3; 16]),
        zone: id,
        phase: Phase::RequestOrigin,
        name: "default".to_owned(),
        description: String::new(),
        version: 1,
        rules,
        last_updated: NOW,
    };
    Arc::new(Site::new(zone, records, Some(ruleset)))
}

/// A request for `url` by a client at 192.0.2.7, traced.
pub(crate) fn exchange(url: &str) -> Exchange {
    let uri: Uri = url.parse().unwrap();
    let scheme = if uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
    let authority = uri.authority().unwrap();
    let host: Arc<str> = authority.host().into();
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_str(authority.as_str()).unwrap());
    let tls = (scheme == Scheme::Https).then(|| {
        Arc::new(TlsFacts {
            version: "TLSv1.3",
            server_name: Some(host.clone()),
            resumed: false,
            client_certificate: None,
        })
    });
    let client = Client {
        address: "192.0.2.7:40000".parse().unwrap(),
        local: "198.51.100.1:443".parse().unwrap(),
        protocol: Protocol::Http11,
        tls,
    };
    let request = Request {
        method: Method::GET,
        scheme,
        host,
        port: authority.port_u16(),
        target: uri.path_and_query().unwrap().clone(),
        headers,
        upgrade: None,
    };
    let ray = RayId::new(PopCode::parse("FRA").unwrap());
    let mut exchange = Exchange::new(ray, client, request, Body::empty(), NOW);
    exchange.trace = Trace::kept();
    exchange
}

pub(crate) fn with_field(mut exchange: Exchange, name: &'static str, value: &str) -> Exchange {
    let value = HeaderValue::from_str(value).unwrap();
    exchange.request.headers.append(HeaderName::from_static(name), value);
    exchange
}
