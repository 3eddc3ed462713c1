//! Signatures, verified by another implementation's canonical form; denials, against what the zone answers.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use domain::{
    base::{
        Message, Name, ParsedRecord, Rtype, ToName, iana::Class, name::ToLabelIter as _,
        rdata::ComposeRecordData,
    },
    rdata::{AllRecordData, Rrsig},
};
use proptest::prelude::*;
use proxima_chassis::SimulatedClock;
use proxima_dns::{Answered, Rcode, Responder, Transport};
use proxima_model::{KeyRole, SigningAlgorithm, SigningKey, SigningState, ZoneSigning};

use crate::support::{
    Fixture, NOW, Question, asking_by, describe, new_key, new_key_of, published_key, record, responder_at,
    rtype, signing, zone,
};

/// A signed zone with something of every kind, and how it is signed.
fn fixture(keys: Vec<SigningKey>) -> (Fixture, ZoneSigning) {
    fixture_with(keys, false)
}

/// The same, with NSEC3 or without.
fn fixture_with(keys: Vec<SigningKey>, nsec3: bool) -> (Fixture, ZoneSigning) {
    let zone = zone("example.com");
    let mut lines: Vec<String> = [
        "@ 300 MX 10 mail.example.com",
        "@ 300 CNAME www.example.com",
        "www 300 A 192.0.2.1",
        "www 300 AAAA 2001:db8::1",
        "alias 300 CNAME www.example.com",
        "gone 300 CNAME nothing.example.com",
        "* 300 TXT wild",
        "*.p 300 proxied A 192.0.2.1",
        "srv 300 SRV 1 2 3 www.example.com",
        "caa 300 CAA 0 issue ca.example",
        "sub 300 NS ns.sub.example.com",
        "safe 300 NS ns.safe.example.com",
        "safe 300 DS 2371 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "ptr 300 PTR Host.Example.NET",
        "naptr 300 NAPTR 1 2 \"S\" \"SIP+D2U\" \"\" _sip._udp.Example.com",
        "svcb 300 SVCB 1 Foo.example.com alpn=h2",
        "rp 300 RP Admin.example.com Info.example.com",
        "loc 300 LOC 1 N 2 E 3",
        "odd 300 TYPE65280 \\# 3 ABCDEF",
        "ns.sub 300 A 192.0.2.53",
        "b.c 300 TXT deep",
    ]
    .map(str::to_owned)
    .to_vec();
    for count in 1..=30 {
        for host in 0..count {
            lines.push(format!("m{count} 300 MX {host} mail-{host}.some-provider.example"));
        }
    }
    let records = lines.iter().map(|line| record(&zone, line).expect("a record")).collect();
    let signing = ZoneSigning { nsec3, ..signing(&zone, keys) };
    let mut fixture = Fixture::default();
    fixture.add_signed(&zone, &signing, records);
    (fixture, signing)
}

fn responder() -> Responder {
    responder_at(Arc::new(SimulatedClock::new(NOW)))
}

pub(crate) fn secure(name: &str, kind: &str) -> Question {
    let mut question = Question::new(name, rtype(kind).expect("a type"));
    question.edns().flags = 0x8000;
    question
}

pub(crate) fn ask(fixture: &Fixture, question: &Question, transport: Transport) -> (Answered, Vec<u8>) {
    let mut out = Vec::new();
    let answered = responder().respond(fixture, &question.encode(), asking_by(transport), &mut out);
    (answered.expect("an answer"), out)
}

type Set<'a> = Vec<ParsedRecord<'a, &'a [u8]>>;

/// Verifies every signature of an answer's answer and authority sections, and that every set has one for each of these
/// keys; how many sets there were. Sets of a delegation are not signed.
pub(crate) fn verify(octets: &[u8], keys: &[SigningKey]) -> Result<usize> {
    let message = Message::from_octets(octets)?;
    let mut verified = 0;
    for section in [message.answer()?, message.authority()?] {
        let mut sets: BTreeMap<(String, u16), Set<'_>> = BTreeMap::new();
        let mut signatures = Vec::new();
        for record in section {
            let record = record?;
            let owner = record.owner().to_string().to_ascii_lowercase();
            match record.to_record::<Rrsig<_, _>>()? {
                Some(rrsig) => signatures.push((owner, rrsig.into_data())),
                None => sets.entry((owner, record.rtype().to_int())).or_default().push(record),
            }
        }
        for ((owner, kind), set) in &sets {
            let at_cut = *kind == 2 && owner != "example.com";
            let own: Vec<_> = signatures
                .iter()
                .filter(|(of, rrsig)| of == owner && rrsig.type_covered().to_int() == *kind)
                .collect();
            ensure!(
                own.len() == if at_cut { 0 } else { keys.len() },
                "{owner} {kind}: {} signatures",
                own.len()
            );
            for (_, rrsig) in own {
                let key = keys.iter().find(|key| key.tag() == rrsig.key_tag()).context("a known key")?;
                check(rrsig, set, key).with_context(|| format!("{owner} {kind}"))?;
                verified += 1;
            }
        }
        ensure!(signatures.iter().all(|(owner, rrsig)| {
            // Asked for by themselves, signatures come without what they sign.
            sets.contains_key(&(owner.clone(), rrsig.type_covered().to_int())) || sets.is_empty()
        }));
    }
    Ok(verified)
}

fn check<O: AsRef<[u8]>, N: ToName>(rrsig: &Rrsig<O, N>, set: &Set<'_>, key: &SigningKey) -> Result<()> {
    let now = u32::try_from(NOW.as_seconds())?;
    ensure!(rrsig.inception().into_int() == now - 3_600 && rrsig.expiration().into_int() == now + 7 * 86_400);
    let owner: Name<Vec<u8>> = set[0].owner().to_name();
    let asterisk = owner.iter_labels().next().is_some_and(|label| label.is_wildcard());
    ensure!(usize::from(rrsig.labels()) == owner.label_count() - 1 - usize::from(asterisk), "labels");
    ensure!(set[0].ttl() <= rrsig.original_ttl(), "a TTL longer than the signed one");
    let mut signed = Vec::new();
    signed.extend(rrsig.type_covered().to_int().to_be_bytes());
    signed.extend([rrsig.algorithm().to_int(), rrsig.labels()]);
    signed.extend(rrsig.original_ttl().as_secs().to_be_bytes());
    signed.extend(rrsig.expiration().into_int().to_be_bytes());
    signed.extend(rrsig.inception().into_int().to_be_bytes());
    signed.extend(rrsig.key_tag().to_be_bytes());
    rrsig.signer_name().compose_canonical(&mut signed)?;
    let mut records = Vec::new();
    for record in set {
        let data = record.to_any_record::<AllRecordData<_, _>>()?;
        let mut canonical = Vec::new();
        data.data().compose_canonical_rdata(&mut canonical)?;
        records.push(canonical);
    }
    records.sort();
    for data in records {
        owner.compose_canonical(&mut signed)?;
        signed.extend(rrsig.type_covered().to_int().to_be_bytes());
        signed.extend(Class::IN.to_int().to_be_bytes());
        signed.extend(rrsig.original_ttl().as_secs().to_be_bytes());
        signed.extend(u16::try_from(data.len())?.to_be_bytes());
        signed.extend(data);
    }
    ensure!(rrsig.algorithm().to_int() == key.algorithm.code(), "the algorithm");
    let signature = rrsig.signature().as_ref();
    let verified = match key.algorithm {
        SigningAlgorithm::EcdsaP256 => {
            let public = [&[4][..], &key.public].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).verify(&signed, signature)
        }
        SigningAlgorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, &key.public).verify(&signed, signature),
    };
    verified.ok().context("the signature is wrong")
}

fn active(signing: &ZoneSigning) -> Vec<SigningKey> {
    signing.keys.iter().filter(|key| key.role == KeyRole::Active).cloned().collect()
}

#[test]
fn every_set_of_a_signed_zone_is_signed_so_that_another_implementation_verifies_it() {
    use SigningAlgorithm::{EcdsaP256, Ed25519};
    let keys = [EcdsaP256, Ed25519].map(|algorithm| new_key_of(algorithm, KeyRole::Active)).to_vec();
    let (fixture, signing) = fixture(keys);
    for name in [
        "example.com",
        "www.example.com",
        "alias.example.com",
        "gone.example.com",
        "srv.example.com",
        "caa.example.com",
        "any.x.example.com",
        "x.p.example.com",
        "c.example.com",
        "x.c.example.com",
        "sub.example.com",
        "www.sub.example.com",
        "safe.example.com",
        "www.safe.example.com",
        "ptr.example.com",
        "naptr.example.com",
        "svcb.example.com",
        "rp.example.com",
        "loc.example.com",
        "odd.example.com",
        "*.example.com",
        "m30.example.com",
    ] {
        for kind in [
            "A",
            "AAAA",
            "HTTPS",
            "CNAME",
            "MX",
            "TXT",
            "SRV",
            "CAA",
            "NS",
            "SOA",
            "DS",
            "DNSKEY",
            "CDS",
            "CDNSKEY",
            "NSEC",
            "RRSIG",
            "ANY",
            "PTR",
            "NAPTR",
            "SVCB",
            "RP",
            "LOC",
            "TYPE65280",
        ] {
            let (answered, out) = ask(&fixture, &secure(name, kind), Transport::Tcp);
            assert_eq!(answered.rcode, Rcode::NoError, "{name} {kind}");
            let verified = verify(&out, &active(&signing)).unwrap_or_else(|error| {
                panic!("{name} {kind}: {error:#}\n{}", describe(&out).expect("an answer").join("\n"))
            });
            assert!(verified > 0 || kind == "RRSIG", "{name} {kind}");
        }
    }
}

#[test]
fn during_a_roll_over_all_keys_are_published_and_the_active_ones_sign() {
    let roles = [KeyRole::Active, KeyRole::Active, KeyRole::Published, KeyRole::Retired];
    let keys: Vec<SigningKey> = roles.map(new_key).to_vec();
    let (fixture, signing) = fixture(keys.clone());
    let count = |kind: &str, expected: usize| {
        let (_, out) = ask(&fixture, &secure("example.com", kind), Transport::Tcp);
        verify(&out, &active(&signing)).expect(kind);
        let lines = describe(&out).expect(kind);
        let found = lines.iter().filter(|line| line.contains(&format!(" IN {kind} "))).count();
        assert_eq!(found, expected, "{lines:?}");
    };
    count("DNSKEY", 4);
    count("CDS", 3);
    count("CDNSKEY", 3);

    // A set of keys and signatures that no small datagram carries: truncated whole, and told by TCP.
    let mut question = secure("example.com", "DNSKEY");
    question.edns().payload = 512;
    let (answered, out) = ask(&fixture, &question, Transport::Udp);
    assert!(answered.truncated && out.len() <= 512);
    assert_eq!(describe(&out).expect("an answer"), ["NOERROR aa tc", "opt 1232 do"]);
    let (answered, _) = ask(&fixture, &question, Transport::Tcp);
    assert!(!answered.truncated);
}

#[test]
fn a_zone_that_leaves_asks_its_parent_to_forget_it_and_stays_signed() {
    let zone = zone("example.com");
    let mut signing = signing(&zone, vec![published_key(KeyRole::Active)]);
    signing.state = SigningState::Leaving;
    let mut fixture = Fixture::default();
    fixture.add_signed(&zone, &signing, Vec::new());
    let answer = |kind: &str| {
        let (_, out) = ask(&fixture, &secure("example.com", kind), Transport::Udp);
        assert!(verify(&out, &signing.keys).expect(kind) > 0);
        describe(&out).expect("an answer").join("\n")
    };
    // RFC 8078, 4.
    let cds = answer("CDS");
    assert!(cds.contains(" CDS 0 0 0 00"), "{cds}");
    let cdnskey = answer("CDNSKEY");
    assert!(cdnskey.contains(" CDNSKEY 0 3 0 AA=="), "{cdnskey}");
    answer("SOA");
}

#[test]
fn a_zone_whose_keys_cannot_be_used_is_answered_unsigned() {
    let zone = zone("example.com");
    let mut broken = published_key(KeyRole::Active);
    broken.private.truncate(20);
    let mut swapped = new_key(KeyRole::Active);
    swapped.public = published_key(KeyRole::Active).public;
    for keys in [vec![], vec![new_key(KeyRole::Published)], vec![broken], vec![swapped]] {
        let mut fixture = Fixture::default();
        fixture.add_signed(&zone, &signing(&zone, keys), Vec::new());
        let (_, out) = ask(&fixture, &secure("example.com", "SOA"), Transport::Udp);
        let lines = describe(&out).expect("an answer");
        assert!(lines[0] == "NOERROR aa" && lines.len() == 3, "{lines:?}");
    }
}

#[test]
fn signatures_are_kept_for_a_day_and_made_anew_long_before_they_end() {
    let (fixture, _) = fixture(vec![published_key(KeyRole::Active)]);
    let clock = Arc::new(SimulatedClock::new(NOW));
    let responder = responder_at(clock.clone());
    let at = |seconds: i64| {
        clock.set(NOW.plus_seconds(seconds));
        let mut out = Vec::new();
        let question = secure("www.example.com", "A").encode();
        let answered =
            responder.respond(&fixture, &question, asking_by(Transport::Udp), &mut out).expect("an answer");
        let line = describe(&out).expect("an answer").remove(2);
        (answered.signatures, line.split(' ').nth(9).expect("an expiration").to_owned())
    };
    let week = "1767830400".to_owned();
    assert_eq!(at(0), (1, week.clone()));
    assert_eq!(at(86_399), (0, week.clone()));
    assert_eq!(at(86_400), (1, "1767916800".to_owned()));
    // A clock that was ahead: what it signed is not good yet.
    assert_eq!(at(86_400 - 3_601), (1, "1767913199".to_owned()));
}

/// The types that an answer's NSEC record of this name says there are; `None` without one.
fn listed(octets: &[u8], name: &str) -> Option<Vec<u16>> {
    let message = Message::from_octets(octets).ok()?;
    message.authority().ok()?.filter_map(Result::ok).find_map(|record| {
        let nsec = record.to_record::<domain::rdata::Nsec<_, _>>().ok()??;
        (nsec.owner().to_string() == name).then(|| nsec.data().types().iter().map(Rtype::to_int).collect())
    })
}

#[test]
fn a_denial_denies_no_type_that_its_name_answers() {
    let (fixture, _) = fixture(vec![published_key(KeyRole::Active)]);
    let kinds = [
        "A", "AAAA", "HTTPS", "CNAME", "MX", "TXT", "SRV", "CAA", "NS", "SOA", "DS", "DNSKEY", "CDS", "HINFO",
    ];
    let mut denials = 0;
    for name in [
        "example.com",
        "www.example.com",
        "srv.example.com",
        "any.example.com",
        "x.p.example.com",
        "c.example.com",
        "x.c.example.com",
    ] {
        let answers: Vec<(u16, bool, Option<Vec<u16>>)> = kinds
            .map(|kind| {
                let (_, out) = ask(&fixture, &secure(name, kind), Transport::Tcp);
                let answered =
                    describe(&out).expect("an answer").iter().any(|line| line.starts_with("answer"));
                (rtype(kind).expect("a type"), answered, listed(&out, name))
            })
            .to_vec();
        for (denied, answered, types) in &answers {
            assert_ne!(*answered, types.is_some(), "{name} {denied}");
            let Some(types) = types else { continue };
            denials += 1;
            assert!(!types.contains(denied), "{name} {denied}");
            for (kind, answered, _) in &answers {
                assert!(!answered || types.contains(kind), "{name}: a denial of {denied} denies {kind} too");
            }
        }
    }
    assert!(denials > 40, "{denials}");
}

#[test]
fn who_does_not_ask_for_signatures_is_answered_as_if_the_zone_were_not_signed() {
    let (signed, _) = fixture(vec![published_key(KeyRole::Active)]);
    let (mut unsigned, _) = fixture(Vec::new());
    for name in
        ["example.com", "www.example.com", "nothing.x.c.example.com", "gone.example.com", "sub.example.com"]
    {
        for kind in ["A", "TXT", "DS", "ANY", "MX"] {
            for edns in [false, true] {
                let mut question = Question::new(name, rtype(kind).expect("a type"));
                if edns {
                    // Flags that nobody has defined are passed over.
                    question.edns().flags = 0x3fff;
                }
                let (answered, out) = ask(&signed, &question, Transport::Udp);
                assert_eq!(answered.signatures, 0);
                assert_eq!(out, ask(&unsigned, &question, Transport::Udp).1, "{name} {kind}");
            }
        }
    }
    unsigned.unreadable.clear();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_asked_every_set_is_signed_or_left_out(
        labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..=63), 0..5),
        known in proptest::option::of("www|alias|m[1-9]|m[12][0-9]|x\\.p|sub|gone|c"),
        qtype in prop_oneof![Just(1_u16), Just(15), Just(16), Just(43), Just(46), Just(47), Just(48), Just(255), any::<u16>()],
        payload in any::<u16>(),
        flags in any::<u16>(),
        nsec3 in any::<bool>(),
    ) {
        let (fixture, signing) = if nsec3 { &*HASHED } else { &*FIXTURE };
        let mut question = Question::new(&known.map_or("example.com".to_owned(), |name| format!("{name}.example.com")), qtype);
        let below: Vec<u8> = labels.iter().flat_map(|label| {
            [&[u8::try_from(label.len()).expect("a label")], &label[..]].concat()
        }).collect();
        question.name.splice(0..0, below);
        question.edns().payload = payload;
        question.edns().flags = flags | 0x8000;
        let long = question.name.len() > 255;
        let limit = usize::from(payload.clamp(512, 1_232));
        for (transport, limit) in [(Transport::Udp, limit), (Transport::Tcp, 65_535)] {
            let (answered, out) = ask(fixture, &question, transport);
            prop_assert!(out.len() <= limit);
            if answered.rcode == Rcode::NoError || answered.rcode == Rcode::NxDomain {
                let verified = verify(&out, &signing.keys).map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
                prop_assert!(verified > 0 || answered.truncated || qtype == 46);
                prop_assert!(!answered.truncated || transport == Transport::Udp);
                prop_assert!(!long);
            }
        }
    }
}

static FIXTURE: std::sync::LazyLock<(Fixture, ZoneSigning)> =
    std::sync::LazyLock::new(|| fixture(vec![published_key(KeyRole::Active)]));
static HASHED: std::sync::LazyLock<(Fixture, ZoneSigning)> =
    std::sync::LazyLock::new(|| fixture_with(vec![published_key(KeyRole::Active)], true));
