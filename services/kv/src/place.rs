//! Who has what of keys and values: pure. By rendezvous hashing, as all that is kept twice (`core/pipeline/src/rendezvous.rs`).

use std::hash::Hasher as _;

use proxima_model::{KvKey, KvNamespaceId, NodeName};
use proxima_pipeline::{ServerAbout, rendezvous_weight};
use siphasher::sip::SipHasher13;

/// The servers that have a namespace: the first one that can be reached is its home.
pub(crate) fn replicas(servers: &[ServerAbout], namespace: KvNamespaceId) -> Vec<&ServerAbout> {
    proxima_pipeline::replicas(servers, namespace.as_bytes())
}

/// The server of `me`'s PoP whose cache is asked for a key before its home; none if that is `me`.
pub(crate) fn near<'a>(
    servers: &'a [ServerAbout],
    me: &NodeName,
    namespace: KvNamespaceId,
    key: &KvKey,
) -> Option<&'a ServerAbout> {
    let pop = &servers.iter().find(|server| server.name == *me)?.pop;
    let parts = [&namespace.as_bytes()[..], key.as_str().as_bytes()];
    let there = servers.iter().filter(|server| server.pop == *pop);
    let home = there.max_by_key(|server| (rendezvous_weight(server.name.as_str(), &parts), &server.name))?;
    (home.name != *me).then_some(home)
}

/// Tells one list of servers from another: who has what follows from it.
pub(crate) fn digest(servers: &[ServerAbout]) -> u64 {
    let mut named: Vec<_> =
        servers.iter().map(|server| (server.name.as_str(), server.pop.as_str())).collect();
    named.sort_unstable();
    let mut hasher = SipHasher13::new();
    for part in named.iter().flat_map(|(name, pop)| [name, pop]) {
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part.as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proxima_model::{PopCode, RegionName};
    use proxima_pipeline::REPLICAS;

    use super::*;

    fn servers(named: &[(&str, &str)]) -> Vec<ServerAbout> {
        let about = |(name, pop): &(&str, &str)| ServerAbout {
            name: NodeName::parse(name).expect("a name"),
            pop: PopCode::parse(pop).expect("a code"),
            region: RegionName::parse("europe").expect("a region"),
        };
        named.iter().map(about).collect()
    }

    fn namespaces() -> impl Iterator<Item = KvNamespaceId> {
        (0..300_u128).map(|number| KvNamespaceId::from_bytes(number.to_be_bytes()))
    }

    const SIX: [(&str, &str); 6] = [
        ("fra1", "FRA"),
        ("fra2", "FRA"),
        ("ams1", "AMS"),
        ("ams2", "AMS"),
        ("sin1", "SIN"),
        ("sin2", "SIN"),
    ];

    #[test]
    fn two_servers_of_different_pops_have_a_namespace_and_all_have_their_share() {
        let (all, mut shares) = (servers(&SIX), BTreeMap::<_, usize>::new());
        for namespace in namespaces() {
            let chosen = replicas(&all, namespace);
            assert_eq!(chosen.len(), REPLICAS);
            assert_ne!(chosen[0].pop, chosen[1].pop);
            *shares.entry(chosen[0].name.clone()).or_default() += 1;
        }
        assert!(
            shares.len() == all.len() && shares.values().all(|share| (25..=80).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn one_pop_has_both_and_a_server_that_is_alone_the_only_one() {
        for (all, wanted) in [(&SIX[..2], 2), (&SIX[..1], 1), (&[], 0)] {
            let all = servers(all);
            for namespace in namespaces() {
                let chosen = replicas(&all, namespace);
                assert_eq!(chosen.len(), wanted);
                assert!(wanted < 2 || chosen[0].name != chosen[1].name);
            }
        }
    }

    #[test]
    fn the_order_of_the_configuration_is_no_matter_and_the_choice_is_the_same_in_every_release() {
        let all = servers(&SIX);
        let reversed: Vec<_> = all.iter().rev().cloned().collect();
        for namespace in namespaces() {
            assert_eq!(replicas(&all, namespace), replicas(&reversed, namespace));
        }
        let namespace = KvNamespaceId::from_bytes([7; 16]);
        let names: Vec<_> = replicas(&all, namespace).iter().map(|server| server.name.as_str()).collect();
        assert_eq!(names, PINNED, "what is stored under the former choice would not be found");
    }

    /// What this hash chose when it was first written.
    const PINNED: [&str; 2] = ["fra1", "sin1"];

    #[test]
    fn a_server_that_is_added_moves_only_what_it_takes() {
        let (before, after) = (servers(&SIX[..5]), servers(&SIX));
        for namespace in namespaces() {
            let (former, chosen) = (replicas(&before, namespace), replicas(&after, namespace));
            let is_new = |server: &&ServerAbout| server.name.as_str() == "sin2";
            if !chosen.iter().any(is_new) {
                assert_eq!(former, chosen);
            } else {
                let stayed = chosen.iter().filter(|server| former.contains(server)).count();
                assert_eq!(stayed, 1, "one of both goes on having it");
            }
        }
    }

    #[test]
    fn the_cache_of_a_pop_that_is_asked_is_the_same_for_all_its_servers() {
        let all = servers(&SIX);
        let (one, two) = (&all[0].name, &all[1].name);
        let mut mine = 0;
        for namespace in namespaces() {
            let key = KvKey::parse("key").expect("a key");
            let seen = [near(&all, one, namespace, &key), near(&all, two, namespace, &key)];
            match seen.map(|near| near.map(|server| &server.name)) {
                [None, Some(name)] => {
                    assert_eq!(name, one);
                    mine += 1;
                }
                [Some(name), None] => assert_eq!(name, two),
                seen => panic!("{seen:?}"),
            }
        }
        assert!((100..=200).contains(&mine), "{mine}");
    }
}
