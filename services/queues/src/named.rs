//! Which queues there are, as this server's replica of the log says.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use proxima_ledger::{ChangeSet, ReadError, Snapshot};
use proxima_model::{AccountId, Kind, Queue, QueueId, QueueName};
use tokio::{sync::watch, time::timeout};

/// How long a message waits for its queue to be known: it may have been made a moment ago, by another server.
pub(crate) const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Named(watch::Sender<All>);

#[derive(Default)]
struct All {
    queues: HashMap<QueueId, Arc<Queue>>,
    names: HashMap<(AccountId, QueueName), QueueId>,
}

/// What a state of the replica changes of it.
pub(crate) enum Renamed {
    All(Vec<Queue>),
    Some(Vec<(QueueId, Option<Queue>)>),
}

impl Renamed {
    /// What these changes change.
    pub(crate) fn of(snapshot: &Snapshot, changed: &ChangeSet) -> Result<Self, ReadError> {
        let Some(keys) = changed.of_kind(Kind::Queue) else {
            return Ok(Self::All(snapshot.scan::<Queue>(&[]).collect::<Result<_, _>>()?));
        };
        let ids = keys.filter_map(|key| Some((key.first_part::<AccountId>()?, key.part::<QueueId>(2)?)));
        let there = |(account, id)| Ok((id, snapshot.get::<Queue>(&(account, id))?));
        Ok(Self::Some(ids.map(there).collect::<Result<_, ReadError>>()?))
    }
}

impl Named {
    /// Puts a change in force.
    pub(crate) fn apply(&self, renamed: Renamed) {
        match renamed {
            Renamed::All(queues) => {
                let mut all = All::default();
                queues.into_iter().for_each(|queue| all.put(queue));
                self.0.send_replace(all);
            }
            Renamed::Some(changes) if changes.is_empty() => {}
            Renamed::Some(changes) => self.0.send_modify(|all| {
                for (id, queue) in changes {
                    all.remove(id);
                    queue.into_iter().for_each(|queue| all.put(queue));
                }
            }),
        }
    }

    /// The queue of this id.
    pub(crate) fn get(&self, id: QueueId) -> Option<Arc<Queue>> {
        self.0.borrow().queues.get(&id).cloned()
    }

    /// The queue of an account that is called so.
    pub(crate) fn find(&self, account: AccountId, name: &QueueName) -> Option<QueueId> {
        self.0.borrow().names.get(&(account, name.clone())).copied()
    }

    /// Whether dead letter queues lead from this queue back to it. The API makes no such circle; messages in one would
    /// go around for ever.
    pub(crate) fn is_in_circle(&self, queue: &Queue) -> bool {
        let all = self.0.borrow();
        let next = |queue: &Queue| {
            let name = queue.consumer.as_ref()?.dead_letter_queue.clone()?;
            all.queues.get(all.names.get(&(queue.account, name))?).map(|it| &**it)
        };
        let (mut seen, mut at) = (HashSet::new(), next(queue));
        while let Some(dead) = at.filter(|dead| seen.insert(dead.id)) {
            if dead.id == queue.id {
                return true;
            }
            at = next(dead);
        }
        false
    }

    /// The queue of this id, as soon as it is known, which is waited for, though not long.
    pub(crate) async fn known(&self, id: QueueId) -> Option<Arc<Queue>> {
        let mut all = self.0.subscribe();
        let found =
            timeout(KNOWN_WITHIN, all.wait_for(|all| all.queues.contains_key(&id))).await.ok()?.ok()?;
        found.queues.get(&id).cloned()
    }

    /// Tells when something of it changes.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

/// See [`Named::changes`].
pub(crate) struct Changes(watch::Receiver<All>);

impl Changes {
    /// Ready when something has changed since.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left who could change it.
            std::future::pending::<()>().await;
        }
    }
}

impl All {
    fn put(&mut self, queue: Queue) {
        self.names.insert((queue.account, queue.name.clone()), queue.id);
        self.queues.insert(queue.id, Arc::new(queue));
    }

    fn remove(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.remove(&id) {
            // Another queue may have taken the name already.
            let name = (queue.account, queue.name.clone());
            if self.names.get(&name) == Some(&id) {
                self.names.remove(&name);
            }
        }
    }
}
