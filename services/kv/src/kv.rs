//! What the parts share, and the way of a read and of a write through them.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use proxima_chassis::Clock;
use proxima_model::{KvKey, KvNamespaceId, NodeName};
use proxima_pipeline::{KvError, KvListing, KvPage, KvRead, KvValue, Servers};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

use crate::{
    KvConfig,
    cache::{Cache, Entry, Name, STALE_MAX},
    flights::Flights,
    forgets::Forgets,
    metrics::{From, Metrics},
    named::Named,
    own::Own,
    place,
    reach::{Kind, Reach, Unanswered, within_here},
    replicate::Replication,
    room::{ROOM_OCTETS, Room, Taken},
    store::{Job, Store, StoreError},
    wire::{Answer, Question, Refusal},
};

/// Requests at once, of clients and of other servers, each.
pub(crate) const REQUESTS_MAX: usize = 1_024;

/// Writes of one namespace.
pub(crate) type Writes = Vec<(KvKey, Option<KvValue>)>;

/// Keys and values, as this server has and reaches them.
pub(crate) struct Kv {
    pub(crate) me: NodeName,
    pub(crate) servers: Arc<dyn Servers>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) own: Own,
    pub(crate) reach: Reach,
    pub(crate) cache: Cache,
    pub(crate) named: Named,
    pub(crate) room: Room,
    pub(crate) forgets: Forgets,
    pub(crate) replication: Replication,
    pub(crate) metrics: Metrics,
    /// Which servers there are: what was taken over from one of them was chosen by that.
    pub(crate) map: u64,
    /// Requests of clients, and of other servers: neither must wait for the other.
    pub(crate) clients: Semaphore,
    pub(crate) others: Semaphore,
    flights: Flights<Result<(Entry, From), KvError>>,
}

/// A server that has a namespace.
enum Replica<'a> {
    Me,
    Other(&'a NodeName),
}

impl Kv {
    pub(crate) fn new(
        config: &KvConfig,
        store: Result<Store, StoreError>,
        servers: Arc<dyn Servers>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let room = Room::new(ROOM_OCTETS);
        let others: Vec<_> =
            servers.all().iter().map(|server| &server.name).filter(|name| *name != servers.me()).collect();
        let store = if others.is_empty() { store.map(Store::alone) } else { store };
        Arc::new(Self {
            me: servers.me().clone(),
            map: place::digest(servers.all()),
            own: Own::new(store, Arc::clone(&clock), room.clone()),
            reach: Reach::new(Arc::clone(&servers), room.clone()),
            cache: Cache::new(usize::try_from(config.cache_bytes_max).unwrap_or(usize::MAX)),
            named: Named::default(),
            forgets: Forgets::new(),
            replication: Replication::new(others, metrics.unsettled.clone()),
            clients: Semaphore::new(REQUESTS_MAX),
            others: Semaphore::new(REQUESTS_MAX),
            flights: Flights::new(),
            servers,
            clock,
            room,
            metrics,
        })
    }

    /// A place for a request.
    pub(crate) fn place(requests: &Semaphore) -> Result<SemaphorePermit<'_>, KvError> {
        requests.try_acquire().map_err(|_| KvError::Busy)
    }

    /// Counts it if it failed.
    pub(crate) fn counted<T>(&self, outcome: Result<T, KvError>) -> Result<T, KvError> {
        if outcome.is_err() {
            self.metrics.errors.inc();
        }
        outcome
    }

    /// The servers that have a namespace, in the order in which they are asked for what is of this kind: its home first, those that
    /// were just found to be away last.
    fn replicas(&self, namespace: KvNamespaceId, kind: Kind) -> Vec<Replica<'_>> {
        let mut names: Vec<_> =
            place::replicas(self.servers.all(), namespace).into_iter().map(|server| &server.name).collect();
        // Who has not taken over yet what it missed is asked only if there is nobody else.
        names.sort_by_key(|name| match **name == self.me {
            true if self.replication.is_ready() => 0,
            true => 2,
            false => i32::from(self.reach.is_away(name, kind)),
        });
        names
            .into_iter()
            .map(|name| if *name == self.me { Replica::Me } else { Replica::Other(name) })
            .collect()
    }

    /// When all was known to the namespace's home that this server's own store tells of it, if it has it: what was written since
    /// may have come, or not.
    fn known_at(&self, namespace: KvNamespaceId) -> Option<Instant> {
        let replicas = place::replicas(self.servers.all(), namespace);
        match replicas.iter().position(|server| server.name == self.me)? {
            0 => self.replication.is_ready().then(Instant::now),
            _ => self.replication.in_step_at(&replicas[0].name),
        }
    }

    /// Whether this server has the namespace, and knows what was written while it was away.
    pub(crate) fn has(&self, namespace: KvNamespaceId) -> bool {
        self.replication.is_ready()
            && place::replicas(self.servers.all(), namespace).iter().any(|server| server.name == self.me)
    }

    /// What a key has.
    pub(crate) async fn read(self: &Arc<Self>, name: Name, how: KvRead) -> Result<Option<KvValue>, KvError> {
        let read = match how {
            KvRead::Latest => self.read_latest(&name).await,
            KvRead::Cached(age_max) => self.read_near(&name, age_max, true).await,
        };
        self.metrics.read(read.as_ref().map_or(From::Nobody, |(_, from)| *from));
        let (entry, _) = self.counted(read)?;
        Ok(entry.value.filter(|value| value.expires.is_none_or(|at| at > self.clock.now())))
    }

    /// From the home.
    async fn read_latest(&self, name: &Name) -> Result<(Entry, From), KvError> {
        let before = self.cache.before(name);
        let (namespace, key) = name;
        let question = Question::Read { namespace: *namespace, key: key.clone(), near_ms: None };
        let mut why = nobody();
        for replica in self.replicas(*namespace, Kind::Read) {
            let read = match replica {
                Replica::Me => self.read_own(name, Instant::now()).await,
                Replica::Other(server) => self.ask_for(server, &question).await.map(|(entry, _)| {
                    self.cache.put(name.clone(), entry.clone(), before);
                    (entry, From::Home)
                }),
            };
            match read {
                Ok(read) => return Ok(read),
                // It is there, and may have what the other replica has not.
                Err(KvError::Busy) => return Err(KvError::Busy),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// From this server's own store, which has what was known then.
    async fn read_own(&self, (namespace, key): &Name, at: Instant) -> Result<(Entry, From), KvError> {
        let found = self.own.get(*namespace, key.clone()).await?;
        Ok((Entry { value: found.map(|(value, _)| value), at }, From::Store))
    }

    /// From whatever is nearest and no older than this; `ask_pop` tells whether the PoP's cache is asked for it.
    pub(crate) async fn read_near(
        self: &Arc<Self>,
        name: &Name,
        age_max: Duration,
        ask_pop: bool,
    ) -> Result<(Entry, From), KvError> {
        // Of a write of which it has heard it may not have taken over yet what was written.
        let forgotten = self.cache.forgotten_at(name);
        let is_good =
            |at: &Instant| at.elapsed() < age_max && forgotten.is_none_or(|forgotten| *at >= forgotten);
        if let Some(at) = self.known_at(name.0).filter(is_good)
            && let Ok(read) = self.read_own(name, at).await
        {
            return Ok(read);
        }
        if let Some(entry) = self.cache.get(name, age_max) {
            return Ok((entry, From::Cache));
        }
        let flight = self.flights.join(name, || {
            let (kv, name) = (Arc::clone(self), name.clone());
            async move { kv.fetch(&name, age_max, ask_pop).await }.boxed()
        });
        match flight.await {
            // Another one's answer may be older than this reader takes.
            Ok((entry, _)) if entry.at.elapsed() >= age_max.max(FRESH) => self.read_latest(name).await,
            // What has run out is for when nobody can be reached, not for when somebody has too much to do.
            Err(error @ KvError::Unreachable(_)) => match self.cache.get(name, STALE_MAX) {
                Some(entry) => Ok((entry, From::Stale)),
                None => Err(error),
            },
            fetched => fetched,
        }
    }

    async fn fetch(&self, name: &Name, age_max: Duration, ask_pop: bool) -> Result<(Entry, From), KvError> {
        let (namespace, key) = name;
        let near = place::near(self.servers.all(), &self.me, *namespace, key);
        if let Some(near) = near.filter(|near| ask_pop && !self.reach.is_away(&near.name, Kind::Near)) {
            let before = self.cache.before(name);
            // That one may not have heard yet that the key was written.
            let forgotten = self.cache.forgotten_at(name);
            let age_max = forgotten.map_or(age_max, |at| at.elapsed().min(age_max));
            let near_ms = Some(u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX));
            let question = Question::Read { namespace: *namespace, key: key.clone(), near_ms };
            if let Ok((entry, _)) = self.ask_for(&near.name, &question).await
                && forgotten.is_none_or(|forgotten| entry.at >= forgotten)
            {
                self.cache.put(name.clone(), entry.clone(), before);
                return Ok((entry, From::Pop));
            }
        }
        self.read_latest(name).await
    }

    async fn ask_for(&self, server: &NodeName, question: &Question) -> Result<(Entry, Taken), KvError> {
        let asked = Instant::now();
        match self.reach.ask(server, question).await? {
            (Answer::Found { value, age_ms }, taken) => {
                let at = asked.checked_sub(Duration::from_millis(age_ms)).unwrap_or(asked);
                Ok((Entry { value, at }, taken))
            }
            _ => Err(Unanswered::Refused(Refusal::NotUnderstood).into()),
        }
    }

    /// Writes at the home.
    pub(crate) async fn write(&self, namespace: KvNamespaceId, writes: Writes) -> Result<(), KvError> {
        let _taken = self.room.take(octets_of(&writes)).ok_or(KvError::Busy)?;
        let mut why = nobody();
        for replica in self.replicas(namespace, Kind::Write) {
            let done = match replica {
                Replica::Me if self.named.knows(namespace).await => {
                    self.write_here(namespace, writes.clone()).await
                }
                Replica::Me => Err(Unanswered::Refused(Refusal::Unknown).into()),
                Replica::Other(server) => {
                    let question = Question::Write { namespace, writes: writes.clone() };
                    self.reach.ask(server, &question).await.map(drop).map_err(KvError::from)
                }
            };
            match done {
                // This server's own reads see at once what was written by its clients.
                Ok(()) => {
                    writes.into_iter().for_each(|(key, _)| self.forget(&(namespace, key)));
                    return Ok(());
                }
                Err(error @ (KvError::Busy | KvError::Full(_))) => return Err(error),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Writes as the home, which knows the namespace.
    pub(crate) async fn write_here(&self, namespace: KvNamespaceId, writes: Writes) -> Result<(), KvError> {
        let octets = octets_of(&writes);
        let commit = self.own.commit(Job::Write(namespace, writes.clone()));
        // A disk that stands still holds up nobody: the other replica is there. What waits still for it is not written any more,
        // and what is being written has its stamp already, which is earlier than what that one gives.
        let done = timeout(within_here(octets), commit)
            .await
            .map_err(|_| KvError::Unreachable(format!("the store of {} does not answer", self.me)))??;
        self.metrics.writes.inc_by(done.taken as u64);
        for (key, _) in &writes {
            let name = (namespace, key.clone());
            self.forget(&name);
            self.forgets.tell(name, &self.metrics);
        }
        self.push(namespace, writes, done.stamps).await
    }

    /// A key was written: what is known of it, or is being asked for, is no answer any more.
    pub(crate) fn forget(&self, name: &Name) {
        self.flights.leave(name);
        self.cache.forget(name);
    }

    /// Keys, from the home.
    pub(crate) async fn list(&self, namespace: KvNamespaceId, asked: KvListing) -> Result<KvPage, KvError> {
        let mut why = nobody();
        for replica in self.replicas(namespace, Kind::List) {
            let page = match replica {
                Replica::Me => self.own.list(namespace, asked.clone()).await.map_err(KvError::from),
                Replica::Other(server) => {
                    let question = Question::List { namespace, asked: asked.clone() };
                    match self.reach.ask(server, &question).await {
                        Ok((Answer::Page(page), _)) => Ok(page),
                        Ok(_) => Err(Unanswered::Refused(Refusal::NotUnderstood).into()),
                        Err(unanswered) => Err(unanswered.into()),
                    }
                }
            };
            match page {
                Ok(page) => return Ok(page),
                Err(KvError::Busy) => return Err(KvError::Busy),
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

/// What is no older than this is given to all who waited for it: the longest that servers may take to answer one.
const FRESH: Duration = Duration::from_secs(15);

fn octets_of(writes: &Writes) -> usize {
    writes.iter().filter_map(|(_, value)| Some(value.as_ref()?.value.len())).sum()
}

fn nobody() -> KvError {
    KvError::Unreachable("there is no server".to_owned())
}
