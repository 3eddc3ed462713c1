//! What is in the zones. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::DELEGATIONS_MAX;
use crate::error::{LabError, Result};
use crate::plan::Plan;
use crate::topology::names::is_zone_name;
use crate::topology::{Signing, Topology, Zone};

/// TTL of all records, and of denials: short enough that a lab's user sees what he changed.
const TTL_SECONDS: u32 = 60;
/// Where sites on other servers point to (RFC 5737, RFC 3849).
const SITE_ADDRESSES: [&str; 2] = ["192.0.2.80", "2001:db8::80"];

/// All zones of the lab that are not on Proxima, and the delegations to it.
#[derive(Debug)]
pub(crate) struct Tree {
    zones: Vec<Zone>,
    /// Host name → its addresses.
    addresses: BTreeMap<String, [IpAddr; 2]>,
    /// Proxima's name servers, with the dot at the end, and the addresses of all of them.
    proxima: (Vec<String>, Vec<IpAddr>),
    /// Zone on Proxima → its DS records, as texts.
    delegated: BTreeMap<String, Vec<String>>,
    /// Of all zones.
    serial: u32,
}

impl Tree {
    pub(crate) fn new(topology: &Topology, plan: &Plan) -> Result<Self> {
        let address_of = |name: &String| {
            let host = plan.host(name)?;
            Ok((name.clone(), [host.address4.into(), host.address6.into()]))
        };
        let servers = topology.zones.iter().flat_map(|zone| &zone.servers);
        let network = &topology.network;
        let dotted = |name: &String| format!("{}.", name.trim_end_matches('.').to_ascii_lowercase());
        Ok(Self {
            zones: topology.zones.clone(),
            addresses: servers.map(address_of).collect::<Result<_>>()?,
            proxima: (
                network.name_servers.iter().map(dotted).collect(),
                network.anycast.iter().map(|anycast| anycast.address).collect(),
            ),
            delegated: BTreeMap::new(),
            serial: 1,
        })
    }

    /// Children before their parents, which name their keys.
    pub(crate) fn zones(&self) -> Vec<&Zone> {
        let mut zones: Vec<_> = self.zones.iter().collect();
        zones.sort_by_key(|zone| std::cmp::Reverse(labels(&zone.name)));
        zones
    }

    pub(crate) fn serial(&self) -> u32 {
        self.serial
    }

    /// Whether a zone or something within it is delegated to Proxima here.
    pub(crate) fn is_delegated(&self, zone: &str) -> bool {
        self.delegated.contains_key(zone)
    }

    /// Where a name on Proxima would be delegated from.
    ///
    /// # Errors
    /// It is no name, or it is not Proxima's to serve.
    pub(crate) fn parent_of_new(&self, name: &str) -> Result<&Zone> {
        let refuse = |why: String| LabError::NotDelegated { zone: name.to_owned(), why };
        if !is_zone_name(name) || name == "." {
            return Err(refuse("it is no zone's name: give one like example.com".to_owned()));
        }
        if let Some(zone) = self.zones.iter().find(|zone| zone.name == name || is_within(&zone.name, name)) {
            let servers = zone.servers.join(", ");
            return Err(refuse(format!("{} is on {servers}, as the topology says", zone.name)));
        }
        if let Some(above) = self.delegated_above(name) {
            return Err(refuse(format!(
                "{above} is on Proxima, which answers for what lies within it: add NS records there"
            )));
        }
        if self.delegated.len() >= DELEGATIONS_MAX && !self.delegated.contains_key(name) {
            return Err(refuse(format!("the lab has {DELEGATIONS_MAX} delegations already")));
        }
        self.enclosing(name).ok_or_else(|| refuse("the topology has no root: add zones to it".to_owned()))
    }

    /// Delegates a zone to Proxima, with these DS records, or takes it back; returns what it was before. The serial of all
    /// zones grows.
    pub(crate) fn delegate(&mut self, zone: &str, ds: Option<Vec<String>>) -> Option<Vec<String>> {
        self.serial += 1;
        match ds {
            Some(ds) => self.delegated.insert(zone.to_owned(), ds),
            None => self.delegated.remove(zone),
        }
    }

    /// The zone on Proxima that a name lies within and is not the apex of.
    fn delegated_above(&self, name: &str) -> Option<&str> {
        let mut above = self.delegated.keys().filter(|zone| *zone != name && is_within(name, zone));
        above.next().map(String::as_str)
    }

    /// The deepest zone that a name lies within and is not the apex of.
    fn enclosing(&self, name: &str) -> Option<&Zone> {
        let zones = self.zones.iter().filter(|zone| zone.name != name && is_within(name, &zone.name));
        zones.max_by_key(|zone| labels(&zone.name))
    }

    /// The zone's text. `ds` has the DS records of its signed children, by name.
    pub(crate) fn render(&self, zone: &Zone, ds: &BTreeMap<String, String>) -> String {
        let apex = &zone.name;
        let mut text = format!(
            "$TTL {TTL_SECONDS}\n{apex} IN SOA {} hostmaster.{} {} 3600 600 604800 {TTL_SECONDS}\n",
            server_name(&zone.servers[0], apex),
            apex.trim_start_matches('.'),
            self.serial
        );
        self.delegation(&mut text, zone);
        let is_parent_of = |name: &str| self.enclosing(name).is_some_and(|parent| parent.name == *apex);
        for child in self.zones.iter().filter(|child| is_parent_of(&child.name)) {
            self.delegation(&mut text, child);
            text += ds.get(&child.name).map_or("", String::as_str);
        }
        // What lies within another was delegated before that was.
        let own = |name: &str| is_parent_of(name) && self.delegated_above(name).is_none();
        for (name, ds) in self.delegated.iter().filter(|(name, _)| own(name)) {
            for server in &self.proxima.0 {
                let _ = writeln!(text, "{name} IN NS {server}");
            }
            for ds in ds {
                let _ = writeln!(text, "{name} IN DS {ds}");
            }
        }
        // Proxima's name servers have their addresses where their names belong, as hosts that a registry knows.
        for server in self.proxima.0.iter().filter(|server| is_parent_of(server)) {
            address_records(&mut text, server, &self.proxima.1);
        }
        if !self.zones.iter().any(|child| is_parent_of(&child.name)) && labels(apex) > 1 {
            site(&mut text, zone);
        }
        text
    }

    /// NS records and the addresses of the servers: the same in the zone and, as glue, in its parent.
    fn delegation(&self, text: &mut String, zone: &Zone) {
        for server in &zone.servers {
            let name = server_name(server, &zone.name);
            let _ = writeln!(text, "{} IN NS {name}", zone.name);
            if let Some(addresses) = self.addresses.get(server) {
                address_records(text, &name, addresses);
            }
        }
    }

    /// The root's servers, for resolvers to begin at.
    pub(crate) fn hints(&self) -> String {
        let mut text = String::new();
        for root in self.zones.iter().filter(|zone| zone.name == ".") {
            self.delegation(&mut text, root);
        }
        text
    }
}

/// A site's records: its apex, `www`, and any other name.
fn site(text: &mut String, zone: &Zone) {
    let (apex, servers) = (&zone.name, zone.servers.join(", "));
    for name in [apex.clone(), format!("www.{apex}"), format!("*.{apex}")] {
        let _ = writeln!(text, "{name} IN A {}\n{name} IN AAAA {}", SITE_ADDRESSES[0], SITE_ADDRESSES[1]);
    }
    let signed = if zone.signing == Signing::Unsigned { "not signed" } else { "signed" };
    let _ = writeln!(text, "{apex} IN TXT \"on {servers}, {signed}\"");
}

fn address_records(text: &mut String, name: &str, addresses: &[IpAddr]) {
    for address in addresses {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        let _ = writeln!(text, "{name} IN {kind} {address}");
    }
}

/// The name of a host as a server of a zone: within that zone.
fn server_name(host: &str, zone: &str) -> String {
    format!("{host}.{}", zone.trim_start_matches('.'))
}

fn labels(zone: &str) -> usize {
    zone.split('.').filter(|label| !label.is_empty()).count()
}

/// Whether a name is a zone's apex or lies below it.
fn is_within(name: &str, zone: &str) -> bool {
    zone == "." || name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let topology = Topology::default_three_continents();
        Tree::new(&topology, &Plan::new(&topology)).unwrap()
    }

    fn rendered(tree: &Tree, name: &str) -> String {
        let zone = tree.zones.iter().find(|zone| zone.name == name).unwrap();
        let ds = BTreeMap::from([("on-knot.com.".to_owned(), "on-knot.com. IN DS 1 13 2 AB\n".to_owned())]);
        tree.render(zone, &ds)
    }

    #[test]
    fn a_parent_has_its_childrens_servers_with_their_addresses_and_keys() {
        let com = rendered(&tree(), "com.");
        assert!(com.starts_with("$TTL 60\ncom. IN SOA tld-nsd.com. hostmaster.com. 1 "), "{com}");
        for line in [
            "com. IN NS tld-bind.com.\n",
            "on-knot.com. IN NS site-knot.on-knot.com.\n",
            "site-knot.on-knot.com. IN A 172.16.9.2\n",
            "on-knot.com. IN DS 1 13 2 AB\n",
        ] {
            assert!(com.contains(line), "{line}{com}");
        }
        assert!(!com.contains("www") && !com.contains("example."), "{com}");
        let root = rendered(&tree(), ".");
        assert!(root.contains("\n. IN SOA root-knot. hostmaster. 1 "), "{root}");
        assert!(root.contains("\nexample. IN NS tld-nsd.example.\n") && !root.contains("on-knot"), "{root}");
        assert!(tree().hints().contains(". IN NS root-nsd.\nroot-nsd. IN A "), "{}", tree().hints());
    }

    #[test]
    fn proximas_name_servers_are_known_where_their_names_belong() {
        let example = rendered(&tree(), "example.");
        assert!(example.contains("ns1.proxima.example. IN A 198.18.0.1\n"), "{example}");
        assert!(example.contains("ns2.proxima.example. IN AAAA fd00:198:18::1\n"), "{example}");
        assert!(!rendered(&tree(), "com.").contains("proxima"));
    }

    #[test]
    fn a_zone_on_proxima_is_delegated_by_the_deepest_zone_above_it_with_a_new_serial() {
        let mut tree = tree();
        assert_eq!(tree.parent_of_new("shop.com.").unwrap().name, "com.");
        assert_eq!(tree.parent_of_new("org.").unwrap().name, ".");
        assert_eq!(tree.parent_of_new("a.on-knot.com.").unwrap().name, "on-knot.com.");
        assert_eq!(tree.delegate("www.shop.com.", Some(Vec::new())), None);
        assert!(rendered(&tree, "com.").contains("www.shop.com. IN NS ns1.proxima.example.\n"));
        assert_eq!(tree.delegate("shop.com.", Some(vec!["1 13 2 AB".to_owned()])), None);
        let com = rendered(&tree, "com.");
        assert!(com.contains("shop.com. IN NS ns1.proxima.example.\n"), "{com}");
        assert!(com.contains("shop.com. IN DS 1 13 2 AB\n") && com.contains("hostmaster.com. 3 "), "{com}");
        assert!(!com.contains("www.shop.com."), "that is for the zone on Proxima to delegate: {com}");
        assert!(!rendered(&tree, ".").contains("shop"));
        let error = tree.parent_of_new("a.b.shop.com.").unwrap_err().to_string();
        assert!(error.contains("shop.com. is on Proxima"), "{error}");
        // Taken back, it is as it was.
        assert_eq!(tree.delegate("shop.com.", None), Some(vec!["1 13 2 AB".to_owned()]));
        assert!(!rendered(&tree, "com.").contains("\nshop.com."));
    }

    #[test]
    fn what_others_serve_is_not_delegated_to_proxima() {
        let tree = tree();
        for (name, why) in [
            ("com.", "com. is on tld-nsd, tld-bind"),
            ("on-bind.example.", "is on site-bind"),
            ("a..b.", "no zone's name"),
            (".", "no zone's name"),
            ("shop.com", "no zone's name"),
        ] {
            let error = tree.parent_of_new(name).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
    }

    #[test]
    fn children_are_signed_before_their_parents() {
        let tree = tree();
        let names: Vec<_> = tree.zones().iter().map(|zone| zone.name.as_str()).collect();
        let at = |name: &str| names.iter().position(|other| *other == name).unwrap();
        assert!(
            at("on-knot.com.") < at("com.") && at("com.") < at(".") && at("bogus.example.") < at("example.")
        );
    }

    #[test]
    fn a_name_lies_within_a_zone_by_whole_labels() {
        assert!(is_within("a.com.", "com.") && is_within("com.", "com.") && is_within("com.", "."));
        assert!(!is_within("acom.", "com.") && !is_within("com.", "a.com."));
    }
}
