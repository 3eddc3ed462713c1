//! EDNS between clients and the resolver: their OPT record read (RFC 6891), and that of the answer written. Pure.

use proxima_wire::edns::{DO, OPT_OCTETS, OPTION_HEADER_OCTETS, option};

use crate::{
    message::{UDP_OCTETS, flag, read_u16, rtype},
    name::Name,
};

/// Octets of the option of an extended error without a text.
const EDE_OCTETS: usize = OPTION_HEADER_OCTETS + 2;

/// Octets of a client's cookie (RFC 7873, 4.1), of a server's as RFC 9018 makes them, and of both.
const CLIENT_COOKIE_OCTETS: usize = 8;
const SERVER_COOKIE_OCTETS: usize = 16;
const COOKIE_OCTETS: usize = CLIENT_COOKIE_OCTETS + SERVER_COOKIE_OCTETS;

/// The cookies of a client: its own, and what it says that a server gave it, if that can be one of ours.
pub type Cookie = ([u8; CLIENT_COOKIE_OCTETS], Option<[u8; SERVER_COOKIE_OCTETS]>);
/// What a client's cookie is answered with: its own, and one of ours.
pub type CookieAnswer = [u8; COOKIE_OCTETS];

/// What a client says in its OPT record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edns {
    /// Octets that it takes in a datagram.
    pub(crate) payload: u16,
    pub(crate) has_do: bool,
    pub(crate) version: u8,
    /// Whether it padded its question (RFC 7830).
    pub(crate) is_padded: bool,
    /// Whether it asks how long a connection may be silent (RFC 7828).
    pub(crate) has_keepalive: bool,
    pub(crate) cookie: Option<Cookie>,
    /// Whether an option says what it must not.
    pub(crate) is_malformed: bool,
}

/// What the client says in its OPT record, if it has one; `None` if what stands there is broken.
pub(crate) fn edns(message: &[u8], mut at: usize, count: u16) -> Option<Option<Edns>> {
    let mut edns = None;
    for _ in 0..count {
        let owner = Name::parse(message, &mut at)?;
        let [kind, payload, extended, flags, length] = std::array::from_fn(|_| read_u16(message, &mut at));
        let end = at + usize::from(length?);
        let data = message.get(at..end)?;
        at = end;
        if kind? == rtype::OPT {
            if edns.is_some() || !owner.is_root() {
                return None;
            }
            let [_, version] = extended?.to_be_bytes();
            let (payload, has_do) = (payload?, flags? & DO != 0);
            let mut said = Edns {
                payload,
                has_do,
                version,
                is_padded: false,
                has_keepalive: false,
                cookie: None,
                is_malformed: false,
            };
            options(data, &mut said)?;
            edns = Some(said);
        }
    }
    Some(edns)
}

/// Reads the options that decide something here.
fn options(data: &[u8], edns: &mut Edns) -> Option<()> {
    let mut at = 0;
    while at < data.len() {
        let (code, length) = (read_u16(data, &mut at)?, read_u16(data, &mut at)?);
        let value = data.get(at..at + usize::from(length))?;
        at += value.len();
        match code {
            // Of several, the first one counts (RFC 7873, 5.2).
            option::COOKIE if edns.cookie.is_none() => {
                edns.cookie = cookie(value);
                edns.is_malformed |= edns.cookie.is_none();
            }
            option::PADDING => edns.is_padded = true,
            option::KEEPALIVE => edns.has_keepalive = true,
            _ => {}
        }
    }
    Some(())
}

/// The cookies of an option; `None` if they have another length than they may (RFC 7873, 5.2.2).
fn cookie(value: &[u8]) -> Option<Cookie> {
    let (client, server) = value.split_first_chunk()?;
    matches!(server.len(), 0 | 8..=32).then(|| (*client, server.try_into().ok()))
}

/// The code of a version of EDNS that is not spoken here (RFC 6891, 6.1.3).
pub(crate) const BAD_VERSION: u8 = 16;

/// An answer that is a code alone, whose upper bits stand in the OPT record: that a version is not spoken here, or that an
/// option says what it must not.
pub(crate) fn refused(id: u16, flags: u16, code: u8, question: &[u8]) -> Vec<u8> {
    let flags = flag::QR | flag::RA | flags & (flag::RD | flag::CD) | u16::from(code & 0xF);
    let questions = u16::from(!question.is_empty());
    let mut octets = [id, flags, questions, 0, 0, 1].map(u16::to_be_bytes).concat();
    octets.extend_from_slice(question);
    octets.push(0);
    octets.extend([rtype::OPT, UDP_OCTETS, u16::from(code >> 4) << 8, 0, 0].map(u16::to_be_bytes).concat());
    octets
}

/// The OPT record of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opt {
    pub(crate) has_do: bool,
    /// The response code, whose upper bits stand here.
    pub(crate) rcode: u8,
    /// Why the answer is what it is (RFC 8914).
    pub(crate) ede: Option<u16>,
    pub(crate) cookie: Option<CookieAnswer>,
    /// How long the connection may be silent, in tenths of a second (RFC 7828).
    pub(crate) keepalive: Option<u16>,
}

impl Opt {
    /// Octets of the longest, without padding.
    pub(crate) const OCTETS_MAX: usize =
        OPT_OCTETS + EDE_OCTETS + OPTION_HEADER_OCTETS + COOKIE_OCTETS + OPTION_HEADER_OCTETS + 2;

    /// Its octets, without padding.
    pub(crate) fn octets(&self) -> usize {
        let option = |has: bool, octets: usize| if has { OPTION_HEADER_OCTETS + octets } else { 0 };
        let Self { ede, cookie, keepalive, .. } = self;
        OPT_OCTETS
            + option(ede.is_some(), 2)
            + option(cookie.is_some(), COOKIE_OCTETS)
            + option(keepalive.is_some(), 2)
    }

    /// Appends it, with so much padding.
    pub(crate) fn write(&self, padding: Option<u16>, out: &mut Vec<u8>) {
        out.push(0);
        let padded = padding.map_or(0, |padding| OPTION_HEADER_OCTETS + usize::from(padding));
        let length = u16::try_from(self.octets() - OPT_OCTETS + padded).unwrap_or(u16::MAX);
        let flags = if self.has_do { DO } else { 0 };
        for field in [rtype::OPT, UDP_OCTETS, u16::from(self.rcode >> 4) << 8, flags, length] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        let mut put = |code: u16, value: &[u8]| {
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
            out.extend_from_slice(value);
        };
        if let Some(cookie) = &self.cookie {
            put(option::COOKIE, cookie);
        }
        if let Some(tenths) = self.keepalive {
            put(option::KEEPALIVE, &tenths.to_be_bytes());
        }
        if let Some(code) = self.ede {
            put(option::EXTENDED_ERROR, &code.to_be_bytes());
        }
        if let Some(padding) = padding {
            for field in [option::PADDING, padding] {
                out.extend_from_slice(&field.to_be_bytes());
            }
            out.resize(out.len() + usize::from(padding), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxima_wire::edns::PADDED_OCTETS;

    use crate::{
        message::rcode,
        query::{Query, Read, Refusal, Written},
    };

    /// A question for `a.example`, A, with RD and an OPT record with these options.
    fn asked(version: u8, options: &[u8]) -> Vec<u8> {
        let mut octets = [7_u16, 0x0100, 1, 0, 0, 1].map(u16::to_be_bytes).concat();
        octets.extend_from_slice(b"\x01A\x07example\0\0\x01\0\x01\0\0\x29\x10\0\0");
        octets.extend_from_slice(&[version, 0, 0, 0, u8::try_from(options.len()).unwrap()]);
        octets.extend_from_slice(options);
        octets
    }

    fn read(message: &[u8]) -> Query {
        match Query::read(message) {
            Read::Query(query) => query,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_padded_question_gets_a_padded_answer_where_it_goes_encrypted() {
        let query = read(&asked(0, &[0, 12, 0, 3, 0, 0, 0]));
        assert!(!query.has_keepalive() && query.wants_recursion());
        let written = |query: &Query, octets_max| {
            let mut out = Vec::new();
            query.refuse(Refusal::NotAllowed, octets_max, &mut out);
            out
        };
        let clear = written(&query, usize::from(u16::MAX));
        let padded = written(&query.clone().encrypted(), usize::from(u16::MAX));
        assert_eq!(padded.len(), PADDED_OCTETS);
        assert!(clear.len() < 60 && padded.starts_with(&clear[..clear.len() - 8 - 6]));
        assert_eq!(written(&read(&asked(0, &[])).encrypted(), usize::from(u16::MAX)).len(), clear.len());
    }

    #[test]
    fn options_are_read_and_broken_ones_refused() {
        assert!(read(&asked(0, &[0, 11, 0, 0])).has_keepalive());
        for options in [&[0, 12, 0][..], &[0, 12, 0, 1], &[0, 10, 0, 2, 1]] {
            assert!(
                matches!(Query::read(&asked(0, options)), Read::Refused(answer) if answer[3] & 15 == rcode::FORMERR)
            );
        }
        // A cookie of 7 octets: its sender is told that EDNS is spoken here.
        let Read::Refused(answer) = Query::read(&asked(0, &[0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7])) else {
            panic!("it is malformed")
        };
        assert_eq!(answer[2..12], [0x81, 0x80 | rcode::FORMERR, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert!(answer.ends_with(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]));
        let Read::Refused(answer) = Query::read(&asked(1, &[])) else { panic!("it is BADVERS") };
        assert_eq!(answer[2..12], [0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert!(answer.ends_with(&[0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn who_asks_too_much_is_asked_to_come_by_tcp() {
        let mut out = Vec::new();
        let written = read(&asked(0, &[])).ask_again(&mut out);
        let expected = Written { rcode: 0, is_truncated: true, ttl: None, ede: None, is_blocked: false };
        assert_eq!(written, expected);
        assert_eq!(out[2..12], [0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert!(out.len() <= asked(0, &[]).len());
    }

    #[test]
    fn cookies_are_read_and_answered_and_who_has_no_good_one_is_asked_to_come_with_it() {
        let option = |value: &[u8]| [&[0, 10, 0, u8::try_from(value.len()).unwrap()], value].concat();
        assert_eq!(read(&asked(0, &option(&[7; 8]))).cookie(), Some(([7; 8], None)));
        let both: Vec<u8> = [[7; 8].as_slice(), &[9; 16]].concat();
        let query = read(&asked(0, &option(&both)));
        assert_eq!(query.cookie(), Some(([7; 8], Some([9; 16]))));
        // Another server's, which may be of another length.
        assert_eq!(read(&asked(0, &option(&[7; 20]))).cookie(), Some(([7; 8], None)));
        let (mut out, ours) = (Vec::new(), [5; 24]);
        let written = query.with_cookie(ours).ask_again(&mut out);
        assert_eq!((written.rcode, written.is_truncated), (23, false));
        // The lower bits of the code in the header, the upper ones in the OPT record.
        assert_eq!(out[2..12], [0x81, 0x87, 0, 1, 0, 0, 0, 0, 0, 1]);
        let opt = [&[0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 28][..], &option(&ours)].concat();
        assert!(out.ends_with(&opt), "{out:?}");
        assert_eq!(out.len(), asked(0, &option(&both)).len(), "no more than was asked");
    }

    #[test]
    fn who_asks_for_nothing_but_a_cookie_gets_one() {
        let bare = |version: u8, option: &[u8]| {
            let mut octets = [7_u16, 0x0100, 0, 0, 0, 1].map(u16::to_be_bytes).concat();
            octets.extend_from_slice(&[0, 0, 0x29, 0x10, 0, 0, version, 0, 0, 0]);
            octets.push(u8::try_from(option.len()).unwrap());
            octets.extend_from_slice(option);
            octets
        };
        let Read::Bare(query) = Query::read(&bare(0, &[&[0, 10, 0, 8][..], &[7; 8]].concat())) else {
            panic!("it asks for a cookie")
        };
        let mut out = Vec::new();
        let written = query.with_cookie([5; 24]).greet(false, &mut out);
        assert_eq!((written.rcode, written.is_truncated, written.ede), (rcode::NOERROR, false, None));
        assert_eq!(out[2..12], [0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(out.ends_with(&[&[0, 10, 0, 24][..], &[5; 24]].concat()) && out.len() == 12 + 11 + 28);
        for (version, option, code) in [
            (0, &[][..], rcode::FORMERR),
            (0, &[0, 12, 0, 0], rcode::FORMERR),
            (0, &[0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7], rcode::FORMERR),
            (1, &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8], rcode::NOERROR),
        ] {
            let Read::Refused(answer) = Query::read(&bare(version, option)) else { panic!("{option:?}") };
            assert_eq!((answer[3] & 15, answer[5]), (code, 0), "{option:?}");
        }
        // Without EDNS there is nothing to give.
        let nothing = [7_u16, 0x0100, 0, 0, 0, 0].map(u16::to_be_bytes).concat();
        assert!(matches!(Query::read(&nothing), Read::Refused(answer) if answer[3] & 15 == rcode::FORMERR));
    }

    #[test]
    fn how_long_a_connection_may_be_silent_is_told_to_who_asks() {
        let said = |options: &[u8]| {
            let mut out = Vec::new();
            read(&asked(0, options)).with_keepalive(100).refuse(Refusal::NoRecursion, 512, &mut out);
            out
        };
        assert!(said(&[0, 11, 0, 0]).windows(6).any(|option| option == [0, 11, 0, 2, 0, 100]));
        assert!(!said(&[]).windows(3).any(|option| option == [0, 11, 0]));
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..80), shaped in any::<bool>()) {
            let message = if shaped { asked(0, &octets) } else { octets };
            if let Read::Query(query) = Query::read(&message) {
                query.encrypted().refuse(Refusal::NoRecursion, 512, &mut Vec::new());
            }
        }
    }
}
