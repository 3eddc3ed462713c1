//! Random zones with what is hard about zones, and questions about them.
//!
//! Not made is what the model refuses or has in another form: names of other octets than hosts' and services', and
//! texts of several strings, whose borders are not kept.

use std::{collections::HashMap, fmt::Write as _};

use anyhow::{Context as _, Result};
use proptest::{
    prelude::*,
    sample::Index,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use proxima_model::{Record, RecordId, Zone, conflict, type_name};
use proxima_wire::rtype;

use crate::support::{Edns, Question, record, zone};

/// Octets of a question's labels before the apex: a name has 255 (RFC 1035, 2.3.4).
const BELOW_OCTETS_MAX: usize = 240;

/// A record: its name relative to the zone's, and its data as a zone file has it, with `@` for the zone's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    owner: String,
    ttl: u32,
    data: String,
}

impl Line {
    fn new(owner: &str, ttl: u32, data: String) -> Self {
        Self { owner: owner.to_owned(), ttl, data }
    }

    fn kind(&self) -> &str {
        self.data.split(' ').next().unwrap_or_default()
    }

    fn text(&self, apex: &str) -> String {
        format!("{} {} {}", self.owner, self.ttl, self.data.replace('@', &format!("{apex}.")))
    }
}

/// A zone's records but for SOA and the network's name servers, which every zone has.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) lines: Vec<Line>,
}

impl World {
    /// What of these records can stand in one zone. A set has one TTL: of two, servers take the first, the last or the
    /// smaller, and RFC 2181, 5.2, has nobody make such a set.
    pub(super) fn of(lines: Vec<Line>) -> Self {
        let zone = zone("z00000.test");
        let mut ttls: HashMap<(String, String), u32> = HashMap::new();
        let (mut kept, mut records): (Vec<Line>, Vec<Record>) = (Vec::new(), Vec::new());
        for mut line in lines {
            let kind = line.kind().to_owned();
            let (is_apex, is_ns) = (line.owner == "@", kind == "NS");
            // Aliases are flattened at the apex, and a wildcard does not delegate (RFC 4592, 4.2).
            if is_apex && kind == "CNAME" || is_ns && line.owner.starts_with('*') {
                continue;
            }
            // It would hide all of the zone, or nobody knows what (RFC 6672, 3.3).
            if kind == "DNAME" && (is_apex || line.owner.starts_with('*')) {
                continue;
            }
            if is_apex && is_ns {
                (line.ttl, line.data) = (86_400, "NS ns.elsewhere.example.".to_owned());
            }
            line.ttl = *ttls.entry((line.owner.clone(), kind)).or_insert(line.ttl);
            let Ok(record) = record(&zone, &line.text(zone.name.as_str())) else { continue };
            let id = RecordId::from_bytes(u128::try_from(kept.len()).unwrap_or_default().to_be_bytes());
            let record = Record { id, ..record };
            if records.iter().any(|other| conflict(&record, other, &zone.name).is_some()) {
                continue;
            }
            records.push(record);
            kept.push(line);
        }
        // Below a DNAME record nothing may be (RFC 6672, 2.4): knot refuses such a zone.
        let moved: Vec<String> = kept
            .iter()
            .filter(|line| line.kind() == "DNAME")
            .map(|line| format!(".{}", line.owner))
            .collect();
        kept.retain(|line| !moved.iter().any(|above| line.owner.ends_with(above.as_str())));
        // DS where nothing is delegated says nothing, and is not answered here (RFC 4035, 2.4).
        let cuts: Vec<String> =
            kept.iter().filter(|line| line.kind() == "NS").map(|line| line.owner.clone()).collect();
        kept.retain(|line| line.kind() != "DS" || cuts.contains(&line.owner));
        Self { lines: kept }
    }

    /// As the model has it.
    pub(super) fn records(&self, apex: &str) -> Result<(Zone, Vec<Record>)> {
        let zone = zone(apex);
        let records = self.lines.iter().map(|line| {
            let text = line.text(apex);
            record(&zone, &text).with_context(|| text.clone())
        });
        let records = records.collect::<Result<_>>()?;
        Ok((zone, records))
    }

    /// As others read it.
    pub(super) fn zone_file(&self, apex: &str) -> String {
        let mut text = format!(
            "$ORIGIN {apex}.\n@ 1800 SOA ns1.proxima.example. hostmaster.{apex}. 7 10000 2400 604800 300\n\
             @ 86400 NS ns1.proxima.example.\n@ 86400 NS ns2.proxima.example.\n"
        );
        for line in &self.lines {
            writeln!(text, "{}", line.text(apex)).expect("a text takes all");
        }
        text
    }

    /// Whether it has this record.
    pub(super) fn has(&self, owner: &str, rtype: u16, data: &str, apex: &str) -> bool {
        self.lines.iter().any(|line| {
            let name = if line.owner == "@" { apex.to_owned() } else { format!("{}.{apex}", line.owner) };
            name == owner.trim_end_matches('.')
                && line.data.replace('@', &format!("{apex}.")) == format!("{} {data}", type_name(rtype))
        })
    }

    /// The same without what leads out of it.
    pub(super) fn closed(&self) -> Self {
        let mut lines = self.lines.clone();
        lines.retain(|line| line.owner != "@" || line.kind() != "NS");
        for line in &mut lines {
            line.data = line.data.replace("host.elsewhere.example.", "nowhere.@");
        }
        Self::of(lines)
    }

    /// Every name that it mentions and that lies in it.
    fn names(&self) -> Vec<String> {
        let targets = self.lines.iter().flat_map(|line| line.data.split(' '));
        let targets = targets.filter_map(|word| word.strip_suffix(".@")).map(str::to_owned);
        let owners = self.lines.iter().map(|line| line.owner.clone());
        owners.chain(targets).chain(["@".to_owned()]).collect()
    }
}

/// A question about a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Labels below the apex, in whatever case.
    pub(super) below: Vec<Vec<u8>>,
    /// Whether the apex's letters are capitals.
    pub(super) capitals: bool,
    pub(super) qtype: u16,
    /// Octets that the asker takes, and whether he wants signatures.
    pub(super) edns: Option<(u16, bool)>,
}

impl Asked {
    pub(super) fn question(&self, apex: &str) -> Question {
        let apex = if self.capitals { apex.to_ascii_uppercase() } else { apex.to_owned() };
        let mut question = Question::new(&apex, self.qtype);
        let below = self
            .below
            .iter()
            .flat_map(|label| [&[u8::try_from(label.len()).expect("a label")], label.as_slice()].concat());
        question.name.splice(0..0, below);
        if let Some((payload, wants_signatures)) = self.edns {
            let flags = if wants_signatures { 0x8000 } else { 0 };
            question.edns = Some(Edns { payload, version: 0, flags, options: Vec::new() });
        }
        question
    }

    /// The same for people.
    pub(super) fn dig(&self, apex: &str) -> String {
        let mut name = String::new();
        for octet in self.below.iter().flat_map(|label| label.iter().map(Some).chain([None])) {
            match octet {
                None => name.push('.'),
                Some(octet) if octet.is_ascii_alphanumeric() || b"-_*".contains(octet) => {
                    name.push((*octet).into())
                }
                Some(octet) => write!(name, "\\{octet:03}").expect("a text takes all"),
            }
        }
        let edns = match self.edns {
            None => "+noedns".to_owned(),
            Some((payload, signatures)) => {
                format!("+bufsize={payload} {}", if signatures { "+dnssec" } else { "+nodnssec" })
            }
        };
        format!("dig +norecurse +ignore {edns} -q {name}{apex} -t TYPE{}", self.qtype)
    }

    /// Octets of the largest answer over UDP: both others are as careful by default (1,232).
    pub(super) fn octets_max(&self) -> usize {
        self.edns.map_or(512, |(payload, _)| payload.clamp(512, 1_232)).into()
    }

    /// Whether an alias is followed, and not the answer itself.
    pub(super) fn follows_aliases(&self) -> bool {
        !matches!(self.qtype, rtype::CNAME | rtype::ANY)
    }
}

/// So many worlds of this seed, each with so many questions.
pub(super) fn worlds(seed: u64, count: usize, questions: usize) -> Result<Vec<(World, Vec<Asked>)>> {
    let mut octets = [0; 32];
    octets[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &octets);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut make = || -> Result<(World, Vec<Asked>)> {
        let pieces = proptest::collection::vec(piece(), 1..7);
        let lines = pieces.new_tree(&mut runner).map_err(anyhow::Error::msg)?.current().concat();
        let world = World::of(lines);
        let asked = proptest::collection::vec(asked(world.names()), questions);
        let asked = asked.new_tree(&mut runner).map_err(anyhow::Error::msg)?.current();
        Ok((world, asked))
    };
    (0..count).map(|_| make()).collect()
}

fn label() -> impl Strategy<Value = String> {
    let long = "x".repeat(63);
    prop_oneof![
        4 => Just("a".to_owned()),
        4 => Just("b".to_owned()),
        2 => Just("c".to_owned()),
        1 => Just("_t".to_owned()),
        1 => Just(long),
    ]
}

/// A name relative to the zone, no wildcard.
fn host() -> impl Strategy<Value = String> {
    proptest::collection::vec(label(), 1..4).prop_map(|labels| labels.join("."))
}

fn owner() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just("@".to_owned()),
        6 => host(),
        2 => host().prop_map(|host| format!("*.{host}")),
        1 => Just("*".to_owned()),
    ]
}

/// A name that data points to.
fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => host().prop_map(|host| format!("{host}.@")),
        1 => owner().prop_map(|owner| if owner == "@" { owner } else { format!("{owner}.@") }),
        1 => Just("host.elsewhere.example.".to_owned()),
    ]
}

fn ttl() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![30_u32, 60, 299, 300, 301, 3_600, 86_400])
}

fn data() -> impl Strategy<Value = String> {
    let fixed = [
        "A 192.0.2.1",
        "A 192.0.2.2",
        "AAAA 2001:db8::1",
        "TXT \"text\"",
        "TXT \"a b  c\"",
        "CAA 0 issue \"ca.example\"",
        "HINFO \"cpu\" \"os\"",
        "TYPE65280 \\# 3 abcdef",
        "SSHFP 1 1 0123456789abcdef0123456789abcdef01234567",
    ];
    prop_oneof![
        6 => prop::sample::select(fixed.map(str::to_owned).to_vec()),
        4 => target().prop_map(|target| format!("CNAME {target}")),
        1 => target().prop_map(|target| format!("MX 10 {target}")),
        1 => target().prop_map(|target| format!("SRV 1 2 443 {target}")),
        1 => target().prop_map(|target| format!("PTR {target}")),
        1 => target().prop_map(|target| format!("HTTPS 1 {target} alpn=h2")),
        1 => target().prop_map(|target| format!("SVCB 0 {target}")),
        1 => target().prop_map(|target| format!("NAPTR 1 2 \"S\" \"SIP+D2U\" \"\" {target}")),
        1 => target().prop_map(|target| format!("RP {target} {target}")),
        1 => target().prop_map(|target| format!("NS {target}")),
        1 => target().prop_map(|target| format!("DNAME {target}")),
        1 => target().prop_map(|target| format!("AFSDB 1 {target}")),
    ]
}

/// Some records that belong together.
fn piece() -> impl Strategy<Value = Vec<Line>> {
    let name = (owner(), ttl(), proptest::collection::vec(data(), 1..4)).prop_map(|(owner, ttl, data)| {
        data.into_iter().map(|data| Line::new(&owner, ttl, data)).collect::<Vec<_>>()
    });
    prop_oneof![6 => name, 3 => delegation(), 2 => aliases(), 1 => large()]
}

/// NS records with hosts of every kind, some with addresses, and below and at the cut what it hides.
fn delegation() -> impl Strategy<Value = Vec<Line>> {
    let server = (0..5_u8, target(), any::<bool>());
    let servers = proptest::collection::vec(server, 1..5);
    (host(), ttl(), servers, any::<bool>(), proptest::option::of(data()), 0..20_u8).prop_map(
        |(cut, ttl, servers, has_ds, hidden, many)| {
            let mut lines = Vec::new();
            // Now and then more than a datagram carries.
            let many = if many == 0 { 20 } else { 0 };
            let more = (0..many).map(|_| (0, String::new(), true));
            for (number, (kind, target, has_glue)) in servers.into_iter().chain(more).enumerate() {
                let host = match kind {
                    0 | 1 => format!("ns{number}.{cut}"),
                    2 => cut.clone(),
                    _ => target.trim_end_matches(".@").to_owned(),
                };
                let is_outside = host.ends_with('.') || host == "@";
                let data = if is_outside { format!("NS {host}") } else { format!("NS {host}.@") };
                lines.push(Line::new(&cut, ttl, data));
                if has_glue && !is_outside {
                    lines.push(Line::new(&host, ttl, format!("A 192.0.2.{number}")));
                    lines.push(Line::new(&host, ttl, format!("AAAA 2001:db8::{}", number + 1)));
                }
            }
            if has_ds {
                lines.push(Line::new(&cut, 3_600, format!("DS 2371 13 2 {}", "0123456789abcdef".repeat(4))));
            }
            if let Some(data) = hidden {
                lines.push(Line::new(&format!("x.{cut}"), ttl, data.clone()));
                lines.push(Line::new(&cut, ttl, data));
            }
            lines
        },
    )
}

/// A chain of aliases, or a ring of them.
fn aliases() -> impl Strategy<Value = Vec<Line>> {
    (proptest::collection::vec(host(), 2..12), ttl(), 0..3_u8).prop_map(|(hosts, ttl, end)| {
        let mut names = hosts.clone();
        match end {
            0 => names.push(hosts[0].clone()),
            1 => names.push(hosts[hosts.len() / 2].clone()),
            _ => {}
        }
        let pairs = names.windows(2);
        pairs.map(|pair| Line::new(&pair[0], ttl, format!("CNAME {}.@", pair[1]))).collect()
    })
}

/// A set of many records.
fn large() -> impl Strategy<Value = Vec<Line>> {
    (owner(), ttl(), 5..60_usize, 0..3_u8).prop_map(|(owner, ttl, count, kind)| {
        let data = |number: usize| match kind {
            0 => format!("A 192.0.2.{number}"),
            1 => format!("TXT \"{number} {}\"", "y".repeat(number)),
            _ => format!("MX {number} mail-{number}.a.@"),
        };
        (0..count).map(|number| Line::new(&owner, ttl, data(number))).collect()
    })
}

fn asked(names: Vec<String>) -> impl Strategy<Value = Asked> {
    let types =
        vec![1_u16, 28, 16, 15, 2, 5, 6, 33, 64, 65, 12, 35, 17, 13, 257, 65_280, 39, 47, 46, 48, 59, 255];
    let qtype = prop_oneof![
        4 => Just(rtype::A),
        2 => Just(rtype::DS),
        1 => Just(rtype::ANY),
        6 => prop::sample::select(types),
        1 => 60..128_u16,
    ];
    let payload = prop::sample::select(vec![0_u16, 512, 513, 700, 1_000, 1_232, 4_096]);
    let edns = proptest::option::weighted(0.7, (payload, any::<bool>()));
    let odd = proptest::collection::vec(any::<u8>(), 1..6);
    let place = (any::<Index>(), 0..10_u8, label(), odd);
    (place, qtype, edns, any::<bool>()).prop_map(move |((index, how, label, odd), qtype, edns, capitals)| {
        let name = index.get(&names);
        let mut below: Vec<Vec<u8>> = name
            .split('.')
            .filter(|label| *label != "@")
            .map(|label| if capitals { label.to_ascii_uppercase() } else { label.to_owned() }.into_bytes())
            .collect();
        match how {
            0 => below.insert(0, label.into_bytes()),
            1 => below.insert(0, odd),
            2 => below.insert(0, b"*".to_vec()),
            3 if !below.is_empty() => drop(below.remove(0)),
            4 => below.iter_mut().take(1).for_each(|first| *first = label.clone().into_bytes()),
            5 => {
                below.insert(0, label.into_bytes());
                below.insert(0, odd);
            }
            _ => {}
        }
        while below.iter().map(|label| label.len() + 1).sum::<usize>() > BELOW_OCTETS_MAX {
            below.remove(0);
        }
        Asked { below, capitals, qtype, edns }
    })
}
