//! `[dns.resolver]`: whether this server resolves, for whom, and from where it begins.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proxima_chassis::NodeConfig;
use proxima_model::DnsName;
use proxima_resolver::{ZONE_ASKED_MAX, parse_anchors, parse_hints};
use serde::Deserialize;

use super::{
    locations::LocationConfig,
    policies::{Policies, PolicyConfig},
};
use crate::{DnsError, bound::Listen, rate::RATE_MAX};

/// The operating system's anchors of the root, as Debian's package `dns-root-data` has them.
const ANCHORS_FILE: &str = "/usr/share/dns/root.key";
/// Names by which clients know the resolver.
const NAMES_MAX: usize = 16;
/// Networks that may ask: each is looked at for each query.
const ALLOW_MAX: usize = 256;
/// Bits that a network of `allow` has at least, unless it is everybody: what has fewer is everybody by accident.
const PREFIX_V4_MIN: u8 = 8;
const PREFIX_V6_MIN: u8 = 16;
/// This host's own addresses.
const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];
/// Octets of memory for what was found: below, hardly anything is found again.
const CACHE_BYTES_MIN: u64 = 1 << 20;
/// Questions that wait for an answer, of all clients, and of one: an IPv4 address or an IPv6 /64. Each has some 2 KiB.
const PENDING_DEFAULT: usize = 8_192;
const PENDING_PER_CLIENT_DEFAULT: usize = 1_024;
/// Questions to the servers of one zone that may wait also where hardly any may: all that is asked for begins with the root.
const ZONE_ASKED_MIN: usize = 16;
/// Like answers in a second to one network over UDP, where everybody may ask and unless given.
const OPEN_RATE: u32 = 50;
/// Octets of the files that are read: the real ones have a few thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How this server resolves names for those who may ask.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResolverConfig {
    /// Addresses on which questions are resolved, over UDP and TCP each: none of `[dns]`, and no wildcard addresses. None:
    /// this server resolves for nobody in clear.
    pub listen: Vec<SocketAddr>,
    /// Addresses on which questions are resolved over TLS (RFC 7858).
    pub listen_tls: Vec<SocketAddr>,
    /// Addresses on which questions are resolved over QUIC (RFC 9250).
    pub listen_quic: Vec<SocketAddr>,
    /// The names by which clients know the resolver, none of `network.name_servers`: their certificate is shown over TLS and
    /// QUIC.
    pub names: Vec<DnsName>,
    /// Whether the edge resolves questions at `/dns-query` of these names (RFC 8484), on the wire or as JSON.
    pub https: bool,
    /// Networks that may ask: this host alone, unless given. A network of length 0 is everybody, and none that is nearly
    /// everybody is taken.
    pub allow: Vec<IpNet>,
    /// As that of `[dns]`; unless given none, and 50 where everybody may ask.
    pub rate_limit_per_second: Option<u32>,
    /// The root's name servers, as a zone file.
    pub hints_file: PathBuf,
    /// The root's trust anchors, as a zone file of DS or DNSKEY records.
    pub anchors_file: PathBuf,
    /// Whether the root's keys are followed from these on while they roll over (RFC 5011). Unless given: where `anchors_file` is
    /// the operating system's, whose anchors are those of the root that everybody has.
    pub follow_root_keys: Option<bool>,
    /// Whether name servers at addresses of this host and of private networks are asked.
    pub allow_private_name_servers: bool,
    /// Whether what is not known is asked of the name's home among the servers of this PoP, and theirs answered here; where
    /// there is another one (`[tiers]`).
    pub share_in_pop: bool,
    /// Octets of memory for what was found, about.
    pub cache_bytes_max: u64,
    /// Questions that wait for an answer; beyond them what is not known is refused with SERVFAIL.
    pub pending_max: usize,
    /// Those of one client: an IPv4 address or an IPv6 /64.
    pub pending_per_client_max: usize,
    /// What clients get instead of what there is: those of locations that name one, and otherwise the first that has the
    /// client.
    pub policies: Vec<PolicyConfig>,
    /// Places whose clients have a policy of their own, by a token or by their networks.
    pub locations: Vec<LocationConfig>,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            listen_quic: Vec::new(),
            names: Vec::new(),
            https: false,
            allow: LOOPBACK.to_vec(),
            rate_limit_per_second: None,
            hints_file: "/usr/share/dns/root.hints".into(),
            anchors_file: ANCHORS_FILE.into(),
            follow_root_keys: None,
            allow_private_name_servers: false,
            share_in_pop: true,
            cache_bytes_max: 64 << 20,
            pending_max: PENDING_DEFAULT,
            pending_per_client_max: PENDING_PER_CLIENT_DEFAULT,
            policies: Vec::new(),
            locations: Vec::new(),
        }
    }
}

/// Where resolution begins: addresses of the root's name servers, and digests of its keys.
pub(crate) type Beginning = (Vec<IpAddr>, Vec<Box<[u8]>>);

impl ResolverConfig {
    /// Whether anybody is resolved for at all.
    pub(crate) fn is_on(&self) -> bool {
        self.https
            || [&self.listen, &self.listen_tls, &self.listen_quic]
                .iter()
                .any(|addresses| !addresses.is_empty())
    }

    /// Whether the root's keys are followed.
    pub(crate) fn follows_root_keys(&self) -> bool {
        self.follow_root_keys.unwrap_or(self.anchors_file == Path::new(ANCHORS_FILE))
    }

    /// Where questions are resolved.
    pub(crate) fn listen(&self) -> Listen<'_> {
        let Self { listen, listen_tls, listen_quic, .. } = self;
        Listen { threads: "resolver-udp", clear: listen, tls: listen_tls, quic: listen_quic }
    }

    /// Whether everybody may ask.
    pub(crate) fn is_open(&self) -> bool {
        self.allow.iter().any(|network| network.prefix_len() == 0)
    }

    /// Whether this client may ask.
    pub(crate) fn admits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.allow.iter().any(|network| network.contains(&client))
    }

    /// Like answers in a second over UDP to one network; none: no limit.
    pub(crate) fn rate(&self) -> Option<u32> {
        let unless_given = || self.is_open().then_some(OPEN_RATE);
        self.rate_limit_per_second.map_or_else(unless_given, Some).filter(|rate| *rate > 0)
    }

    /// Questions that may wait for the servers of one zone: half of all, so that others are asked whatever becomes of it.
    pub(crate) fn zone_asked_max(&self) -> usize {
        (self.pending_max / 2).clamp(ZONE_ASKED_MIN, ZONE_ASKED_MAX)
    }

    /// Questions of neighbours that are resolved at once, and of each: half of what may wait, and half of what one zone may take,
    /// so that a flood at another server leaves room here, whatever it asks for.
    pub(crate) fn neighbours_max(&self) -> (usize, usize) {
        ((self.pending_max / 2).max(1), self.zone_asked_max() / 2)
    }

    /// What the table alone tells.
    pub(crate) fn check(&self) -> Result<(), DnsError> {
        if self.names.len() > NAMES_MAX {
            return refuse("resolver.names", "more than 16 names");
        }
        if self.https && self.names.is_empty() {
            return refuse("resolver.names", "none: give the names at which `https` is to answer");
        }
        if self.allow.len() > ALLOW_MAX {
            return refuse("resolver.allow", "more than 256 networks");
        }
        if let Some(network) = self.allow.iter().find(|network| is_nearly_everybody(network)) {
            let problem = format!(
                "{network} is nearly everybody; give \"0.0.0.0/0\" and \"::/0\" if everybody shall ask, or networks of /8 \
                 (IPv6: /16) and longer"
            );
            return refuse("resolver.allow", problem);
        }
        if self.rate_limit_per_second.is_some_and(|rate| rate > RATE_MAX) {
            return refuse("resolver.rate_limit_per_second", "give 1 to 10000, or 0 for no limit");
        }
        if self.cache_bytes_max < CACHE_BYTES_MIN {
            return refuse("resolver.cache_bytes_max", "give 1048576 or more");
        }
        if self.pending_max == 0 || self.pending_per_client_max == 0 {
            return refuse("resolver.pending_max", "give 1 or more, as for pending_per_client_max");
        }
        let has_tokens = self.locations.iter().any(|location| !location.tokens.is_empty());
        if has_tokens && self.names.is_empty() {
            return refuse("resolver.names", "none: give the names at which tokens of locations are shown");
        }
        LocationConfig::check(&self.locations, &self.policy_names())?;
        PolicyConfig::check(&self.policies)
    }

    /// What the policies are called, in order.
    pub(crate) fn policy_names(&self) -> Vec<&str> {
        self.policies.iter().map(|policy| &*policy.name).collect()
    }

    /// Reads the policies' lists.
    ///
    /// # Errors
    /// One cannot be read or used.
    pub(crate) fn policies(&self, node: &NodeConfig) -> Result<Policies, DnsError> {
        let is_named = |name: &str| self.locations.iter().any(|location| location.policy == name);
        Policies::new(&self.policies, |name| !name.is_empty() && is_named(name), node)
    }

    /// Checks the files that it names, if it is on.
    ///
    /// # Errors
    /// One cannot be read or used.
    pub(crate) fn check_files(&self, node: &NodeConfig) -> Result<(), DnsError> {
        if self.is_on() {
            self.beginning(node)?;
            self.policies(node)?;
        }
        Ok(())
    }

    /// Reads the files that say where resolution begins.
    ///
    /// # Errors
    /// One cannot be read or used.
    pub(crate) fn beginning(&self, node: &NodeConfig) -> Result<Beginning, DnsError> {
        let path = node.path(&self.hints_file);
        let hints = parse_hints(&read("hints_file", &path)?)
            .or_else(|error| refuse("resolver.hints_file", format!("{}: {error}", path.display())))?;
        let path = node.path(&self.anchors_file);
        let anchors = parse_anchors(&read("anchors_file", &path)?)
            .or_else(|error| refuse("resolver.anchors_file", format!("{}: {error}", path.display())))?;
        Ok((hints, anchors))
    }
}

fn refuse<T>(field: &'static str, problem: impl Into<String>) -> Result<T, DnsError> {
    Err(DnsError::Config { field, problem: problem.into() })
}

fn is_nearly_everybody(network: &IpNet) -> bool {
    let length = network.prefix_len();
    match network {
        IpNet::V4(_) => (1..PREFIX_V4_MIN).contains(&length),
        // Unique local addresses, which are nobody outside, are a /7.
        IpNet::V6(v6) => (1..PREFIX_V6_MIN).contains(&length) && v6.addr().segments()[0] & 0xfe00 != 0xfc00,
    }
}

/// A whole file, which must not be large.
fn read(key: &'static str, path: &Path) -> Result<String, DnsError> {
    let text = fs::metadata(path).and_then(|metadata| match metadata.len() {
        ..=FILE_BYTES_MAX => fs::read_to_string(path),
        _ => Err(io::Error::other("it has more than 1 MiB")),
    });
    let field = if key == "hints_file" { "resolver.hints_file" } else { "resolver.anchors_file" };
    text.or_else(|error| {
        let package = "Debian's package dns-root-data has the root's";
        refuse(field, format!("reading {}: {error}; {package}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowing(networks: &[&str]) -> ResolverConfig {
        let allow = networks.iter().map(|network| network.parse().unwrap()).collect();
        ResolverConfig { allow, ..ResolverConfig::default() }
    }

    #[test]
    fn one_zone_may_have_half_of_the_places_but_always_some_and_never_more_than_the_resolver_gives() {
        for (pending_max, expected) in [(PENDING_DEFAULT, 1_024), (256, 128), (1, 16)] {
            let config = ResolverConfig { pending_max, ..ResolverConfig::default() };
            assert_eq!(config.zone_asked_max(), expected);
        }
    }

    #[test]
    fn nobody_but_this_host_may_ask_unless_allowed() {
        let may = |config: &ResolverConfig, client: &str| config.admits(client.parse().unwrap());
        let closed = ResolverConfig::default();
        assert!(!closed.is_on() && !closed.is_open() && closed.rate().is_none());
        assert!(may(&closed, "127.0.0.1") && may(&closed, "::1") && may(&closed, "::ffff:127.0.0.1"));
        for client in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1", "::ffff:192.0.2.1"] {
            assert!(!may(&closed, client), "{client}");
        }
        assert!(!may(&allowing(&[]), "127.0.0.1"));
        let some = allowing(&["192.0.2.0/25", "2001:db8::/32"]);
        assert!(!some.is_open() && some.rate().is_none());
        for (client, expected) in [
            ("192.0.2.127", true),
            ("::ffff:192.0.2.127", true),
            ("192.0.2.128", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(may(&some, client), expected, "{client}");
        }
        let open = allowing(&["0.0.0.0/0"]);
        assert!(open.is_open() && may(&open, "198.51.100.1") && !may(&open, "2001:db8::1"));
        assert_eq!(open.rate(), Some(OPEN_RATE));
        assert_eq!(ResolverConfig { rate_limit_per_second: Some(0), ..open }.rate(), None);
    }

    #[test]
    fn the_roots_keys_are_followed_from_the_systems_anchors_unless_told_otherwise() {
        let of = |file: &str, follow_root_keys| {
            let anchors_file = file.into();
            ResolverConfig { anchors_file, follow_root_keys, ..ResolverConfig::default() }.follows_root_keys()
        };
        assert!(ResolverConfig::default().follows_root_keys());
        assert!(of(ANCHORS_FILE, None) && !of(ANCHORS_FILE, Some(false)));
        assert!(!of("root.key", None) && of("root.key", Some(true)));
    }

    #[test]
    fn what_is_nearly_everybody_is_refused() {
        for (network, taken) in [
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("0.0.0.0/1", false),
            ("128.0.0.0/7", false),
            ("10.0.0.0/8", true),
            ("2000::/3", false),
            ("fc00::/7", true),
            ("2001::/16", true),
        ] {
            assert_eq!(allowing(&[network]).check().is_ok(), taken, "{network}");
        }
    }
}
