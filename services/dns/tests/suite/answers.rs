//! The files in `data/`: zones, questions about them, and the whole of every answer.
//!
//! ```text
//! zone example.com [pending] [paused] [http3=off] [ssl=off] [flatten=all] [signed[=nsec3]]    the lines of records that follow are its own
//!   NAME TTL [proxied|flatten] TYPE CONTENT
//! ask NAME TYPE [tcp|tls|quic] [class=CH] [rd] [cd] [edns=SIZE] [version=N] [do] [co] [nsid] [unknown] [signed]
//!     [option=CODE:OCTETS] [no-question] [cookies-required]
//! RCODE FLAGS                                the answer: then one line for each record, and one for OPT
//! answer|authority|additional NAME TTL CLASS TYPE DATA
//! opt SIZE [do] [co] [nsid=NAME] [cookie=OCTETS] [subnet=OCTETS] [keepalive=N] [ede=CODE "TEXT"] [padded=SIZE]
//! ```
//! Octets are written in hexadecimal digits. A line that begins with `#` says what the next question is about. Which RFC's
//! statements are shown where is told by `standards.txt`, which has no questions (`standards.rs`).

use std::{fs, path::Path, sync::Arc, time::Duration};

use crate::support::{
    Fixture, NOW, Question, asking_by, describe, published_key, record, responder_at, rtype, signing,
    ticket_keys, zone,
};
use anyhow::{Context as _, Result, bail};
use proxima_chassis::SimulatedClock;
use proxima_dns::Transport;
use proxima_model::{CnameFlattening, KeyRole, SslMode, Zone, ZoneStatus};

#[derive(Default)]
struct Case {
    about: String,
    asked: String,
    expected: Vec<String>,
}

#[test]
fn every_question_of_the_tables_is_answered_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/data");
    let mut failures = Vec::new();
    let mut asked = 0;
    for file in fs::read_dir(folder).expect("the folder of tables") {
        let path = file.expect("a table").path();
        if path.ends_with("standards.txt") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a table");
        let (fixture, cases) = read(&text).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        asked += cases.len();
        for case in cases {
            let found = ask(&fixture, &case.asked).unwrap_or_else(|error| vec![format!("{error:#}")]);
            if found != case.expected {
                failures.push(format!(
                    "{}: {}\nask {}\n  expected\n    {}\n  found\n    {}",
                    path.file_name().unwrap_or_default().display(),
                    case.about,
                    case.asked,
                    case.expected.join("\n    "),
                    found.join("\n    ")
                ));
            }
        }
    }
    assert!(asked > 80, "only {asked} questions were found");
    assert!(
        failures.is_empty(),
        "{} of {asked} answers differ:\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

fn read(text: &str) -> Result<(Fixture, Vec<Case>)> {
    let mut fixture = Fixture::default();
    let mut open: Option<Open> = None;
    let mut cases: Vec<Case> = Vec::new();
    let mut about = String::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut read_line = || -> Result<()> {
            match (word, &mut open) {
                ("", _) => {}
                ("#", _) => about = rest.to_owned(),
                ("zone", _) => {
                    close(&mut open, &mut fixture);
                    open = Some(zone_of(rest)?);
                }
                ("ask", _) => {
                    close(&mut open, &mut fixture);
                    cases.push(Case { about: about.clone(), asked: rest.to_owned(), expected: Vec::new() });
                }
                (_, Some(open)) => open.records.push(record(&open.zone, line)?),
                (_, None) => {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    cases.last_mut().context("a question first")?.expected.push(words.join(" "));
                }
            }
            Ok(())
        };
        read_line().with_context(|| format!("line {}: {line}", number + 1))?;
    }
    Ok((fixture, cases))
}

/// A zone whose lines are being read.
struct Open {
    zone: Zone,
    /// Whether it is; and if, whether it has NSEC3.
    signed: Option<bool>,
    records: Vec<proxima_model::Record>,
}

fn close(open: &mut Option<Open>, fixture: &mut Fixture) {
    match open.take() {
        Some(Open { zone, signed: Some(nsec3), records }) => {
            let mut signing = signing(&zone, vec![published_key(KeyRole::Active)]);
            signing.nsec3 = nsec3;
            fixture.add_signed(&zone, &signing, records);
        }
        Some(Open { zone, records, .. }) => fixture.add(&zone, records),
        None => {}
    }
}

fn zone_of(text: &str) -> Result<Open> {
    let mut signed = None;
    let mut words = text.split_whitespace();
    let mut zone = zone(words.next().context("a zone's name")?);
    for word in words {
        match word {
            "pending" => zone.status = ZoneStatus::Pending,
            "paused" => zone.paused = true,
            "http3=off" => zone.settings.http3 = false,
            "signed" => signed = Some(false),
            "signed=nsec3" => signed = Some(true),
            "flatten=all" => zone.settings.cname_flattening = CnameFlattening::FlattenAll,
            "ssl=off" => zone.settings.ssl = SslMode::Off,
            _ => bail!("{word} is not a state of a zone"),
        }
    }
    Ok(Open { zone, signed, records: Vec::new() })
}

fn ask(fixture: &Fixture, text: &str) -> Result<Vec<String>> {
    let mut words = text.split_whitespace();
    let (name, kind) = (words.next().context("a name")?, words.next().context("a type")?);
    let mut question = Question::new(name, rtype(kind)?);
    let mut transport = Transport::Udp;
    let (mut has_question, mut cookies_required) = (true, false);
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("edns", size) => question.edns().payload = size.parse()?,
            ("version", version) => question.edns().version = version.parse()?,
            ("do", _) => question.edns().flags |= 0x8000,
            ("co", _) => question.edns().flags |= 0x4000,
            ("nsid", _) => question.edns().options.extend([0, 3, 0, 0]),
            ("unknown", _) => question.edns().options.extend([0xff, 0xf0, 0, 2, 1, 2]),
            ("option", option) => {
                let (code, value) = option.split_once(':').context("CODE:OCTETS")?;
                let value = octets(value)?;
                let length = u16::try_from(value.len())?;
                let header = [code.parse::<u16>()?.to_be_bytes(), length.to_be_bytes()].concat();
                question.edns().options.extend([header, value].concat());
            }
            ("no-question", _) => has_question = false,
            ("cookies-required", _) => cookies_required = true,
            ("tcp", _) => transport = Transport::Tcp,
            ("tls", _) => transport = Transport::Tls,
            ("quic", _) => transport = Transport::Quic,
            ("rd", _) => question.flags |= 1 << 8,
            ("cd", _) => question.flags |= 1 << 4,
            ("class", "CH") => question.qclass = 3,
            ("class", number) => question.qclass = number.parse()?,
            ("signed", _) => question.extra = (1, vec![0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0]),
            _ => bail!("{word} is not something to ask with"),
        }
    }
    let mut message = question.encode();
    if !has_question {
        message[5] = 0;
        message.drain(12..12 + question.name.len() + 4);
    }
    let mut out = Vec::new();
    let responder = responder_at(Arc::new(SimulatedClock::new(NOW)))
        .with_keepalive(Duration::from_secs(10))
        .with_cookies_required(cookies_required);
    responder.prepare_cookies(&ticket_keys())();
    responder.respond(fixture, &message, asking_by(transport), &mut out).context("no answer")?;
    describe(&out)
}

fn octets(hex: &str) -> Result<Vec<u8>> {
    let octet = |at| Ok(u8::from_str_radix(hex.get(at..at + 2).context("two digits")?, 16)?);
    (0..hex.len()).step_by(2).map(octet).collect()
}

#[test]
fn challenges_of_a_certificate_authority_are_answered_beside_the_owners_own_records() {
    let zone = zone("example.com");
    let texts = ["apex", "wildcard"].map(str::to_owned);
    let lines = ["_acme-challenge 300 TXT \"their own\"", "* 300 CNAME elsewhere.example.net"];
    let records = || lines.iter().map(|line| record(&zone, line).expect("a record")).collect::<Vec<_>>();
    let mut fixture = Fixture::default();
    fixture.add_challenged(&zone, &texts, records());
    let txt =
        |fixture: &Fixture, name: &str| ask(fixture, &format!("{name} TXT")).expect("an answer").join("\n");

    let answer = txt(&fixture, "_acme-challenge.example.com");
    assert!(["their own", "apex", "wildcard"].iter().all(|text| answer.contains(text)), "{answer}");
    assert_eq!(answer.matches(" TXT ").count(), 3, "{answer}");
    assert!(answer.contains(" 30 IN TXT"), "a challenge is good once: {answer}");

    // Alone they make the name exist, which the wildcard then does not stand for.
    fixture.add_challenged(&zone, &texts, records().split_off(1));
    let answer = txt(&fixture, "_acme-challenge.example.com");
    assert!(answer.contains("apex") && !answer.contains("elsewhere"), "{answer}");
    fixture.add(&zone, records().split_off(1));
    let answer = txt(&fixture, "_acme-challenge.example.com");
    assert!(answer.contains("elsewhere") && !answer.contains("apex"), "{answer}");
}
