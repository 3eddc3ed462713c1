//! Checks of the name servers and zones of a topology.

use std::collections::BTreeSet;

use toml::Spanned;

use super::check::{Check, End};
use super::file::File;
use super::{NameServer, Zone};

/// A name's longest text (RFC 1035, 2.3.4), less what the lab puts before a zone's name.
const ZONE_NAME_BYTES_MAX: usize = 200;
/// A label's longest text (RFC 1035, 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

impl Check<'_> {
    pub(super) fn foreign_name_servers(&mut self, file: &File) -> Vec<NameServer> {
        let mut servers = Vec::new();
        for server in &file.name_servers {
            let name = self.host(&server.name, End::Leaf);
            self.region(&server.region);
            if !file.zones.iter().any(|zone| zone.servers.get_ref().contains(&name)) {
                let remedy = "name it in the servers of a [[zone]], or leave it out";
                self.mistake(Some(server.name.span()), format!("`{name}` serves no zone"), remedy);
            }
            self.name_servers.insert(name.clone());
            let region = server.region.get_ref().clone();
            servers.push(NameServer { name, region, software: server.software });
        }
        servers
    }

    pub(super) fn zones(&mut self, file: &File) -> Vec<Zone> {
        let mut names = BTreeSet::new();
        let mut zones = Vec::new();
        for zone in &file.zones {
            let name = zone.name.get_ref().clone();
            if !is_zone_name(&name) {
                let remedy = "use labels of a-z, 0-9 and `-`, each with a dot behind it; the root is `.`";
                self.mistake(Some(zone.name.span()), format!("`{name}` is no zone's name"), remedy);
            }
            if !names.insert(name.clone()) {
                let what = format!("the zone `{name}` is there twice");
                self.mistake(Some(zone.name.span()), what, "name each zone once, with all of its servers");
            }
            self.zone_servers(&name, &zone.servers);
            zones.push(Zone { name, servers: zone.servers.get_ref().clone(), signing: zone.signing });
        }
        if let Some(zone) = file.zones.first().filter(|_| !names.contains(".")) {
            let what = "there are zones and no root".to_owned();
            self.mistake(Some(zone.name.span()), what, "add a [[zone]] with the name `.`");
        }
        let resolver = file.clients.iter().find_map(|client| client.resolver.as_ref());
        if let Some(resolver) = resolver.filter(|_| names.is_empty()) {
            let what = "a resolver has no root to begin at".to_owned();
            self.mistake(Some(resolver.span()), what, "add a [[name_server]], and a [[zone]] named `.`");
        }
        zones
    }

    fn zone_servers(&mut self, zone: &str, servers: &Spanned<Vec<String>>) {
        let known: Vec<_> = self.name_servers.iter().cloned().collect();
        if servers.get_ref().is_empty() {
            let what = format!("the zone `{zone}` has no servers");
            self.mistake(Some(servers.span()), what, format!("name some of: {}", known.join(", ")));
        }
        for server in servers.get_ref() {
            if !known.contains(server) {
                let what = format!("the zone `{zone}` is on `{server}`, which is no [[name_server]]");
                self.mistake(Some(servers.span()), what, format!("name some of: {}", known.join(", ")));
            }
        }
        let distinct: BTreeSet<_> = servers.get_ref().iter().collect();
        if distinct.len() < servers.get_ref().len() {
            let what = format!("the zone `{zone}` names a server twice");
            self.mistake(Some(servers.span()), what, "name each once");
        }
    }
}

/// Lower case and dotted at the end, so that equal names are equal texts.
pub(crate) fn is_zone_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(letters);
    name == "."
        || (name.len() <= ZONE_NAME_BYTES_MAX
            && name.strip_suffix('.').is_some_and(|name| name.split('.').all(label)))
}
