//! Iteration: from the nearest zone that is known, down to the servers that have the answer.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use quick_cache::{Weighter, sync::Cache};
use tokio::time::Instant;

use crate::{
    denials::{Denials, minimum},
    keys::{Budget, ede},
    message::rtype,
    metrics::Metrics,
    name::Name,
    priming::RootServers,
    reply::{Reply, Said},
    rrset::{RrSet, TTL_MAX},
    servers::Servers,
    settings::Settings,
    upstream::Upstream,
    way::{Step, Way},
    zones::{Trust, Zone},
};

/// Questions to name servers for one question of a client: a cold name with aliases takes some thirty, and an attacker who
/// names many servers (NXNSAttack) no more than this.
pub(crate) const QUERIES_MAX: u32 = 100;
/// Checks of signatures and of digests for one question of a client (KeyTrap).
const CHECKS_MAX: u32 = 120;
/// How long one question of a client may take, whatever its name servers do: they are asked nothing more then.
pub(crate) const RESOLUTION_MAX: Duration = Duration::from_secs(10);
/// Questions to one zone at once, at the most: of all that are resolved at a time, the servers of one zone cannot have more, so
/// that one whose servers are slow is in nobody else's way ([`Settings::zone_asked_max`]).
pub const ZONE_ASKED_MAX: usize = 1_024;
/// How often something that is bogus is asked for once more, of another server: one of several may have old signatures, or
/// somebody guessed a datagram's id.
pub(crate) const DOUBTS_MAX: u8 = 2;
/// The age in seconds from which on a zone's keys are fetched anew when nothing fits them.
const KEYS_YOUNG: u64 = 30;
/// Lookups for the sake of another: a server's name whose zone has servers whose names have to be looked up, and so on.
const DEPTH_MAX: u8 = 6;
/// The longest that a denial is kept, in seconds (RFC 2308, 5).
pub(crate) const NEGATIVE_TTL_MAX: u32 = 3_600;
/// For how long one without an SOA record is: it says nothing of that.
const WITHOUT_SOA_TTL: u32 = 5;
/// For how long something that is bogus is not asked for again (RFC 9520, 3.2).
pub(crate) const BOGUS_TTL: u32 = 60;
/// For how long, in seconds, what a server says without authority is remembered, here and by who asks: who has authority may be
/// back then.
const HEARSAY_TTL: u32 = 60;
/// Octets of the smallest thing that is kept, by which numbers are guessed from octets.
const ENTRY_OCTETS: u64 = 512;

/// Whether what was found is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    Secure,
    Insecure,
    Bogus(u16),
}

/// What was found for one name and type; aliases are not followed.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    pub(crate) said: Said,
    pub(crate) answer: Vec<RrSet>,
    pub(crate) authority: Vec<RrSet>,
    pub(crate) security: Security,
    pub(crate) ede: Option<u16>,
    pub(crate) ttl: u32,
    pub(crate) expires: u64,
    /// Whether it follows from what is known of other names: then it is not kept, since that is.
    pub(crate) is_synthesized: bool,
}

impl Lookup {
    fn octets(&self) -> usize {
        self.answer.iter().chain(&self.authority).map(RrSet::octets).sum::<usize>() + 128
    }
}

/// Nothing was found, as the extended error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) u16);

/// What one question of a client may cost, and has cost.
pub(crate) struct Work {
    queries: AtomicU32,
    checks: AtomicU32,
    /// Whether a check was wanted that there was none left for.
    is_spent: AtomicBool,
    until: Instant,
    /// Whether to ask for what is about to expire.
    is_refresh: bool,
    /// Whether something may follow from what is known of other names: it is believed because it is signed, and so nothing
    /// for who checks signatures itself (RFC 8198 has CD ask).
    may_synthesize: bool,
}

impl Work {
    pub(crate) fn new(is_refresh: bool, is_unchecked: bool) -> Self {
        Self {
            queries: AtomicU32::new(QUERIES_MAX),
            checks: AtomicU32::new(CHECKS_MAX),
            is_spent: AtomicBool::new(false),
            until: Instant::now() + RESOLUTION_MAX,
            is_refresh,
            may_synthesize: !is_refresh && !is_unchecked,
        }
    }

    /// The time that is left.
    pub(crate) fn take_query(&self) -> Result<Duration, Failure> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure(ede::NO_AUTHORITY));
        }
        take(&self.queries).then_some(left).ok_or(Failure(ede::OTHER))
    }

    /// Whether all was checked that had to be. What was not is neither true nor bogus: who asked for too much gets nothing, and
    /// nobody else is told anything because of it.
    pub(crate) fn found_out(&self) -> Result<(), Failure> {
        if self.is_spent.load(Ordering::Relaxed) { Err(Failure(ede::OTHER)) } else { Ok(()) }
    }
}

impl Budget for Work {
    fn take_check(&self) -> bool {
        let has_one = take(&self.checks);
        if !has_one {
            self.is_spent.store(true, Ordering::Relaxed);
        }
        has_one
    }
}

fn take(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// Weighs what is kept, by octets.
#[derive(Clone)]
pub(crate) struct Octets;

impl Weighter<(Name, u16), Arc<Lookup>> for Octets {
    fn weight(&self, key: &(Name, u16), lookup: &Arc<Lookup>) -> u64 {
        (key.0.wire().len() + lookup.octets()) as u64
    }
}

impl Weighter<Name, Arc<Zone>> for Octets {
    fn weight(&self, _: &Name, zone: &Arc<Zone>) -> u64 {
        zone.octets() as u64
    }
}

/// What resolves, without its clients.
pub(crate) struct Core<U> {
    pub(crate) upstream: U,
    pub(crate) settings: Settings,
    pub(crate) servers: Servers,
    pub(crate) lookups: Cache<(Name, u16), Arc<Lookup>, Octets>,
    pub(crate) zones: Cache<Name, Arc<Zone>, Octets>,
    pub(crate) denials: Denials,
    pub(crate) root_servers: RootServers,
    /// Whether the root was ever asked for.
    pub(crate) is_used: AtomicBool,
    /// Of the anchors by which the zones that are known are trusted.
    pub(crate) generation: AtomicU64,
    pub(crate) metrics: Metrics,
}

/// A cache bounded by octets.
pub(crate) fn cache<K: Eq + std::hash::Hash, V: Clone>(octets: u64) -> Cache<K, V, Octets>
where
    Octets: Weighter<K, V>,
{
    Cache::with_weighter(usize::try_from(octets / ENTRY_OCTETS).unwrap_or(usize::MAX).max(16), octets, Octets)
}

type Found<'a> = Pin<Box<dyn Future<Output = Result<Arc<Lookup>, Failure>> + Send + 'a>>;

impl<U: Upstream> Core<U> {
    pub(crate) fn seconds(&self) -> u64 {
        (self.settings.clock)() / 1_000
    }

    /// As signatures count them, which begin anew after 136 years (RFC 4034, 3.1.5).
    pub(crate) fn seconds_of_signatures(&self) -> u32 {
        (self.seconds() & 0xFFFF_FFFF) as u32
    }

    /// What there is at a name of a type: from the cache, or from its zone's servers.
    pub(crate) fn lookup<'a>(&'a self, name: &'a Name, rtype: u16, work: &'a Work, depth: u8) -> Found<'a> {
        Box::pin(async move {
            let key = (name.clone(), rtype);
            let now = self.seconds();
            let fresh = |lookup: &Arc<Lookup>| {
                let left = lookup.expires.saturating_sub(now);
                // A refresh takes what will last for a while.
                left > if work.is_refresh { u64::from(lookup.ttl) / 5 } else { 0 }
            };
            if let Some(found) = self.lookups.get(&key).filter(fresh) {
                return Ok(found);
            }
            if depth > DEPTH_MAX {
                return Err(Failure(ede::OTHER));
            }
            let found = Arc::new(self.iterate(name, rtype, work, depth).await?);
            if !found.is_synthesized {
                self.lookups.insert(key, found.clone());
            }
            Ok(found)
        })
    }

    async fn iterate(&self, name: &Name, rtype: u16, work: &Work, depth: u8) -> Result<Lookup, Failure> {
        let mut zone = self.nearest(name, rtype, work).await?;
        let (mut doubts, mut renewed, mut is_new) = (0, false, true);
        let (mut way, mut ahead) = (Way::from(&zone.name, name), None);
        loop {
            if std::mem::take(&mut is_new)
                && let Some(known) = self.synthesize(&zone, name, rtype, work)
            {
                return Ok(known);
            }
            let Step { asked, rtype: asked_type, is_minimised } = way.next(name, rtype);
            way.minimised += usize::from(is_minimised);
            let reply = match ahead.take() {
                Some(said) => said,
                None => self.ask(&zone, &asked, asked_type, work, depth).await,
            };
            let reply = match reply {
                Ok(reply) => reply,
                // Some servers know nothing of names between zones.
                Err(_) if is_minimised => {
                    way.minimised = way.minimised_max;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let below = match &reply.said {
                Said::Referral(child) if rtype != rtype::DS || child != name => Some(child.clone()),
                Said::Referral(_) => return Err(Failure(ede::NO_AUTHORITY)),
                Said::Answer if is_minimised => Some(asked),
                _ => None,
            };
            if let Some(child) = below {
                way.shown = child.depth();
                let step = Some(way.next(name, rtype)).filter(|_| !self.is_denied(&child, name, rtype, work));
                (zone, ahead) = self.enter(&zone, &child, (reply, step), work, depth).await?;
                is_new = true;
                continue;
            }
            match &reply.said {
                Said::NoData if is_minimised => way.shown += 1,
                // The whole name gets the alias; and servers that deny what is only above others are not believed.
                _ if is_minimised => way.minimised = way.minimised_max,
                _ => {
                    let from = reply.from;
                    let lookup = self.judge(&zone, name, rtype, reply, work);
                    work.found_out()?;
                    if !matches!(lookup.security, Security::Bogus(_)) {
                        return Ok(lookup);
                    }
                    if matches!(zone.trust, Trust::Bogus(_)) {
                        return Ok(lookup);
                    } else if way.again(name, rtype) {
                        continue;
                    } else if !renewed && zone.since + KEYS_YOUNG <= self.seconds() {
                        // It may have other keys by now.
                        renewed = true;
                        self.zones.remove(&zone.name);
                        zone = self.nearest(name, rtype, work).await?;
                        way = Way::from(&zone.name, name);
                    } else if doubts < DOUBTS_MAX {
                        doubts += 1;
                        self.doubt(from, &zone.name);
                    } else {
                        return Ok(lookup);
                    }
                }
            }
        }
    }

    /// What follows for a name from what is known of others in its zone (RFC 8198).
    fn synthesize(&self, zone: &Zone, name: &Name, rtype: u16, work: &Work) -> Option<Lookup> {
        if !work.may_synthesize || !matches!(zone.trust, Trust::Secure(_)) {
            return None;
        }
        let (what, reply) = self.denials.conclude(&zone.name, name, rtype, self.seconds())?;
        self.metrics.synthesized(what);
        let known = self.conclude(reply, Security::Secure, None);
        Some(Lookup { is_synthesized: true, ..known })
    }

    /// Whether something follows for a name of a zone that is about to be entered, if that turns out to be signed.
    fn is_denied(&self, zone: &Name, name: &Name, rtype: u16, work: &Work) -> bool {
        work.may_synthesize && self.denials.conclude(zone, name, rtype, self.seconds()).is_some()
    }

    /// Another server of the zone is asked first for a while.
    pub(crate) fn doubt(&self, from: Option<IpAddr>, zone: &Name) {
        if let Some(from) = from {
            self.servers.lame(from, zone, (self.settings.clock)());
            self.metrics.lame.inc();
        }
    }

    /// What was found, with how long it is true.
    pub(crate) fn conclude(&self, reply: Reply, security: Security, ede: Option<u16>) -> Lookup {
        let Reply { said, mut answer, mut authority, is_hearsay, .. } = reply;
        let sets = answer.iter().chain(&authority);
        let mut ttl = sets.map(|set| set.ttl).min().unwrap_or(TTL_MAX).min(TTL_MAX);
        if answer.is_empty() {
            let soa = authority.iter().find(|set| set.rtype == rtype::SOA);
            ttl = ttl.min(soa.map_or(WITHOUT_SOA_TTL, minimum)).min(NEGATIVE_TTL_MAX);
            authority.retain(|set| matches!(set.rtype, rtype::SOA | rtype::NSEC | rtype::NSEC3));
            // What says for how long, counts down from there (RFC 2308, 5).
            authority.iter_mut().for_each(|set| set.ttl = set.ttl.min(ttl));
        } else {
            authority.retain(|set| matches!(set.rtype, rtype::NSEC | rtype::NSEC3));
        }
        if matches!(security, Security::Bogus(_)) {
            ttl = ttl.min(BOGUS_TTL);
        }
        // What the zone has signed is true whoever says it.
        if is_hearsay && security != Security::Secure {
            ttl = ttl.min(HEARSAY_TTL);
            answer.iter_mut().chain(&mut authority).for_each(|set| set.ttl = set.ttl.min(HEARSAY_TTL));
        }
        let expires = self.seconds() + u64::from(ttl);
        Lookup { said, answer, authority, security, ede, ttl, expires, is_synthesized: false }
    }
}
