//! `[dns]` of `node.toml`.

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;
use proxima_chassis::NodeConfig;
use proxima_model::DnsName;
use serde::Deserialize;

use crate::{
    DnsError,
    analytics::AnalyticsConfig,
    bound::Listen,
    flattening::FlatteningConfig,
    rate::{RATE_MAX, SLIP_MAX},
    resolver::ResolverConfig,
    service::NAME,
};

/// Addresses that one server listens on.
const LISTEN_MAX: usize = 64;
/// Networks without a rate limit: each is looked at for each query.
const EXEMPT_MAX: usize = 64;
/// Octets of a datagram that no common path fragments (RFC 9715, 3.2; the DNS flag day of 2020).
const UDP_PAYLOAD_DEFAULT: u16 = 1_232;
/// Datagrams beyond this are fragmented on nearly every path.
const UDP_PAYLOAD_MAX: u16 = 4_096;

/// Compiled zones take no more unless configured: a million zones of ten records, some 750 octets each.
const ZONES_BYTES_DEFAULT: u64 = 1 << 30;
/// Room for some ten thousand of them, and for one large one at a time in each part of the cache.
const ZONES_BYTES_MIN: u64 = 16 << 20;

/// How this server answers DNS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// Addresses on which queries are answered, over UDP and TCP each. Wildcard addresses are refused: an answer
    /// would leave from another address than was asked. None: this server answers no DNS.
    pub listen: Vec<SocketAddr>,
    /// Addresses on which queries are answered over TLS (RFC 7858), usually with port 853.
    pub listen_tls: Vec<SocketAddr>,
    /// Addresses on which queries are answered over QUIC (RFC 9250), usually with port 853.
    pub listen_quic: Vec<SocketAddr>,
    /// Whether the edge answers queries at `/dns-query` of the network's name servers (RFC 8484), by every version of
    /// HTTP.
    pub https: bool,
    /// Octets of the largest answer over UDP, 512 to 4,096.
    pub udp_payload_bytes_max: u16,
    /// Whether clients that send cookies (RFC 7873) are answered over UDP only with a good one, and otherwise BADCOOKIE
    /// with one to come again with.
    pub udp_cookies_required: bool,
    /// Like answers over UDP in a second to one network, an IPv4 /24 or an IPv6 /56: of one name, or, for names that
    /// there are not, that a wildcard has or that are delegated, of one zone; errors together. Twice as many may come at
    /// once. 0: no limit.
    pub rate_limit_per_second: u32,
    /// Each so many-th answer beyond that asks to come again by TCP or with a cookie; the others are dropped. 0: all are.
    pub rate_limit_slip: u8,
    /// Networks to which that does not apply.
    pub rate_limit_exempt: Vec<IpNet>,
    /// Threads that answer datagrams, each with a socket of its own at each address, 1 to 256; the number of cores unless given.
    pub udp_threads: usize,
    /// Open connections over TCP, TLS and QUIC together.
    pub tcp_connections_max: usize,
    /// Those of one client: an IPv4 address or an IPv6 /64.
    pub tcp_connections_per_client_max: usize,
    /// How long a connection may go without a whole query, in seconds (RFC 7766, 6.2.3).
    pub tcp_idle_seconds: u16,
    /// Queries of one connection, after which it is closed.
    pub tcp_queries_max: u32,
    /// Octets of memory for compiled zones; the rest are compiled again when they are asked for.
    pub zones_bytes_max: u64,
    /// Resolving names for those who may ask, at addresses of its own.
    pub resolver: ResolverConfig,
    /// What is done about aliases that are flattened and lead outside.
    pub flattening: FlatteningConfig,
    /// Counting queries by what they ask for.
    pub analytics: AnalyticsConfig,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            listen_quic: Vec::new(),
            https: false,
            udp_payload_bytes_max: UDP_PAYLOAD_DEFAULT,
            udp_cookies_required: false,
            rate_limit_per_second: 200,
            rate_limit_slip: 2,
            rate_limit_exempt: Vec::new(),
            udp_threads: std::thread::available_parallelism().map_or(1, |cores| cores.get().min(256)),
            tcp_connections_max: 2_048,
            tcp_connections_per_client_max: 64,
            tcp_idle_seconds: 10,
            tcp_queries_max: 10_000,
            zones_bytes_max: ZONES_BYTES_DEFAULT,
            resolver: ResolverConfig::default(),
            flattening: FlatteningConfig::default(),
            analytics: AnalyticsConfig::default(),
        }
    }
}

impl DnsConfig {
    /// The table `[dns]` of a node's configuration, checked; the defaults if there is none.
    ///
    /// # Errors
    /// What is wrong in it, and where.
    pub fn of(node: &NodeConfig) -> Result<Self, DnsError> {
        let config: Self = node.service(NAME)?;
        config.check()?;
        config.resolver.check()?;
        config.flattening.check()?;
        config.analytics.check()?;
        config.check_roles(&node.network.name_servers)?;
        Ok(config)
    }

    /// What both roles cannot have.
    fn check_roles(&self, name_servers: &[DnsName]) -> Result<(), DnsError> {
        let resolver = &self.resolver;
        for (field, theirs, ours) in [
            ("resolver.listen", &resolver.listen, &self.listen),
            ("resolver.listen_tls", &resolver.listen_tls, &self.listen_tls),
            ("resolver.listen_quic", &resolver.listen_quic, &self.listen_quic),
        ] {
            // Port 0 is another one each time.
            if let Some(both) = theirs.iter().find(|address| address.port() != 0 && ours.contains(address)) {
                let problem =
                    format!("{both} is one of [dns]; one address answers with authority or resolves");
                return Err(DnsError::Config { field, problem });
            }
        }
        if let Some(both) = resolver.names.iter().find(|name| name_servers.contains(name)) {
            let problem = format!("{both} is one of network.name_servers; give a name of the resolver's own");
            return Err(DnsError::Config { field: "resolver.names", problem });
        }
        Ok(())
    }

    /// Where queries are answered with authority.
    pub(crate) fn authority(&self) -> Listen<'_> {
        let Self { listen, listen_tls, listen_quic, .. } = self;
        Listen { threads: "dns-udp", clear: listen, tls: listen_tls, quic: listen_quic }
    }

    fn check(&self) -> Result<(), DnsError> {
        let refuse = |field, problem: &str| Err(DnsError::Config { field, problem: problem.to_owned() });
        let Self { resolver, .. } = self;
        for (field, addresses) in [
            ("listen", &self.listen),
            ("listen_tls", &self.listen_tls),
            ("listen_quic", &self.listen_quic),
            ("resolver.listen", &resolver.listen),
            ("resolver.listen_tls", &resolver.listen_tls),
            ("resolver.listen_quic", &resolver.listen_quic),
        ] {
            if addresses.len() > LISTEN_MAX {
                return refuse(field, "more than 64 addresses");
            }
        }
        for (field, addresses) in [("listen", &self.listen), ("resolver.listen", &resolver.listen)] {
            if let Some(address) = addresses.iter().find(|address| address.ip().is_unspecified()) {
                let problem = format!(
                    "{address} is a wildcard, whose answers may leave from another address than was asked; give each \
                     address that is to be asked"
                );
                return Err(DnsError::Config { field, problem });
            }
        }
        if !(512..=UDP_PAYLOAD_MAX).contains(&self.udp_payload_bytes_max) {
            return refuse("udp_payload_bytes_max", "give 512 to 4096");
        }
        if !(1..=256).contains(&self.udp_threads) {
            return refuse("udp_threads", "give 1 to 256");
        }
        if self.rate_limit_per_second > RATE_MAX {
            return refuse("rate_limit_per_second", "give 1 to 10000, or 0 for no limit");
        }
        if self.rate_limit_slip > SLIP_MAX {
            return refuse("rate_limit_slip", "give 0 to 10");
        }
        if self.rate_limit_exempt.len() > EXEMPT_MAX {
            return refuse("rate_limit_exempt", "more than 64 networks");
        }
        for (field, value) in [
            ("tcp_connections_max", self.tcp_connections_max),
            ("tcp_connections_per_client_max", self.tcp_connections_per_client_max),
            ("tcp_idle_seconds", self.tcp_idle_seconds.into()),
        ] {
            if value == 0 {
                return refuse(field, "give 1 or more");
            }
        }
        if self.zones_bytes_max < ZONES_BYTES_MIN {
            return refuse("zones_bytes_max", "give 16777216 or more");
        }
        if self.tcp_queries_max == 0 {
            return refuse("tcp_queries_max", "give 1 or more");
        }
        Ok(())
    }

    /// Checks the files that are read when the service is made.
    ///
    /// # Errors
    /// One cannot be read or used.
    pub fn check_files(&self, node: &NodeConfig) -> Result<(), DnsError> {
        if self.flattening.outside == Some(true) {
            self.resolver.beginning(node)?;
        }
        self.resolver.check_files(node)
    }

    pub(crate) fn tcp_idle(&self) -> Duration {
        Duration::from_secs(self.tcp_idle_seconds.into())
    }
}
