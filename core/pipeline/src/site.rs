//! A zone as the stages see it: compiled once per change, shared by all requests.

use std::{collections::HashMap, net::IpAddr};

use http::HeaderValue;
use proxima_ledger::{CompileZone, OfZone, ReadError, Snapshot};
use proxima_model::{
    BucketDomain, CacheSettings, ClientAuthentication, DnsName, Kind, OriginRoute, Phase, Record, RecordData,
    RuleAction, Ruleset, WorkerHost, WorkerRoute, Zone, ZoneId, ZoneStatus,
};

use crate::{SiteWorkers, TrafficSlot, rules::SiteRule};

/// Where a host's traffic goes, as its records say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteHost {
    /// The origin's addresses (A and AAAA).
    pub addresses: Vec<IpAddr>,
    /// The origin's name (CNAME), resolved when it is connected to.
    pub alias: Option<DnsName>,
    /// Whether the name is proxied; one that is not is not served here.
    pub proxied: bool,
}

/// A zone, compiled for the request path.
#[derive(Clone, Debug)]
pub struct Site {
    /// The zone.
    pub zone: Zone,
    /// The hosts that exist, exact or wildcard, by name.
    hosts: HashMap<Box<str>, SiteHost>,
    /// The origin rules that are switched on, in order.
    pub origin_rules: Vec<SiteRule<OriginRoute>>,
    /// The cache rules that are switched on, in order.
    pub cache_rules: Vec<SiteRule<CacheSettings>>,
    /// The hosts whose visitors are asked for a certificate; `true` where they are refused without one that holds.
    pub client_auth: HashMap<Box<str>, bool>,
    /// Which Workers answer which of its URLs.
    pub workers: SiteWorkers,
    /// The hosts at which everybody may read the objects of a bucket; it answers there in the origin's place.
    pub buckets: HashMap<Box<str>, BucketDomain>,
    /// The value of `strict-transport-security`, if the zone says it.
    pub strict_transport_security: Option<HeaderValue>,
    /// The zone's numbers, once it is served.
    pub traffic: TrafficSlot,
}

impl Site {
    /// The host of this name: itself, or the nearest wildcard (RFC 4592: a name that exists hides the wildcard).
    pub fn host(&self, name: &str) -> Option<&SiteHost> {
        if let Some(host) = self.hosts.get(name) {
            return Some(host);
        }
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if parent.len() < self.zone.name.as_str().len() {
                return None;
            }
            if let Some(host) = self.hosts.get(format!("*.{parent}").as_str()) {
                return Some(host);
            }
            if self.hosts.contains_key(parent) {
                return None;
            }
            rest = parent;
        }
        None
    }

    /// A site made of its parts; what [`CompileZone::compile`] calls, and tests.
    pub fn new(
        zone: Zone,
        records: impl IntoIterator<Item = Record>,
        rulesets: impl IntoIterator<Item = Ruleset>,
    ) -> Self {
        let mut hosts: HashMap<Box<str>, SiteHost> = HashMap::new();
        for record in records {
            // A name with other records only exists too: it hides a wildcard, and is not served.
            let host = hosts.entry(record.name.as_str().into()).or_default();
            host.proxied |= record.proxied;
            match record.data {
                RecordData::A { address } => host.addresses.push(address.into()),
                RecordData::Aaaa { address } => host.addresses.push(address.into()),
                RecordData::Cname { target } => host.alias = Some(target),
                _ => {}
            }
        }
        let (mut origin_rules, mut cache_rules) = (Vec::new(), Vec::new());
        let rules = rulesets.into_iter().flat_map(|ruleset| ruleset.rules);
        for rule in rules.filter(|rule| rule.enabled) {
            let (id, description, expression) = (rule.id, rule.description, rule.expression);
            match rule.action {
                RuleAction::Route(action) => {
                    origin_rules.push(SiteRule { id, description, expression, action });
                }
                RuleAction::SetCacheSettings(action) => {
                    cache_rules.push(SiteRule { id, description, expression, action: *action });
                }
            }
        }
        let said = zone.settings.strict_transport_security.field();
        let strict_transport_security = said.and_then(|said| HeaderValue::from_maybe_shared(said).ok());
        let traffic = TrafficSlot::new();
        let (client_auth, workers, buckets) = (HashMap::new(), SiteWorkers::default(), HashMap::new());
        Self {
            zone,
            hosts,
            origin_rules,
            cache_rules,
            client_auth,
            workers,
            buckets,
            strict_transport_security,
            traffic,
        }
    }
}

impl OfZone for Site {
    fn zone_name(&self) -> &str {
        self.zone.name.as_str()
    }

    fn is_active(&self) -> bool {
        self.zone.status == ZoneStatus::Active
    }
}

impl CompileZone for Site {
    const KINDS: &'static [Kind] = &[
        Kind::Zone,
        Kind::Record,
        Kind::Ruleset,
        Kind::ClientAuthentication,
        Kind::WorkerRoute,
        Kind::WorkerHost,
        Kind::BucketDomain,
    ];

    fn is_larger_than(snapshot: &Snapshot, zone: ZoneId, records: usize) -> Result<bool, ReadError> {
        snapshot.has_more_than::<Record>(&[&zone], records)
    }

    fn compile(snapshot: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        let records = snapshot.scan::<Record>(&[&zone.id]).collect::<Result<Vec<_>, _>>()?;
        let rulesets = Phase::ALL.into_iter().map(|phase| snapshot.get::<Ruleset>(&(zone.id, phase)));
        let rulesets = rulesets.collect::<Result<Vec<_>, _>>()?;
        let mut client_auth: HashMap<Box<str>, bool> = HashMap::new();
        for association in snapshot.scan::<ClientAuthentication>(&[&zone.id]) {
            let association = association?;
            for host in association.hosts {
                *client_auth.entry(host.as_str().into()).or_default() |= association.enforce;
            }
        }
        let routes = snapshot.scan::<WorkerRoute>(&[&zone.id]).collect::<Result<Vec<_>, _>>()?;
        let hosts = snapshot.scan::<WorkerHost>(&[&zone.id]).collect::<Result<Vec<_>, _>>()?;
        let workers = SiteWorkers::new(routes, hosts);
        let buckets = snapshot.scan::<BucketDomain>(&[&zone.id]);
        let buckets = buckets
            .map(|domain| domain.map(|domain| (domain.hostname.as_str().into(), domain)))
            .collect::<Result<_, _>>()?;
        Ok(Self { client_auth, workers, buckets, ..Self::new(zone, records, rulesets.into_iter().flatten()) })
    }
}
