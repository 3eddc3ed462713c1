//! Clients' side: answers from the cache at once, and otherwise from one resolution for all who ask the same.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
};

use quick_cache::{Weighter, sync::Cache};
use tokio::{sync::watch, time::timeout};
use tracing::debug;

use crate::{
    decided::Aliases,
    denials::Denials,
    homes::Homes,
    iterate::{Core, Failure, Octets, Security, Work, cache},
    keys::ede,
    message::rcode,
    metrics::Metrics,
    name::Name,
    priming::RootServers,
    query::{Key, Query, Written},
    reply::Said,
    rrset::{RrSet, TTL_MAX},
    servers::Servers,
    settings::Settings,
    stored::{Parts, Stored},
    upstream::Upstream,
};

/// Aliases of one answer: more than any service has in a row.
const ALIASES_MAX: usize = 12;
/// Questions that are resolved at once: each has sockets and memory, and beyond them clients are better told to go elsewhere.
pub(crate) const RESOLVING_MAX: usize = 8_192;
/// For how long a failure is answered from memory, in seconds (RFC 9520, 3.2: at least one, at most 300).
const FAILURE_TTL: u32 = 5;
/// For how long what has expired is served at once, in seconds, after its servers have failed (RFC 8767, 5: at least 30).
const RECHECK_SECONDS: u64 = 30;
/// Of how many answers that is remembered.
const RECHECKS_MAX: usize = 10_000;
/// The shortest TTL for which refreshing ahead is worth it, in seconds.
const PREFETCH_TTL_MIN: u32 = 10;
/// The share of the TTL that is left when what is asked for is refreshed: a tenth, as unbound does.
const PREFETCH_LEFT: u32 = 10;

/// A recursive, validating resolver.
pub struct Resolver<U> {
    core: Core<U>,
    answers: Cache<Box<[u8]>, Arc<Stored>, Octets>,
    /// When to try again to refresh an answer that has expired, in seconds.
    rechecks: Cache<Box<[u8]>, u64>,
    resolving: Flights,
    /// What other servers of the PoP are asked.
    asking: Flights,
    homes: OnceLock<Arc<dyn Homes>>,
}

/// What is under way, at most once of a kind.
type Flights = Mutex<HashMap<Key, watch::Receiver<Option<Arc<Stored>>>>>;

impl Weighter<Box<[u8]>, Arc<Stored>> for Octets {
    fn weight(&self, key: &Box<[u8]>, stored: &Arc<Stored>) -> u64 {
        (key.len() + stored.octets()) as u64
    }
}

impl<U: Upstream> Resolver<U> {
    /// A resolver that has found nothing yet.
    pub fn new(upstream: U, settings: Settings, metrics: Metrics) -> Arc<Self> {
        // What is kept of answers is kept of sets, too; zones are few.
        let octets = settings.cache_octets / 10;
        let (lookups, zones, denials) = (cache(octets * 4), cache(octets), Denials::new(octets));
        let core = Core {
            upstream,
            settings,
            servers: Servers::new(),
            lookups,
            zones,
            denials,
            root_servers: RootServers::default(),
            is_used: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            metrics,
        };
        let (answers, rechecks) = (cache(octets * 4), Cache::new(RECHECKS_MAX));
        let (resolving, asking, homes) = (Mutex::default(), Mutex::default(), OnceLock::new());
        Arc::new(Self { core, answers, rechecks, resolving, asking, homes })
    }

    /// What it does not know it asks of these from now on, before it resolves. Once.
    pub fn share(&self, homes: Arc<dyn Homes>) {
        self.homes.set(homes).ok();
    }

    /// Appends the answer, if it is known and has not expired. Does not wait; must be called within a runtime, where what is
    /// asked for shortly before it expires is refreshed.
    pub fn answer_now(
        self: &Arc<Self>,
        query: &Query,
        octets_max: usize,
        out: &mut Vec<u8>,
    ) -> Option<Written> {
        let (stored, age) = self.known(query.key())?;
        self.core.metrics.hits.inc();
        let written = query.tell(&stored, age, false, octets_max, out);
        if self.is_due(&stored, age) {
            self.refresh(query.key(), self.home_of(query.key()));
        }
        Some(written)
    }

    /// Appends the answer, whatever it takes: at most what a question may cost, or until what had expired is good enough.
    pub async fn answer(self: &Arc<Self>, query: &Query, octets_max: usize, out: &mut Vec<u8>) -> Written {
        if let Some(written) = self.answer_now(query, octets_max, out) {
            return written;
        }
        self.core.metrics.misses.inc();
        match self.seek(query.key(), false, self.home_of(query.key())).await {
            Sought::Found(found) => query.tell(&found, 0, false, octets_max, out),
            Sought::Expired(stale) => {
                self.core.metrics.stale.inc();
                query.tell(&stale, 0, true, octets_max, out)
            }
            Sought::Busy => self.decline(query, octets_max, out),
            Sought::Nothing => query.fail(octets_max, out),
        }
    }

    /// What there is to be told of what is not known: what is found, or what had expired, after a while, or if nothing is found,
    /// or was a moment ago.
    pub(crate) async fn seek(self: &Arc<Self>, key: &Key, is_refresh: bool, home: Option<usize>) -> Sought {
        let stale = self.stale(key);
        if let Some(stale) = &stale
            && self.rechecks.get(key.octets()).is_some_and(|at| at > self.core.seconds())
        {
            return Sought::Expired(stale.clone());
        }
        let Some(begun) = self.begin(key, is_refresh, home) else { return Sought::Busy };
        let found = begun.found();
        let found = match &stale {
            Some(_) => timeout(self.core.settings.stale_after, found).await.ok().flatten(),
            None => found.await,
        };
        match (found, stale) {
            (Some(found), None) => Sought::Found(found),
            (Some(found), Some(_)) if !found.is_failure => Sought::Found(found),
            (_, Some(stale)) => Sought::Expired(stale),
            (None, None) => Sought::Nothing,
        }
    }

    /// Appends the answer as it is now, whatever answer is kept: that of a resolution that is under way, or of a new one, which
    /// takes only what lasts for a while yet. For who keeps answers himself, and asks before their time ends or after a failure;
    /// nothing that has expired is answered, and nobody is asked more often than he asks.
    pub async fn answer_anew(
        self: &Arc<Self>,
        query: &Query,
        octets_max: usize,
        out: &mut Vec<u8>,
    ) -> Written {
        self.core.metrics.anew.inc();
        let found = match self.begin(query.key(), true, None) {
            Some(begun) => begun.found().await,
            None => None,
        };
        match found {
            Some(found) => query.write(&found, 0, false, octets_max, out),
            None => query.fail(octets_max, out),
        }
    }

    /// Appends the answer to the question for another name, behind aliases to it: what a policy has in the place of what there
    /// is. Never said to be validated, but what is bogus fails.
    pub async fn answer_through(
        self: &Arc<Self>,
        query: &Query,
        aliases: &Aliases,
        octets_max: usize,
        out: &mut Vec<u8>,
    ) -> Written {
        let Some(target) = aliases.targets.last() else { return self.answer(query, octets_max, out).await };
        let mut found = Vec::new();
        let told = self.answer(&query.for_name(target), usize::from(u16::MAX), &mut found).await;
        if let Some(guard) = query.guard().filter(|_| told.is_blocked) {
            return query.answer_blocked(guard, octets_max, out);
        }
        let written = query.answer_behind(aliases, (&found, told.ede), octets_max, out);
        written.unwrap_or_else(|| query.fail(octets_max, out))
    }

    /// Appends what can be said without resolving, because too much is being resolved already: what has expired, or that the
    /// client had better ask elsewhere.
    pub fn decline(&self, query: &Query, octets_max: usize, out: &mut Vec<u8>) -> Written {
        self.core.metrics.busy.inc();
        match self.stale(query.key()) {
            Some(stale) => query.tell(&stale, 0, true, octets_max, out),
            None => query.fail(octets_max, out),
        }
    }

    /// What is known and has expired, if it is better than nothing.
    fn stale(&self, key: &Key) -> Option<Arc<Stored>> {
        self.answers.get(key.octets()).filter(|stored| self.is_good_enough(stored))
    }

    /// What is known and has not expired, and its age in seconds.
    pub(crate) fn known(&self, key: &Key) -> Option<(Arc<Stored>, u32)> {
        let stored = self.answers.get(key.octets())?;
        let age = u32::try_from(self.age(&stored)).unwrap_or(u32::MAX);
        (age < stored.ttl).then_some((stored, age))
    }

    /// Whether what is known and asked for is to be refreshed at this age, before it expires.
    pub(crate) fn is_due(&self, stored: &Stored, age: u32) -> bool {
        let left = stored.ttl.saturating_sub(age);
        stored.ttl >= PREFETCH_TTL_MIN && left < (stored.ttl / PREFETCH_LEFT).max(1)
    }

    /// Refreshes what is about to expire: here, or by asking its home.
    pub(crate) fn refresh(self: &Arc<Self>, key: &Key, home: Option<usize>) {
        let begun = self.begin(key, true, home);
        if home.is_none() && begun.is_some_and(|begun| begun.is_new) {
            self.core.metrics.prefetched.inc();
        }
    }

    pub(crate) fn homes(&self) -> Option<&Arc<dyn Homes>> {
        self.homes.get()
    }

    pub(crate) fn core(&self) -> &Core<U> {
        &self.core
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.core.metrics
    }

    fn age(&self, stored: &Stored) -> u64 {
        self.core.seconds().saturating_sub(stored.since)
    }

    /// For how many seconds more what has expired may be told.
    pub(crate) fn stale_left(&self, stored: &Stored) -> u32 {
        let kept = u64::from(stored.ttl) + self.core.settings.stale_for.as_secs();
        u32::try_from(kept.saturating_sub(self.age(stored))).unwrap_or(u32::MAX).min(TTL_MAX)
    }

    fn is_good_enough(&self, stored: &Stored) -> bool {
        let says_something = matches!(stored.rcode, rcode::NOERROR | rcode::NXDOMAIN | rcode::YXDOMAIN);
        // What followed from other records does so until they expire, and no longer.
        says_something && !stored.is_synthesized && self.stale_left(stored) > 0
    }

    /// Resolves in a task of its own, or asks a home, if nobody does already; `None` if too much of that is under way.
    pub(crate) fn begin(self: &Arc<Self>, key: &Key, is_refresh: bool, home: Option<usize>) -> Option<Begun> {
        let mut flights = self.flights(home).lock().unwrap_or_else(PoisonError::into_inner);
        let busy = flights.len() >= RESOLVING_MAX;
        match flights.entry(*key) {
            Entry::Occupied(same) => Some(Begun { waits: same.get().clone(), is_new: false }),
            Entry::Vacant(_) if busy => None,
            Entry::Vacant(place) => {
                let (tells, waits) = watch::channel(None);
                place.insert(waits.clone());
                // Out of the map at the end, however it ends.
                let place = Place { resolver: self.clone(), key: *key, home };
                let finding = self.clone().find(*key, is_refresh, home);
                tokio::spawn(async move {
                    tells.send_replace(finding.await);
                    drop(place);
                });
                Some(Begun { waits, is_new: true })
            }
        }
    }

    fn flights(&self, home: Option<usize>) -> &Flights {
        if home.is_some() { &self.asking } else { &self.resolving }
    }

    /// Finds an answer, here or by a home.
    fn find(self: Arc<Self>, key: Key, is_refresh: bool, home: Option<usize>) -> Finding {
        match home {
            Some(home) => Box::pin(self.find_at(home, key, is_refresh)),
            None => Box::pin(async move { Some(self.resolve(&key, is_refresh).await) }),
        }
    }

    /// Resolves, and keeps what was found.
    async fn resolve(&self, key: &Key, is_refresh: bool) -> Arc<Stored> {
        let work = Work::new(is_refresh, key.is_unchecked());
        let result = self.follow(key, &work).await;
        let now = self.core.seconds();
        let stored = match result {
            Ok(parts) => {
                if matches!(parts.security, Security::Bogus(_)) {
                    self.core.metrics.bogus.inc();
                    debug!(name = %key.name(), ede = parts.ede, "bogus");
                }
                Stored::new(key, &parts, now)
            }
            Err(Failure(why)) => {
                self.core.metrics.failed.inc();
                Stored::failure(rcode::SERVFAIL, why, now, FAILURE_TTL)
            }
        };
        self.keep(key, stored)
    }

    /// Keeps what was found: a failure only where there is nothing better, and what had expired elsewhere as that.
    pub(crate) fn keep(&self, key: &Key, stored: Stored) -> Arc<Stored> {
        let stored = Arc::new(stored);
        let has_better = stored.is_failure
            && self.answers.get(key.octets()).is_some_and(|former| self.is_good_enough(&former));
        if has_better || stored.is_stale {
            self.rechecks.insert(key.octets().into(), self.core.seconds() + RECHECK_SECONDS);
        }
        if !has_better && (stored.ttl > 0 || stored.is_stale && self.known(key).is_none()) {
            self.answers.insert(key.octets().into(), stored.clone());
        }
        stored
    }

    /// Looks up, and follows aliases.
    async fn follow(&self, key: &Key, work: &Work) -> Result<Parts, Failure> {
        let mut name = key.name();
        let mut parts = Parts {
            rcode: rcode::NOERROR,
            answer: Vec::new(),
            authority: Vec::new(),
            security: Security::Secure,
            ede: None,
            ttl: TTL_MAX,
            is_synthesized: false,
        };
        let mut seen = HashSet::<Name>::new();
        while seen.len() <= ALIASES_MAX && seen.insert(name.clone()) {
            let found = self.core.lookup(&name, key.rtype(), work, 0).await?;
            let now = self.core.seconds();
            let left = u32::try_from(found.expires.saturating_sub(now)).unwrap_or(TTL_MAX).min(found.ttl);
            parts.ttl = parts.ttl.min(left);
            parts.ede = parts.ede.or(found.ede);
            parts.is_synthesized |= found.is_synthesized;
            match found.security {
                Security::Bogus(why) if !key.is_unchecked() => {
                    return Ok(Parts {
                        rcode: rcode::SERVFAIL,
                        answer: Vec::new(),
                        authority: Vec::new(),
                        security: found.security,
                        ede: Some(why),
                        ..parts
                    });
                }
                Security::Secure => {}
                other => parts.security = other,
            }
            let aged = |set: &RrSet| {
                let mut set = set.clone();
                set.ttl = set.ttl.saturating_sub(found.ttl - left);
                set
            };
            parts.answer.extend(found.answer.iter().map(aged));
            parts.authority.extend(found.authority.iter().map(aged));
            match &found.said {
                Said::Alias(target) => name = target.clone(),
                Said::NoName => return Ok(Parts { rcode: rcode::NXDOMAIN, ..parts }),
                Said::TooLong => return Ok(Parts { rcode: rcode::YXDOMAIN, ..parts }),
                _ => return Ok(parts),
            }
        }
        debug!(name = %key.name(), "aliases lead round, or on and on");
        Err(Failure(ede::OTHER))
    }
}

type Finding = Pin<Box<dyn Future<Output = Option<Arc<Stored>>> + Send>>;

/// What there is to be told of what is not known.
pub(crate) enum Sought {
    Found(Arc<Stored>),
    /// It has expired, and is better than nothing.
    Expired(Arc<Stored>),
    /// Too much is being resolved already.
    Busy,
    Nothing,
}

/// A resolution that is under way.
pub(crate) struct Begun {
    waits: watch::Receiver<Option<Arc<Stored>>>,
    /// Whether it was not before.
    is_new: bool,
}

impl Begun {
    /// What it finds; nothing, if it ends otherwise than it should.
    pub(crate) async fn found(mut self) -> Option<Arc<Stored>> {
        self.waits.wait_for(Option::is_some).await.ok().and_then(|found| found.clone())
    }
}

/// A place among what is being resolved.
struct Place<U> {
    resolver: Arc<Resolver<U>>,
    key: Key,
    home: Option<usize>,
}

impl<U> Drop for Place<U> {
    fn drop(&mut self) {
        let resolver = &self.resolver;
        let flights = if self.home.is_some() { &resolver.asking } else { &resolver.resolving };
        flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
