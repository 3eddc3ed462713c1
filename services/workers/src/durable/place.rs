//! Where an object is: pure. Its id chooses a slot of its namespace, for good; which server has that, the namespace says.

use proxima_model::{
    DurableNamespace, DurableNamespaceId, DurableObjectId, NodeName, limits::DURABLE_HOMES_MAX,
};
use proxima_pipeline::{ServerAbout, rendezvous_weight};

/// The slot of an object: of those that its namespace names, the one that its id chooses.
pub(super) fn slot(namespace: &DurableNamespace, object: DurableObjectId) -> Option<&NodeName> {
    let weight =
        |name: &NodeName| rendezvous_weight(name.as_str(), &[namespace.id.as_bytes(), object.as_bytes()]);
    namespace.homes.iter().max_by_key(|name| (weight(name), *name))
}

/// The servers that the objects of a new namespace are spread over: all of a small network; of a large one as many as a namespace
/// may name, which differ from namespace to namespace.
pub(super) fn homes(servers: &[ServerAbout], namespace: DurableNamespaceId) -> Vec<NodeName> {
    let weight = |name: &NodeName| rendezvous_weight(name.as_str(), &[namespace.as_bytes()]);
    let mut names: Vec<NodeName> = servers.iter().map(|server| server.name.clone()).collect();
    names.sort_unstable_by(|one, other| weight(other).cmp(&weight(one)).then_with(|| one.cmp(other)));
    names.truncate(DURABLE_HOMES_MAX);
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proxima_model::{AccountId, DurableClass, PopCode, RegionName, Timestamp, WorkerName};

    use super::*;

    fn servers(count: usize) -> Vec<ServerAbout> {
        let about = |number| ServerAbout {
            name: NodeName::parse(&format!("server{number}")).expect("a name"),
            pop: PopCode::parse("FRA").expect("a code"),
            region: RegionName::parse("europe").expect("a region"),
        };
        (0..count).map(about).collect()
    }

    fn namespace(homes: Vec<NodeName>) -> DurableNamespace {
        DurableNamespace {
            account: AccountId::from_bytes([1; 16]),
            id: DurableNamespaceId::from_bytes([2; 16]),
            worker: WorkerName::parse("app").expect("a name"),
            class: DurableClass::parse("Counter").expect("a name"),
            has_sql: true,
            homes,
            handed: BTreeMap::new(),
            created_at: Timestamp::from_millis(0),
        }
    }

    fn objects() -> impl Iterator<Item = DurableObjectId> {
        (0..=255_u8).map(|number| DurableObjectId::from_bytes([number; 32]))
    }

    #[test]
    fn objects_are_spread_over_the_homes_of_their_namespace_whatever_becomes_of_the_network() {
        let id = DurableNamespaceId::from_bytes([2; 16]);
        let namespace = namespace(homes(&servers(4), id));
        let mut shares = BTreeMap::<_, usize>::new();
        for object in objects() {
            *shares.entry(slot(&namespace, object).expect("a slot").clone()).or_default() += 1;
        }
        assert!(shares.len() == 4 && shares.values().all(|share| *share > 30), "{shares:?}");
        let chosen: Vec<_> = objects()
            .take(3)
            .map(|object| slot(&namespace, object).expect("a slot").as_str().to_owned())
            .collect();
        assert_eq!(chosen, PINNED, "what is stored under the former choice would not be found");
    }

    /// What this hash chose when it was first written.
    const PINNED: [&str; 3] = ["server2", "server1", "server0"];

    #[test]
    fn a_namespace_names_no_more_homes_than_it_may_and_a_server_that_is_alone_has_all() {
        let id = DurableNamespaceId::from_bytes([2; 16]);
        assert_eq!(homes(&servers(30), id).len(), DURABLE_HOMES_MAX);
        let other = DurableNamespaceId::from_bytes([3; 16]);
        assert_ne!(homes(&servers(30), id), homes(&servers(30), other));
        let alone = namespace(homes(&servers(1), id));
        assert!(objects().all(|object| slot(&alone, object).is_some_and(|name| name.as_str() == "server0")));
        assert_eq!(slot(&namespace(Vec::new()), DurableObjectId::from_bytes([0; 32])), None);
    }
}
