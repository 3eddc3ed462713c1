//! Which addresses may be an origin's.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use proxima_model::Reach;

use super::OriginConfig;

/// Tells addresses to which anybody's zone may send us from those that lie inside: the network's own, and those of the
/// machine and the house that it stands in (server-side request forgery).
#[derive(Clone, Debug)]
pub(crate) struct AddressPolicy {
    allow_private: bool,
    own: Vec<IpAddr>,
    /// The addresses of the network's servers, as the replica has them at the moment.
    servers: Arc<ArcSwap<Vec<IpAddr>>>,
}

impl AddressPolicy {
    pub(super) fn new(config: &OriginConfig) -> Self {
        Self::refusing(config.allow_private, &config.anycast_addresses)
    }

    /// Refuses these addresses, which are our own, and those of the inside, unless they are allowed.
    pub(crate) fn refusing(allow_private: bool, own: &[IpAddr]) -> Self {
        let own = own.iter().map(IpAddr::to_canonical);
        // A network whose address is the loopback one is one machine (`proxima dev`): its origins stand beside it at
        // other ports, and what leads back to ourselves is found by `CDN-Loop`.
        let own = own.filter(|address| !(allow_private && address.is_loopback())).collect();
        Self { allow_private, own, servers: Arc::default() }
    }

    /// Refuses these addresses of servers, too.
    pub(crate) fn and_servers(self, servers: Arc<ArcSwap<Vec<IpAddr>>>) -> Self {
        Self { servers, ..self }
    }

    /// Whether an origin may lie at `address`.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        Reach::of(address).is_allowed(self.allow_private)
            && !self.own.contains(&address)
            && !self.servers.load().contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow_private: bool) -> AddressPolicy {
        let anycast_addresses = vec!["198.51.100.1".parse().unwrap(), "2a00::53".parse().unwrap()];
        AddressPolicy::new(&OriginConfig { allow_private, anycast_addresses, ..OriginConfig::default() })
    }

    #[test]
    fn servers_that_join_are_refused_from_then_on() {
        let servers = Arc::<ArcSwap<Vec<IpAddr>>>::default();
        let policy = AddressPolicy::refusing(false, &[]).and_servers(Arc::clone(&servers));
        let server: IpAddr = "192.88.98.7".parse().unwrap();
        assert!(policy.allows(server));
        servers.store(Arc::new(vec![server]));
        assert!(!policy.allows(server) && !policy.allows("::ffff:192.88.98.7".parse().unwrap()));
    }

    #[test]
    fn addresses_of_the_inside_are_refused_unless_allowed() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.9",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            let address = text.parse().unwrap();
            assert!(!policy(false).allows(address), "{text} must be refused");
            assert!(policy(true).allows(address), "{text} must be allowed in dev");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        for text in
            ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "172.32.0.1", "100.128.0.1", "::ffff:9.9.9.9"]
        {
            assert!(policy(false).allows(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn origins_may_stand_beside_a_network_that_is_one_machine() {
        let localhost: IpAddr = "127.0.0.1".parse().unwrap();
        for allow_private in [false, true] {
            let anycast_addresses = vec![localhost];
            let config = OriginConfig { allow_private, anycast_addresses, ..OriginConfig::default() };
            assert_eq!(AddressPolicy::new(&config).allows(localhost), allow_private);
        }
    }

    #[test]
    fn our_own_and_impossible_addresses_are_never_allowed() {
        for text in [
            "198.51.100.1",
            "::ffff:198.51.100.1",
            "2a00::53",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "ff02::1",
        ] {
            for allow_private in [false, true] {
                assert!(!policy(allow_private).allows(text.parse().unwrap()), "{text}");
            }
        }
    }
}
