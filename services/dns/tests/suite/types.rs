//! Every type of record on the wire: the octets of the model's table, whole and uncompressed, at the end of an answer.

use proxima_dns::Transport;
use proxima_model::RecordType;

use crate::support::{Fixture, Question, asking_by, record, responder, zone};

const TABLE: &str = include_str!("../../../../core/model/tests/nouns/record_types.txt");

#[test]
fn every_type_is_answered_with_the_octets_that_others_make_of_it() {
    let (mut kind, mut asked) = ("", 0);
    for line in TABLE.lines() {
        if let Some(name) = line.strip_prefix("type ") {
            kind = name;
        }
        let Some(row) = line.strip_prefix("  good ") else { continue };
        let [given, _, octets] = row.split(" => ").collect::<Vec<_>>().try_into().expect("three parts");
        if kind == "TXT" && given.starts_with("\\#") {
            continue;
        }
        let name = if ["DNSKEY", "CDS", "CDNSKEY"].contains(&kind) { "@" } else { "x" };
        let zone = zone("types.test");
        let mut lines = vec![format!("{name} 300 {kind} {given}")];
        if kind == "DS" {
            lines.push("x 300 NS ns.elsewhere.example".to_owned());
        }
        let records = lines.iter().map(|line| record(&zone, line).expect(line)).collect();
        let mut fixture = Fixture::default();
        fixture.add(&zone, records);
        let owner = if name == "@" { "types.test" } else { "x.types.test" };
        let code = RecordType::by_name(kind).expect(kind).code();
        let mut out = Vec::new();
        let question = Question::new(owner, code).encode();
        responder().respond(&fixture, &question, asking_by(Transport::Tcp), &mut out).expect("an answer");
        let octets: Vec<u8> = (0..octets.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&octets[at..at + 2], 16).expect("an octet"))
            .collect();
        let length = u16::try_from(octets.len()).expect("a short one").to_be_bytes();
        assert!(out.ends_with(&[&length[..], &octets].concat()), "{line}\n{out:02x?}");
        asked += 1;
    }
    assert!(asked > 50, "{asked}");
}
