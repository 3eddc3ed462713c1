//! `[[dns.resolver.policies]]`: what clients get instead of what there is, by where they are (`locations.rs`) or by their
//! networks.
//!
//! ```text
//!  name ─▶ of the policy's own (local.rs)? ─yes─▶ its records; an alias that leads outside: on with its target
//!           │ no
//!           ▼
//!          on a list of what is never blocked? ─yes──────────────────┐
//!           │ no                                                     │
//!           ▼                                                        │
//!          on a list of what is blocked? ─yes─▶ NXDOMAIN, no address, or REFUSED
//!           │ no                                                     │
//!           ▼                                                        ▼
//!          a search engine, and safe? ─yes─▶ its safe name, resolved; all else is resolved as it is
//!                                                                    │
//!            unless never blocked: an alias on the way leads to a blocked name? ─yes─▶ as if that were asked for
//! ```
//!
//! What is blocked says so (RFC 8914: error 15, or 16 or 17 where `reason` says who wants it). Lists are files (`lists.rs`):
//! the server does not start without them, and they are read again when they have changed.
//!
//! Invariants: a decision is a few lookups in memory and waits for nothing; a client is not led to a blocked name by an alias
//! of somebody else. Limits: [`POLICIES_MAX`], [`NETWORKS_MAX`], [`LISTS_MAX`], and those of `local.rs` and `names.rs`.

use std::{borrow::Cow, collections::BTreeSet, fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Instant};

use ipnet::IpNet;
use proxima_chassis::NodeConfig;
use proxima_resolver::{AliasGuard, Aliases, BlockReason, Decided, LocalRecord, Name};
use serde::Deserialize;
use tracing::info;

use super::{
    lists::Lists,
    local::{Local, Own},
    safe_search::safe_name,
};
use crate::{DnsError, wire::rtype};

/// Policies of a server: they are looked at in order.
const POLICIES_MAX: usize = 64;
/// Networks of a policy.
const NETWORKS_MAX: usize = 256;
/// Files of a policy.
const LISTS_MAX: usize = 32;
/// For how long clients may remember what was decided here, in seconds: policies change.
pub(crate) const TTL: u32 = 60;

/// What some clients get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// What it is called: by locations, in the log and in explanations.
    pub name: String,
    /// Whose policy it is, if no location of theirs names another. None: if a location names it, nobody else's; otherwise
    /// everybody's.
    pub networks: Vec<IpNet>,
    /// Files of names that are blocked.
    pub block: Vec<PathBuf>,
    /// Files of names that are never blocked.
    pub allow: Vec<PathBuf>,
    /// What a blocked name gets.
    pub blocked: Blocked,
    /// Who wants it so.
    pub reason: Reason,
    /// Records of its own, such as `printer.office.example A 192.0.2.7`. A name that has one has no others.
    pub records: Vec<String>,
    /// Zones of its own, in which there is nothing but these records.
    pub zones: Vec<String>,
    /// Whether search engines leave out what is not for children.
    pub safe_search: bool,
}

/// What a blocked name gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocked {
    /// NXDOMAIN.
    #[default]
    Nxdomain,
    /// An address that is none: `0.0.0.0` and `::`; nothing of other types.
    Zero,
    /// REFUSED: clients ask their next resolver, if they have one.
    Refused,
}

/// Who wants names blocked, which clients are told (RFC 8914, 4.16 to 4.18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Who operates the resolver: error 15.
    #[default]
    Blocked,
    /// Somebody who makes them: error 16.
    Censored,
    /// The clients' own side: error 17.
    Filtered,
}

/// What a policy says of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is blocked, and answered so.
    Blocked(Decided),
    /// It has records of the policy's own, or is in a zone of its own.
    Local(Decided),
    /// It stands for another name, which is resolved: by records of the policy's own, or to be safe.
    Alias { aliases: Aliases, is_safe_search: bool },
}

impl Decision {
    /// What it is called in explanations.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Blocked(_) => "blocked",
            Self::Local(_) => "answered with its own records",
            Self::Alias { is_safe_search: true, .. } => "led to safe search",
            Self::Alias { .. } => "led by its own alias",
        }
    }
}

/// All policies, ready.
pub(crate) struct Policies {
    all: Vec<Arc<Policy>>,
    /// Which of them are for clients of some networks, in order.
    by_network: Vec<usize>,
}

/// One of them.
pub(crate) struct Policy {
    pub(crate) name: String,
    networks: Vec<IpNet>,
    blocked: Blocked,
    reason: BlockReason,
    local: Local,
    safe_search: bool,
    block: Lists,
    allow: Lists,
}

impl PolicyConfig {
    /// What the table alone tells.
    pub(crate) fn check(policies: &[Self]) -> Result<(), DnsError> {
        if policies.len() > POLICIES_MAX {
            return refuse("more than 64");
        }
        let mut names = BTreeSet::new();
        for policy in policies {
            let name = &policy.name;
            if !name.is_empty() && !names.insert(name) {
                return refuse(format!("{name}: there are two of this name"));
            }
            if policy.networks.len() > NETWORKS_MAX {
                return refuse(format!("{name}: more than 256 networks"));
            }
            if policy.block.len() + policy.allow.len() > LISTS_MAX {
                return refuse(format!("{name}: more than 32 files"));
            }
            policy.local()?;
        }
        Ok(())
    }

    fn local(&self) -> Result<Local, DnsError> {
        Local::parse(&self.records, &self.zones)
            .or_else(|problem| refuse(format!("{}: {problem}", self.name)))
    }
}

fn refuse<T>(problem: impl Into<String>) -> Result<T, DnsError> {
    Err(DnsError::Config { field: "resolver.policies", problem: problem.into() })
}

impl Policies {
    /// Reads all lists. A policy without networks that is `named` by a location is for nobody else.
    ///
    /// # Errors
    /// One cannot be read.
    pub(crate) fn new(
        policies: &[PolicyConfig],
        named: impl Fn(&str) -> bool,
        node: &NodeConfig,
    ) -> Result<Self, DnsError> {
        let policy = |config: &PolicyConfig| {
            let lists = |files: &[PathBuf]| {
                let lists = Lists::new(files.iter().map(|file| node.path(file)).collect());
                lists.or_else(|(path, error)| refuse(format!("{}: {}: {error}", config.name, path.display())))
            };
            Ok(Arc::new(Policy {
                name: config.name.clone(),
                networks: config.networks.clone(),
                blocked: config.blocked,
                reason: match config.reason {
                    Reason::Blocked => BlockReason::Blocked,
                    Reason::Censored => BlockReason::Censored,
                    Reason::Filtered => BlockReason::Filtered,
                },
                local: config.local()?,
                safe_search: config.safe_search,
                block: lists(&config.block)?,
                allow: lists(&config.allow)?,
            }))
        };
        let all: Vec<_> = policies.iter().map(policy).collect::<Result<_, DnsError>>()?;
        let is_by_network = |policy: &Policy| !policy.networks.is_empty() || !named(&policy.name);
        let by_network = (0..all.len()).filter(|index| is_by_network(&all[*index])).collect();
        Ok(Self { all, by_network })
    }

    /// One by its number.
    pub(crate) fn get(&self, index: usize) -> Option<&Arc<Policy>> {
        self.all.get(index)
    }

    /// The one that clients of this address have, if no location of theirs names another.
    pub(crate) fn of_network(&self, client: IpAddr) -> Option<&Arc<Policy>> {
        let client = client.to_canonical();
        let is_its = |policy: &&Arc<Policy>| {
            policy.networks.is_empty() || policy.networks.iter().any(|network| network.contains(&client))
        };
        self.by_network.iter().filter_map(|index| self.all.get(*index)).find(is_its)
    }

    /// Reads the lists whose files have changed. Blocks: it reads files.
    pub(crate) fn refresh(&self) {
        let now = Instant::now();
        for policy in &self.all {
            for (lists, what) in [(&policy.block, "block"), (&policy.allow, "allow")] {
                lists.refresh(now).tell(&policy.name, what);
            }
        }
    }

    /// Whether there are files that may change.
    pub(crate) fn has_lists(&self) -> bool {
        self.all.iter().any(|policy| !policy.block.is_empty() || !policy.allow.is_empty())
    }

    /// Says in the log what they are.
    pub(crate) fn announce(&self) {
        for policy in &self.all {
            let (blocked, allowed) = (policy.block.len(), policy.allow.len());
            info!(policy = policy.name, networks = ?policy.networks, blocked, allowed, "a policy of the resolver");
        }
    }
}

impl Policy {
    /// What it says of a question; `None` if it is resolved.
    pub(crate) fn decide(&self, name: &Name, asked: u16) -> Option<Decision> {
        let mut aliases = match self.local.look(name, asked) {
            Own::Decided(decided) => return Some(Decision::Local(decided)),
            Own::Outside(aliases) => aliases,
        };
        let led_to = aliases.targets.last().map_or(Cow::Borrowed(name), |target| Cow::Owned(target.clone()));
        if self.blocks(&led_to) {
            return Some(Decision::Blocked(self.blocked(asked)));
        }
        let safe = self.safe(&led_to, asked);
        let is_safe_search = safe.is_some();
        aliases.targets.extend(safe);
        (!aliases.targets.is_empty()).then_some(Decision::Alias { aliases, is_safe_search })
    }

    /// Whether where aliases lead from a name has to be looked at.
    pub(crate) fn guards(&self, name: &Name) -> bool {
        !self.block.is_empty() && !self.allow.has(name)
    }

    /// The name that a search engine has for what is safe.
    fn safe(&self, name: &Name, asked: u16) -> Option<Name> {
        // Only what leads to a search: mail and name servers of such a name are its own.
        let is_searched_at = matches!(asked, rtype::A | rtype::AAAA | rtype::HTTPS | rtype::CNAME);
        if !self.safe_search || !is_searched_at {
            return None;
        }
        safe_name(name.to_string().trim_end_matches('.'))?.parse().ok()
    }
}

impl AliasGuard for Policy {
    fn blocks(&self, name: &Name) -> bool {
        self.block.has(name) && !self.allow.has(name)
    }

    fn blocked(&self, asked: u16) -> Decided {
        self.blocked.decided(asked).because(self.reason)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Blocked {
    fn decided(self, asked: u16) -> Decided {
        let zero = |data: &[u8]| vec![LocalRecord { rtype: asked, ttl: TTL, data: data.into() }];
        match (self, asked) {
            (Self::Nxdomain, _) => Decided::nothing(),
            (Self::Refused, _) => Decided::refused(),
            (Self::Zero, rtype::A) => Decided::with(zero(&[0; 4])),
            (Self::Zero, rtype::AAAA) => Decided::with(zero(&[0; 16])),
            (Self::Zero, _) => Decided::with(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CONFIG: &str =
        "[node]\nname = \"n\"\npop = \"FRA\"\nregion = \"r\"\ndata_dir = \"d\"\nkey_file = \"k\"\n";

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn policies(configs: &[PolicyConfig]) -> Policies {
        Policies::new(configs, |_| false, &node()).unwrap()
    }

    fn node() -> NodeConfig {
        NodeConfig::parse(CONFIG).unwrap()
    }

    fn decide(policies: &Policies, client: &str, asked: &str, kind: u16) -> Option<Decision> {
        policies.of_network(client.parse().unwrap())?.decide(&name(asked), kind)
    }

    #[test]
    fn a_clients_policy_is_the_first_whose_network_it_is_in() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        fs::write(&list, "ads.example\n").unwrap();
        let office = PolicyConfig {
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            block: vec![list.clone()],
            blocked: Blocked::Zero,
            ..PolicyConfig::default()
        };
        let rest = PolicyConfig { block: vec![list], ..PolicyConfig::default() };
        let policies = policies(&[office, rest]);
        let zero = vec![LocalRecord { rtype: rtype::A, ttl: TTL, data: Box::new([0; 4]) }];
        let blocked = |decided| Some(Decision::Blocked(decided));
        let why = BlockReason::Blocked;
        for (client, kind, expected) in [
            ("192.0.2.1", rtype::A, blocked(Decided::with(zero.clone()).because(why))),
            ("::ffff:192.0.2.1", rtype::A, blocked(Decided::with(zero).because(why))),
            ("192.0.2.1", rtype::MX, blocked(Decided::with(Vec::new()).because(why))),
            ("198.51.100.1", rtype::A, blocked(Decided::nothing().because(why))),
        ] {
            assert_eq!(decide(&policies, client, "www.ads.example", kind), expected, "{client} {kind}");
            assert_eq!(decide(&policies, client, "www.example", kind), None);
        }
    }

    #[test]
    fn own_records_come_before_lists_and_what_is_allowed_before_what_is_blocked() {
        let folder = tempfile::tempdir().unwrap();
        let (block, allow) = (folder.path().join("block"), folder.path().join("allow"));
        fs::write(&block, "example\n").unwrap();
        fs::write(&allow, "good.example\n").unwrap();
        let records = [
            "printer.example A 192.0.2.7",
            "printer.example A 192.0.2.8",
            "Old.Example CNAME new.example.org",
        ];
        let policies = policies(&[PolicyConfig {
            block: vec![block],
            allow: vec![allow],
            records: records.map(str::to_owned).to_vec(),
            safe_search: true,
            ..PolicyConfig::default()
        }]);
        let of = |asked: &str, kind| decide(&policies, "192.0.2.1", asked, kind);
        let Some(Decision::Local(own)) = of("printer.example", rtype::A) else { panic!("its own") };
        assert_eq!(own.records.iter().map(|record| record.data[3]).collect::<Vec<_>>(), [7, 8]);
        let nothing = Decided::with(Vec::new()).behind(Aliases { targets: Vec::new(), ttl: TTL });
        assert_eq!(of("printer.example", rtype::AAAA), Some(Decision::Local(nothing)));
        let alias = |target: &str, is_safe_search| {
            let aliases = Aliases { targets: vec![name(target)], ttl: TTL };
            Some(Decision::Alias { aliases, is_safe_search })
        };
        assert_eq!(of("old.example", rtype::A), alias("new.example.org", false));
        assert!(matches!(of("old.example", rtype::CNAME), Some(Decision::Local(_))));
        assert!(matches!(of("bad.example", rtype::A), Some(Decision::Blocked(_))));
        assert_eq!(of("www.good.example", rtype::A), None);
        assert_eq!(of("www.google.com", rtype::A), alias("forcesafesearch.google.com", true));
        assert!(of("yandex.ru", rtype::AAAA).is_some());
        assert_eq!([rtype::MX, rtype::TXT, rtype::NS].map(|kind| of("yandex.ru", kind)), [None, None, None]);
    }

    #[test]
    fn a_list_that_has_changed_is_read_again_and_one_that_is_broken_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        fs::write(&list, "one.example\n").unwrap();
        let policies = policies(&[PolicyConfig { block: vec![list.clone()], ..PolicyConfig::default() }]);
        let blocks = |asked: &str| decide(&policies, "192.0.2.1", asked, rtype::A).is_some();
        assert!(policies.has_lists() && blocks("one.example") && !blocks("other.example"));
        fs::write(&list, "other.example\n").unwrap();
        assert!(!blocks("other.example"));
        policies.refresh();
        assert!(blocks("other.example") && !blocks("one.example"));
        fs::write(&list, "# nothing any more\n").unwrap();
        policies.refresh();
        assert!(blocks("other.example"));
        fs::remove_file(&list).unwrap();
        policies.refresh();
        assert!(blocks("other.example"));
    }

    #[test]
    fn a_policy_with_mistakes_says_where_they_are() {
        let policy = PolicyConfig {
            name: "office".to_owned(),
            records: vec!["a.example A x".to_owned()],
            ..PolicyConfig::default()
        };
        let refused = PolicyConfig::check(&[policy]).unwrap_err().to_string();
        let expected = "office: a.example A x: content: \"x\" is not A content";
        assert!(refused.contains("[dns] resolver.policies") && refused.contains(expected), "{refused}");
        let missing = PolicyConfig { block: vec!["/nowhere/list".into()], ..PolicyConfig::default() };
        let refused = Policies::new(&[missing], |_| false, &node()).err().unwrap();
        assert!(refused.to_string().contains("/nowhere/list"), "{refused}");
    }

    #[test]
    fn two_policies_of_one_name_are_refused_unless_they_have_none() {
        let of = |names: &[&str]| {
            let policy = |name: &&str| PolicyConfig { name: (*name).to_owned(), ..PolicyConfig::default() };
            PolicyConfig::check(&names.iter().map(policy).collect::<Vec<_>>())
        };
        assert!(of(&["", "office", "", "school"]).is_ok());
        let refused = of(&["office", "school", "office"]).unwrap_err().to_string();
        let expected = "office: there are two of this name";
        assert!(refused.contains("[dns] resolver.policies") && refused.contains(expected), "{refused}");
    }

    #[test]
    fn a_policy_that_a_location_names_is_its_clients_alone_unless_it_has_networks() {
        let named = |name: &str, networks: &[&str]| PolicyConfig {
            name: name.to_owned(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            ..PolicyConfig::default()
        };
        let configs = [named("school", &[]), named("office", &["192.0.2.0/24"]), named("rest", &[])];
        let policies = Policies::new(&configs, |name| name != "rest", &node()).unwrap();
        let of = |client: &str| policies.of_network(client.parse().unwrap()).map(|policy| &*policy.name);
        assert_eq!((of("192.0.2.1"), of("198.51.100.1")), (Some("office"), Some("rest")));
        assert_eq!(policies.get(0).map(|policy| &*policy.name), Some("school"));
    }

    #[test]
    fn aliases_of_others_are_looked_at_unless_the_name_is_never_blocked() {
        let folder = tempfile::tempdir().unwrap();
        let (block, allow) = (folder.path().join("block"), folder.path().join("allow"));
        fs::write(&block, "tracker.example\nwww.google.com\n").unwrap();
        fs::write(&allow, "shop.example\ngood.tracker.example\n").unwrap();
        let policies = policies(&[PolicyConfig {
            block: vec![block],
            allow: vec![allow],
            reason: Reason::Filtered,
            records: vec![
                "ads.local CNAME x.tracker.example".to_owned(),
                "search.local CNAME www.bing.com".to_owned(),
            ],
            safe_search: true,
            ..PolicyConfig::default()
        }]);
        let policy = policies.get(0).unwrap();
        assert!(policy.guards(&name("www.example")) && !policy.guards(&name("www.shop.example")));
        assert!(policy.blocks(&name("a.tracker.example")) && !policy.blocks(&name("good.tracker.example")));
        let filtered = Decided::nothing().because(BlockReason::Filtered);
        assert_eq!(policy.blocked(rtype::A), filtered);
        // An alias of its own leads to a blocked name no more than anybody's; and to a search that is safe.
        assert_eq!(policy.decide(&name("ads.local"), rtype::A), Some(Decision::Blocked(filtered)));
        let Some(Decision::Alias { aliases, is_safe_search: true }) =
            policy.decide(&name("search.local"), rtype::A)
        else {
            panic!("it is safe")
        };
        assert_eq!(aliases.targets, [name("www.bing.com"), name("strict.bing.com")]);
    }
}
