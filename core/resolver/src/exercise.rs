//! Reads octets as everything that comes to a resolver from outside: what fuzz targets call. Nothing here may panic but by
//! what it asserts.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{
    anchors::{AnchorState, Anchors, Followed, sealed},
    denial::Denial,
    hints::{parse_anchors, parse_hints},
    homes::{Good, HomeQuestion, read_answer, write_answer},
    keys::{self, Budget, Key},
    message::{HEADER_OCTETS, Message, UDP_OCTETS, read_u16, rtype},
    name::Name,
    query::{Query, Read},
    reply::{Reply, Said},
    rrset::{RrSet, TTL_MAX},
    stored::Stored,
};

/// Seconds since 1970, for signatures.
const NOW: u32 = 1_800_000_000;
/// Checks of signatures for one message.
const CHECKS_MAX: u32 = 8;

struct Checks(AtomicU32);

impl Budget for Checks {
    fn take_check(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Reads octets as a client's message, as a name server's, and as files of hints and anchors.
pub fn exercise(octets: &[u8]) {
    match Query::read(octets) {
        Read::Query(query) => {
            assert!((512..=usize::from(UDP_OCTETS)).contains(&query.udp_octets_max()));
            assert_eq!(Name::from_wire(query.name().wire()), Some(query.name()));
        }
        Read::Bare(query) => {
            let mut out = Vec::new();
            query.greet(false, &mut out);
            assert!(out.len() <= octets.len() + HEADER_OCTETS && out[..2] == octets[..2]);
        }
        Read::Refused(answer) => assert!(answer.len() >= HEADER_OCTETS && answer[..2] == octets[..2]),
        Read::Ignored => {}
    }
    if let Ok(text) = std::str::from_utf8(octets) {
        parse_hints(text).into_iter().for_each(|hints| assert!(!hints.is_empty()));
        parse_anchors(text).into_iter().for_each(|anchors| assert!(!anchors.is_empty()));
    }
    let mut at = HEADER_OCTETS;
    let (Some(message), Some(name)) = (Message::parse(octets), Name::parse(octets, &mut at)) else { return };
    let Some(rtype) = read_u16(octets, &mut at) else { return };
    for record in [message.answer, message.authority, message.additional].iter().flatten() {
        assert_eq!(Name::from_wire(record.owner.wire()).as_ref(), Some(&record.owner));
        assert!(record.ttl <= i32::MAX.unsigned_abs());
    }
    for zone in [Some(Name::root()), name.parent(), Some(name.clone())].into_iter().flatten() {
        if let Some(reply) =
            Message::parse(octets).and_then(|message| Reply::of(&zone, &name, rtype, message))
        {
            replied(reply, &zone, &name, rtype);
        }
    }
}

/// Reads octets as what one server of a PoP asks another, and what follows the first 64 of them as what that one answers: what
/// is read is written again as the same.
pub fn exercise_homes(octets: &[u8]) {
    let (question, answer) = octets.split_at(octets.len().min(64));
    // A short name leaves zeros behind it.
    let end = question.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 2).min(question.len());
    let Some(question) = HomeQuestion::read(&question[..end]) else { return };
    assert_eq!(HomeQuestion::read(&question.write()).as_ref(), Some(&question));
    let Some((stored, how)) = read_answer(&question.key, answer, 0) else { return };
    assert!(stored.ttl <= TTL_MAX);
    assert!(stored.is_stale || stored.ttls.iter().all(|(_, ttl)| *ttl >= stored.ttl));
    let write = |stored: &Stored| {
        let good = if stored.is_stale { Good::Expired(stored.ttl) } else { Good::Fresh(0) };
        write_answer(&question.key, stored, good, how)
    };
    let written = write(&stored);
    let (again, _) = read_answer(&question.key, &written, 0).expect("what was read is written as an answer");
    assert_eq!(write(&again), written);
}

/// Reads octets as a file of the root's keys that are followed, also with the digest that it would have: nobody finds those.
pub fn exercise_anchors(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let body = text.split_inclusive('\n').filter(|line| !line.starts_with("sha256 ")).collect::<String>();
    for text in [text.to_owned(), sealed(body)] {
        let Ok(followed) = Followed::parse(&text) else { continue };
        assert_eq!(followed.to_text(), text);
        let keys: usize = AnchorState::ALL.into_iter().map(|state| followed.count(state)).sum();
        let anchored = followed.count(AnchorState::Valid) + followed.count(AnchorState::Missing);
        let mut anchors = Anchors::new(Vec::new(), followed.clone());
        assert_eq!(anchors.trusted().len(), anchored);
        // A set that nobody has signed makes nothing of it.
        let set = RrSet {
            owner: Name::root(),
            rtype: rtype::DNSKEY,
            ttl: 0,
            data: Vec::new(),
            signatures: Vec::new(),
        };
        let observation = anchors.observe(&set, NOW.into(), &Checks(AtomicU32::new(CHECKS_MAX)));
        assert!(observation.outcome.is_err() && observation.changes.is_empty());
        let after = anchors.followed();
        assert_eq!(AnchorState::ALL.into_iter().map(|state| after.count(state)).sum::<usize>(), keys);
        assert_eq!(Followed::parse(&after.to_text()).as_ref(), Ok(after));
    }
}

fn replied(mut reply: Reply, zone: &Name, name: &Name, rtype: u16) {
    for set in reply.answer.iter().chain(&reply.authority) {
        assert!(set.owner.is_within(zone) && !set.data.is_empty());
        assert!(set.data.is_sorted_by(|one, next| one < next));
    }
    match &reply.said {
        Said::Referral(child) => assert!(child.is_below(zone) && name.is_within(child)),
        Said::Answer => assert!(reply.answer.iter().all(|set| set.owner == *name && set.rtype == rtype)),
        Said::TooLong => {
            let [dname] = &reply.answer[..] else { panic!("{reply:?}") };
            assert!(dname.rtype == rtype::DNAME && name.is_below(&dname.owner));
        }
        Said::Alias(_) | Said::NoName | Said::NoData => {}
    }
    let keys: Vec<Key> =
        reply.answer.iter().flat_map(|set| &set.data).filter_map(|data| Key::parse(data)).collect();
    let budget = Checks(AtomicU32::new(CHECKS_MAX));
    let ds: Vec<Box<[u8]>> = reply
        .authority
        .iter()
        .filter(|set| set.rtype == rtype::DS)
        .flat_map(|set| set.data.clone())
        .collect();
    if let Ok(usable) = keys::usable(&ds) {
        assert!(!usable.is_empty() && usable.len() <= ds.len());
    }
    for set in &mut reply.answer {
        keys::trusted(set, &ds, NOW, &budget).ok();
        if let Ok(labels) = keys::verify(set, zone, &keys, NOW, &budget) {
            assert!(labels <= set.owner.depth());
        }
    }
    let denial = Denial::of(zone, reply.authority.iter());
    denial.no_data(name, rtype).ok();
    denial.no_name(name).ok();
    denial.is_unsigned(name);
    for labels in 0..=name.depth() {
        denial.is_expanded(name, labels).ok();
    }
}
