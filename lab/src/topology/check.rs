//! From the file's shape to a checked topology: every rule, with its remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use proxima_model::RegionName;
use toml::Spanned;

use super::file::{File, FileLink, FileNetwork};
use super::{
    Anycast, Bfd, Client, DELAY_MS_MAX, HOSTS_MAX, LINKS_MAX, Link, LinkShape, Mistake, Network, Origin, Pop,
    RATE_MBIT_MAX, SERVERS_PER_POP_MAX, Topology, TopologyError, Transit,
};
use crate::plan::UNDERLAY;

/// An interface is named after the host at its other end, and the kernel allows 15 bytes.
const HOST_NAME_BYTES_MAX: usize = 15;

/// AS numbers that are nobody's (RFC 7607, RFC 6793, RFC 7300).
const AS_RESERVED: [u32; 4] = [0, 23_456, 65_535, u32::MAX];

/// Kinds of link ends, for the rule which may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Transit,
    Pop,
    Leaf,
}

pub(super) struct Check<'a> {
    text: &'a str,
    mistakes: Vec<(usize, Mistake)>,
    /// Every name of a host → the line that gave it.
    hosts: BTreeMap<String, usize>,
    regions: BTreeSet<String>,
    /// What a link may name → (host name, kind).
    ends: BTreeMap<String, (String, End)>,
    server_names: BTreeSet<String>,
    /// Names of the name servers that are not Proxima.
    pub(super) name_servers: BTreeSet<String>,
}

pub(super) fn parse(file: &str, text: &str) -> Result<Topology, TopologyError> {
    let parsed: File = toml::from_str(text).map_err(|error| TopologyError {
        file: file.to_owned(),
        mistakes: vec![Mistake {
            line: error.span().map(|span| line_of(text, span.start)),
            what: error.message().replace('\n', " "),
            remedy: "see lab/topologies/default.toml for every table and key".to_owned(),
        }],
    })?;
    let mut check = Check {
        text,
        mistakes: Vec::new(),
        hosts: BTreeMap::new(),
        regions: BTreeSet::new(),
        ends: BTreeMap::new(),
        server_names: BTreeSet::new(),
        name_servers: BTreeSet::new(),
    };
    let topology = check.topology(&parsed);
    if check.mistakes.is_empty() {
        return Ok(topology);
    }
    check.mistakes.sort_by_key(|(offset, _)| *offset);
    let mistakes = check.mistakes.into_iter().map(|(_, mistake)| mistake).collect();
    Err(TopologyError { file: file.to_owned(), mistakes })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

impl Check<'_> {
    pub(super) fn mistake(&mut self, at: Option<Range<usize>>, what: String, remedy: impl Into<String>) {
        let line = at.as_ref().map(|span| line_of(self.text, span.start));
        // What concerns the whole file comes last.
        let order = at.map_or(usize::MAX, |span| span.start);
        self.mistakes.push((order, Mistake { line, what, remedy: remedy.into() }));
    }

    fn topology(&mut self, file: &File) -> Topology {
        for region in &file.regions {
            if RegionName::parse(region.name.get_ref()).is_err() {
                let what = format!("`{}` is no region's name", region.name.get_ref());
                self.mistake(Some(region.name.span()), what, "use a-z, 0-9 and `-`, as in node.toml");
            }
            if !self.regions.insert(region.name.get_ref().clone()) {
                let what = format!("the region `{}` is there twice", region.name.get_ref());
                self.mistake(Some(region.name.span()), what, "name each region once");
            }
        }
        let (transits, pops) = (self.transits(file), self.pops(file));
        let (clients, origins) = (self.clients(file), self.origins(file));
        let (name_servers, zones) = (self.foreign_name_servers(file), self.zones(file));
        let network = self.network(&file.network);
        if transits.is_empty() || pops.is_empty() {
            let what = "there is no internet without a [[transit]] and a [[pop]]".to_owned();
            self.mistake(None, what, "add at least one of each");
        }
        if self.hosts.len() > HOSTS_MAX {
            let what = format!(
                "{} hosts (routers, servers, clients, origins, name servers) are too many",
                self.hosts.len()
            );
            self.mistake(None, what, format!("a lab has at most {HOSTS_MAX}: use fewer servers or PoPs"));
        }
        let links = self.links(file);
        self.reachability(&links);
        Topology {
            seed: file.seed,
            network,
            regions: file.regions.iter().map(|region| region.name.get_ref().clone()).collect(),
            transits,
            pops,
            clients,
            origins,
            name_servers,
            zones,
            links,
        }
    }

    fn transits(&mut self, file: &File) -> Vec<Transit> {
        let mut numbers = BTreeMap::from([(*file.network.asn.get_ref(), "network")]);
        self.as_number(&file.network.asn);
        let mut transits = Vec::new();
        for transit in &file.transits {
            let name = self.host(&transit.name, End::Transit);
            self.region(&transit.region);
            self.as_number(&transit.asn);
            if let Some(other) = numbers.insert(*transit.asn.get_ref(), transit.name.get_ref()) {
                let what = format!("AS {} is that of `{other}` already", transit.asn.get_ref());
                self.mistake(Some(transit.asn.span()), what, "give each network a number of its own");
            }
            let (asn, region) = (*transit.asn.get_ref(), transit.region.get_ref().clone());
            transits.push(Transit { name, asn, region });
        }
        transits
    }

    fn pops(&mut self, file: &File) -> Vec<Pop> {
        let mut pops = Vec::new();
        for pop in &file.pops {
            let code = pop.code.get_ref().clone();
            let span = pop.code.span();
            if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
                let what = format!("`{code}` is no PoP code");
                self.mistake(Some(span), what, "use three capital letters, like FRA");
                continue;
            }
            self.region(&pop.region);
            let servers = *pop.servers.get_ref();
            if !(1..=SERVERS_PER_POP_MAX).contains(&servers) {
                let what = format!("{code} has {servers} servers");
                self.mistake(
                    Some(pop.servers.span()),
                    what,
                    format!("1 to {SERVERS_PER_POP_MAX} are possible"),
                );
                continue;
            }
            let (region, upper_tier) = (pop.region.get_ref().clone(), pop.upper_tier);
            let pop = Pop { code: code.clone(), region, servers, upper_tier };
            self.claim(&pop.router(), &span);
            for server in pop.servers() {
                self.claim(&server, &span);
                self.server_names.insert(server);
            }
            self.ends.insert(code, (pop.router(), End::Pop));
            self.ends.insert(pop.router(), (pop.router(), End::Pop));
            pops.push(pop);
        }
        pops
    }

    fn clients(&mut self, file: &File) -> Vec<Client> {
        let mut clients = Vec::new();
        for client in &file.clients {
            let name = self.host(&client.name, End::Leaf);
            self.region(&client.region);
            let resolver = client.resolver.as_ref().map(|resolver| *resolver.get_ref());
            clients.push(Client { name, region: client.region.get_ref().clone(), resolver });
        }
        clients
    }

    fn origins(&mut self, file: &File) -> Vec<Origin> {
        let mut origins = Vec::new();
        for origin in &file.origins {
            let name = self.host(&origin.name, End::Leaf);
            self.region(&origin.region);
            if origin.root.as_ref().is_some_and(|root| !is_servable(root)) {
                let what = format!("`{name}` cannot serve its root");
                let remedy = "give an absolute path without `\"`, `$`, `\\` and control characters";
                self.mistake(Some(origin.name.span()), what, remedy);
            }
            let region = origin.region.get_ref().clone();
            origins.push(Origin { name, region, root: origin.root.clone() });
        }
        origins
    }

    fn network(&mut self, network: &FileNetwork) -> Network {
        if !self.server_names.contains(network.log.get_ref()) {
            let what = format!("the log is to be on `{}`, which is no server", network.log.get_ref());
            let servers: Vec<_> = self.server_names.iter().map(String::as_str).collect();
            self.mistake(Some(network.log.span()), what, format!("name one of {}", servers.join(", ")));
        }
        let interval_ms = self.bounded(&network.bfd.interval_ms, 10, 1_000, "bfd.interval_ms");
        let multiplier = self.bounded(&network.bfd.multiplier, 2, 20, "bfd.multiplier");
        if network.anycast.is_empty() {
            let remedy = "add { prefix = \"198.18.0.0/24\", address = \"198.18.0.1\" }";
            self.mistake(None, "network.anycast is empty".to_owned(), remedy);
        }
        let mut anycast = Vec::new();
        for entry in &network.anycast {
            let (prefix, address) = (*entry.prefix.get_ref(), *entry.address.get_ref());
            self.anycast(prefix, address, &entry.prefix.span());
            anycast.push(Anycast { prefix, address });
        }
        Network {
            asn: *network.asn.get_ref(),
            log: network.log.get_ref().clone(),
            name_servers: network.name_servers.clone(),
            anycast,
            bfd: Bfd { interval_ms, multiplier },
        }
    }

    fn anycast(&mut self, prefix: IpNet, address: IpAddr, span: &Range<usize>) {
        let span = Some(span.clone());
        if prefix.trunc() != prefix {
            let remedy = format!("write {}", prefix.trunc());
            self.mistake(span.clone(), format!("{prefix} has bits set behind its length"), remedy);
        }
        if !prefix.contains(&address) {
            let what = format!("{address} is not within {prefix}");
            self.mistake(span.clone(), what, "choose an address of the announced prefix");
        }
        let longest = if prefix.addr().is_ipv4() { 24 } else { 48 };
        if prefix.prefix_len() > longest || prefix.prefix_len() < 8 {
            let what = format!("{prefix} is not announced in the internet");
            self.mistake(span.clone(), what, format!("use a length from /8 to /{longest}"));
        }
        if let Some(taken) = UNDERLAY
            .iter()
            .map(|net| net.parse::<IpNet>().expect("UNDERLAY holds prefixes"))
            .find(|net| net.contains(&prefix) || prefix.contains(net))
        {
            let what = format!("{prefix} overlaps {taken}, which the lab uses for its own hosts");
            self.mistake(span, what, "take it from 198.18.0.0/15 (RFC 2544) or another part of fd00::/8");
        }
    }

    fn bounded(&mut self, value: &Spanned<u32>, least: u32, most: u32, name: &str) -> u32 {
        if !(least..=most).contains(value.get_ref()) {
            let what = format!("{name} is {}", value.get_ref());
            self.mistake(Some(value.span()), what, format!("use {least} to {most}"));
        }
        *value.get_ref()
    }

    fn as_number(&mut self, asn: &Spanned<u32>) {
        if AS_RESERVED.contains(asn.get_ref()) {
            let what = format!("AS {} is reserved", asn.get_ref());
            let remedy = "use 64496 to 64511 (RFC 5398) or 64512 to 65534 (RFC 6996)";
            self.mistake(Some(asn.span()), what, remedy);
        }
    }

    pub(super) fn region(&mut self, region: &Spanned<String>) {
        if !self.regions.contains(region.get_ref()) {
            let what = format!("there is no region `{}`", region.get_ref());
            let known: Vec<_> = self.regions.iter().map(String::as_str).collect();
            let remedy = format!("add a [[region]], or name one of: {}", known.join(", "));
            self.mistake(Some(region.span()), what, remedy);
        }
    }

    pub(super) fn host(&mut self, name: &Spanned<String>, kind: End) -> String {
        let span = name.span();
        let text = name.get_ref().clone();
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let well_formed = text.len() <= HOST_NAME_BYTES_MAX
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(letters);
        if !well_formed || ["lo", "all", "default"].contains(&text.as_str()) {
            let remedy =
                format!("use up to {HOST_NAME_BYTES_MAX} of a-z, 0-9 and `-`, beginning with a letter");
            self.mistake(Some(span.clone()), format!("`{text}` is no host name"), remedy);
        }
        self.claim(&text, &span);
        self.ends.insert(text.clone(), (text.clone(), kind));
        text
    }

    fn claim(&mut self, name: &str, span: &Range<usize>) {
        let line = line_of(self.text, span.start);
        if let Some(first) = self.hosts.insert(name.to_owned(), line) {
            let what = format!("the name `{name}` is taken (line {first})");
            self.mistake(Some(span.clone()), what, "every host needs a name of its own");
        }
    }

    fn links(&mut self, file: &File) -> Vec<Link> {
        if file.links.len() > LINKS_MAX {
            let what = format!("{} links are too many", file.links.len());
            self.mistake(None, what, format!("a lab has at most {LINKS_MAX}"));
        }
        let mut links: Vec<Link> = Vec::new();
        for link in &file.links {
            let shape = self.shape(link);
            let (Some((from, kind)), Some((to, to_kind))) = (self.end(&link.from), self.end(&link.to)) else {
                continue;
            };
            let span = Some(link.from.span());
            if kind != End::Transit && to_kind != End::Transit {
                let what = format!("a link joins `{from}` and `{to}`");
                let remedy = "one end must be a transit network: PoPs, clients, origins and name servers meet through one";
                self.mistake(span, what, remedy);
            } else if from == to {
                self.mistake(span, format!("a link joins `{from}` with itself"), "name another host");
            } else if links.iter().any(|other| {
                (&other.from, &other.to) == (&from, &to) || (&other.from, &other.to) == (&to, &from)
            }) {
                let what = format!("`{from}` and `{to}` are linked twice");
                self.mistake(span, what, "keep one of the two links");
            } else {
                links.push(Link { from, to, shape });
            }
        }
        links
    }

    fn end(&mut self, name: &Spanned<String>) -> Option<(String, End)> {
        let found = self.ends.get(name.get_ref()).cloned();
        if found.is_none() {
            let what = format!("a link leads to `{}`, which is nothing", name.get_ref());
            let remedy = if self.server_names.contains(name.get_ref()) {
                "link the PoP by its code: its servers hang on its router already".to_owned()
            } else {
                let known: Vec<_> = self.ends.keys().map(String::as_str).collect();
                format!("name one of: {}", known.join(", "))
            };
            self.mistake(Some(name.span()), what, remedy);
        }
        found
    }

    fn shape(&mut self, link: &FileLink) -> LinkShape {
        let delay = self.number(&link.delay_ms, 0.0, DELAY_MS_MAX, "delay_ms");
        let jitter = self.number(&link.jitter_ms, 0.0, DELAY_MS_MAX, "jitter_ms");
        let loss = self.number(&link.loss_percent, 0.0, 100.0, "loss_percent");
        let rate = link.rate_mbit.as_ref().map(|rate| self.number(rate, 0.001, RATE_MBIT_MAX, "rate_mbit"));
        LinkShape {
            delay: Duration::from_secs_f64(delay / 1e3),
            jitter: Duration::from_secs_f64(jitter / 1e3),
            loss: loss / 100.0,
            rate_bits_per_second: rate.map(bits_per_second),
        }
    }

    /// The value, or `least` after noting the mistake.
    fn number(&mut self, value: &Spanned<f64>, least: f64, most: f64, name: &str) -> f64 {
        let number = *value.get_ref();
        if (least..=most).contains(&number) {
            return number;
        }
        self.mistake(Some(value.span()), format!("{name} is {number}"), format!("use {least} to {most}"));
        least
    }

    /// Every host is on some link, leaves on exactly one, and all hang together.
    fn reachability(&mut self, links: &[Link]) {
        if !self.mistakes.is_empty() {
            // What hangs together is a question only when all ends are right.
            return;
        }
        let hosts: BTreeMap<String, End> = self.ends.values().cloned().collect();
        for (name, kind) in &hosts {
            let count = links.iter().filter(|link| link.from == *name || link.to == *name).count();
            if *kind == End::Leaf && count != 1 {
                let what = format!("`{name}` has {count} links");
                self.mistake(
                    None,
                    what,
                    "a client, origin or name server has exactly one, to a transit network",
                );
            }
        }
        let Some(first) = hosts.keys().next() else { return };
        let mut reached = BTreeSet::from([first.as_str()]);
        let mut before = 0;
        while before < reached.len() {
            before = reached.len();
            for link in links {
                if reached.contains(link.from.as_str()) || reached.contains(link.to.as_str()) {
                    reached.extend([link.from.as_str(), link.to.as_str()]);
                }
            }
        }
        let islands: Vec<_> = hosts.keys().filter(|name| !reached.contains(name.as_str())).cloned().collect();
        if !islands.is_empty() {
            let what = format!("no way leads from `{first}` to {}", islands.join(", "));
            self.mistake(None, what, "add a [[link]]");
        }
    }
}

/// nginx takes the folder as a quoted string in which `$` begins a variable.
pub(crate) fn is_servable(root: &Path) -> bool {
    let plain = |root: &str| !root.chars().any(|c| c.is_control() || ['"', '$', '\\'].contains(&c));
    root.is_absolute() && root.to_str().is_some_and(plain)
}

#[expect(clippy::cast_possible_truncation, reason = "checked: 0.001 to RATE_MBIT_MAX")]
fn bits_per_second(rate_mbit: f64) -> u64 {
    (rate_mbit * 1e6) as u64
}
