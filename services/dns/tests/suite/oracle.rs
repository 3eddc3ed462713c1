//! Random small zones, against a second way to the same answer: the definitions of RFC 1034 and RFC 4592, read out
//! over the whole list of records for every question, without a tree.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proxima_dns::Transport;

use crate::support::{Fixture, Question, asking_by, describe, record, responder, zone};

const ZONE: &str = "example.com";

/// A name below the zone as its labels, the first one first.
type Labels = Vec<String>;

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    NxDomain,
    NoData,
    /// The texts that are answered.
    Data(BTreeSet<String>),
    /// To the servers of this name.
    Referral(Labels),
}

/// Owner names with whether they delegate; a TXT record otherwise.
#[derive(Clone, Debug)]
struct World(Vec<(Labels, bool)>);

impl World {
    fn exists(&self, name: &[String]) -> bool {
        name.is_empty() || self.0.iter().any(|(owner, _)| owner.ends_with(name))
    }

    fn texts(&self, name: &[String]) -> BTreeSet<String> {
        let here = self.0.iter().enumerate().filter(|(_, (owner, delegates))| owner == name && !delegates);
        here.map(|(number, _)| format!("\"{number}\"")).collect()
    }

    fn is_cut(&self, name: &[String]) -> bool {
        !name.is_empty()
            && name[0] != "*"
            && self.0.iter().any(|(owner, delegates)| owner == name && *delegates)
    }

    fn verdict(&self, name: &[String]) -> Verdict {
        // The highest cut at or above the name hides everything below it.
        for start in (0..name.len()).rev() {
            let above = &name[start..];
            // A cut that only a wildcard stands for does not delegate, and nothing exists below what does not exist.
            if self.is_cut(above) {
                return Verdict::Referral(above.to_vec());
            }
        }
        let source = if self.exists(name) {
            name.to_vec()
        } else {
            let encloser = (1..=name.len()).map(|start| &name[start..]).find(|above| self.exists(above));
            let mut source = vec!["*".to_owned()];
            source.extend_from_slice(encloser.expect("the apex exists"));
            if !self.exists(&source) {
                return Verdict::NxDomain;
            }
            source
        };
        let texts = self.texts(&source);
        if texts.is_empty() { Verdict::NoData } else { Verdict::Data(texts) }
    }
}

fn labels() -> impl Strategy<Value = Labels> {
    let label = prop_oneof![3 => Just("a"), 3 => Just("b"), 1 => Just("c")].prop_map(str::to_owned);
    let below = proptest::collection::vec(label, 0..4);
    // A wildcard stands in front only, or is a label like others in a question.
    (below, prop::bool::weighted(0.3)).prop_map(|(mut labels, wildcard)| {
        if wildcard {
            labels.insert(0, "*".to_owned());
        }
        labels
    })
}

fn world() -> impl Strategy<Value = World> {
    let record = (labels(), prop::bool::weighted(0.15)).prop_map(|(owner, delegates)| {
        let delegates = delegates && !owner.is_empty();
        (owner, delegates)
    });
    proptest::collection::vec(record, 1..8).prop_map(World)
}

fn text(labels: &[String]) -> String {
    labels.iter().map(String::as_str).chain([ZONE]).collect::<Vec<_>>().join(".")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn names_exist_as_the_definitions_say(world in world(), asked in proptest::collection::vec(labels(), 8)) {
        let zone = zone(ZONE);
        let mut fixture = Fixture::default();
        let records = world.0.iter().enumerate().map(|(number, (owner, delegates))| {
            let data = if *delegates { "NS ns.example.org".to_owned() } else { format!("TXT {number}") };
            record(&zone, &format!("{} 300 {data}", text(owner))).expect("a record")
        });
        let records = records.collect();
        fixture.add(&zone, records);
        for name in asked {
            let mut out = Vec::new();
            let question = Question::new(&text(&name), 16).encode();
            responder().respond(&fixture, &question, asking_by(Transport::Udp), &mut out);
            let lines = describe(&out).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let found = read(&lines);
            prop_assert_eq!(found, world.verdict(&name), "{} in {:?}: {:?}", text(&name), world, lines);
        }
    }
}

fn read(lines: &[String]) -> Verdict {
    let of = |kind: &str| {
        let lines =
            lines.iter().filter(|line| line.contains(kind)).map(|line| line.split(' ').collect::<Vec<_>>());
        lines.collect::<Vec<_>>()
    };
    if lines[0].starts_with("NXDOMAIN") {
        return Verdict::NxDomain;
    }
    if let Some(referral) = of(" IN NS ").first() {
        let owner = referral[1].strip_suffix(".example.com.").expect("a name in the zone");
        return Verdict::Referral(owner.split('.').map(str::to_owned).collect());
    }
    let texts: BTreeSet<String> = of(" IN TXT ").into_iter().map(|words| words[5].to_owned()).collect();
    if texts.is_empty() { Verdict::NoData } else { Verdict::Data(texts) }
}
