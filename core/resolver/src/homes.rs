//! Homes: what a server of a PoP has not found yet, it asks of another one there, so that the PoP asks name servers once.
//!
//! ```text
//!  a server that was asked                                     the name's home in the PoP (Homes::of)
//!  not kept ─▶ one question for all who ask the same (asking.rs)
//!                 └──────────── Question ────────────▶ kept? ─yes─▶ Answer, its time aged      (Resolver::answer_peer_now)
//!                                                        │ no
//!      kept, for the rest of its time ◀── Answer ──── resolved there, for all who ask the same (Resolver::answer_peer)
//!      resolved here instead, if it is lost, late, declined, busy, or fails for its network or because it gave up
//! ```
//!
//! The home is found by hashing (of [`neighbourhood`], by who implements [`Homes`]); what travels is the finished answer, as
//! a client is told it, with what a client is not told: whether it is validated, for how long it is good, and whether it is
//! no answer but a failure. Not record sets: the way to an answer is judged in one place, in one exchange, and nobody's
//! piece of it has to be judged again elsewhere ([decision 10](../../../docs/decisions/0010-sharing-in-a-pop.md)).
//!
//! Invariants:
//! * **Upwards only.** A home resolves itself whatever it thinks of who is home: servers that disagree make no circle. So its
//!   own questions and those of its peers are two resolutions, if it thinks that another one is home.
//! * **A home that is lost costs a bounded wait, and never an answer** (`asking.rs`).
//! * **A question tells the name, the type, DO and CD,** and nothing of who asks. Policies, cookies and clients stay with the
//!   server that was asked.
//! * **What travelled is no more than what was found:** it is read as records and written anew, and ends when its time at the
//!   home does. What had expired there is told and kept as such, and for no longer than there.
//!
//! Both forms begin with a version; who reads another one says that it is malformed, and the asker resolves for itself. So
//! servers of two releases differ in nothing but who asks name servers.
//!
//! ```text
//!  Question: version, flags (1 DO, 2 CD, 4 lasting), type (2), name
//!  Answer:   version, how, flags (1 secure, 2 failure, 4 synthesized, 8 stale, 16 it has an extended error),
//!            extended error (2), seconds that are left (4), a DNS message without OPT; of a failure, none
//! ```

use std::{future::Future, pin::Pin};

use async_trait::async_trait;

use crate::{
    iterate::Security,
    message::{rcode, read_u16},
    name::Name,
    query::{Key, is_resolved},
    rrset::TTL_MAX,
    stored::{Parts, Stored},
};

/// Octets of the longest question.
pub const HOME_QUESTION_OCTETS_MAX: usize = QUESTION_HEAD + 255;
/// Octets of the longest answer: a message, and what it does not say.
pub const HOME_ANSWER_OCTETS_MAX: usize = ANSWER_HEAD + u16::MAX as usize;

/// The form that is written and read here.
const VERSION: u8 = 1;
const QUESTION_HEAD: usize = 4;
const ANSWER_HEAD: usize = 9;
/// Flags of a question: DO and CD as a key has them, and that what is about to expire is not wanted.
const LASTING: u8 = 4;
const QUESTION_FLAGS: u8 = 0b111;
/// Flags of an answer.
const SECURE: u8 = 1;
const FAILURE: u8 = 2;
const SYNTHESIZED: u8 = 4;
const STALE: u8 = 8;
const EXTENDED: u8 = 16;
const ANSWER_FLAGS: u8 = 0b1_1111;
/// Labels that a neighbourhood has at least, if the name has as many.
const NEIGHBOURHOOD_LABELS: usize = 2;

/// Why a home does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHome {
    /// It was lost, before or after it took the question.
    Lost,
    /// It says that it cannot: too much is asked of it, or it does not resolve.
    Declined,
    /// It took the question, and says then that it has no answer: too much is resolved there.
    Busy,
}

/// The answer to a question that a home has taken.
pub type Awaited = Pin<Box<dyn Future<Output = Result<Vec<u8>, NotHome>> + Send>>;

/// The other servers of this one's PoP, for who connects them.
#[async_trait]
pub trait Homes: Send + Sync + 'static {
    /// The server that is home of what hashes so, if it is another one than this, and one that can be asked: one that is
    /// known to be lost is nobody's home.
    fn of(&self, neighbourhood: &[u8]) -> Option<usize>;

    /// Asks a home. Returns when it has taken the question, at once or as soon as that is sure; the rest is waited for then.
    async fn ask(&self, home: usize, question: Vec<u8>) -> Result<Awaited, NotHome>;
}

/// By what a name's home is found: the name above it, which siblings have in common, and so most names of one zone. They
/// share its servers, its keys and its denials at one home, and a flood of random names below a zone is one home's to deny.
/// Of at least two labels: what lies directly below a top-level domain is a neighbourhood of its own.
pub(crate) fn neighbourhood(name: &Name) -> Name {
    let above = name.parent().filter(|above| above.depth() >= NEIGHBOURHOOD_LABELS);
    above.unwrap_or_else(|| name.clone())
}

/// How a home came to an answer, for who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It was kept.
    Kept,
    /// It was found.
    Found,
}

impl How {
    const fn octet(self) -> u8 {
        match self {
            Self::Kept => 0,
            Self::Found => 1,
        }
    }
}

/// A question of one server of a PoP to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeQuestion {
    pub(crate) key: Key,
    /// Whether what is about to expire is to be resolved anew first: the asker refreshes what it keeps.
    pub(crate) is_lasting: bool,
}

impl HomeQuestion {
    /// Reads it; `None` if it is none.
    pub fn read(octets: &[u8]) -> Option<Self> {
        let &[VERSION, flags, ..] = octets else { return None };
        let rtype = read_u16(octets, &mut 2).filter(|rtype| is_resolved(*rtype))?;
        let name = Name::from_wire(octets.get(QUESTION_HEAD..)?)?;
        let key = Key::new(&name, rtype, flags & 1 != 0, flags & 2 != 0);
        (flags & !QUESTION_FLAGS == 0).then_some(Self { key, is_lasting: flags & LASTING != 0 })
    }

    /// Its octets.
    pub(crate) fn write(&self) -> Vec<u8> {
        let Self { key, is_lasting } = self;
        let flag = |has: bool, flag: u8| if has { flag } else { 0 };
        let flags =
            flag(key.wants_signatures(), 1) | flag(key.is_unchecked(), 2) | flag(*is_lasting, LASTING);
        let [high, low] = key.rtype().to_be_bytes();
        [&[VERSION, flags, high, low], key.name().wire()].concat()
    }
}

/// For how long an answer is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Good {
    /// For what its time leaves at this age, in seconds.
    Fresh(u32),
    /// It has expired, and may be told as such for so many seconds more.
    Expired(u32),
}

/// The octets of an answer.
pub(crate) fn write_answer(key: &Key, stored: &Stored, good: Good, how: How) -> Vec<u8> {
    let (age, seconds, is_stale) = match good {
        Good::Fresh(age) => (age, stored.ttl.saturating_sub(age), false),
        Good::Expired(left) => (0, left, true),
    };
    let flag = |has: bool, flag: u8| if has { flag } else { 0 };
    let flags = flag(stored.is_secure && !is_stale, SECURE)
        | flag(stored.is_failure, FAILURE)
        | flag(stored.is_synthesized, SYNTHESIZED)
        | flag(is_stale, STALE)
        | flag(stored.ede.is_some(), EXTENDED);
    let mut octets = vec![VERSION, how.octet(), flags];
    octets.extend(stored.ede.unwrap_or_default().to_be_bytes());
    octets.extend(seconds.to_be_bytes());
    if !stored.is_failure {
        stored.put_message(key, age, &mut octets);
    }
    octets
}

/// Reads what a home says to a question, as kept since then; `None` if that is no answer to it. The time of what had expired
/// there is that for which it may be told as such.
pub(crate) fn read_answer(key: &Key, octets: &[u8], since: u64) -> Option<(Stored, How)> {
    let (head, message) = octets.split_at_checked(ANSWER_HEAD)?;
    let &[VERSION, how @ 0..=1, flags, high, low, a, b, c, d] = head else { return None };
    let ede = u16::from_be_bytes([high, low]);
    let how = if how == 0 { How::Kept } else { How::Found };
    let has = |flag: u8| flags & flag != 0;
    let ttl = u32::from_be_bytes([a, b, c, d]);
    if flags & !ANSWER_FLAGS != 0 || ttl > TTL_MAX || (!has(EXTENDED) && ede != 0) {
        return None;
    }
    let ede = has(EXTENDED).then_some(ede);
    if has(FAILURE) {
        let alone = flags & !(FAILURE | EXTENDED) == 0 && message.is_empty();
        return ede.filter(|_| alone).map(|ede| (Stored::failure(rcode::SERVFAIL, ede, since, ttl), how));
    }
    let security = if has(SECURE) { Security::Secure } else { Security::Insecure };
    let said = Parts {
        rcode: rcode::NOERROR,
        answer: Vec::new(),
        authority: Vec::new(),
        security,
        ede,
        ttl,
        is_synthesized: has(SYNTHESIZED),
    };
    let stored = Stored::of_message(key, message, said, since)?;
    if !matches!(stored.rcode, rcode::NOERROR | rcode::NXDOMAIN | rcode::YXDOMAIN | rcode::SERVFAIL) {
        return None;
    }
    let ttl = if has(STALE) { ttl } else { stored.ttl };
    Some((Stored { ttl, is_stale: has(STALE), ..stored }, how))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{message::rtype, rrset::RrSet};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn found() -> (Key, Stored) {
        let key = Key::new(&name("www.a.test"), rtype::A, true, false);
        let set = |owner: &str, rtype, data: &[u8]| RrSet {
            owner: name(owner),
            rtype,
            ttl: 300,
            data: vec![data.into()],
            signatures: Vec::new(),
        };
        let parts = Parts {
            rcode: rcode::NOERROR,
            answer: vec![
                set("www.a.test", rtype::CNAME, name("b.a.test").wire()),
                set("b.a.test", rtype::A, &[192, 0, 2, 1]),
            ],
            authority: Vec::new(),
            security: Security::Secure,
            ede: None,
            ttl: 200,
            is_synthesized: false,
        };
        let stored = Stored::new(&key, &parts, 1_000);
        (key, stored)
    }

    #[test]
    fn siblings_have_one_home_and_what_lies_below_a_top_level_domain_has_its_own() {
        for (text, expected) in [
            ("www.example.com", "example.com"),
            ("example.com", "example.com"),
            ("a.b.example.com", "b.example.com"),
            ("com", "com"),
            (".", "."),
            ("7.2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa"),
        ] {
            assert_eq!(neighbourhood(&name(text)), name(expected), "{text}");
        }
    }

    #[test]
    fn a_question_is_read_as_it_was_asked_and_nothing_else_is_one() {
        for (signed, unchecked, is_lasting) in
            [(false, false, false), (true, false, true), (true, true, false)]
        {
            let key = Key::new(&name("www.a.test"), rtype::AAAA, signed, unchecked);
            let question = HomeQuestion { key, is_lasting };
            let octets = question.write();
            assert_eq!(HomeQuestion::read(&octets), Some(question));
            let refused = |octets: &[u8]| assert_eq!(HomeQuestion::read(octets), None, "{octets:?}");
            refused(&[&octets[..], b"\0"].concat());
            (0..octets.len()).for_each(|end| refused(&octets[..end]));
            // A version, flags, a question for everything, a pointer.
            for (at, octet) in [(0, 2), (0, 0), (1, 8), (1, 0x80), (3, 0xff), (4, 0xc0)] {
                let mut octets = octets.clone();
                octets[at] = octet;
                refused(&octets);
            }
        }
    }

    #[test]
    fn an_answer_ends_when_it_does_at_the_home() {
        let (key, stored) = found();
        let octets = write_answer(&key, &stored, Good::Fresh(50), How::Kept);
        let (read, how) = read_answer(&key, &octets, 9_000).unwrap();
        assert_eq!((read.ttl, read.since, read.is_secure, how), (150, 9_000, true, How::Kept));
        assert_eq!((read.counts, &read.aliases), (stored.counts, &stored.aliases));
        assert!(read.ttls.iter().all(|(_, ttl)| *ttl == 250), "{:?}", read.ttls);
        assert_eq!(write_answer(&key, &read, Good::Fresh(0), How::Kept), octets);
        // What had expired is told as such, and good for nothing else.
        let octets = write_answer(&key, &stored, Good::Expired(80_000), How::Kept);
        let (read, _) = read_answer(&key, &octets, 9_000).unwrap();
        assert_eq!((read.ttl, read.is_stale, read.is_secure), (80_000, true, false));
    }

    #[test]
    fn a_failure_comes_as_one() {
        let (key, _) = found();
        let failure = Stored::failure(rcode::SERVFAIL, 22, 1_000, 5);
        let octets = write_answer(&key, &failure, Good::Fresh(2), How::Found);
        let (read, how) = read_answer(&key, &octets, 9_000).unwrap();
        assert_eq!((read.is_failure, read.ede, read.ttl, how), (true, Some(22), 3, How::Found));
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_not_taken() {
        let (key, stored) = found();
        let octets = write_answer(&key, &stored, Good::Fresh(0), How::Found);
        let refused = |octets: &[u8]| assert!(read_answer(&key, octets, 0).is_none(), "{octets:?}");
        (0..octets.len()).for_each(|end| refused(&octets[..end]));
        let other = Key::new(&name("www.b.test"), rtype::A, true, false);
        assert!(read_answer(&other, &octets, 0).is_none());
        let other = Key::new(&name("www.a.test"), rtype::AAAA, true, false);
        assert!(read_answer(&other, &octets, 0).is_none());
        // A version, a way, a flag and a time that there are not; a failure with records; a message that is a question.
        for (at, octet) in
            [(0, 0), (1, 2), (2, 0x20), (5, 0xff), (2, FAILURE | EXTENDED), (ANSWER_HEAD + 2, 0)]
        {
            let mut octets = octets.clone();
            octets[at] = octet;
            refused(&octets);
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(head in any::<[u8; ANSWER_HEAD]>(), octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let (key, stored) = found();
            HomeQuestion::read(&octets);
            read_answer(&key, &octets, 0);
            let mut message = Vec::new();
            stored.put_message(&key, 0, &mut message);
            let cut = message.len() - usize::from(head[8]) % message.len();
            let shaped = [&[VERSION, 0], &head[2..], &message[..cut], &octets].concat();
            if let Some((read, how)) = read_answer(&key, &shaped, 0) {
                let good = if read.is_stale { Good::Expired(read.ttl) } else { Good::Fresh(0) };
                let written = write_answer(&key, &read, good, how);
                prop_assert!(read_answer(&key, &written, 0).is_some());
            }
        }
    }
}
