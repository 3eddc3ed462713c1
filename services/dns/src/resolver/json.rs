//! Questions and answers as JSON (`application/dns-json`), as the public resolvers speak it: for programs that have no DNS
//! library at hand. Pure.
//!
//! ```text
//!  ?name=www.example.com&type=AAAA&do=1&cd=1 ─▶ a question on the wire ─▶ as any other ─▶ its answer ─▶ an object
//! ```
//!
//! The object has `Status`, `TC`, `RD`, `RA`, `AD`, `CD`, `Question`, and where there are any `Answer`, `Authority` and
//! `Comment`, which says what an extended error says (RFC 8914). Data is in presentation form; that of types that are not
//! known by it is in the form of RFC 3597.

use std::{fmt::Write as _, str::FromStr};

use percent_encoding::percent_decode_str;
use proxima_model::{present, type_code, type_name};
use proxima_resolver::Name;
use proxima_wire::{
    edns::{DO, option},
    name,
    record::{counts, record_at},
};
use serde::Serialize;

use crate::wire::{HEADER_OCTETS, class, flag, rtype};

/// What such answers are.
pub(crate) const MEDIA_TYPE: &str = "application/dns-json";
/// The parameter that tells such a question from one on the wire.
const NAME: &str = "name";
/// Octets that a datagram may have, which here says nothing.
const PAYLOAD: u16 = 1_232;
/// What extended errors are called (RFC 8914, 5.2), as far as a resolver says them.
const EXTENDED: [(u16, &str); 21] = [
    (0, "Other Error"),
    (1, "Unsupported DNSKEY Algorithm"),
    (2, "Unsupported DS Digest Type"),
    (3, "Stale Answer"),
    (4, "Forged Answer"),
    (6, "DNSSEC Bogus"),
    (7, "Signature Expired"),
    (8, "Signature Not Yet Valid"),
    (9, "DNSKEY Missing"),
    (10, "RRSIGs Missing"),
    (12, "NSEC Missing"),
    (15, "Blocked"),
    (16, "Censored"),
    (17, "Filtered"),
    (18, "Prohibited"),
    (19, "Stale NXDOMAIN Answer"),
    (20, "Not Authoritative"),
    (22, "No Reachable Authority"),
    (23, "Network Error"),
    (27, "Unsupported NSEC3 Iterations Value"),
    (29, "Synthesized"),
];

/// An answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Said {
    status: u16,
    #[serde(rename = "TC")]
    truncated: bool,
    #[serde(rename = "RD")]
    recursion_desired: bool,
    #[serde(rename = "RA")]
    recursion_available: bool,
    #[serde(rename = "AD")]
    authentic: bool,
    #[serde(rename = "CD")]
    checking_disabled: bool,
    question: Vec<Asked>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answer: Vec<Shown>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authority: Vec<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

#[derive(Debug, Serialize)]
struct Asked {
    name: String,
    r#type: u16,
}

#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    r#type: u16,
    #[serde(rename = "TTL")]
    ttl: u32,
    data: String,
}

/// The question of a URL's query, on the wire; `None` if it is not one of this form.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn question(query: &str) -> Option<Result<Vec<u8>, &'static str>> {
    let parameters = || query.split('&').filter_map(|parameter| parameter.split_once('='));
    parameters().any(|(key, _)| key == NAME).then(|| {
        let (mut owner, mut kind, mut has_do, mut unchecked) = (None, rtype::A, false, false);
        for (key, value) in parameters() {
            let value = percent_decode_str(value).decode_utf8().map_err(|_| "a parameter is not UTF-8")?;
            match key {
                NAME => owner = Some(Name::from_str(&value).map_err(|_| "`name` is no domain name")?),
                "type" => kind = number_of(&value).ok_or("`type` is no type of record")?,
                "do" => has_do = is_set(&value).ok_or("`do` is 1, true, 0 or false")?,
                "cd" => unchecked = is_set(&value).ok_or("`cd` is 1, true, 0 or false")?,
                // Other resolvers know more, which changes no answer here.
                _ => {}
            }
        }
        let owner = owner.ok_or("`name` is missing")?;
        let flags = flag::RD | flag::AD | if unchecked { flag::CD } else { 0 };
        let mut message = [0, flags, 1, 0, 0, 1].map(u16::to_be_bytes).concat();
        message.extend_from_slice(owner.wire());
        message.extend([kind, class::IN].map(u16::to_be_bytes).concat());
        message.push(0);
        message
            .extend([rtype::OPT, PAYLOAD, 0, if has_do { DO } else { 0 }, 0].map(u16::to_be_bytes).concat());
        Ok(message)
    })
}

fn number_of(value: &str) -> Option<u16> {
    value.parse().ok().or_else(|| type_code(value))
}

fn is_set(value: &str) -> Option<bool> {
    match value {
        "1" | "true" => Some(true),
        "" | "0" | "false" => Some(false),
        _ => None,
    }
}

/// A message as JSON; `None` if it cannot be read.
pub(crate) fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let [questions, answers, authorities, additionals] = counts(message).ok()?;
    let flags = u16::from_be_bytes([message[2], message[3]]);
    let mut at = HEADER_OCTETS;
    let mut question = Vec::new();
    for _ in 0..questions {
        let (owner, after) = name::read(message, at).ok()?;
        let kind = message.get(after..after + 2)?;
        question.push(Asked { name: text(&owner)?, r#type: u16::from_be_bytes([kind[0], kind[1]]) });
        at = after + 4;
    }
    let mut section = |count: u16| -> Option<Vec<Shown>> {
        let mut shown = Vec::new();
        for _ in 0..count {
            let record = record_at(message, at).ok()?;
            at = record.end;
            let data = shown_data(record.rtype, &record.written_out(message).ok()?)?;
            let (name, ttl) = (text(&record.owner)?, record.seconds());
            shown.push(Shown { name, r#type: record.rtype, ttl, data });
        }
        Some(shown)
    };
    let (answer, authority) = (section(answers)?, section(authorities)?);
    let opt = (0..additionals).find_map(|_| {
        let record = record_at(message, at).ok()?;
        at = record.end;
        (record.rtype == rtype::OPT).then_some(record)
    });
    let is = |flag: u16| flags & flag != 0;
    let extended = opt.as_ref().map_or(0, |opt| (opt.ttl >> 24) as u16);
    let said = Said {
        status: flags & 0b1111 | extended << 4,
        truncated: is(flag::TC),
        recursion_desired: is(flag::RD),
        recursion_available: is(flag::RA),
        authentic: is(flag::AD),
        checking_disabled: is(flag::CD),
        question,
        answer,
        authority,
        comment: opt.and_then(|opt| comment(&message[opt.data..opt.end])),
    };
    serde_json::to_vec(&said).ok()
}

/// What the extended errors among the options say.
fn comment(mut options: &[u8]) -> Option<String> {
    let mut said = String::new();
    while let Some((head, rest)) = options.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (data, rest) = rest.split_at_checked(length)?;
        options = rest;
        if u16::from_be_bytes([head[0], head[1]]) != option::EXTENDED_ERROR {
            continue;
        }
        let code = u16::from_be_bytes(*data.first_chunk()?);
        let name = EXTENDED.iter().find(|known| known.0 == code).map_or("Other Error", |known| known.1);
        let _ = write!(said, "{}EDE {code} ({name})", if said.is_empty() { "" } else { "; " });
    }
    (!said.is_empty()).then_some(said)
}

/// Data in presentation form.
fn shown_data(kind: u16, data: &[u8]) -> Option<String> {
    let shown = match kind {
        rtype::SOA => soa(data),
        rtype::DNAME => name_in(data).map(|(name, _)| name),
        rtype::RRSIG => rrsig(data),
        rtype::NSEC => name_in(data).and_then(|(next, bits)| Some(format!("{next}{}", types(bits)?))),
        _ => None,
    };
    Some(shown.unwrap_or_else(|| present(kind, data)))
}

fn soa(data: &[u8]) -> Option<String> {
    let (primary, rest) = name_in(data)?;
    let (mailbox, rest) = name_in(rest)?;
    let numbers: &[u8; 20] = rest.try_into().ok()?;
    let mut text = format!("{primary} {mailbox}");
    for number in numbers.chunks_exact(4) {
        let _ = write!(text, " {}", u32::from_be_bytes(number.try_into().ok()?));
    }
    Some(text)
}

/// A signature (RFC 4034, 3.2), its times as seconds.
fn rrsig(data: &[u8]) -> Option<String> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let (fixed, rest) = data.split_first_chunk::<18>()?;
    let (signer, signature) = name_in(rest)?;
    let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let long = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
    Some(format!(
        "{} {} {} {} {} {} {} {signer} {}",
        type_name(word(0)),
        fixed[2],
        fixed[3],
        long(4),
        long(8),
        long(12),
        word(16),
        BASE64_STANDARD.encode(signature)
    ))
}

/// The types of a bit map (RFC 4034, 4.1.2), each with a space before it.
fn types(mut bits: &[u8]) -> Option<String> {
    let mut text = String::new();
    while let Some((head, rest)) = bits.split_first_chunk::<2>() {
        let (window, rest) = rest.split_at_checked(head[1].into())?;
        for (octet, set) in (0_u16..).zip(window) {
            for bit in (0..8).filter(|bit| set & (0x80 >> bit) != 0) {
                let _ = write!(text, " {}", type_name(u16::from(head[0]) << 8 | octet << 3 | bit));
            }
        }
        bits = rest;
    }
    bits.is_empty().then_some(text)
}

/// The name at the beginning of data, and what follows it.
fn name_in(data: &[u8]) -> Option<(String, &[u8])> {
    let (wire, after) = name::read(data, 0).ok()?;
    Some((text(&wire)?, &data[after..]))
}

fn text(wire: &[u8]) -> Option<String> {
    Name::from_wire(wire).map(|name| name.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn asked(query: &str) -> Vec<u8> {
        question(query).expect(query).expect(query)
    }

    /// An answer to a question: flags, what it has of records in each section, and options.
    fn answered(query: &str, flags: u16, records: &[(u8, u16, &[u8])], options: &[u8]) -> Value {
        let mut message = asked(query);
        message.truncate(message.len() - 11);
        message[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
        message[11] = 1;
        for (section, kind, data) in records {
            message[7 + 2 * usize::from(*section)] += 1;
            message.extend_from_slice(b"\xc0\x0c");
            message.extend(
                [*kind, 1, 0, 300, u16::try_from(data.len()).unwrap()].map(u16::to_be_bytes).concat(),
            );
            message.extend_from_slice(data);
        }
        message.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0");
        message.extend_from_slice(&u16::try_from(options.len()).unwrap().to_be_bytes());
        message.extend_from_slice(options);
        serde_json::from_slice(&answer(&message).expect("a message")).expect("JSON")
    }

    #[test]
    fn a_url_asks_what_a_message_would() {
        assert!(question("dns=AAAA").is_none() && question("").is_none() && question("name").is_none());
        let plain = asked("name=www.Example.com");
        assert_eq!(&plain[..12], [0, 0, 1, 0x20, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(&plain[12..], b"\x03www\x07example\x03com\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0");
        let full = asked("name=%5f25._tcp.a.&type=tlsa&do=1&cd=true&ct=x&random_padding=xx");
        assert_eq!(&full[2..4], [1, 0x30]);
        assert_eq!(&full[12..], b"\x03_25\x04_tcp\x01a\0\0\x34\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0");
        for (kind, code) in [("28", 28), ("ANY", 255), ("soa", 6), ("TYPE65280", 65_280), ("rrsig", 46)] {
            let message = asked(&format!("name=.&type={kind}"));
            assert_eq!(message[13..15], u16::to_be_bytes(code), "{kind}");
        }
        for (query, problem) in [
            ("name=a..b", "`name` is no domain name"),
            ("name=a&type=nothing", "`type` is no type of record"),
            ("name=a&type=70000", "`type` is no type of record"),
            ("name=a&do=yes", "`do` is 1, true, 0 or false"),
            ("name=%ff", "a parameter is not UTF-8"),
        ] {
            assert_eq!(question(query), Some(Err(problem)), "{query}");
        }
    }

    #[test]
    fn an_answer_is_shown_as_people_write_it() {
        let soa = b"\x02ns\xc0\x0c\x01h\xc0\x0c\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04";
        let nsec = b"\x01b\0\0\x06\x40\0\0\0\0\x02\x01\x01\x40";
        let records: [(u8, u16, &[u8]); 5] = [
            (0, rtype::A, &[192, 0, 2, 1]),
            (0, rtype::MX, b"\0\x0a\x04MAIL\xc0\x0c"),
            (0, 65_280, b"\x01\x02"),
            (1, rtype::SOA, soa),
            (1, rtype::NSEC, nsec),
        ];
        let shown = answered("name=a.&type=A", flag::AD, &records, b"\0\x0f\0\x02\0\x03");
        let record = |kind: u16, data: &str| json!({"name": "a.", "type": kind, "TTL": 300, "data": data});
        assert_eq!(
            shown,
            json!({
                "Status": 0, "TC": false, "RD": true, "RA": true, "AD": true, "CD": false,
                "Question": [{"name": "a.", "type": 1}],
                "Answer": [record(1, "192.0.2.1"), record(15, "10 mail.a."), record(65_280, "\\# 2 0102")],
                "Authority": [record(6, "ns.a. h.a. 7 1 2 3 4"), record(47, "b. A RRSIG CAA")],
                "Comment": "EDE 3 (Stale Answer)",
            })
        );
        let bogus = answered("name=a.&cd=1", 2, &[], b"\0\x0c\0\x01\0\0\x0f\0\x03\0\x06x");
        assert_eq!((&bogus["Status"], &bogus["Comment"]), (&json!(2), &json!("EDE 6 (DNSSEC Bogus)")));
        assert!(bogus.get("Answer").is_none() && bogus.get("Authority").is_none());
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            answer(&octets);
            let counted = [&[0, 0, 0x81, 0x80, 0, 1, 0, 2, 0, 1, 0, 1][..], &octets].concat();
            answer(&counted);
        }
    }
}
