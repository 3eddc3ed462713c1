//! Zones and the way to them: whose servers are asked, and by which keys what they say is checked.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
};

use proxima_model::Reach;

use crate::{
    denial::{Denial, Proof},
    iterate::{BOGUS_TTL, Core, DOUBTS_MAX, Failure, Lookup, Security, Work},
    keys::{self, Key, ede},
    message::rtype,
    name::Name,
    reply::{NameServer, Reply, Said},
    rrset::{RrSet, TTL_MAX},
    upstream::Upstream,
    way::Step,
};

/// The shortest that a zone is kept, in seconds: each question below it would ask its parent anew.
const ZONE_TTL_MIN: u32 = 5;
/// For how long the root is known, in seconds, if its keys are good for so long.
const ROOT_TTL: u32 = 3_600;

/// A zone that was found.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) name: Name,
    pub(crate) servers: Vec<NameServer>,
    pub(crate) trust: Trust,
    /// Since when and until when, in seconds: for as long as the shortest-lived of its NS, DNSKEY and DS sets.
    pub(crate) since: u64,
    pub(crate) expires: u64,
}

/// What the chain of keys from the root says about a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It is signed, by these keys.
    Secure(Arc<Vec<Key>>),
    /// It is proven that it is not signed, or by nothing that we know; or there is no anchor. The extended error says so.
    Insecure(Option<u16>),
    /// It should be signed, and is not, as the extended error says.
    Bogus(u16),
}

impl Trust {
    /// The keys that sign the zone, if any do.
    fn keys(&self) -> &[Key] {
        if let Self::Secure(keys) = self { keys } else { &[] }
    }
}

/// What holds of a signed zone while its keys are being fetched: nothing of it is believed, and nothing asked without DO.
const UNTIL_KEYS: Trust = Trust::Bogus(ede::DNSKEY_MISSING);

/// What a zone says about the keys of one below it.
struct Delegated {
    /// The DS data by which they are known; or what else it says of that zone.
    ds: Result<Vec<Box<[u8]>>, Trust>,
    /// For how long, in seconds.
    ttl: u32,
}

impl Zone {
    /// It is known for so many more seconds at most, counted from when it was found.
    fn last(&mut self, seconds: u32) {
        self.expires = self.expires.min(self.since + u64::from(seconds));
    }

    /// This is known of it, for so many seconds.
    fn trust_as(&mut self, (trust, seconds): (Trust, u32)) {
        self.trust = trust;
        self.last(seconds);
    }

    pub(crate) fn octets(&self) -> usize {
        let keys = if let Trust::Secure(keys) = &self.trust { keys.len() * 320 } else { 0 };
        let servers =
            self.servers.iter().map(|(name, addresses)| name.wire().len() + addresses.len() * 17 + 48);
        self.name.wire().len() + keys + servers.sum::<usize>() + 128
    }
}

impl<U: Upstream> Core<U> {
    /// The known zone that is nearest to where a set is, or the root.
    pub(crate) async fn nearest(&self, name: &Name, rtype: u16, work: &Work) -> Result<Arc<Zone>, Failure> {
        let now = self.seconds();
        // A delegation's DS set is in the zone above.
        let above = usize::from(rtype == rtype::DS && !name.is_root());
        for depth in (0..=name.depth() - above).rev() {
            if let Some(zone) = self.zones.get(&name.suffix(depth)).filter(|zone| zone.expires > now) {
                return Ok(zone);
            }
        }
        self.root(work).await
    }

    /// The root, as priming or the hints and the trust anchors say it.
    async fn root(&self, work: &Work) -> Result<Arc<Zone>, Failure> {
        self.is_used.store(true, Ordering::Relaxed);
        let servers = self.root_servers.get(self.seconds());
        let servers = servers.unwrap_or_else(|| vec![(Name::root(), self.settings.hints.clone())]);
        let mut zone = self.zone(Name::root(), servers, ROOT_TTL);
        match self.settings.anchors.ds() {
            None => {}
            // All are revoked: what nothing is known of is not believed, rather than insecure.
            Some(ds) if ds.is_empty() => zone.trust = Trust::Bogus(ede::DNSKEY_MISSING),
            Some(ds) => {
                zone.trust = UNTIL_KEYS;
                let known = self.trust_by_ds(&zone, &ds, work, 0).await?;
                zone.trust_as(known);
            }
        }
        Ok(self.keep_zone(zone))
    }

    pub(crate) fn is_in_use(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    /// A zone of which nothing is known to be signed.
    fn zone(&self, name: Name, servers: Vec<NameServer>, ttl: u32) -> Zone {
        let since = self.seconds();
        Zone { name, servers, trust: Trust::Insecure(None), since, expires: since + u64::from(ttl) }
    }

    fn keep_zone(&self, mut zone: Zone) -> Arc<Zone> {
        if matches!(zone.trust, Trust::Bogus(_)) {
            // What is wrong may be put right.
            zone.last(BOGUS_TTL);
        }
        zone.expires = zone.expires.max(self.seconds() + u64::from(ZONE_TTL_MIN));
        let zone = Arc::new(zone);
        self.zones.insert(zone.name.clone(), zone.clone());
        zone
    }

    /// The zone below that a referral names, or that the same servers turned out to have. If it is signed, its servers are
    /// asked for its keys and, at the same time, what they are asked `next`: what they said to that is given, too, and is not
    /// to be believed before it was judged by the zone's keys.
    pub(crate) async fn enter(
        &self,
        parent: &Zone,
        child: &Name,
        (reply, next): (Reply, Option<Step>),
        work: &Work,
        depth: u8,
    ) -> Result<(Arc<Zone>, Option<Result<Reply, Failure>>), Failure> {
        let is_ns = |set: &&RrSet| set.rtype == rtype::NS && set.owner == *child;
        let ttl = reply.answer.iter().chain(&reply.authority).find(is_ns).map_or(0, |set| set.ttl);
        let mut zone = self.zone(child.clone(), reply.servers, ttl.min(TTL_MAX));
        let mut said = None;
        match &parent.trust {
            Trust::Secure(_) => {
                let Delegated { ds, ttl } =
                    self.delegated(parent, child, reply.authority, work, depth).await?;
                zone.last(ttl);
                match ds {
                    Ok(ds) => {
                        zone.trust = UNTIL_KEYS;
                        let ahead = async {
                            let Step { asked, rtype, .. } = next?;
                            Some(self.ask(&zone, &asked, rtype, work, depth).await)
                        };
                        let known = self.trust_by_ds(&zone, &ds, work, depth);
                        let (known, ahead) = tokio::join!(known, ahead);
                        zone.trust_as(known?);
                        said = ahead;
                    }
                    Err(trust) => zone.trust = trust,
                }
            }
            trust => zone.trust = trust.clone(),
        }
        Ok((self.keep_zone(zone), said))
    }

    /// What a signed zone says about the keys of one below it: its DS data, or what else it is.
    async fn delegated(
        &self,
        parent: &Zone,
        child: &Name,
        authority: Vec<RrSet>,
        work: &Work,
        depth: u8,
    ) -> Result<Delegated, Failure> {
        let keys = parent.trust.keys();
        let verified = self.verified(authority, &parent.name, keys, work);
        work.found_out()?;
        self.denials.learn(&parent.name, &verified, None, self.seconds());
        let usable = |set: &RrSet| keys::usable(&set.data).map_err(|why| Trust::Insecure(Some(why)));
        if let Some(ds) = verified.iter().find(|set| set.owner == *child && set.rtype == rtype::DS) {
            return Ok(Delegated { ds: usable(ds), ttl: ds.ttl });
        }
        if Denial::of(&parent.name, verified.iter()).is_unsigned(child) {
            let ttl = verified.iter().map(|set| set.ttl).min().unwrap_or_default();
            return Ok(Delegated { ds: Err(Trust::Insecure(None)), ttl });
        }
        let asked = self.lookup(child, rtype::DS, work, depth + 1).await?;
        let left = asked.expires.saturating_sub(self.seconds());
        let ttl = u32::try_from(left).unwrap_or(TTL_MAX);
        let ds = match (&asked.security, asked.answer.first()) {
            (Security::Bogus(why), _) => Err(Trust::Bogus(*why)),
            (Security::Secure, Some(ds)) if ds.rtype == rtype::DS => usable(ds),
            (Security::Insecure, None) if asked.said == Said::NoData => Err(Trust::Insecure(None)),
            // A name without DS is not yet a zone without keys.
            (Security::Secure, None)
                if Denial::of(&parent.name, asked.authority.iter()).is_unsigned(child) =>
            {
                Err(Trust::Insecure(None))
            }
            _ => Err(Trust::Bogus(ede::BOGUS)),
        };
        Ok(Delegated { ds, ttl })
    }

    /// Fetches the keys of a zone from its own servers, of which one must be known by its DS data: whether it is trusted, and
    /// for how many seconds. What one server has wrong another may have right.
    async fn trust_by_ds(
        &self,
        zone: &Zone,
        ds: &[Box<[u8]>],
        work: &Work,
        depth: u8,
    ) -> Result<(Trust, u32), Failure> {
        let mut wrong = ede::DNSKEY_MISSING;
        for _ in 0..=DOUBTS_MAX {
            let reply = self.ask(zone, &zone.name, rtype::DNSKEY, work, depth).await?;
            let set = reply.answer.into_iter().next().filter(|set| set.rtype == rtype::DNSKEY);
            let keys = match set {
                None => Err(ede::DNSKEY_MISSING),
                Some(mut set) => keys::trusted(&mut set, ds, self.seconds_of_signatures(), work)
                    .map(|keys| (keys, set.ttl)),
            };
            work.found_out()?;
            match keys {
                Ok((keys, ttl)) => return Ok((Trust::Secure(Arc::new(keys)), ttl)),
                Err(why) => wrong = why,
            }
            self.doubt(reply.from, &zone.name);
        }
        Ok((Trust::Bogus(wrong), TTL_MAX))
    }

    /// Those of the sets that the zone's keys sign, and that no wildcard stands for.
    pub(crate) fn verified(&self, sets: Vec<RrSet>, zone: &Name, keys: &[Key], work: &Work) -> Vec<RrSet> {
        let now = self.seconds_of_signatures();
        let mut verified = Vec::new();
        for mut set in sets {
            let counts = matches!(set.rtype, rtype::SOA | rtype::NSEC | rtype::NSEC3 | rtype::DS);
            let is_wild = set.owner.labels().next() == Some(b"*".as_slice());
            let whole = set.owner.depth() - usize::from(is_wild);
            if counts && keys::verify(&mut set, zone, keys, now, work).is_ok_and(|labels| labels >= whole) {
                verified.push(set);
            }
        }
        verified
    }

    /// Whether what a zone's server said is true, by the zone's keys.
    pub(crate) fn judge(
        &self,
        zone: &Zone,
        name: &Name,
        rtype: u16,
        mut reply: Reply,
        work: &Work,
    ) -> Lookup {
        let verdict = match &zone.trust {
            Trust::Insecure(why) => Ok((Security::Insecure, *why)),
            Trust::Bogus(why) => Err(*why),
            Trust::Secure(_) => self.judge_signed(zone, name, rtype, &mut reply, work),
        };
        let (security, ede) = verdict.unwrap_or_else(|why| (Security::Bogus(why), Some(why)));
        self.conclude(reply, security, ede)
    }

    fn judge_signed(
        &self,
        zone: &Zone,
        name: &Name,
        rtype: u16,
        reply: &mut Reply,
        work: &Work,
    ) -> Result<(Security, Option<u16>), u16> {
        let (zone, keys, now) = (&zone.name, zone.trust.keys(), self.seconds_of_signatures());
        let mut wildcard = None;
        if let Some(set) = reply.answer.first_mut() {
            let labels = keys::verify(set, zone, keys, now, work)?;
            let is_wild = set.owner.labels().next() == Some(b"*".as_slice());
            if labels < set.owner.depth() - usize::from(is_wild) {
                wildcard = Some(labels);
            }
            let ttl = set.ttl;
            reply.answer.iter_mut().for_each(|set| set.ttl = set.ttl.min(ttl));
            if wildcard.is_none() {
                return Ok((Security::Secure, None));
            }
        }
        let had_soa = reply.authority.iter().any(|set| set.rtype == rtype::SOA);
        let before = std::mem::take(&mut reply.authority);
        let unverified = before.clone();
        reply.authority = self.verified(before, zone, keys, work);
        let denial = Denial::of(zone, reply.authority.iter());
        let proof = match (&reply.said, wildcard) {
            (_, Some(labels)) => denial.is_expanded(name, labels),
            (Said::NoName, _) => denial.no_name(name),
            _ => denial.no_data(name, rtype),
        };
        if let Err(why) = proof {
            // For who asks without validation.
            reply.authority = unverified;
            let signed = reply.authority.iter().any(|set| !set.signatures.is_empty());
            return Err(if signed || !had_soa { why } else { ede::RRSIGS_MISSING });
        }
        let proof = proof?;
        let wild = reply.answer.first().zip(wildcard).filter(|_| proof == Proof::Proven);
        let wild = wild.and_then(|(set, labels)| {
            let owner = name.suffix(labels).wildcard()?;
            Some(RrSet { owner, ..set.clone() })
        });
        self.denials.learn(zone, &reply.authority, wild, self.seconds());
        Ok(match proof {
            Proof::Proven => (Security::Secure, None),
            Proof::Insecure => (Security::Insecure, None),
        })
    }

    /// Whether an address may be a name server's.
    pub(crate) fn may_ask(&self, address: IpAddr) -> bool {
        Reach::of(address).is_allowed(self.settings.allow_private_servers)
    }
}
