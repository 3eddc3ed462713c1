//! `[[dns.resolver.policies]]`: what clients of some networks get instead of what there is. The ground for filtering by
//! location.
//!
//! ```text
//!  client ─▶ the first policy whose networks it is in ─▶ a record of the policy's own? ─▶ answered with it
//!                                                        │ no
//!                                                        ▼
//!                                                       on a list of what is never blocked? ─yes─▶ resolved
//!                                                        │ no
//!                                                        ▼
//!                                                       on a list of what is blocked? ─yes─▶ NXDOMAIN, no address, or REFUSED
//!                                                        │ no
//!                                                        ▼
//!                                                       a search engine, and safe? ─yes─▶ its safe name, resolved
//! ```
//!
//! What is blocked says so (RFC 8914, 4.16: error 15). Lists are files (`names.rs`): read when the server starts, which it does
//! not without them, and again when they have changed ([`WATCH_INTERVAL`]); what cannot be read then leaves the former list in
//! force.
//!
//! Invariants: a decision is a few lookups in memory and waits for nothing; a list that is read again is in force whole or not
//! at all. Limits: [`POLICIES_MAX`], [`NETWORKS_MAX`], [`LISTS_MAX`], [`RECORDS_MAX`], and those of `names.rs`.

use std::{
    collections::HashMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use proxima_chassis::NodeConfig;
use proxima_model::{RecordData, RecordType};
use proxima_resolver::{Decided, LocalRecord, Name};
use serde::Deserialize;
use tracing::{info, warn};

use super::{
    names::{NameSet, NameSetBuilder},
    safe_search::safe_name,
};
use crate::{DnsError, rrset::encode, wire::rtype};

/// Policies of a server: they are looked at in order.
const POLICIES_MAX: usize = 64;
/// Networks of a policy.
const NETWORKS_MAX: usize = 256;
/// Files of a policy.
const LISTS_MAX: usize = 32;
/// Records of a policy.
const RECORDS_MAX: usize = 10_000;
/// How often lists are looked at for changes.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_secs(10);
/// For how long clients may remember what was decided here, in seconds: policies change.
pub(crate) const TTL: u32 = 60;

/// What clients of some networks get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// What it is called in the log.
    pub name: String,
    /// Whose policy it is; all who may ask, if there are none.
    pub networks: Vec<IpNet>,
    /// Files of names that are blocked.
    pub block: Vec<PathBuf>,
    /// Files of names that are never blocked.
    pub allow: Vec<PathBuf>,
    /// What a blocked name gets.
    pub blocked: Blocked,
    /// Records of its own, such as `printer.office.example A 192.0.2.7`. A name that has one has no others.
    pub records: Vec<String>,
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

/// What a policy says of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is blocked, and answered so.
    Blocked(Decided),
    /// It has records of the policy's own.
    Local(Decided),
    /// It stands for another name, which is resolved: by a record of the policy's own, or to be safe.
    Alias { target: Name, is_safe_search: bool },
}

/// All policies, ready.
pub(crate) struct Policies(Vec<Policy>);

struct Policy {
    name: String,
    networks: Vec<IpNet>,
    blocked: Blocked,
    records: HashMap<Name, Vec<LocalRecord>>,
    safe_search: bool,
    block: Lists,
    allow: Lists,
}

/// Files, and the names in them.
struct Lists {
    files: Vec<PathBuf>,
    names: ArcSwap<Read>,
}

/// What was read, and of which state of the files.
#[derive(Default)]
struct Read {
    names: NameSet,
    state: Vec<FileState>,
}

/// By what a file is seen to have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    modified: SystemTime,
    octets: u64,
}

impl PolicyConfig {
    /// What the table alone tells.
    pub(crate) fn check(policies: &[Self]) -> Result<(), DnsError> {
        if policies.len() > POLICIES_MAX {
            return refuse("more than 64");
        }
        for policy in policies {
            let name = &policy.name;
            if policy.networks.len() > NETWORKS_MAX {
                return refuse(format!("{name}: more than 256 networks"));
            }
            if policy.block.len() + policy.allow.len() > LISTS_MAX {
                return refuse(format!("{name}: more than 32 files"));
            }
            if policy.records.len() > RECORDS_MAX {
                return refuse(format!("{name}: more than 10000 records"));
            }
            policy.records()?;
        }
        Ok(())
    }

    fn records(&self) -> Result<HashMap<Name, Vec<LocalRecord>>, DnsError> {
        let mut records = HashMap::<Name, Vec<LocalRecord>>::new();
        for line in &self.records {
            let (owner, record) =
                record(line).or_else(|problem| refuse(format!("{}: {line}: {problem}", self.name)))?;
            records.entry(owner).or_default().push(record);
        }
        let is_alias = |record: &LocalRecord| record.rtype == rtype::CNAME;
        match records.iter().find(|(_, of)| of.len() > 1 && of.iter().any(is_alias)) {
            Some((owner, _)) => refuse(format!("{}: {owner}: a CNAME record beside others", self.name)),
            None => Ok(records),
        }
    }
}

fn refuse<T>(problem: impl Into<String>) -> Result<T, DnsError> {
    Err(DnsError::Config { field: "resolver.policies", problem: problem.into() })
}

/// A record of a line: name, type, data.
fn record(line: &str) -> Result<(Name, LocalRecord), String> {
    let (owner, rest) = line.trim().split_once(char::is_whitespace).ok_or("give name, type and data")?;
    let (kind, content) =
        rest.trim_start().split_once(char::is_whitespace).ok_or("give name, type and data")?;
    let owner = owner.parse::<Name>().map_err(|error| error.to_string())?;
    let kind = RecordType::by_name(kind).map_err(|invalid| invalid.to_string())?;
    let data = RecordData::parse(kind, content.trim()).map_err(|invalid| invalid.to_string())?;
    let (rtype, data) = encode(&data);
    Ok((owner, LocalRecord { rtype, ttl: TTL, data: data.into() }))
}

impl Policies {
    /// Reads all lists.
    ///
    /// # Errors
    /// One cannot be read.
    pub(crate) fn new(policies: &[PolicyConfig], node: &NodeConfig) -> Result<Self, DnsError> {
        let policy = |config: &PolicyConfig| {
            let lists = |files: &[PathBuf]| {
                let lists = Lists::new(files.iter().map(|file| node.path(file)).collect());
                lists.or_else(|(path, error)| refuse(format!("{}: {}: {error}", config.name, path.display())))
            };
            Ok(Policy {
                name: config.name.clone(),
                networks: config.networks.clone(),
                blocked: config.blocked,
                records: config.records()?,
                safe_search: config.safe_search,
                block: lists(&config.block)?,
                allow: lists(&config.allow)?,
            })
        };
        Ok(Self(policies.iter().map(policy).collect::<Result<_, DnsError>>()?))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the client's policy says of a question; `None` if it is resolved.
    pub(crate) fn decide(&self, client: IpAddr, name: &Name, asked: u16) -> Option<Decision> {
        let client = client.to_canonical();
        let is_its = |policy: &&Policy| {
            policy.networks.is_empty() || policy.networks.iter().any(|network| network.contains(&client))
        };
        self.0.iter().find(is_its)?.decide(name, asked)
    }

    /// Reads the lists whose files have changed. Blocks: it reads files.
    pub(crate) fn refresh(&self) {
        for policy in &self.0 {
            for (lists, what) in [(&policy.block, "block"), (&policy.allow, "allow")] {
                match lists.refresh() {
                    Ok(None) => {}
                    Ok(Some(names)) => {
                        info!(policy = policy.name, what, names, "read lists that had changed")
                    }
                    Err((path, error)) => {
                        warn!(
                            policy = policy.name, what, path = %path.display(), %error,
                            "a list that has changed cannot be used: the former stays in force"
                        );
                    }
                }
            }
        }
    }

    /// Whether there are files that may change.
    pub(crate) fn has_lists(&self) -> bool {
        self.0.iter().any(|policy| !policy.block.files.is_empty() || !policy.allow.files.is_empty())
    }

    /// Says in the log what they are.
    pub(crate) fn announce(&self) {
        for policy in &self.0 {
            let (blocked, allowed) = (policy.block.len(), policy.allow.len());
            info!(policy = policy.name, networks = ?policy.networks, blocked, allowed, "a policy of the resolver");
        }
    }
}

impl Policy {
    fn decide(&self, name: &Name, asked: u16) -> Option<Decision> {
        if let Some(records) = self.records.get(name) {
            if let [LocalRecord { rtype: rtype::CNAME, data, .. }] = &records[..]
                && asked != rtype::CNAME
                && let Some(target) = Name::from_wire(data)
            {
                return Some(Decision::Alias { target, is_safe_search: false });
            }
            let records = records.iter().filter(|record| record.rtype == asked).cloned().collect();
            return Some(Decision::Local(Decided::with(records)));
        }
        if !self.allow.has(name) && self.block.has(name) {
            return Some(Decision::Blocked(self.blocked.decided(asked)));
        }
        // Only what leads to a search: mail and name servers of such a name are its own.
        let is_searched_at = matches!(asked, rtype::A | rtype::AAAA | rtype::HTTPS | rtype::CNAME);
        if !self.safe_search || !is_searched_at {
            return None;
        }
        let target = safe_name(name.to_string().trim_end_matches('.'))?.parse().ok()?;
        Some(Decision::Alias { target, is_safe_search: true })
    }
}

impl Blocked {
    fn decided(self, asked: u16) -> Decided {
        let zero = |data: &[u8]| vec![LocalRecord { rtype: asked, ttl: TTL, data: data.into() }];
        match (self, asked) {
            (Self::Nxdomain, _) => Decided::blocked_as_nothing(),
            (Self::Refused, _) => Decided::blocked_as_refused(),
            (Self::Zero, rtype::A) => Decided::blocked_with(zero(&[0; 4])),
            (Self::Zero, rtype::AAAA) => Decided::blocked_with(zero(&[0; 16])),
            (Self::Zero, _) => Decided::blocked_with(Vec::new()),
        }
    }
}

impl Lists {
    fn new(files: Vec<PathBuf>) -> Result<Self, (PathBuf, io::Error)> {
        let names = ArcSwap::from_pointee(Read::new(&files)?);
        Ok(Self { files, names })
    }

    fn has(&self, name: &Name) -> bool {
        !self.files.is_empty() && self.names.load().names.has(name.wire())
    }

    fn len(&self) -> usize {
        self.names.load().names.len()
    }

    /// Reads them again, if they have changed; how many names there are then.
    fn refresh(&self) -> Result<Option<usize>, (PathBuf, io::Error)> {
        if states(&self.files)? == self.names.load().state {
            return Ok(None);
        }
        let read = Read::new(&self.files)?;
        let count = read.names.len();
        self.names.store(Arc::new(read));
        Ok(Some(count))
    }
}

impl Read {
    fn new(files: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        // Before they are read: what changes meanwhile is read once more.
        let state = states(files)?;
        let mut names = NameSetBuilder::default();
        for file in files {
            let before = names.strange;
            names.read(file).map_err(|error| (file.clone(), error))?;
            let strange = names.strange - before;
            if strange > 0 {
                warn!(path = %file.display(), lines = strange, "lines of a list are not understood, and left out");
            }
        }
        Ok(Self { names: names.build(), state })
    }
}

fn states(files: &[PathBuf]) -> Result<Vec<FileState>, (PathBuf, io::Error)> {
    let state = |path: &Path| {
        let metadata = fs::metadata(path)?;
        Ok(FileState { modified: metadata.modified()?, octets: metadata.len() })
    };
    files.iter().map(|file| state(file).map_err(|error| (file.clone(), error))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str =
        "[node]\nname = \"n\"\npop = \"FRA\"\nregion = \"r\"\ndata_dir = \"d\"\nkey_file = \"k\"\n";

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn policies(configs: &[PolicyConfig]) -> Policies {
        Policies::new(configs, &NodeConfig::parse(CONFIG).unwrap()).unwrap()
    }

    fn decide(policies: &Policies, client: &str, asked: &str, kind: u16) -> Option<Decision> {
        policies.decide(client.parse().unwrap(), &name(asked), kind)
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
        for (client, kind, expected) in [
            ("192.0.2.1", rtype::A, blocked(Decided::blocked_with(zero.clone()))),
            ("::ffff:192.0.2.1", rtype::A, blocked(Decided::blocked_with(zero))),
            ("192.0.2.1", rtype::MX, blocked(Decided::blocked_with(Vec::new()))),
            ("198.51.100.1", rtype::A, blocked(Decided::blocked_as_nothing())),
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
        assert_eq!(of("printer.example", rtype::AAAA), Some(Decision::Local(Decided::default())));
        let alias =
            |target: &str, is_safe_search| Some(Decision::Alias { target: name(target), is_safe_search });
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
        for (record, expected) in [
            ("printer.example", "give name, type and data"),
            ("printer.example A", "give name, type and data"),
            ("a..b A 192.0.2.1", "not a domain name"),
            ("a.example B x", "\"B\" is not a record type"),
            ("a.example A x", "\"x\" is not A content"),
        ] {
            let policy = PolicyConfig {
                name: "office".to_owned(),
                records: vec![record.to_owned()],
                ..PolicyConfig::default()
            };
            let refused = PolicyConfig::check(&[policy]).unwrap_err().to_string();
            assert!(
                refused.contains("[dns] resolver.policies: office") && refused.contains(expected),
                "{refused}"
            );
        }
        let beside = ["a.example CNAME b.example", "a.example A 192.0.2.1"].map(str::to_owned).to_vec();
        let policy = PolicyConfig { records: beside, ..PolicyConfig::default() };
        assert!(
            PolicyConfig::check(&[policy]).unwrap_err().to_string().contains("a CNAME record beside others")
        );
        let missing = PolicyConfig { block: vec!["/nowhere/list".into()], ..PolicyConfig::default() };
        let refused = Policies::new(&[missing], &NodeConfig::parse(CONFIG).unwrap()).err().unwrap();
        assert!(refused.to_string().contains("/nowhere/list"), "{refused}");
    }
}
