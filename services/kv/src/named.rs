//! Which namespaces there are, as this server's replica of the log says.

use std::{collections::HashSet, time::Duration};

use proxima_ledger::{ChangeSet, ReadError, Snapshot};
use proxima_model::{AccountId, Entity, Kind, KvNamespace, KvNamespaceId};
use tokio::{sync::watch, time::timeout};

/// How long a write waits for its namespace to be known: it may have been made a moment ago, by another server.
pub(crate) const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Named(watch::Sender<HashSet<KvNamespaceId>>);

/// What a state of the replica changes of it.
pub(crate) enum Renamed {
    All(HashSet<KvNamespaceId>),
    Some(Vec<(KvNamespaceId, bool)>),
}

impl Renamed {
    /// What these changes change.
    pub(crate) fn of(snapshot: &Snapshot, changed: &ChangeSet) -> Result<Self, ReadError> {
        let Some(keys) = changed.of_kind(Kind::KvNamespace) else {
            let all = snapshot.scan::<KvNamespace>(&[]).map(|found| found.map(|namespace| namespace.id));
            return Ok(Self::All(all.collect::<Result<_, _>>()?));
        };
        let ids =
            keys.filter_map(|key| Some((key.first_part::<AccountId>()?, key.part::<KvNamespaceId>(2)?)));
        let there = |(account, id)| {
            let revision = snapshot.revision(&KvNamespace::key_of(&(account, id)))?;
            Ok((id, revision.is_some()))
        };
        Ok(Self::Some(ids.map(there).collect::<Result<_, ReadError>>()?))
    }
}

impl Named {
    /// Puts a change in force.
    pub(crate) fn apply(&self, renamed: Renamed) {
        match renamed {
            Renamed::All(all) => drop(self.0.send_replace(all)),
            Renamed::Some(changes) if changes.is_empty() => {}
            Renamed::Some(changes) => self.0.send_modify(|named| {
                for (id, is_there) in changes {
                    if is_there {
                        named.insert(id)
                    } else {
                        named.remove(&id)
                    };
                }
            }),
        }
    }

    /// Whether there is this one.
    pub(crate) fn has(&self, id: KvNamespaceId) -> bool {
        self.0.borrow().contains(&id)
    }

    /// Waits, though not long, until this one is known; whether it is.
    pub(crate) async fn knows(&self, id: KvNamespaceId) -> bool {
        let mut named = self.0.subscribe();
        timeout(KNOWN_WITHIN, named.wait_for(|named| named.contains(&id)))
            .await
            .is_ok_and(|found| found.is_ok())
    }
}
