//! From a topology to hosts, addresses and interfaces. Pure: the same topology gives the same plan.
//!
//! | who | IPv4 | IPv6 |
//! |---|---|---|
//! | server s of PoP p | 10.p.s.2, its router 10.p.s.1 | fd00:10:p:s::2, ::1 |
//! | router of PoP p (on `lo`) | 10.p.0.1 | fd00:10:p::1 |
//! | transit t (on `lo`) | 172.30.t.1 | fd00:30:t::1 |
//! | client, origin or name server h | 172.16.h.2, its router 172.16.h.1 | fd00:16:h::2, ::1 |
//! | ends of link l between routers | 172.31.l.0, 172.31.l.1 | fd00:31:l::, ::1 |
//!
//! IPv6 groups repeat the decimal figures, so that an address is recognized in either family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::error::{LabError, Result};
use crate::topology::{LinkShape, Pop, Topology};

/// What the lab uses for its own hosts; no anycast prefix may overlap it.
pub(crate) const UNDERLAY: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "fd00:10::/32", "fd00:16::/32", "fd00:30::/32", "fd00:31::/32"];

/// Port of the ledger on a server's own address.
pub const LEDGER_PORT: u16 = 7400;
/// Port at which servers forward for each other, on a server's own address.
pub const FORWARD_PORT: u16 = 7500;
/// Port at which servers' caches ask each other, on a server's own address.
pub const TIERS_PORT: u16 = 7600;
/// Port at which servers speak S3, at the anycast addresses.
pub const S3_PORT: u16 = 9000;
/// Port of the API on a server's own address.
pub const API_PORT: u16 = 8787;
/// Port of a server's admin listener, on its loopback.
pub const ADMIN_PORT: u16 = 9090;

/// Every host of a lab with its addresses.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The hosts: transits, then PoP by PoP the router and its servers, then clients, origins, name servers.
    pub hosts: Vec<Host>,
    /// The links: first the delay lines in the topology's order, then the wires within PoPs.
    pub links: Vec<PlannedLink>,
}

/// What a host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostKind {
    /// Router of a transit network.
    Transit {
        /// Its AS number.
        asn: u32,
    },
    /// Router of a PoP.
    Router {
        /// Its PoP's code.
        pop: String,
    },
    /// A server running a node.
    Server {
        /// Its PoP's code.
        pop: String,
    },
    /// A user.
    Client,
    /// A customer's own server.
    Origin,
    /// An authoritative name server that is not Proxima.
    #[serde(rename = "name-server")]
    NameServer,
}

/// A host: one network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name, unique in the lab.
    pub name: String,
    /// What it is.
    pub kind: HostKind,
    /// Its region.
    pub region: String,
    /// The address by which all of the lab reaches it.
    pub address4: Ipv4Addr,
    /// The same in IPv6.
    pub address6: Ipv6Addr,
    /// Its network interfaces.
    pub interfaces: Vec<Interface>,
}

/// A network interface, named after the host at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The host at the other end, and the interface's name.
    pub peer: String,
    /// Own address and the link's prefix length.
    pub net4: Ipv4Net,
    /// The same in IPv6.
    pub net6: Ipv6Net,
    /// The other end's address.
    pub peer4: Ipv4Addr,
    /// The same in IPv6.
    pub peer6: Ipv6Addr,
}

/// A link with its two ends.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedLink {
    /// Host name of one end.
    pub a: String,
    /// Host name of the other end.
    pub b: String,
    /// What carries it.
    pub medium: Medium,
}

/// What carries a link.
#[derive(Debug, Clone, PartialEq)]
pub enum Medium {
    /// Two TUN devices and a delay line.
    DelayLine(LinkShape),
    /// A veth pair, as within a PoP: no delay, the kernel's own speed.
    Wire,
}

impl HostKind {
    /// True for hosts that forward packets and speak BGP.
    #[must_use]
    pub fn is_router(&self) -> bool {
        matches!(self, Self::Transit { .. } | Self::Router { .. })
    }

    /// True for hosts that hang on one transit network: clients, origins, name servers.
    fn is_leaf(&self) -> bool {
        matches!(self, Self::Client | Self::Origin | Self::NameServer)
    }

    /// The PoP that a router or server belongs to.
    #[must_use]
    pub fn pop(&self) -> Option<&str> {
        match self {
            Self::Router { pop } | Self::Server { pop } => Some(pop),
            _ => None,
        }
    }
}

impl Host {
    /// The interface towards `peer`.
    #[must_use]
    pub fn interface(&self, peer: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.peer == peer)
    }

    /// Where a server's ledger listens for followers.
    #[must_use]
    pub fn ledger(&self) -> SocketAddr {
        (self.address4, LEDGER_PORT).into()
    }

    /// Where other servers' caches ask a server's.
    #[must_use]
    pub fn tiers(&self) -> SocketAddr {
        (self.address4, TIERS_PORT).into()
    }

    /// Where a server's peers connect, to forward connections.
    #[must_use]
    pub fn forward(&self) -> SocketAddr {
        (self.address4, FORWARD_PORT).into()
    }

    /// Where a server's API listens.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        (self.address4, API_PORT).into()
    }

    fn new(name: String, kind: HostKind, region: &str, addresses: (Ipv4Addr, Ipv6Addr)) -> Self {
        let (address4, address6) = addresses;
        Self { name, kind, region: region.to_owned(), address4, address6, interfaces: Vec::new() }
    }
}

/// A small number as it reads in an IPv6 group: 16 → 0x16.
fn digits(number: u8) -> u16 {
    u16::from(number / 100) << 8 | u16::from(number / 10 % 10) << 4 | u16::from(number % 10)
}

fn v6(family: u8, network: u8, subnet: u8, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, digits(family), digits(network), digits(subnet), 0, 0, 0, host)
}

/// Numbers hosts and links from 1; the topology's bounds keep them below 256.
fn octet(index: usize) -> u8 {
    u8::try_from(index + 1).expect("HOSTS_MAX and LINKS_MAX are below 255")
}

/// The prefixes of PoP number `pop` (from 1): its router announces them.
fn pop_prefixes(pop: u8) -> (Ipv4Net, Ipv6Net) {
    let net4 = Ipv4Net::new(Ipv4Addr::new(10, pop, 0, 0), 16).expect("16 is a length");
    let net6 = Ipv6Net::new(v6(10, pop, 0, 0), 48).expect("48 is a length");
    (net4, net6)
}

/// Prefixes that a router originates: its own, its PoP's, its customers'.
#[must_use]
pub fn originated(plan: &Plan, host: &Host) -> (Vec<Ipv4Net>, Vec<Ipv6Net>) {
    match &host.kind {
        HostKind::Router { .. } => {
            let (net4, net6) = pop_prefixes(host.address4.octets()[1]);
            (vec![net4], vec![net6])
        }
        HostKind::Transit { .. } => {
            let mut nets4 = vec![Ipv4Net::new(host.address4, 24).expect("24 is a length").trunc()];
            let mut nets6 = vec![Ipv6Net::new(host.address6, 48).expect("48 is a length").trunc()];
            for interface in &host.interfaces {
                if plan.host(&interface.peer).is_ok_and(|peer| !peer.kind.is_router()) {
                    nets4.push(interface.net4.trunc());
                    nets6.push(interface.net6.trunc());
                }
            }
            (nets4, nets6)
        }
        _ => (Vec::new(), Vec::new()),
    }
}

impl Plan {
    /// Numbers everything.
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        let mut plan = Self { hosts: Vec::new(), links: Vec::new() };
        for (index, transit) in topology.transits.iter().enumerate() {
            let number = octet(index);
            let addresses = (Ipv4Addr::new(172, 30, number, 1), v6(30, number, 0, 1));
            let kind = HostKind::Transit { asn: transit.asn };
            plan.hosts.push(Host::new(transit.name.clone(), kind, &transit.region, addresses));
        }
        for (index, pop) in topology.pops.iter().enumerate() {
            plan.add_pop(octet(index), pop);
        }
        let clients = topology.clients.iter().map(|client| (&client.name, HostKind::Client, &client.region));
        let origins = topology.origins.iter().map(|origin| (&origin.name, HostKind::Origin, &origin.region));
        let name_servers =
            topology.name_servers.iter().map(|server| (&server.name, HostKind::NameServer, &server.region));
        for (index, (name, kind, region)) in clients.chain(origins).chain(name_servers).enumerate() {
            let number = octet(index);
            let addresses = (Ipv4Addr::new(172, 16, number, 2), v6(16, number, 0, 2));
            plan.hosts.push(Host::new(name.clone(), kind, region, addresses));
        }
        for (index, link) in topology.links.iter().enumerate() {
            plan.add_delay_line(octet(index), &link.from, &link.to, link.shape);
        }
        plan.links.sort_by_key(|link| matches!(link.medium, Medium::Wire));
        plan
    }

    fn add_pop(&mut self, number: u8, pop: &Pop) {
        let router_name = pop.router();
        let kind = HostKind::Router { pop: pop.code.clone() };
        let addresses = (Ipv4Addr::new(10, number, 0, 1), v6(10, number, 0, 1));
        let mut router = Host::new(router_name.clone(), kind, &pop.region, addresses);
        let mut servers = Vec::new();
        for (index, name) in pop.servers().enumerate() {
            let ordinal = octet(index);
            let ends4 = [1, 2].map(|end| Ipv4Addr::new(10, number, ordinal, end));
            let ends6 = [1, 2].map(|end| v6(10, number, ordinal, end));
            let kind = HostKind::Server { pop: pop.code.clone() };
            let mut server = Host::new(name.clone(), kind, &pop.region, (ends4[1], ends6[1]));
            let [near, far] = interfaces(&router_name, &name, (ends4, 24), (ends6, 64));
            router.interfaces.push(near);
            server.interfaces.push(far);
            servers.push(server);
            self.links.push(PlannedLink { a: router_name.clone(), b: name, medium: Medium::Wire });
        }
        self.hosts.push(router);
        self.hosts.extend(servers);
    }

    fn add_delay_line(&mut self, number: u8, from: &str, to: &str, shape: LinkShape) {
        let leaf =
            [from, to].into_iter().find_map(|name| self.host(name).ok().filter(|host| host.kind.is_leaf()));
        // The router's end first; between routers the topology's order.
        let (a, b) = if leaf.is_some_and(|leaf| leaf.name == from) { (to, from) } else { (from, to) };
        let [at_a, at_b] = match leaf {
            Some(leaf) => {
                let network = leaf.address4.octets()[2];
                let ends4 = [Ipv4Addr::new(172, 16, network, 1), leaf.address4];
                interfaces(a, b, (ends4, 24), ([v6(16, network, 0, 1), leaf.address6], 64))
            }
            None => {
                let ends4 = [0, 1].map(|end| Ipv4Addr::new(172, 31, number, end));
                interfaces(a, b, (ends4, 31), ([v6(31, number, 0, 0), v6(31, number, 0, 1)], 127))
            }
        };
        for (name, interface) in [(a.to_owned(), at_a), (b.to_owned(), at_b)] {
            if let Some(host) = self.hosts.iter_mut().find(|host| host.name == name) {
                host.interfaces.push(interface);
            }
        }
        let medium = Medium::DelayLine(shape);
        self.links.push(PlannedLink { a: a.to_owned(), b: b.to_owned(), medium });
    }

    /// The host of this name.
    ///
    /// # Errors
    /// There is none; the error lists those that there are.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.find("host", name, |_| true)
    }

    /// The server of this name.
    ///
    /// # Errors
    /// There is none; the error lists those that there are.
    pub fn server(&self, name: &str) -> Result<&Host> {
        self.find("server", name, |host| matches!(host.kind, HostKind::Server { .. }))
    }

    /// The router of the PoP with this code, or the router of this name.
    ///
    /// # Errors
    /// There is none; the error lists those that there are.
    pub fn router(&self, pop_or_name: &str) -> Result<&Host> {
        let is_of_pop = |host: &&Host| host.kind == HostKind::Router { pop: pop_or_name.to_owned() };
        match self.hosts.iter().find(is_of_pop) {
            Some(router) => Ok(router),
            None => self.find("router", pop_or_name, |host| host.kind.is_router()),
        }
    }

    /// The servers of a PoP.
    ///
    /// # Errors
    /// There is no such PoP; the error lists those that there are.
    pub fn pop_servers(&self, pop: &str) -> Result<Vec<&Host>> {
        let kind = HostKind::Server { pop: pop.to_owned() };
        let servers: Vec<_> = self.hosts.iter().filter(|host| host.kind == kind).collect();
        if servers.is_empty() {
            let codes: Vec<_> = self.routers().filter_map(|host| host.kind.pop()).collect();
            let known = codes.join(", ");
            return Err(LabError::UnknownName { wanted: "PoP", name: pop.to_owned(), known });
        }
        Ok(servers)
    }

    /// All servers.
    pub fn servers(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| matches!(host.kind, HostKind::Server { .. }))
    }

    /// All clients.
    pub fn clients(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.kind == HostKind::Client)
    }

    /// All routers, of transits and of PoPs.
    pub fn routers(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.kind.is_router())
    }

    /// The link between two hosts; a PoP's code stands for its router.
    ///
    /// # Errors
    /// There is none; the error lists those that there are.
    pub fn link(&self, from: &str, to: &str) -> Result<&PlannedLink> {
        let name = |end: &str| self.router(end).map_or_else(|_| end.to_owned(), |router| router.name.clone());
        let (from, to) = (name(from), name(to));
        let joins =
            |link: &&PlannedLink| (link.a == from && link.b == to) || (link.a == to && link.b == from);
        self.links.iter().find(joins).ok_or_else(|| {
            let known: Vec<_> = self.links.iter().map(PlannedLink::name).collect();
            LabError::UnknownLink { from, to, known: known.join(", ") }
        })
    }

    fn find(&self, wanted: &'static str, name: &str, fits: impl Fn(&Host) -> bool) -> Result<&Host> {
        self.hosts.iter().find(|host| host.name == name && fits(host)).ok_or_else(|| {
            let known: Vec<_> =
                self.hosts.iter().filter(|host| fits(host)).map(|host| host.name.as_str()).collect();
            LabError::UnknownName { wanted, name: name.to_owned(), known: known.join(", ") }
        })
    }
}

impl PlannedLink {
    /// "fra-router – eu-transit", for people and as the key of the link's seed.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} – {}", self.a, self.b)
    }
}

fn interfaces(a: &str, b: &str, v4: ([Ipv4Addr; 2], u8), v6: ([Ipv6Addr; 2], u8)) -> [Interface; 2] {
    let (ends4, ends6) = (v4.0, v6.0);
    let make = |own: usize, peer: &str| Interface {
        peer: peer.to_owned(),
        net4: Ipv4Net::new(ends4[own], v4.1).expect("callers give lengths up to 32"),
        net6: Ipv6Net::new(ends6[own], v6.1).expect("callers give lengths up to 128"),
        peer4: ends4[1 - own],
        peer6: ends6[1 - own],
    };
    [make(0, b), make(1, a)]
}

/// The address of the wanted family.
#[must_use]
pub fn same_family(host: &Host, like: IpAddr) -> IpAddr {
    if like.is_ipv4() { host.address4.into() } else { host.address6.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_interfaces_share_an_address_and_both_ends_agree() {
        let plan = Plan::new(&Topology::default_three_continents());
        let mut seen = std::collections::BTreeSet::new();
        for host in &plan.hosts {
            for interface in &host.interfaces {
                assert!(seen.insert(IpAddr::from(interface.net4.addr())), "{interface:?}");
                assert!(seen.insert(IpAddr::from(interface.net6.addr())), "{interface:?}");
                let back = plan.host(&interface.peer).unwrap().interface(&host.name).unwrap();
                assert_eq!((back.peer4, back.peer6), (interface.net4.addr(), interface.net6.addr()));
                assert!(
                    interface.net4.contains(&interface.peer4) && interface.net6.contains(&interface.peer6)
                );
            }
        }
    }

    #[test]
    fn addresses_read_alike_in_both_families() {
        let plan = Plan::new(&Topology::default_three_continents());
        let server = plan.server("iad-2").unwrap();
        assert_eq!(server.address4.to_string(), "10.2.2.2");
        assert_eq!(server.address6.to_string(), "fd00:10:2:2::2");
        assert_eq!(plan.router("SIN").unwrap().address4.to_string(), "10.3.0.1");
        assert_eq!(digits(123), 0x123);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_names_that_there_are() {
        let plan = Plan::new(&Topology::default_three_continents());
        let error = plan.server("paris").unwrap_err().to_string();
        assert!(error.contains("no server `paris`") && error.contains("fra-1, fra-2, iad-1"), "{error}");
        let error = plan.link("FRA", "SIN").unwrap_err().to_string();
        assert!(error.contains("fra-router – eu-transit"), "{error}");
    }
}
