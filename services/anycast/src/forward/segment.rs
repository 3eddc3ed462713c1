//! Which connection an IP packet is of, if it is a whole TCP segment. Pure.

use std::net::{IpAddr, SocketAddr};

/// TCP's protocol number (RFC 9293).
const TCP: u8 = 6;
const IPV4_HEAD_OCTETS: usize = 20;
const IPV6_HEAD_OCTETS: usize = 40;
const TCP_HEAD_OCTETS: usize = 20;
/// "More fragments", and the offset of a fragment (RFC 791).
const FRAGMENT: u16 = 0x3fff;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;

/// A connection, as its segments from the client name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// The client.
    pub(crate) source: SocketAddr,
    /// Us.
    pub(crate) destination: SocketAddr,
}

/// What the kernel sends out of a TUN device may end with what filled up its frame: Ethernet's are 60 octets at least, a bare
/// acknowledgment is shorter. The packet without that; the same, if it does not say how long it is or is shorter.
pub(super) fn without_padding(packet: &[u8]) -> &[u8] {
    let octets = match (packet.first().map(|first| first >> 4), packet) {
        (Some(4), [_, _, high, low, ..]) => usize::from(u16::from_be_bytes([*high, *low])),
        (Some(6), [_, _, _, _, high, low, ..]) => {
            IPV6_HEAD_OCTETS + usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => packet.len(),
    };
    packet.get(..octets).unwrap_or(packet)
}

/// Whether a packet is TCP's, whole or not: nothing else is sent out of a TUN device on purpose.
pub(super) fn is_tcp(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(9) == Some(&TCP),
        Some(6) => packet.get(6) == Some(&TCP),
        _ => false,
    }
}

/// A packet, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its connection.
    pub(crate) flow: Flow,
    /// Whether it is to begin a connection: no stray does.
    pub(crate) opens: bool,
    /// Whether the client ends the connection with it.
    pub(crate) ends: bool,
}

impl Segment {
    /// Understands a packet; `None` if it is anything but one whole TCP segment.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let (source, destination, tcp): (IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
            4 => {
                let (head, _) = packet.split_first_chunk::<IPV4_HEAD_OCTETS>()?;
                let head_octets = usize::from(head[0] & 15) * 4;
                let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
                let fragment = u16::from_be_bytes([head[6], head[7]]) & FRAGMENT;
                if head_octets < IPV4_HEAD_OCTETS || length != packet.len() || fragment != 0 || head[9] != TCP
                {
                    return None;
                }
                let address = |at: usize| head[at..].first_chunk::<4>().map(|octets| IpAddr::from(*octets));
                (address(12)?, address(16)?, packet.get(head_octets..)?)
            }
            6 => {
                let (head, rest) = packet.split_first_chunk::<IPV6_HEAD_OCTETS>()?;
                let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
                if length != rest.len() || head[6] != TCP {
                    return None;
                }
                let address = |at: usize| head[at..].first_chunk::<16>().map(|octets| IpAddr::from(*octets));
                (address(8)?, address(24)?, rest)
            }
            _ => return None,
        };
        let (tcp, _) = tcp.split_first_chunk::<TCP_HEAD_OCTETS>()?;
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        Some(Self {
            flow: Flow {
                source: SocketAddr::new(source, port(0)),
                destination: SocketAddr::new(destination, port(2)),
            },
            opens: tcp[13] & SYN != 0,
            ends: tcp[13] & (FIN | RST) != 0,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A segment without content from one socket to another.
    pub(crate) fn packet(source: &str, destination: &str, flags: u8) -> Vec<u8> {
        let (source, destination): (SocketAddr, SocketAddr) =
            (source.parse().unwrap(), destination.parse().unwrap());
        let mut packet = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let head = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0];
                [head.as_slice(), &from.octets(), &to.octets()].concat()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let head = [0x60, 0, 0, 0, 0, 20, TCP, 64];
                [head.as_slice(), &from.octets(), &to.octets()].concat()
            }
            _ => panic!("two families"),
        };
        packet.extend_from_slice(&source.port().to_be_bytes());
        packet.extend_from_slice(&destination.port().to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 1, 0, 0, 0, 0, 0]);
        packet
    }

    #[test]
    fn both_families_are_understood() {
        for (source, destination) in
            [("192.0.2.1:5000", "198.18.0.1:443"), ("[2001:db8::1]:5000", "[fd00:198:18::1]:80")]
        {
            let segment = Segment::of(&packet(source, destination, 0x10)).unwrap();
            assert_eq!(segment.flow.source.to_string(), source);
            assert_eq!(segment.flow.destination.to_string(), destination);
            assert!(!segment.ends);
            assert!(Segment::of(&packet(source, destination, 0x11)).unwrap().ends, "FIN");
            assert!(Segment::of(&packet(source, destination, 0x04)).unwrap().ends, "RST");
        }
    }

    #[test]
    fn what_is_no_whole_tcp_segment_is_not_understood() {
        let good = packet("192.0.2.1:5000", "198.18.0.1:443", 0x10);
        let broken = |at: usize, octet: u8| {
            let mut packet = good.clone();
            packet[at] = octet;
            packet
        };
        assert!(Segment::of(&good).is_some());
        for (what, packet) in [
            ("another version", broken(0, 0x55)),
            ("a short head", broken(0, 0x44)),
            ("a head that is longer than the packet", broken(0, 0x4f)),
            ("another length", broken(3, 41)),
            ("more fragments", broken(6, 0x20)),
            ("a later fragment", broken(7, 1)),
            ("UDP", broken(9, 17)),
            ("cut", good[..good.len() - 1].to_vec()),
            ("with more after it", [good.clone(), vec![0]].concat()),
        ] {
            assert_eq!(Segment::of(&packet), None, "{what}");
        }
    }

    #[test]
    fn what_fills_up_an_ethernet_frame_is_cut_off() {
        for (source, destination) in
            [("192.0.2.1:5000", "198.18.0.1:443"), ("[2001:db8::1]:5000", "[fd00:198:18::1]:80")]
        {
            let bare = packet(source, destination, 0x10);
            let padded = [bare.clone(), vec![0; 6]].concat();
            assert_eq!(Segment::of(&padded), None, "a peer may not send it so");
            assert_eq!(without_padding(&padded), bare);
            assert_eq!(without_padding(&bare), bare);
            let cut = &bare[..bare.len() - 1];
            assert_eq!(without_padding(cut), cut, "what is missing stays missing");
        }
        assert!(without_padding(&[]).is_empty());
        assert_eq!(without_padding(&[0x45]), [0x45]);
    }

    proptest! {
        #[test]
        fn arbitrary_octets_do_not_panic(octets: Vec<u8>, version in prop_oneof![Just(0x45_u8), Just(0x60)]) {
            let _ = Segment::of(without_padding(&octets));
            let _ = Segment::of(without_padding(&[&[version], octets.as_slice()].concat()));
            let _ = Segment::of(&octets);
            let _ = Segment::of(&[&[version], octets.as_slice()].concat());
        }
    }
}
