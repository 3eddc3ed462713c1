//! What servers say to each other about strays: a pure, bounded encoding, one message a frame.
//!
//! ```text
//!  who connects                        who is connected to
//!    Hello { version, role, prefixes } ──▶
//!                                      ◀── InForce { prefixes } | Refused
//!    from the forwarder: Stray(packet)     from the home: NotMine(packet)
//!    Beat                              ◀─▶ Beat               at least every `limits::BEAT_EVERY`
//! ```
//!
//! A frame is four octets of length and a message: one octet of type, and the rest. Any of it that is not as it should be
//! ends the connection. Encoding is canonical: what decodes encodes to the same octets.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::PREFIXES_MAX;

/// The version of this protocol. Peers of another one are refused.
pub const VERSION: u16 = 2;
/// Octets of a packet: what an IPv4 header can say.
pub const PACKET_OCTETS_MAX: usize = 65_535;
/// Octets of a message.
pub(crate) const MESSAGE_OCTETS_MAX: usize = 1 + PACKET_OCTETS_MAX;
/// Prefixes that are agreed on: each is one of the one's or the other's.
const AGREED_MAX: usize = 2 * PREFIXES_MAX;
/// Octets of a reason in words.
const REASON_OCTETS_MAX: usize = 256;

/// What the one who connects is to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has connections whose segments may arrive at the other: it wants them.
    Home,
    /// Segments of the other's connections may arrive at it: it passes them on.
    Forwarder,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first word of who connects.
    Hello {
        /// Of this protocol.
        version: u16,
        /// What it is to the other.
        role: Role,
        /// The prefixes that it is about: at most 64.
        prefixes: Vec<IpNet>,
    },
    /// Agreed, and done: from here on strays are forwarded.
    InForce {
        /// Those of which: what lies in prefixes of both. At most 128.
        prefixes: Vec<IpNet>,
    },
    /// It cannot be, and why.
    Refused(String),
    /// Still there.
    Beat,
    /// An IP packet with a segment of a connection that the forwarder does not have.
    Stray(Vec<u8>),
    /// That packet again: nor has the home.
    NotMine(Vec<u8>),
}

/// What was read is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("it ends too early")]
    Short,
    /// It goes on after its end.
    #[error("it goes on after its end")]
    Trailing,
    /// Something is longer than it may be.
    #[error("{0} is longer than allowed")]
    Long(&'static str),
    /// A tag has no meaning.
    #[error("{0} has an unknown tag")]
    Tag(&'static str),
    /// A prefix is none.
    #[error("a prefix is not one")]
    Prefix,
    /// A reason is not UTF-8.
    #[error("a reason is not UTF-8")]
    Text,
}

mod tag {
    pub(super) const HELLO: u8 = 1;
    pub(super) const IN_FORCE: u8 = 2;
    pub(super) const REFUSED: u8 = 3;
    pub(super) const BEAT: u8 = 4;
    pub(super) const STRAY: u8 = 5;
    pub(super) const NOT_MINE: u8 = 6;
}

impl Message {
    /// The frame's content.
    pub fn encode(&self) -> Vec<u8> {
        let (tag, rest): (u8, &[u8]) = match self {
            Self::Hello { version, role, prefixes } => return encode_hello(*version, *role, prefixes),
            Self::InForce { prefixes } => {
                let mut out = vec![tag::IN_FORCE];
                put_prefixes(&mut out, prefixes, AGREED_MAX);
                return out;
            }
            Self::Refused(reason) => (tag::REFUSED, cut(reason, REASON_OCTETS_MAX).as_bytes()),
            Self::Beat => (tag::BEAT, &[]),
            Self::Stray(packet) => (tag::STRAY, packet),
            Self::NotMine(packet) => (tag::NOT_MINE, packet),
        };
        let mut out = Vec::with_capacity(1 + rest.len());
        out.push(tag);
        out.extend_from_slice(rest);
        out
    }

    /// The message in a frame.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let (&tag, rest) = frame.split_first().ok_or(DecodeError::Short)?;
        match tag {
            tag::HELLO => decode_hello(rest),
            tag::IN_FORCE => Ok(Self::InForce { prefixes: take_prefixes(rest, AGREED_MAX)? }),
            tag::REFUSED if rest.len() > REASON_OCTETS_MAX => Err(DecodeError::Long("a reason")),
            tag::REFUSED => {
                let reason = std::str::from_utf8(rest).map_err(|_| DecodeError::Text)?;
                Ok(Self::Refused(reason.to_owned()))
            }
            tag::BEAT => nothing(rest).map(|()| Self::Beat),
            tag::STRAY => packet(rest).map(Self::Stray),
            tag::NOT_MINE => packet(rest).map(Self::NotMine),
            _ => Err(DecodeError::Tag("a message")),
        }
    }
}

fn nothing(rest: &[u8]) -> Result<(), DecodeError> {
    if rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
}

fn packet(rest: &[u8]) -> Result<Vec<u8>, DecodeError> {
    match rest.len() {
        0 => Err(DecodeError::Short),
        1..=PACKET_OCTETS_MAX => Ok(rest.to_owned()),
        _ => Err(DecodeError::Long("a packet")),
    }
}

/// At most so many octets of a text, and whole characters.
fn cut(text: &str, octets_max: usize) -> &str {
    let end = (0..=octets_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

fn encode_hello(version: u16, role: Role, prefixes: &[IpNet]) -> Vec<u8> {
    let mut out = vec![tag::HELLO];
    out.extend_from_slice(&version.to_be_bytes());
    out.push(match role {
        Role::Home => 1,
        Role::Forwarder => 2,
    });
    put_prefixes(&mut out, prefixes, PREFIXES_MAX);
    out
}

fn put_prefixes(out: &mut Vec<u8>, prefixes: &[IpNet], most: usize) {
    for prefix in prefixes.iter().take(most) {
        let prefix = prefix.trunc();
        match prefix.addr() {
            IpAddr::V4(address) => {
                out.extend_from_slice(&[4, prefix.prefix_len()]);
                out.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                out.extend_from_slice(&[6, prefix.prefix_len()]);
                out.extend_from_slice(&address.octets());
            }
        }
    }
}

fn decode_hello(rest: &[u8]) -> Result<Message, DecodeError> {
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(DecodeError::Short)?;
    let (&role, rest) = rest.split_first().ok_or(DecodeError::Short)?;
    let role = match role {
        1 => Role::Home,
        2 => Role::Forwarder,
        _ => return Err(DecodeError::Tag("a role")),
    };
    let prefixes = take_prefixes(rest, PREFIXES_MAX)?;
    Ok(Message::Hello { version: u16::from_be_bytes(*version), role, prefixes })
}

fn take_prefixes(mut rest: &[u8], most: usize) -> Result<Vec<IpNet>, DecodeError> {
    let mut prefixes = Vec::new();
    while !rest.is_empty() {
        if prefixes.len() == most {
            return Err(DecodeError::Long("the list of prefixes"));
        }
        let (&[family, bits], after) = rest.split_first_chunk::<2>().ok_or(DecodeError::Short)?;
        let (address, after): (IpAddr, _) = match family {
            4 => after.split_first_chunk::<4>().map(|(octets, after)| ((*octets).into(), after)),
            6 => after.split_first_chunk::<16>().map(|(octets, after)| ((*octets).into(), after)),
            _ => return Err(DecodeError::Tag("a prefix")),
        }
        .ok_or(DecodeError::Short)?;
        let prefix = IpNet::new(address, bits).map_err(|_| DecodeError::Prefix)?;
        if prefix.trunc() != prefix {
            return Err(DecodeError::Prefix);
        }
        prefixes.push(prefix);
        rest = after;
    }
    Ok(prefixes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixes() -> impl Strategy<Value = Vec<IpNet>> {
        let v4 = (any::<[u8; 4]>(), 0..=32_u8)
            .prop_map(|(octets, bits)| IpNet::new(IpAddr::from(octets), bits).unwrap().trunc());
        let v6 = (any::<[u8; 16]>(), 0..=128_u8)
            .prop_map(|(octets, bits)| IpNet::new(IpAddr::from(octets), bits).unwrap().trunc());
        proptest::collection::vec(prop_oneof![v4, v6], 0..=PREFIXES_MAX)
    }

    fn messages() -> impl Strategy<Value = Message> {
        let role = prop_oneof![Just(Role::Home), Just(Role::Forwarder)];
        let packet = || proptest::collection::vec(any::<u8>(), 1..200);
        prop_oneof![
            (any::<u16>(), role, prefixes()).prop_map(|(version, role, prefixes)| Message::Hello {
                version,
                role,
                prefixes
            }),
            (prefixes(), prefixes())
                .prop_map(|(some, more)| Message::InForce { prefixes: [some, more].concat() }),
            "[a-zä ]{0,60}".prop_map(Message::Refused),
            Just(Message::Beat),
            packet().prop_map(Message::Stray),
            packet().prop_map(Message::NotMine),
        ]
    }

    proptest! {
        #[test]
        fn a_message_comes_out_as_it_went_in(message in messages()) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn arbitrary_octets_are_an_error_or_the_one_encoding_of_a_message(
            octets in proptest::collection::vec(any::<u8>(), 0..300), tag in 0..8_u8
        ) {
            for frame in [octets.clone(), [&[tag], octets.as_slice()].concat()] {
                if let Ok(message) = Message::decode(&frame) {
                    prop_assert_eq!(message.encode(), frame);
                }
            }
        }
    }

    #[test]
    fn what_is_one_past_a_limit_is_refused() {
        let frame = |octets: usize| [vec![tag::STRAY], vec![0; octets]].concat();
        assert!(Message::decode(&frame(PACKET_OCTETS_MAX)).is_ok());
        assert_eq!(Message::decode(&frame(PACKET_OCTETS_MAX + 1)), Err(DecodeError::Long("a packet")));
        assert_eq!(Message::decode(&frame(0)), Err(DecodeError::Short));

        let many = vec!["198.18.0.0/24".parse().unwrap(); PREFIXES_MAX];
        let mut hello = Message::Hello { version: VERSION, role: Role::Home, prefixes: many }.encode();
        assert!(Message::decode(&hello).is_ok());
        hello.extend_from_slice(&[4, 8, 10, 0, 0, 0]);
        assert_eq!(Message::decode(&hello), Err(DecodeError::Long("the list of prefixes")));

        let many = vec!["198.18.0.0/24".parse().unwrap(); AGREED_MAX];
        let mut agreed = Message::InForce { prefixes: many }.encode();
        assert!(Message::decode(&agreed).is_ok());
        agreed.extend_from_slice(&[4, 8, 10, 0, 0, 0]);
        assert_eq!(Message::decode(&agreed), Err(DecodeError::Long("the list of prefixes")));

        let long = Message::Refused("ä".repeat(REASON_OCTETS_MAX)).encode();
        assert_eq!(long.len(), 1 + REASON_OCTETS_MAX, "it is cut before it is sent");
        assert!(Message::decode(&long).is_ok());
        assert_eq!(Message::decode(&[long, vec![b'a']].concat()), Err(DecodeError::Long("a reason")));
    }

    #[test]
    fn a_prefix_with_bits_beyond_its_length_is_refused() {
        let hello = [tag::HELLO, 0, 1, 1, 4, 24, 198, 18, 0, 1];
        assert_eq!(Message::decode(&hello), Err(DecodeError::Prefix));
        let hello = [tag::HELLO, 0, 1, 1, 4, 33, 198, 18, 0, 0];
        assert_eq!(Message::decode(&hello), Err(DecodeError::Prefix));
    }
}
