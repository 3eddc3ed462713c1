//! Who may transfer a zone, or say that it has changed: pure.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::tsig::Key;

/// A peer, as far as it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    /// Where it is.
    pub address: Option<IpAddr>,
    /// The name of its key, on the wire.
    pub key: Option<Box<[u8]>>,
}

/// The peers of one zone, their keys, and the ranges of its account.
///
/// A peer is known by its address or by one of its account's ranges, and by its key if it has one. One without an address
/// but with a key is known by that key, wherever it is.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The peers.
    pub peers: Vec<KnownPeer>,
    /// Their keys.
    pub keys: Vec<Key>,
    /// The ranges.
    pub ranges: Vec<IpNet>,
}

impl Access {
    /// Whether who asks from there, by this key if by any, is one of the peers.
    pub fn allows(&self, from: IpAddr, signed_by: Option<&Key>) -> bool {
        let from = from.to_canonical();
        let in_range = self.ranges.iter().any(|range| range.contains(&from));
        self.peers.iter().any(|peer| {
            let has_key = match (&peer.key, signed_by) {
                (None, _) => true,
                (Some(key), Some(signed_by)) => **key == *signed_by.name(),
                (Some(_), None) => false,
            };
            let is_there = match peer.address {
                Some(address) => address.to_canonical() == from || in_range,
                None => peer.key.is_some() || in_range,
            };
            has_key && is_there
        })
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::TsigAlgorithm;

    use super::*;

    #[test]
    fn a_peer_is_known_by_its_address_or_range_and_by_its_key_if_it_has_one() {
        let named = |name: &[u8]| Key::new(name, TsigAlgorithm::HmacSha256, &[7; 32]);
        let (one, other) = (named(b"\x03one\x00"), named(b"\x05other\x00"));
        let peer = |address: Option<&str>, key: Option<&Key>| KnownPeer {
            address: address.map(|address| address.parse().unwrap()),
            key: key.map(|key| key.name().into()),
        };
        let allows = |peer: KnownPeer, from: &str, key: Option<&Key>| {
            let ranges = vec!["198.51.100.0/24".parse().unwrap()];
            Access { peers: vec![peer], keys: Vec::new(), ranges }.allows(from.parse().unwrap(), key)
        };
        let (here, ranged, elsewhere) = ("192.0.2.1", "198.51.100.9", "203.0.113.1");
        for (address, key, expected) in [
            (Some(here), None, [true, true, true, true, false, false]),
            (Some(here), Some(&one), [false, true, false, true, false, false]),
            (None, Some(&one), [false, true, false, true, false, true]),
            (None, None, [false, false, true, true, false, false]),
        ] {
            let asked = [(here, None), (here, Some(&one)), (ranged, None), (ranged, Some(&one))];
            let asked = asked.into_iter().chain([(elsewhere, None), (elsewhere, Some(&one))]);
            let found: Vec<bool> = asked.map(|(from, by)| allows(peer(address, key), from, by)).collect();
            assert_eq!(found, expected, "{address:?} {key:?}");
        }
        assert!(!allows(peer(Some(here), Some(&one)), here, Some(&other)));
        assert!(allows(peer(Some(here), None), "::ffff:192.0.2.1", None));
    }

    #[test]
    fn without_peers_nobody_is_one() {
        assert!(!Access::default().allows([127, 0, 0, 1].into(), None));
    }
}
