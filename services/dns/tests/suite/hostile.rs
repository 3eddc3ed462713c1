//! What anybody can send: it is answered with an error or not at all, and never more than is allowed.

use std::sync::LazyLock;

use proptest::prelude::*;
use proxima_dns::{Answered, Rcode, Transport};

use crate::support::{Fixture, Question, asking_by, describe, record, responder, zone};

fn fixture() -> Fixture {
    let mut fixture = Fixture::default();
    let zone = zone("example.com");
    let mut lines: Vec<String> = [
        "@ 300 MX 10 mail.example.com",
        "www 300 A 192.0.2.1",
        "www 300 AAAA 2001:db8::1",
        "alias 300 CNAME www.example.com",
        "* 300 TXT wild",
        "sub 300 NS ns.sub.example.com",
        "ns.sub 300 A 192.0.2.53",
        "p 300 proxied A 192.0.2.1",
    ]
    .map(str::to_owned)
    .to_vec();
    // Sets of every size around the limits of datagrams.
    for count in 1..=30 {
        for host in 0..count {
            lines.push(format!("n{count} 300 NS a-name-server-{host}.n{count}.example.com"));
            lines.push(format!("a-name-server-{host}.n{count} 300 AAAA 2001:db8::{host}"));
            lines.push(format!("m{count} 300 MX {host} mail-{host}.some-provider.example"));
        }
    }
    for host in 0..100 {
        lines.push(format!("huge 300 TXT {host}{}", "x".repeat(1_000)));
    }
    let records = lines.iter().map(|line| record(&zone, line).expect("a record")).collect();
    fixture.add(&zone, records);
    fixture
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(fixture);

fn respond(message: &[u8], transport: Transport) -> (Option<Answered>, Vec<u8>) {
    let mut out = b"before".to_vec();
    let answered = responder().respond(&*FIXTURE, message, asking_by(transport), &mut out);
    assert_eq!(&out[..6], b"before", "what was in the buffer stays");
    (answered, out.split_off(6))
}

/// Messages that are no queries, what is wrong with each, and how it is answered; and a query.
pub(crate) fn malformed() -> Vec<(&'static str, Vec<u8>, Option<Rcode>)> {
    let good = Question::new("www.example.com", 1).encode();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = good.clone();
        change(&mut message);
        message
    };
    let mut opt_twice = Question::new("www.example.com", 1);
    opt_twice.edns();
    opt_twice.extra = (1, vec![0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    let mut opt_elsewhere = Question::new("www.example.com", 1);
    opt_elsewhere.extra = (1, vec![1, b'a', 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    let mut options_cut_off = Question::new("www.example.com", 1);
    options_cut_off.edns().options = vec![0, 10, 0, 8, 1];
    vec![
        ("nothing", Vec::new(), None),
        ("half a header", good[..11].to_vec(), None),
        ("an answer", with(&|m| m[2] |= 0x80), None),
        ("a header alone", good[..12].to_vec(), Some(Rcode::FormErr)),
        ("no question", with(&|m| m[5] = 0), Some(Rcode::FormErr)),
        ("two questions", with(&|m| m[5] = 2), Some(Rcode::FormErr)),
        ("an answer record", with(&|m| m[7] = 1), Some(Rcode::FormErr)),
        ("an authority record", with(&|m| m[9] = 1), Some(Rcode::FormErr)),
        ("an additional record that is not there", with(&|m| m[11] = 1), Some(Rcode::FormErr)),
        ("octets behind the end", with(&|m| m.push(0)), Some(Rcode::FormErr)),
        ("half a question", good[..good.len() - 3].to_vec(), Some(Rcode::FormErr)),
        ("a name that does not end", good[..20].to_vec(), Some(Rcode::FormErr)),
        (
            "a name that points to itself",
            with(&|m| m[12..14].copy_from_slice(&[0xc0, 12])),
            Some(Rcode::FormErr),
        ),
        ("a label of an unknown kind", with(&|m| m[12] = 0x41), Some(Rcode::FormErr)),
        ("a cut off query", with(&|m| m[2] |= 0x02), Some(Rcode::FormErr)),
        ("the type OPT", Question::new("example.com", 41).encode(), Some(Rcode::FormErr)),
        ("two OPT records", opt_twice.encode(), Some(Rcode::FormErr)),
        ("an OPT record with a name", opt_elsewhere.encode(), Some(Rcode::FormErr)),
        ("options that are cut off", options_cut_off.encode(), Some(Rcode::FormErr)),
        ("a notification", with(&|m| m[2] |= 4 << 3), Some(Rcode::NotImp)),
        ("an update", with(&|m| m[2] |= 5 << 3), Some(Rcode::NotImp)),
        ("an inverse query", with(&|m| m[2] |= 1 << 3), Some(Rcode::NotImp)),
        ("a query", good.clone(), Some(Rcode::NoError)),
    ]
}

#[test]
fn malformed_messages_are_told_from_queries() {
    for (what, message, expected) in malformed() {
        let (answered, out) = respond(&message, Transport::Udp);
        assert_eq!(answered.map(|answered| answered.rcode), expected, "{what}");
        assert_eq!(out.is_empty(), expected.is_none(), "{what}");
        if let Some(expected) = expected {
            assert_eq!(out[..2], message[..2], "{what}: the id comes back");
            assert_eq!(out[2] & 0x78, message[2] & 0x78, "{what}: the opcode comes back");
            assert_eq!(describe(&out).expect(what)[0].split(' ').next(), Some(expected.name()), "{what}");
        }
    }
}

#[test]
fn a_set_that_no_message_can_carry_is_a_failure_over_tcp_and_truncated_over_udp() {
    let mut question = Question::new("huge.example.com", 16);
    question.edns();
    let (answered, out) = respond(&question.encode(), Transport::Tcp);
    assert_eq!(answered.map(|answered| answered.rcode), Some(Rcode::ServFail));
    assert!(describe(&out).expect("an answer")[1].contains("ede=24"));
    let (answered, _) = respond(&question.encode(), Transport::Udp);
    assert!(answered.is_some_and(|answered| answered.truncated && answered.rcode == Rcode::NoError));
}

#[test]
fn a_replica_that_cannot_be_read_is_a_failure_that_says_so() {
    let mut fixture = fixture();
    fixture.unreadable.push("example.com".to_owned());
    let mut question = Question::new("www.example.com", 1);
    question.edns();
    let mut out = Vec::new();
    responder().respond(&fixture, &question.encode(), asking_by(Transport::Udp), &mut out);
    let found = describe(&out).expect("an answer");
    assert_eq!(found, ["SERVFAIL", "opt 1232 ede=14 \"the zone's data cannot be read here now\""]);
}

#[test]
fn glue_that_a_referral_needs_is_whole_or_the_answer_is_truncated() {
    for count in 1..=30 {
        let question = Question::new(&format!("www.n{count}.example.com"), 1);
        let (answered, out) = respond(&question.encode(), Transport::Udp);
        let lines = describe(&out).expect("an answer");
        let glue = lines.iter().filter(|line| line.starts_with("additional")).count();
        let truncated = answered.expect("an answer").truncated;
        assert_eq!(truncated, glue < count, "{count} servers, {glue} addresses");
    }
}

const TRANSPORTS: [Transport; 5] =
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Quic, Transport::Https];

/// An option, most often one that is known here, whose value may be right.
fn option() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![Just(3_u16), Just(8), Just(10), Just(11), Just(12), any::<u16>()];
    let value = prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 8..=8),
        proptest::collection::vec(any::<u8>(), 0..50),
        (0_u8..=33, any::<[u8; 4]>()).prop_map(|(prefix, address)| {
            [&[0, 1, prefix, 0][..], &address[..usize::from(prefix.div_ceil(8)).min(4)]].concat()
        }),
    ];
    (code, value).prop_map(|(code, value)| {
        let length = u16::try_from(value.len()).expect("short");
        [&code.to_be_bytes()[..], &length.to_be_bytes(), &value].concat()
    })
}

/// The checks that hold for whatever is sent.
fn check(message: &[u8], transport: Transport) -> Result<(), TestCaseError> {
    let (answered, out) = respond(message, transport);
    let Some(answered) = answered else {
        prop_assert!(out.is_empty());
        let is_query = message.len() >= 12 && message[2] & 0x80 == 0;
        prop_assert!(!is_query || transport == Transport::Quic, "only an answer is not answered");
        return Ok(());
    };
    prop_assert!(message[2] & 0x80 == 0, "an answer is not answered");
    prop_assert_eq!(&out[..2], &message[..2]);
    prop_assert_eq!(answered.truncated, out[2] & 0x02 != 0);
    let limit = if transport == Transport::Udp { 1_232 } else { 65_535 };
    prop_assert!(out.len() <= limit, "{} octets", out.len());
    let read = describe(&out);
    prop_assert!(read.is_ok() || answered.rcode == Rcode::NotImp, "{read:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_sent_is_answered_within_bounds(message in proptest::collection::vec(any::<u8>(), 0..600)) {
        for transport in TRANSPORTS {
            check(&message, transport)?;
        }
    }

    #[test]
    fn whatever_options_are_sent_an_answer_keeps_to_its_bounds(
        options in proptest::collection::vec(option(), 0..6),
        payload in any::<u16>(),
        count in 1_usize..=30,
    ) {
        let mut question = Question::new(&format!("m{count}.example.com"), 15);
        question.edns().payload = payload;
        question.edns().options = options.concat();
        for transport in TRANSPORTS {
            check(&question.encode(), transport)?;
        }
    }

    #[test]
    fn queries_with_changed_octets_are_answered_within_bounds(
        name in "(n|m)[1-9]|www|alias|huge|x\\.y|[a-z*]{1,3}",
        qtype in prop_oneof![Just(1_u16), Just(2), Just(15), Just(16), Just(255), any::<u16>()],
        payload in any::<u16>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut question = Question::new(&format!("{name}.example.com"), qtype);
        question.edns().payload = payload;
        question.edns().options = vec![0, 3, 0, 0, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut message = question.encode();
        for (place, octet) in changes {
            *place.get_mut(&mut message) = octet;
        }
        if let Some(cut) = cut {
            message.truncate(cut.index(message.len()));
        }
        for transport in TRANSPORTS {
            check(&message, transport)?;
        }
    }

    #[test]
    fn answers_keep_to_the_askers_size_and_sets_are_whole(
        kind in "n|m",
        count in 1_usize..=30,
        payload in proptest::option::of(0_u16..2_000),
    ) {
        let mut question = Question::new(&format!("{kind}{count}.example.com"), 15);
        if let Some(payload) = payload {
            question.edns().payload = payload;
        }
        let (answered, out) = respond(&question.encode(), Transport::Udp);
        let truncated = answered.is_some_and(|answered| answered.truncated);
        prop_assert!(out.len() <= usize::from(payload.unwrap_or(512).clamp(512, 1_232)));
        let lines = describe(&out).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let sets = lines.iter().filter(|line| line.contains(" MX ") || line.contains(" NS ")).count();
        prop_assert!(sets == count || (sets == 0 && truncated), "{} of {} records", sets, count);
        let (over_tcp, _) = respond(&question.encode(), Transport::Tcp);
        prop_assert!(over_tcp.is_some_and(|answered| !answered.truncated));
    }
}
