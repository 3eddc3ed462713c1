//! Where an origin lies that is given by a name: in our own zones by what is here, elsewhere by a resolver.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    },
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
};
use proxima_model::ZoneStatus;
use proxima_pipeline::Fault;
use quick_cache::sync::Cache;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::OriginConfigError;
use crate::stages::{Missing, Sites, Wait, unreadable};

/// Aliases followed within our own zones: more is a loop, or a mistake.
const ALIASES_MAX: usize = 8;
/// Names outside of our zones that are remembered.
const NAMES_MAX: usize = 16_384;
/// Addresses kept of one name.
const ADDRESSES_MAX: usize = 16;
/// An answer is remembered for at least this long, whatever its TTL says: what keeps a busy origin of TTL 0 from
/// costing a query each request.
const TTL_MIN: Duration = Duration::from_secs(2);
/// And for at most this long: an origin that has moved is found again within minutes.
const TTL_MAX: Duration = Duration::from_secs(300);
/// That a name has no address is remembered for at most this long.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(30);
/// Where the machine's resolver answers, no TTL is told.
const SYSTEM_TTL: Duration = Duration::from_secs(30);
/// For how long a former answer is used while no resolver answers (RFC 8767).
const STALE_FOR: Duration = Duration::from_secs(3600);
/// After a lookup that failed, the next one waits this long, so that a dead resolver is not asked by each request.
const FAILED_TTL: Duration = Duration::from_secs(2);

/// Addresses of one name; four fit without an allocation.
pub(super) type Addresses = SmallVec<[IpAddr; 4]>;

/// What a resolver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookedUp {
    /// These addresses, for so long.
    Found(Addresses, Duration),
    /// The name has none, for so long.
    Nothing(Duration),
    /// Nobody could tell.
    Failed,
}

/// Asks for addresses outside of our zones.
#[async_trait]
pub(super) trait Lookup: Send + Sync + 'static {
    async fn look_up(&self, name: &str) -> LookedUp;
}

/// Names, resolved and remembered.
pub(super) struct Names {
    sites: Arc<dyn Sites>,
    lookup: Box<dyn Lookup>,
    known: Cache<Box<str>, Arc<Slot>>,
    within: Duration,
}

/// One name.
#[derive(Default)]
struct Slot {
    known: Mutex<Option<Known>>,
    /// Held while it is looked up: all who want to know wait for one answer.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Known {
    /// Empty: the name has no address.
    addresses: Addresses,
    until: Instant,
    stale_until: Instant,
}

impl Slot {
    fn known(&self) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fresh(&self) -> Option<Addresses> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|known| Instant::now() < known.until).map(|known| known.addresses.clone())
    }

    fn learn(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
}

impl Names {
    pub(super) fn new(sites: Arc<dyn Sites>, lookup: Box<dyn Lookup>, within: Duration) -> Self {
        Self { sites, lookup, known: Cache::new(NAMES_MAX), within }
    }

    /// The addresses of `name`, at least one.
    ///
    /// # Errors
    /// [`Fault::OriginName`] where it has none or nobody can tell; [`Fault::Internal`] where the replica cannot be
    /// read.
    pub(super) async fn addresses(&self, name: &str) -> Result<Addresses, Fault> {
        let mut name = name.trim_end_matches('.').to_ascii_lowercase().into_boxed_str();
        for _ in 0..=ALIASES_MAX {
            match self.step(&name).await? {
                Step::Addresses(addresses) => return Ok(addresses),
                Step::Alias(target) => name = target,
                Step::Elsewhere => return self.elsewhere(&name).await,
            }
        }
        Err(Fault::OriginName)
    }

    /// What our own zones say. Only active ones count: anybody can make a zone of any name, but it becomes active only
    /// once its delegation names us.
    async fn step(&self, name: &str) -> Result<Step, Fault> {
        let wait = Wait::new();
        let site = loop {
            match self.sites.find(name) {
                Ok(site) => break site,
                Err(Missing::Unreadable(error)) => return Err(unreadable(&error)),
                Err(Missing::Pending(pending)) => wait.until_landed(pending).await?,
            }
        };
        let Some(site) = site.filter(|site| site.zone.status == ZoneStatus::Active) else {
            return Ok(Step::Elsewhere);
        };
        // A name that has no address here may lie below a delegation: the resolver knows.
        Ok(match site.host(name) {
            Some(host) if !host.addresses.is_empty() => {
                Step::Addresses(host.addresses.iter().copied().take(ADDRESSES_MAX).collect())
            }
            Some(host) => {
                host.alias.as_ref().map_or(Step::Elsewhere, |alias| Step::Alias(alias.as_str().into()))
            }
            None => Step::Elsewhere,
        })
    }

    async fn elsewhere(&self, name: &str) -> Result<Addresses, Fault> {
        let slot = match self.known.get(name) {
            Some(slot) => slot,
            None => {
                let slot = Arc::<Slot>::default();
                self.known.insert(name.into(), slot.clone());
                slot
            }
        };
        let addresses = match slot.fresh() {
            Some(addresses) => addresses,
            None => {
                let _looking = slot.looking.lock().await;
                match slot.fresh() {
                    Some(addresses) => addresses,
                    None => self.learn(name, &slot).await,
                }
            }
        };
        if addresses.is_empty() { Err(Fault::OriginName) } else { Ok(addresses) }
    }

    async fn learn(&self, name: &str, slot: &Slot) -> Addresses {
        let looked_up = tokio::time::timeout(self.within, self.lookup.look_up(name)).await;
        let now = Instant::now();
        let known = match looked_up.unwrap_or(LookedUp::Failed) {
            LookedUp::Found(addresses, ttl) => {
                let until = now + ttl.clamp(TTL_MIN, TTL_MAX);
                Known { addresses, until, stale_until: until + STALE_FOR }
            }
            LookedUp::Nothing(ttl) => {
                let until = now + ttl.clamp(TTL_MIN, NEGATIVE_TTL_MAX);
                Known { addresses: Addresses::new(), until, stale_until: until }
            }
            LookedUp::Failed => {
                let former = slot.known().filter(|known| now < known.stale_until);
                let former =
                    former.unwrap_or(Known { addresses: Addresses::new(), until: now, stale_until: now });
                Known { until: now + FAILED_TTL, ..former }
            }
        };
        slot.learn(known.clone());
        known.addresses
    }
}

enum Step {
    Addresses(Addresses),
    Alias(Box<str>),
    Elsewhere,
}

/// The resolvers of the configuration, or the machine's.
pub(super) fn resolver(resolvers: &[SocketAddr]) -> Result<Box<dyn Lookup>, OriginConfigError> {
    if resolvers.is_empty() {
        return Ok(Box::new(MachineResolver));
    }
    let servers = resolvers.iter().map(|address| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.into())
    });
    let config = ResolverConfig::from_name_servers(servers.collect());
    let mut options = ResolverOpts::default();
    options.timeout = Duration::from_secs(2);
    options.attempts = 2;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| OriginConfigError::Resolvers(error.to_string()))?;
    Ok(Box::new(Resolver(resolver)))
}

struct Resolver(TokioResolver);

#[async_trait]
impl Lookup for Resolver {
    async fn look_up(&self, name: &str) -> LookedUp {
        // With its last dot, so that no search list is tried.
        match self.0.lookup_ip(format!("{name}.")).await {
            Ok(found) => {
                let ttl = found.valid_until().saturating_duration_since(std::time::Instant::now());
                LookedUp::Found(found.iter().take(ADDRESSES_MAX).collect(), ttl)
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => {
                let seconds = nothing.negative_ttl.map_or(0, u64::from);
                LookedUp::Nothing(Duration::from_secs(seconds))
            }
            Err(error) => {
                tracing::debug!(%error, name, "an origin's name could not be looked up");
                LookedUp::Failed
            }
        }
    }
}

/// `getaddrinfo`: the machine's hosts file and resolvers.
struct MachineResolver;

#[async_trait]
impl Lookup for MachineResolver {
    async fn look_up(&self, name: &str) -> LookedUp {
        match tokio::net::lookup_host((name, 0)).await {
            Ok(found) => {
                let mut addresses: Addresses =
                    found.map(|address| address.ip()).take(ADDRESSES_MAX).collect();
                addresses.dedup();
                LookedUp::Found(addresses, SYSTEM_TTL)
            }
            Err(error) => {
                tracing::debug!(%error, name, "an origin's name could not be looked up");
                LookedUp::Failed
            }
        }
    }
}
