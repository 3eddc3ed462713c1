//! Who is asked for what: pure.
//!
//! Rendezvous hashing: of the servers that can be asked, a URL's home is the one whose name, hashed with the URL, gives the
//! highest number ([`rendezvous_weight`]). When a server goes, only its URLs move, and they are spread over all that stay.

use proxima_model::{NodeName, PopCode, ZoneId};
use proxima_pipeline::rendezvous_weight;

use crate::config::{Server, TiersConfig};

/// A level on the way up. A request that has come to one asks for higher ones only.
pub const CLIENT: u8 = 0;
/// The home in the PoP.
pub const HOME: u8 = 1;
/// The home in the upper PoP of the region.
pub const REGION: u8 = 2;
/// The home in the root PoP.
pub const ROOT: u8 = 3;

/// The servers, as one of them sees them.
#[derive(Debug)]
pub struct Map {
    servers: Vec<Server>,
    me: usize,
    pop: PopCode,
    /// The upper PoPs, and those of them that stand in this server's region.
    uppers: Vec<PopCode>,
    regional: Vec<PopCode>,
}

/// Who comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Its number.
    pub server: usize,
    /// The level at which it is asked.
    pub level: u8,
}

impl Map {
    /// The servers as `me` sees them; `None` if there are none.
    pub fn new(config: &TiersConfig, me: &NodeName) -> Option<Self> {
        let servers = config.servers.clone();
        let me = servers.iter().position(|server| server.name == *me)?;
        let (pop, region) = (servers[me].pop.clone(), servers[me].region.clone());
        let stands_here =
            |pop: &&PopCode| servers.iter().any(|server| server.pop == **pop && server.region == region);
        let regional = config.upper_pops.iter().filter(stands_here).cloned().collect();
        Some(Self { me, pop, uppers: config.upper_pops.clone(), regional, servers })
    }

    /// The servers.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// This server's number.
    pub const fn me(&self) -> usize {
        self.me
    }

    /// Whether a server stands in this one's PoP.
    pub fn is_near(&self, server: usize) -> bool {
        self.servers.get(server).is_some_and(|server| server.pop == self.pop)
    }

    /// The servers that this one may have to ask.
    pub fn peers(&self) -> impl Iterator<Item = usize> {
        let wanted = |server: &Server| server.pop == self.pop || self.uppers.contains(&server.pop);
        let numbered = self.servers.iter().enumerate();
        numbered
            .filter(move |(number, server)| *number != self.me && wanted(server))
            .map(|(number, _)| number)
    }

    /// Who is to be asked next for a URL of a zone, by a request that has come to `level`; of the servers for which `up`
    /// holds. `None`: the origin.
    pub fn next(&self, level: u8, zone: ZoneId, url: &str, up: impl Fn(usize) -> bool) -> Option<Hop> {
        let url = |name: &str| rendezvous_weight(name, &[zone.as_bytes(), url.as_bytes()]);
        if level < HOME
            && let Some(server) = self.home(&self.pop, url, &up)
            && server != self.me
        {
            return Some(Hop { server, level: HOME });
        }
        if level < REGION
            && let Some(pop) = self.best(&self.regional, url, &up)
            && let Some(server) = self.elsewhere(pop, url, &up)
        {
            return Some(Hop { server, level: REGION });
        }
        let root = self.best(&self.uppers, |name| rendezvous_weight(name, &[zone.as_bytes()]), &up);
        if level < ROOT
            && let Some(pop) = root
            && let Some(server) = self.elsewhere(pop, url, &up)
        {
            return Some(Hop { server, level: ROOT });
        }
        None
    }

    /// The server that is home of a key in this server's PoP, if it is another one; of those for which `up` holds.
    pub fn near(&self, key: &[u8], up: impl Fn(usize) -> bool) -> Option<usize> {
        self.home(&self.pop, |name| rendezvous_weight(name, &[key]), up).filter(|server| *server != self.me)
    }

    /// The home in another PoP than this server's.
    fn elsewhere(
        &self,
        pop: &PopCode,
        weigh: impl Fn(&str) -> u64,
        up: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if *pop == self.pop { None } else { self.home(pop, weigh, up) }
    }

    /// The server of a PoP that weighs most, of those that are up; this one always is.
    fn home(&self, pop: &PopCode, weigh: impl Fn(&str) -> u64, up: impl Fn(usize) -> bool) -> Option<usize> {
        let numbered = self.servers.iter().enumerate();
        let there =
            numbered.filter(|(number, server)| server.pop == *pop && (*number == self.me || up(*number)));
        there.max_by_key(|(_, server)| weigh(server.name.as_str())).map(|(number, _)| number)
    }

    /// The PoP that weighs most, of those with a server that is up.
    fn best<'a>(
        &self,
        pops: &'a [PopCode],
        weigh: impl Fn(&str) -> u64,
        up: impl Fn(usize) -> bool,
    ) -> Option<&'a PopCode> {
        let alive = |pop: &&PopCode| self.home(pop, |_| 0, &up).is_some();
        pops.iter().filter(alive).max_by_key(|pop| weigh(pop.as_str()))
    }

    /// The homes of a URL above this server, at every level: who has to forget it when this server learns that it is
    /// invalid.
    pub fn above(&self, zone: ZoneId, url: &str, up: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut above = Vec::new();
        for level in [CLIENT, HOME, REGION] {
            if let Some(hop) = self.next(level, zone, url, &up)
                && !above.contains(&hop.server)
            {
                above.push(hop.server);
            }
        }
        above
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proxima_model::RegionName;

    use super::*;

    const SERVERS: [(&str, &str, &str); 7] = [
        ("fra1", "FRA", "europe"),
        ("fra2", "FRA", "europe"),
        ("ams1", "AMS", "europe"),
        ("ams2", "AMS", "europe"),
        ("iad1", "IAD", "america"),
        ("iad2", "IAD", "america"),
        ("sin1", "SIN", "asia"),
    ];

    fn config(uppers: &[&str]) -> TiersConfig {
        let pop = |code: &str| PopCode::parse(code).expect("a code");
        TiersConfig {
            listen: Vec::new(),
            upper_pops: uppers.iter().map(|code| pop(code)).collect(),
            servers: SERVERS
                .iter()
                .map(|(name, code, region)| Server {
                    name: NodeName::parse(name).expect("a name"),
                    pop: pop(code),
                    region: RegionName::parse(region).expect("a region"),
                    address: ([127, 0, 0, 1], 1).into(),
                })
                .collect(),
        }
    }

    fn seen_by(name: &str, uppers: &[&str]) -> Map {
        Map::new(&config(uppers), &NodeName::parse(name).expect("a name")).expect("among them")
    }

    fn zone(n: u8) -> ZoneId {
        ZoneId::from_bytes([n; 16])
    }

    /// The way of a request from server to server.
    fn way(
        from: &str,
        uppers: &[&str],
        url: &str,
        up: impl Fn(&str) -> bool + Copy,
    ) -> Vec<(&'static str, u8)> {
        let (mut at, mut level, mut way) = (from.to_owned(), CLIENT, Vec::new());
        while let Some(hop) = seen_by(&at, uppers).next(level, zone(1), url, |number| up(SERVERS[number].0)) {
            (at, level) = (SERVERS[hop.server].0.to_owned(), hop.level);
            way.push((SERVERS[hop.server].0, hop.level));
            assert!(way.len() <= 3, "{way:?}");
        }
        way
    }

    #[test]
    fn all_servers_of_a_pop_agree_on_a_home_and_share_the_urls() {
        let mut homes = HashMap::<usize, usize>::new();
        for n in 0..1_000 {
            let url = format!("https://a.test/{n}");
            let home = |name: &str| {
                let map = seen_by(name, &[]);
                map.next(CLIENT, zone(1), &url, |_| true).map_or(map.me(), |hop| hop.server)
            };
            assert_eq!(home("fra1"), home("fra2"));
            *homes.entry(home("fra1")).or_default() += 1;
        }
        assert!(homes.values().all(|urls| (400..600).contains(urls)), "{homes:?}");
    }

    #[test]
    fn a_key_has_one_home_in_a_pop_and_only_those_of_a_lost_server_move() {
        let (mut of_fra1, mut moved) = (0, 0);
        for n in 0..1_000_u32 {
            let key = n.to_le_bytes();
            let home = |name: &str, up: &dyn Fn(usize) -> bool| {
                let map = seen_by(name, &["IAD"]);
                SERVERS[map.near(&key, up).unwrap_or(map.me())].0
            };
            let all = home("fra1", &|_| true);
            assert_eq!(home("fra2", &|_| true), all);
            assert!(all.starts_with("fra"), "{all}");
            of_fra1 += usize::from(all == "fra1");
            // Of two, the other has them all when one is lost.
            assert_eq!(home("fra2", &|_| false), "fra2");
            moved += usize::from(all == "fra1" && home("fra2", &|_| false) == "fra2");
        }
        assert!((400..600).contains(&of_fra1), "{of_fra1}");
        assert_eq!(moved, of_fra1);
        assert_eq!(seen_by("sin1", &["FRA"]).near(b"key", |_| true), None, "it is alone");
    }

    #[test]
    fn the_whole_network_ends_at_one_server() {
        let uppers = ["FRA", "IAD"];
        for n in 0..100 {
            let url = format!("https://a.test/{n}");
            let ends: Vec<&str> = SERVERS
                .iter()
                .map(|(name, ..)| way(name, &uppers, &url, |_| true).last().map_or(*name, |hop| hop.0))
                .collect();
            assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
            assert!(ends[0].starts_with("fra") || ends[0].starts_with("iad"));
        }
    }

    #[test]
    fn a_region_is_asked_before_the_root() {
        // Whichever of both is the root: Amsterdam asks Frankfurt first, Singapore has no upper PoP of its own.
        for n in 0..50 {
            let url = format!("https://a.test/{n}");
            let ams = way("ams1", &["FRA", "IAD"], &url, |_| true);
            let upper =
                ams.iter().position(|(name, _)| name.starts_with("fra")).expect("by way of Frankfurt");
            assert!(ams[upper].1 == REGION && upper <= 1, "{ams:?}");
            let sin = way("sin1", &["FRA", "IAD"], &url, |_| true);
            assert!(sin.len() == 1 && sin[0].1 == ROOT, "{sin:?}");
        }
    }

    #[test]
    fn a_server_that_is_down_is_not_asked_and_only_its_urls_move() {
        let mut moved = 0;
        for n in 0..500 {
            let url = format!("https://a.test/{n}");
            let map = seen_by("ams1", &["IAD"]);
            let root = |up: &dyn Fn(usize) -> bool| {
                map.next(HOME, zone(1), &url, up).map(|hop| SERVERS[hop.server].0)
            };
            let (all, without) = (root(&|_| true), root(&|number| SERVERS[number].0 != "iad1"));
            assert_eq!(without, Some("iad2"));
            moved += usize::from(all == Some("iad1"));
            assert_eq!(root(&|number| !SERVERS[number].0.starts_with("iad")), None, "then it is the origin");
        }
        assert!((200..300).contains(&moved), "{moved}");
    }

    #[test]
    fn without_upper_pops_every_pop_asks_for_itself() {
        assert!(way("sin1", &[], "https://a.test/", |_| true).is_empty());
        assert!(way("ams1", &[], "https://a.test/", |_| true).iter().all(|hop| hop.1 == HOME));
        assert!(way("fra1", &[], "https://a.test/", |name| name != "fra2").is_empty());
    }
}
