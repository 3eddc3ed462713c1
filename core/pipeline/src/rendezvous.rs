//! Who of the network has what: pure.
//!
//! Rendezvous hashing, also of URLs (`services/tiers/src/map.rs`): each server's name, hashed with a key, gives a number; the highest
//! have it. The hash is the same on every server and in every release of one network: SipHash-1-3 with a key of zeros, over octets
//! that are written out here. When a server is added, only what it takes moves.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use crate::ServerAbout;

/// Servers that have what is kept twice: what one of them acknowledged, another one has when the first is lost.
pub const REPLICAS: usize = 2;

/// The servers that have what is kept under a key: the first one that can be reached is its home. In different PoPs where there are
/// several; just the one server where it is alone.
pub fn replicas<'a>(servers: &'a [ServerAbout], key: &[u8]) -> Vec<&'a ServerAbout> {
    let mut weighed: Vec<_> =
        servers.iter().map(|server| (rendezvous_weight(server.name.as_str(), &[key]), server)).collect();
    // Names are unique, so that equal numbers are no matter of the configuration's order.
    weighed.sort_unstable_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.name.cmp(&other.name)));
    let mut chosen: Vec<&ServerAbout> = Vec::with_capacity(REPLICAS);
    let elsewhere =
        |chosen: &[&ServerAbout], server: &ServerAbout| !chosen.iter().any(|it| it.pop == server.pop);
    for far in [true, false] {
        for (_, server) in &weighed {
            let is_new = !chosen.iter().any(|it| it.name == server.name);
            if chosen.len() < REPLICAS && is_new && (!far || elsewhere(&chosen, server)) {
                chosen.push(server);
            }
        }
    }
    chosen
}

/// How much a server of this name weighs for what these octets name: the heaviest has it.
pub fn rendezvous_weight(server: &str, parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new();
    for part in [server.as_bytes()].iter().chain(parts) {
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    hasher.finish()
}
