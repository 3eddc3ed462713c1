//! EDNS between clients and the resolver: their OPT record read (RFC 6891), and that of the answer written. Pure.

use proxima_wire::edns::{DO, OPTION_HEADER_OCTETS, option};

use crate::{
    message::{UDP_OCTETS, flag, read_u16, rtype},
    name::Name,
};

/// Octets of the option of an extended error without a text.
pub(crate) const EDE_OCTETS: usize = OPTION_HEADER_OCTETS + 2;

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
            let mut said = Edns { payload, has_do, version, is_padded: false, has_keepalive: false };
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
        at += usize::from(length);
        data.get(..at)?;
        match code {
            option::PADDING => edns.is_padded = true,
            option::KEEPALIVE => edns.has_keepalive = true,
            _ => {}
        }
    }
    Some(())
}

/// The answer to a version of EDNS that is not spoken here (RFC 6891, 6.1.3): a code with a bit in the OPT record.
pub(crate) fn bad_version(id: u16, flags: u16, question: &[u8]) -> Vec<u8> {
    let flags = flag::QR | flag::RA | flags & (flag::RD | flag::CD);
    let mut octets = [id, flags, 1, 0, 0, 1].map(u16::to_be_bytes).concat();
    octets.extend_from_slice(question);
    octets.push(0);
    octets.extend([rtype::OPT, UDP_OCTETS, 1 << 8, 0, 0].map(u16::to_be_bytes).concat());
    octets
}

/// Appends the OPT record of an answer: with an extended error, and so much padding.
pub(crate) fn write_opt(edns: Edns, ede: Option<u16>, padding: Option<u16>, out: &mut Vec<u8>) {
    out.push(0);
    let error = ede.map_or(0, |_| EDE_OCTETS);
    let padded = padding.map_or(0, |padding| OPTION_HEADER_OCTETS + usize::from(padding));
    let length = u16::try_from(error + padded).unwrap_or(u16::MAX);
    for field in [rtype::OPT, UDP_OCTETS, 0, if edns.has_do { DO } else { 0 }, length] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    for field in ede.iter().flat_map(|code| [option::EXTENDED_ERROR, 2, *code]) {
        out.extend_from_slice(&field.to_be_bytes());
    }
    if let Some(padding) = padding {
        for field in [option::PADDING, padding] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.resize(out.len() + usize::from(padding), 0);
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
        let Read::Refused(answer) = Query::read(&asked(1, &[])) else { panic!("it is BADVERS") };
        assert_eq!(answer[2..12], [0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert!(answer.ends_with(&[0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn who_asks_too_much_is_asked_to_come_by_tcp() {
        let mut out = Vec::new();
        let written = read(&asked(0, &[])).ask_for_tcp(&mut out);
        assert_eq!(written, Written { rcode: 0, is_truncated: true, ttl: None, ede: None });
        assert_eq!(out[2..12], [0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert!(out.len() <= asked(0, &[]).len());
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
