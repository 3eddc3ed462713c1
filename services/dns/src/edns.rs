//! The OPT record (RFC 6891): what an asker says in it, and what it is answered.
//!
//! | option | asked | answered |
//! |---|---|---|
//! | NSID (RFC 5001) | empty | the server's name |
//! | client subnet (RFC 7871) | a prefix | the same with scope 0: answers do not depend on it |
//! | COOKIE (RFC 7873) | the client's, with or without the server's | both ([`crate::cookies`]) |
//! | edns-tcp-keepalive (RFC 7828) | empty, over TCP and TLS | how long a connection may be silent |
//! | padding (RFC 7830) | over TLS, QUIC and HTTPS | padding to whole blocks (RFC 8467) |
//! | extended error (RFC 8914) | | why the answer is what it is, if there is room |
//!
//! A list of options that cannot be taken apart is no query, and is answered FORMERR without an OPT record. A known option
//! that says what it must not is answered FORMERR with one, so that its sender does not take us for a server without EDNS.
//! Other options are passed over, and so is edns-tcp-keepalive over UDP, whatever it says (RFC 7828).
//! Options of a version that is not spoken here may mean anything and are not read.

use proxima_wire::edns::{CO, DO, OPT_OCTETS, OPTION_HEADER_OCTETS, option, padding};

use crate::{
    asker::Transport,
    wire::{ExtendedError, Rcode, rtype},
};

/// Octets of a client's cookie (RFC 7873, 4.1).
pub(crate) const CLIENT_COOKIE_OCTETS: usize = 8;
/// Octets of a server's cookie of ours (RFC 9018, 4); others have 8 to 32 (RFC 7873, 4.2).
pub(crate) const SERVER_COOKIE_OCTETS: usize = 16;
/// Both.
pub(crate) const COOKIE_OCTETS: usize = CLIENT_COOKIE_OCTETS + SERVER_COOKIE_OCTETS;

/// What an OPT record says (RFC 6891, 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    /// Octets of the largest UDP message that the asker takes.
    pub(crate) payload: u16,
    /// The version.
    pub(crate) version: u8,
    /// Whether DNSSEC records are welcome (RFC 3225).
    pub(crate) dnssec_ok: bool,
    /// Whether a name that does not exist may be told by the rcode although its denial says otherwise (RFC 9824, 5.1).
    pub(crate) compact_ok: bool,
    /// Whether the server's identity is asked for.
    pub(crate) nsid: bool,
    /// The asker's cookies.
    pub(crate) cookie: Option<Cookie>,
    /// For whom the asker asks.
    pub(crate) subnet: Option<Subnet>,
    /// Whether it is asked how long a connection may be silent.
    pub(crate) keepalive: bool,
    /// Whether the query is padded.
    pub(crate) padded: bool,
    /// Whether an option says what it must not, however the query came.
    pub(crate) malformed: bool,
    /// Whether it is said how long a connection may be silent, which is not for a client to say (RFC 7828, 3.2.1).
    says_keepalive: bool,
}

/// The cookies of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    /// What the client wants to see again.
    pub(crate) client: [u8; CLIENT_COOKIE_OCTETS],
    /// What it says that a server gave it, if that can be one of ours.
    pub(crate) server: Option<[u8; SERVER_COOKIE_OCTETS]>,
}

/// A client's network (RFC 7871, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subnet {
    family: u16,
    prefix: u8,
    address: [u8; 16],
}

impl Edns {
    /// Reads the payload, extended flags and data of an OPT record; `None` if the data is not a list of options.
    pub(crate) fn read(payload: u16, version: u8, flags: u16, mut data: &[u8]) -> Option<Self> {
        let mut edns = Self {
            payload,
            version,
            dnssec_ok: flags & DO != 0,
            compact_ok: flags & CO != 0,
            nsid: false,
            cookie: None,
            subnet: None,
            keepalive: false,
            padded: false,
            malformed: false,
            says_keepalive: false,
        };
        while !data.is_empty() {
            let (head, rest) = data.split_first_chunk::<OPTION_HEADER_OCTETS>()?;
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let (value, rest) = rest.split_at_checked(length)?;
            if version == 0 {
                edns.malformed |= edns.option(u16::from_be_bytes([head[0], head[1]]), value).is_none();
            }
            data = rest;
        }
        Some(edns)
    }

    /// Whether an option says what it must not in a query that came so.
    pub(crate) const fn is_malformed(&self, transport: Transport) -> bool {
        self.malformed || self.says_keepalive && matches!(transport, Transport::Tcp | Transport::Tls)
    }

    /// `None` if this option must not say this.
    fn option(&mut self, code: u16, value: &[u8]) -> Option<()> {
        match code {
            option::NSID => self.nsid = true,
            // Of several, the first one counts (RFC 7873, 5.2).
            option::COOKIE => self.cookie = Some(self.cookie.unwrap_or(Cookie::read(value)?)),
            option::SUBNET => self.subnet = Some(self.subnet.unwrap_or(Subnet::read(value)?)),
            option::KEEPALIVE => {
                self.keepalive = true;
                self.says_keepalive |= !value.is_empty();
            }
            option::PADDING => self.padded = true,
            _ => {}
        }
        Some(())
    }
}

impl Cookie {
    fn read(value: &[u8]) -> Option<Self> {
        let (client, server) = value.split_first_chunk()?;
        matches!(server.len(), 0 | 8..=32).then(|| Self { client: *client, server: server.try_into().ok() })
    }
}

impl Subnet {
    fn read(value: &[u8]) -> Option<Self> {
        let ([family_high, family_low, prefix, scope], address) = value.split_first_chunk::<4>()?;
        let family = u16::from_be_bytes([*family_high, *family_low]);
        let bits = match family {
            // No address at all: some clients ask so not to be told apart.
            0 => 0,
            1 => 32,
            2 => 128,
            _ => return None,
        };
        let octets = usize::from(prefix.div_ceil(8));
        // As many octets as the prefix needs, and no bit of them that is not the prefix's; the scope is ours to say.
        if *prefix > bits || *scope != 0 || address.len() != octets {
            return None;
        }
        let beyond = u32::from(prefix.next_multiple_of(8) - prefix);
        if address.last().is_some_and(|last| last.trailing_zeros() < beyond) {
            return None;
        }
        let mut subnet = Self { family, prefix: *prefix, address: [0; 16] };
        subnet.address[..octets].copy_from_slice(address);
        Some(subnet)
    }

    fn address(&self) -> &[u8] {
        &self.address[..usize::from(self.prefix.div_ceil(8))]
    }
}

/// What the OPT record of an answer is made from.
#[derive(Clone, Copy)]
pub(crate) struct Opt<'a> {
    /// What the asker said.
    pub(crate) asked: Edns,
    /// Octets of the largest UDP message that is taken here.
    pub(crate) payload: u16,
    /// Who answers, if that is told.
    pub(crate) identity: Option<&'a [u8]>,
    /// The client's cookie and ours.
    pub(crate) cookie: Option<[u8; COOKIE_OCTETS]>,
    /// How long the connection may be silent, in tenths of a second.
    pub(crate) keepalive: Option<u16>,
    /// Whether the answer is padded.
    pub(crate) padded: bool,
}

impl Opt<'_> {
    /// Octets of the record, without what it has only where there is room.
    pub(crate) fn octets(&self) -> usize {
        let option = |octets: Option<usize>| octets.map_or(0, |octets| OPTION_HEADER_OCTETS + octets);
        OPT_OCTETS
            + option(self.identity.map(<[u8]>::len))
            + option(self.cookie.map(|cookie| cookie.len()))
            + option(self.asked.subnet.map(|subnet| 4 + subnet.address().len()))
            + option(self.keepalive.map(|_| 2))
    }

    /// Writes the record to the end of a message that begins at `base` and may have `limit` octets.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        (base, limit): (usize, usize),
        rcode: Rcode,
        extended: Option<ExtendedError>,
    ) {
        let [_, extended_rcode] = (rcode.code() >> 4).to_be_bytes();
        out.push(0);
        out.extend_from_slice(&rtype::OPT.to_be_bytes());
        out.extend_from_slice(&self.payload.to_be_bytes());
        let flags = [(self.asked.dnssec_ok, DO), (self.asked.compact_ok, CO)];
        let flags: u16 = flags.into_iter().filter(|(said, _)| *said).map(|(_, flag)| flag).sum();
        out.extend_from_slice(&[extended_rcode, 0]);
        out.extend_from_slice(&flags.to_be_bytes());
        let length_at = out.len();
        out.extend_from_slice(&[0; 2]);
        if let Some(identity) = self.identity {
            put(out, option::NSID, &[identity]);
        }
        if let Some(cookie) = &self.cookie {
            put(out, option::COOKIE, &[cookie]);
        }
        if let Some(subnet) = &self.asked.subnet {
            put(out, option::SUBNET, &[&subnet.family.to_be_bytes(), &[subnet.prefix, 0], subnet.address()]);
        }
        if let Some(tenths) = self.keepalive {
            put(out, option::KEEPALIVE, &[&tenths.to_be_bytes()]);
        }
        if let Some(ExtendedError { code, text }) = extended {
            let room = (base + limit).saturating_sub(out.len());
            if room >= OPTION_HEADER_OCTETS + 2 + text.len() {
                put(out, option::EXTENDED_ERROR, &[&code.to_be_bytes(), text.as_bytes()]);
            }
        }
        if self.padded {
            pad(out, base);
        }
        let length = u16::try_from(out.len() - length_at - 2).expect("a message has 65,535 octets at most");
        out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }
}

/// Pads the message that begins at `base`, where there is room.
fn pad(out: &mut Vec<u8>, base: usize) {
    let Some(padding) = padding(out.len() - base) else { return };
    out.extend_from_slice(&option::PADDING.to_be_bytes());
    out.extend_from_slice(&padding.to_be_bytes());
    out.resize(out.len() + usize::from(padding), 0);
}

fn put(out: &mut Vec<u8>, code: u16, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&u16::try_from(length).expect("options here are short").to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[u8]) -> Option<Edns> {
        Edns::read(1_232, 0, 0, options)
    }

    #[test]
    fn a_list_that_cannot_be_taken_apart_is_none() {
        for options in [&[0][..], &[0, 3, 0], &[0, 3, 0, 1], &[0, 3, 0, 0, 0], &[0, 10, 0, 9, 1, 2]] {
            assert_eq!(read(options), None, "{options:?}");
        }
    }

    #[test]
    fn options_that_say_what_they_must_not_are_malformed() {
        let cookie = |octets: usize| {
            [&[0, 10, 0, u8::try_from(octets).expect("short")][..], &vec![7; octets]].concat()
        };
        let good = [
            cookie(8),
            cookie(16),
            cookie(24),
            cookie(40),
            vec![0, 8, 0, 4, 0, 0, 0, 0],
            vec![0, 8, 0, 4, 0, 1, 0, 0],
            vec![0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2],
            vec![0, 8, 0, 7, 0, 1, 23, 0, 192, 0, 2],
            vec![0, 8, 0, 5, 0, 2, 3, 0, 0x20],
            vec![0, 11, 0, 0],
            vec![0, 12, 0, 3, 0, 0, 0],
            vec![0xff, 0xfe, 0, 1, 1],
        ];
        let malformed =
            |options: &[u8], transport| read(options).expect("a list of options").is_malformed(transport);
        for (options, transport) in good.iter().flat_map(|options| Transport::ALL.map(|by| (options, by))) {
            assert!(!malformed(options, transport), "{options:?} by {transport:?}");
        }
        let bad = [
            cookie(0),
            cookie(7),
            cookie(9),
            cookie(15),
            cookie(41),
            vec![0, 8, 0, 3, 0, 1, 0],
            vec![0, 8, 0, 5, 0, 0, 1, 0, 0x80],
            vec![0, 8, 0, 4, 0, 3, 0, 0],
            // A scope; a bit beyond the prefix; too short, too long an address; a prefix that there is not.
            vec![0, 8, 0, 7, 0, 1, 24, 24, 192, 0, 2],
            vec![0, 8, 0, 7, 0, 1, 23, 0, 192, 0, 3],
            vec![0, 8, 0, 6, 0, 1, 24, 0, 192, 0],
            vec![0, 8, 0, 8, 0, 1, 24, 0, 192, 0, 2, 0],
            vec![0, 8, 0, 9, 0, 1, 33, 0, 192, 0, 2, 1, 0],
        ];
        for (options, transport) in bad.iter().flat_map(|options| Transport::ALL.map(|by| (options, by))) {
            assert!(malformed(options, transport), "{options:?} by {transport:?}");
        }
    }

    #[test]
    fn how_long_a_connection_may_be_silent_is_not_for_a_client_to_say_where_there_is_one() {
        for options in [&[0, 11, 0, 2, 0, 100][..], &[0, 11, 0, 1, 1], &[0, 11, 0, 2, 0, 100, 0, 11, 0, 0]] {
            let edns = read(options).expect("a list of options");
            assert!(edns.keepalive, "{options:?}");
            for (transport, expected) in [
                (Transport::Udp, false),
                (Transport::Tcp, true),
                (Transport::Tls, true),
                (Transport::Quic, false),
                (Transport::Https, false),
            ] {
                assert_eq!(edns.is_malformed(transport), expected, "{options:?} by {transport:?}");
            }
        }
    }

    #[test]
    fn of_several_cookies_the_first_counts_and_those_of_others_are_none_of_ours() {
        let twice = [&[0, 10, 0, 8][..], &[1; 8], &[0, 10, 0, 24], &[2; 24]].concat();
        let cookie = read(&twice).and_then(|edns| edns.cookie);
        assert_eq!(cookie, Some(Cookie { client: [1; 8], server: None }));
        let foreign = [&[0, 10, 0, 18][..], &[3; 18]].concat();
        assert_eq!(read(&foreign).and_then(|edns| edns.cookie).and_then(|cookie| cookie.server), None);
    }

    #[test]
    fn options_of_another_version_are_not_read() {
        let edns = Edns::read(512, 1, 0, &[0, 10, 0, 1, 1, 0, 3, 0, 0]).expect("a list");
        assert!(!edns.is_malformed(Transport::Tcp) && !edns.nsid);
    }

    #[test]
    fn padding_ends_at_a_block_or_where_a_message_ends() {
        for (octets, expected) in [
            (100, 468),
            (464, 468),
            (465, 936),
            (65_516, 65_520),
            (65_517, 65_535),
            (65_531, 65_535),
            (65_532, 65_532),
        ] {
            let mut out = vec![0; 3 + octets];
            pad(&mut out, 3);
            assert_eq!(out.len() - 3, expected, "{octets}");
        }
    }
}
