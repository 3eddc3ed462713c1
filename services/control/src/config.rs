//! `[control]` of node.toml.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proxima_chassis::NodeConfig;
use serde::{Deserialize, Serialize};

use crate::{AcmeConfig, acme::AcmeSettings, error::ControlError, limits};

/// How a new zone becomes active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// At once: whoever holds a token is trusted to own what they put here.
    Trust,
    /// When its delegation names the network's name servers.
    #[default]
    Delegation,
}

/// The table `[control]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlConfig {
    /// Where the API listens, in clear HTTP.
    pub listen: Vec<SocketAddr>,
    /// Where the API listens with TLS, under this node's certificate (`[identity]`).
    pub https: Vec<SocketAddr>,
    /// Whether it may listen in clear at addresses that are not private. Tokens then cross the network unprotected.
    pub allow_clear: bool,
    /// How a new zone becomes active.
    pub activation: Activation,
    /// Resolvers that are asked for delegations.
    pub resolvers: Vec<SocketAddr>,
    /// Whether zones' peers may lie at private, loopback and link-local addresses: those of zone transfers, which this
    /// server tells of changes and asks for zones.
    pub allow_private_peers: bool,
    /// Connections at a time, at each address.
    pub connections_max: usize,
    /// Requests at a time, at each address.
    pub requests_max: usize,
    /// From whom zones' certificates are ordered; from nobody unless given. Used where the log is.
    pub acme: Option<AcmeConfig>,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8787)],
            https: Vec::new(),
            allow_clear: false,
            activation: Activation::default(),
            resolvers: Vec::new(),
            allow_private_peers: false,
            connections_max: limits::CONNECTIONS_MAX,
            requests_max: limits::REQUESTS_MAX,
            acme: None,
        }
    }
}

impl ControlConfig {
    /// `[control]` of a node: checked, and the node has what it needs.
    ///
    /// # Errors
    /// What is wrong with `[control]`, or `[identity]` missing.
    pub fn of(node: &NodeConfig) -> Result<Self, ControlError> {
        let config: Self =
            node.service("control").map_err(|error| ControlError::Config(error.to_string()))?;
        config.check().map_err(ControlError::Config)?;
        config.acme_settings(node)?;
        if !config.https.is_empty() && node.identity.is_none() {
            return Err(ControlError::Config(
                "`https` needs [identity]: the API's certificate is the node's own; `proxima ca issue` makes one"
                    .to_owned(),
            ));
        }
        Ok(config)
    }

    /// `[control.acme]`, checked, with its files read.
    pub(crate) fn acme_settings(&self, node: &NodeConfig) -> Result<Option<AcmeSettings>, ControlError> {
        let settings = self.acme.as_ref().map(|acme| acme.load(node));
        settings.transpose().map_err(ControlError::Acme)
    }

    /// What is wrong with it, and what to give instead.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.listen.len() > limits::LISTEN_MAX || self.https.len() > limits::LISTEN_MAX {
            return Err(format!("`listen` or `https` has more than {} addresses", limits::LISTEN_MAX));
        }
        if self.resolvers.len() > limits::RESOLVERS_MAX {
            return Err(format!("`resolvers` has more than {} addresses", limits::RESOLVERS_MAX));
        }
        if self.connections_max == 0 || self.requests_max == 0 {
            return Err("`connections_max` and `requests_max` are at least 1".to_owned());
        }
        let addresses = self.listen.len() + self.https.len();
        let requests = self.requests_max.saturating_mul(addresses);
        if requests > limits::REQUESTS_OF_ALL_MAX {
            return Err(format!(
                "`requests_max` is {} at each of {addresses} addresses of `listen` and `https`, {requests} in all: more \
                 than {}, since each request may hold a snapshot of the replica. Give `requests_max = {}` or fewer \
                 addresses",
                self.requests_max,
                limits::REQUESTS_OF_ALL_MAX,
                limits::REQUESTS_OF_ALL_MAX / addresses
            ));
        }
        match self.listen.iter().find(|address| !is_private(address.ip())) {
            Some(address) if !self.allow_clear => Err(format!(
                "`listen` has {address}, which is not a private address: tokens would cross the network in clear. Listen \
                 there with `https` instead, or set `allow_clear = true`"
            )),
            _ => Ok(()),
        }
    }
}

impl ControlConfig {
    /// What is allowed but seldom meant, and what to give instead.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        let serves = !self.listen.is_empty() || !self.https.is_empty();
        let nobody_asked = self.activation == Activation::Delegation && self.resolvers.is_empty();
        (serves && nobody_asked).then_some(
            "[control] has activation = \"delegation\" but no `resolvers`: delegations are looked up nowhere, and new zones \
             stay pending for ever. Give `resolvers = [\"ADDRESS:53\"]`, or activation = \"trust\" if whoever holds a token \
             is trusted to own the names of their zones",
        )
    }
}

/// Whether an address is reached from this machine or its private network only (RFC 1918, 3927, 4193, 4291, 6598).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_private(IpAddr::V4(v4)),
            None => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening_at(address: &str) -> ControlConfig {
        ControlConfig { listen: vec![address.parse().unwrap()], ..ControlConfig::default() }
    }

    #[test]
    fn clear_http_is_refused_at_public_and_unspecified_addresses_unless_allowed() {
        for address in
            ["127.0.0.1:1", "10.1.1.2:1", "192.168.0.1:1", "100.64.0.1:1", "[::1]:1", "[fd00::1]:1"]
        {
            listening_at(address).check().unwrap();
        }
        for address in
            ["0.0.0.0:1", "[::]:1", "198.18.0.1:1", "[2001:db8::1]:1", "100.128.0.1:1", "[::ffff:8.8.8.8]:1"]
        {
            assert!(listening_at(address).check().unwrap_err().contains("allow_clear"), "{address}");
            ControlConfig { allow_clear: true, ..listening_at(address) }.check().unwrap();
        }
    }

    #[test]
    fn requests_of_all_addresses_never_need_more_snapshots_than_there_are() {
        let addresses = |count| vec!["127.0.0.1:1".parse().unwrap(); count];
        let of = |listen, https, requests_max| {
            let (listen, https) = (addresses(listen), addresses(https));
            ControlConfig { listen, https, requests_max, ..ControlConfig::default() }.check()
        };
        let default = limits::REQUESTS_MAX;
        assert_eq!(of(2, 2, default), Ok(()));
        assert_eq!(of(limits::LISTEN_MAX, limits::LISTEN_MAX, 32), Ok(()));
        assert_eq!(of(0, 0, usize::MAX), Ok(()), "an API that listens nowhere takes no requests");
        let refused = of(3, 2, default).unwrap_err();
        assert!(refused.contains("1280 in all") && refused.contains("`requests_max = 204`"), "{refused}");
        assert!(of(limits::LISTEN_MAX, limits::LISTEN_MAX, usize::MAX).is_err());
    }

    #[test]
    fn tls_without_the_nodes_certificate_is_refused() {
        let of = |tables: &str| {
            let node = "[node]\nname = \"a\"\npop = \"TST\"\nregion = \"test\"\ndata_dir = \"/d\"\nkey_file = \"/k\"\n";
            let node = NodeConfig::parse(&format!("{node}{tables}")).unwrap();
            ControlConfig::of(&node).map_err(|error| error.to_string())
        };
        let https = "[control]\nhttps = [\"[::1]:8788\"]\n";
        assert!(of(https).unwrap_err().contains("[identity]"));
        let identity = "[identity]\nca = \"/c\"\ncertificate = \"/n\"\nkey = \"/k\"\n";
        assert_eq!(of(&format!("{https}{identity}")).unwrap().https.len(), 1);
        of("").unwrap();
    }

    #[test]
    fn zones_that_would_stay_pending_for_ever_are_warned_of() {
        let default = ControlConfig::default();
        let warning = default.warning().unwrap();
        assert!(warning.contains("resolvers") && warning.contains("trust"), "{warning}");
        let resolvers = vec!["192.0.2.53:53".parse().unwrap()];
        assert_eq!(ControlConfig { resolvers, ..default.clone() }.warning(), None);
        assert_eq!(ControlConfig { activation: Activation::Trust, ..default.clone() }.warning(), None);
        assert_eq!(ControlConfig { listen: Vec::new(), ..default }.warning(), None);
    }

    #[test]
    fn the_default_listens_on_loopback_and_trusts_nobody() {
        let config = ControlConfig::default();
        config.check().unwrap();
        assert_eq!(config.activation, Activation::Delegation);
    }
}
