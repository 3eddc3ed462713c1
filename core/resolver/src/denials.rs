//! Denials that are kept, and what follows from them for names that were never asked for (RFC 8198).
//!
//! ```text
//!  judged and delegated (zones.rs) ─ verified NSEC, NSEC3, SOA; what a wildcard had ─▶ learn ─▶ the records of a zone
//!                                                                                                 │
//!  iterate (iterate.rs) ─ a name, and the nearest zone, which is signed ─▶ conclude ◀─────────────┘
//!                                                                            │ those few that may deny it
//!                                                                            ▼
//!                                                                      denial.rs: do they?
//! ```
//!
//! A flood of names that do not exist in a signed zone so costs its servers one question for each of its gaps.
//!
//! Invariants:
//! * What is kept was verified by the keys of the zone that it is kept for, and serves until its TTL, its SOA record's, and
//!   that record's minimum, whichever ends first (RFC 8198, 5.4), and an hour at most.
//! * What is concluded is proven by the same code as what is answered (`denial.rs`), here with nothing but records that are
//!   laid before it; and only [`Proof::Proven`] counts: nothing is concluded from the gaps of opt-out (RFC 8198, 5.2).
//! * A denial with NXNAME (RFC 9824) proves that its own name does not exist, and nothing of others, whatever it says is next.
//!
//! Limits: the octets that it is made with, a quarter of them for one zone; [`RECORDS_MAX`] records of a zone. A name costs two
//! lookups where there is NSEC, and [`HASHES_MAX`] hashes where there is NSEC3.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, PoisonError},
};

use proxima_transfer::nsec3::{self, HASH_OCTETS};
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{
    denial::{Denial, Nsec, Nsec3, Proof, has},
    iterate::{NEGATIVE_TTL_MAX, Octets},
    message::rtype,
    name::Name,
    reply::{Reply, Said},
    rrset::RrSet,
};

/// Records of one zone: more than those of the root, which has 1,500 names, and fewer than make lookups slow.
const RECORDS_MAX: usize = 4_096;
/// The share of all octets that one zone may have.
const ZONE_SHARE: usize = 4;
/// Zones that are expected.
const ZONES: usize = 1_024;
/// Records among which the one that expires first makes room for another.
const SAMPLE: usize = 8;
/// Hashes that the search for one name may cost, and the proof as many again: what has more labels below its zone is asked for.
const HASHES_MAX: usize = 10;
/// Iterations of NSEC3's hash beyond which nothing is kept: a signed zone should have none (RFC 9276, 3.1).
const ITERATIONS_MAX: u16 = 10;

/// The denials of all zones.
pub(crate) struct Denials {
    zones: Cache<Name, Kept, Octets>,
    zone_octets_max: usize,
}

/// The records of a zone, and what they weighed when they were put there.
#[derive(Clone)]
struct Kept {
    records: Arc<Mutex<Records>>,
    octets: usize,
}

impl Weighter<Name, Kept> for Octets {
    fn weight(&self, zone: &Name, kept: &Kept) -> u64 {
        (zone.wire().len() + kept.octets + 256) as u64
    }
}

/// What is known of a zone that denies.
#[derive(Default)]
struct Records {
    /// By their owners, in the order of RFC 4034, 6.1.
    nsec: BTreeMap<Box<[u8]>, Record>,
    /// By hash; all with the same salt and iterations.
    nsec3: BTreeMap<[u8; HASH_OCTETS], Record>,
    salt: Box<[u8]>,
    iterations: u16,
    /// What wildcards have, by their names and types.
    wild: HashMap<(Name, u16), Record>,
    soa: Option<Record>,
    octets: usize,
}

/// A verified set, until it expires.
struct Record {
    set: RrSet,
    expires: u64,
    has_nxname: bool,
    is_opt_out: bool,
}

/// What follows for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synthesis {
    NoName,
    NoData,
    Wildcard,
}

impl Record {
    fn new(set: &RrSet, ttl: u32, now: u64) -> Self {
        let (set, expires) = (set.clone(), now + u64::from(set.ttl.min(ttl)));
        Self { set, expires, has_nxname: false, is_opt_out: false }
    }

    /// The set, with the TTL that is left; `None` if it has expired.
    fn at(&self, now: u64) -> Option<RrSet> {
        let left = self.expires.checked_sub(now).filter(|left| *left > 0)?;
        Some(RrSet { ttl: u32::try_from(left).unwrap_or(self.set.ttl), ..self.set.clone() })
    }

    fn octets(&self) -> usize {
        // The key, and what trees and tables have beside it.
        self.set.octets() + self.set.owner.wire().len() + 64
    }
}

impl Denials {
    pub(crate) fn new(octets: u64) -> Self {
        // One shard, so that a zone may have a quarter of it all.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(ZONES)
            .weight_capacity(octets)
            .build()
            .expect("both capacities are given");
        let zones =
            Cache::with_options(options, Octets, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { zones, zone_octets_max: usize::try_from(octets).unwrap_or(usize::MAX) / ZONE_SHARE }
    }

    /// Keeps verified sets of a zone, and what one of its wildcards has.
    pub(crate) fn learn(&self, zone: &Name, sets: &[RrSet], wild: Option<RrSet>, now: u64) {
        if wild.is_none() && !sets.iter().any(|set| matches!(set.rtype, rtype::NSEC | rtype::NSEC3)) {
            return;
        }
        let kept = self.zones.get(zone);
        let records = kept.map_or_else(Arc::default, |kept| kept.records);
        let octets = {
            let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
            records.learn(zone, sets, now);
            if let Some(set) = wild {
                records.learn_wildcard(set, now);
            }
            records.make_room(self.zone_octets_max, sets.last().map_or(zone, |set| &set.owner));
            records.octets
        };
        self.zones.insert(zone.clone(), Kept { records, octets });
    }

    /// What a zone, which is signed, has at a name of a type, if what is known of other names tells it.
    pub(crate) fn conclude(
        &self,
        zone: &Name,
        name: &Name,
        rtype: u16,
        now: u64,
    ) -> Option<(Synthesis, Reply)> {
        // What is about other records is at every name, or at none, whatever the types of a name say.
        if matches!(rtype, rtype::NSEC | rtype::NSEC3 | rtype::RRSIG) {
            return None;
        }
        let kept = self.zones.get(zone)?;
        let records = kept.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.by_nsec(zone, name, rtype, now).or_else(|| records.by_nsec3(zone, name, rtype, now))
    }
}

impl Records {
    fn len(&self) -> usize {
        self.nsec.len() + self.nsec3.len() + self.wild.len()
    }

    fn learn(&mut self, zone: &Name, sets: &[RrSet], now: u64) {
        let mut ttl = NEGATIVE_TTL_MAX;
        if let Some(soa) = sets.iter().find(|set| set.rtype == rtype::SOA && set.owner == *zone) {
            ttl = ttl.min(soa.ttl).min(minimum(soa));
            let record = Record::new(soa, ttl, now);
            self.octets += record.octets();
            self.octets -= self.soa.replace(record).map_or(0, |former| former.octets());
        }
        for set in sets {
            let [data] = &set.data[..] else { continue };
            match set.rtype {
                rtype::NSEC => self.learn_nsec(zone, set, data, Record::new(set, ttl, now)),
                rtype::NSEC3 => self.learn_nsec3(zone, set, data, Record::new(set, ttl, now)),
                _ => {}
            }
        }
    }

    fn learn_nsec(&mut self, zone: &Name, set: &RrSet, data: &[u8], mut record: Record) {
        let Some(nsec) = Nsec::parse(&set.owner, data) else { return };
        if !set.owner.is_within(zone) || !nsec.next.is_within(zone) {
            return;
        }
        record.has_nxname = has(nsec.types, rtype::NXNAME);
        self.octets += record.octets();
        let former = self.nsec.insert(set.owner.canonical_key(), record);
        self.octets -= former.map_or(0, |former| former.octets());
    }

    fn learn_nsec3(&mut self, zone: &Name, set: &RrSet, data: &[u8], mut record: Record) {
        let Some(nsec3) = Nsec3::parse(&set.owner, zone, data) else { return };
        if nsec3.iterations > ITERATIONS_MAX {
            return;
        }
        if *self.salt != *nsec3.salt || self.iterations != nsec3.iterations {
            // The zone has a new chain.
            self.octets -= self.nsec3.values().map(Record::octets).sum::<usize>();
            self.nsec3.clear();
            (self.salt, self.iterations) = (nsec3.salt.into(), nsec3.iterations);
        }
        record.is_opt_out = nsec3.is_opt_out();
        self.octets += record.octets();
        let former = self.nsec3.insert(nsec3.hash, record);
        self.octets -= former.map_or(0, |former| former.octets());
    }

    fn learn_wildcard(&mut self, set: RrSet, now: u64) {
        // What these say of a name is for iteration to say.
        if matches!(set.rtype, rtype::NS | rtype::DS | rtype::DNAME) {
            return;
        }
        let record = Record::new(&set, NEGATIVE_TTL_MAX, now);
        self.octets += record.octets();
        let former = self.wild.insert((set.owner, set.rtype), record);
        self.octets -= former.map_or(0, |former| former.octets());
    }

    /// Drops what expires first among some of the most numerous, near to a name or anywhere, until the rest is no more than may
    /// be kept.
    fn make_room(&mut self, octets_max: usize, near: &Name) {
        while self.len() > RECORDS_MAX || self.octets > octets_max {
            let (nsec, nsec3, wild) = (self.nsec.len(), self.nsec3.len(), self.wild.len());
            let dropped = if nsec >= nsec3.max(wild) {
                drop_one(&mut self.nsec, &near.canonical_key())
            } else if nsec3 >= wild {
                drop_one(&mut self.nsec3, &rand::random())
            } else {
                self.wild.keys().next().cloned().and_then(|key| self.wild.remove(&key))
            };
            match dropped {
                Some(dropped) => self.octets -= dropped.octets(),
                None => return,
            }
        }
    }

    fn by_nsec(&self, zone: &Name, name: &Name, rtype: u16, now: u64) -> Option<(Synthesis, Reply)> {
        let found = self.nsec_before(name, now)?;
        if found.owner == *name {
            let proof = Denial::of(zone, [&found].into_iter()).no_data(name, rtype);
            return self.denied(proof.map(|proof| (Synthesis::NoData, proof)), vec![found], now);
        }
        let encloser = Nsec::parse(&found.owner, found.data.first()?)?.encloser(name);
        if encloser == *name {
            // Only above others: there is no wildcard for it.
            let proof = Denial::of(zone, [&found].into_iter()).no_data(name, rtype);
            return self.denied(proof.map(|proof| (Synthesis::NoData, proof)), vec![found], now);
        }
        let wildcard = encloser.wildcard();
        let mut sets = vec![found];
        if let Some(wildcard) = &wildcard {
            let labels = encloser.depth();
            if let Some(reply) = self.by_wildcard(zone, wildcard, (name, rtype), (labels, &sets), now) {
                return Some((Synthesis::Wildcard, reply));
            }
            let of_wildcard = self.nsec_before(wildcard, now);
            // One that says that the wildcard does not exist is not one that has nothing of the type.
            sets.extend(of_wildcard.filter(|it| it.owner != sets[0].owner && !has_nxname(it)));
        }
        self.denied(no_such(zone, name, rtype, &sets), sets, now)
    }

    fn by_nsec3(&self, zone: &Name, name: &Name, rtype: u16, now: u64) -> Option<(Synthesis, Reply)> {
        let below = name.depth() - zone.depth();
        // The name, those above it, and a wildcard.
        if self.nsec3.is_empty() || below + 2 > HASHES_MAX {
            return None;
        }
        let hash = |name: &Name| nsec3::hash(name.wire(), &self.salt, self.iterations);
        let matching = |hash: &[u8; HASH_OCTETS]| self.nsec3.get(hash).and_then(|record| record.at(now));
        let mut closer = hash(name);
        if let Some(same) = matching(&closer) {
            let proof = Denial::of(zone, [&same].into_iter()).no_data(name, rtype);
            return self.denied(proof.map(|proof| (Synthesis::NoData, proof)), vec![same], now);
        }
        for labels in (zone.depth()..name.depth()).rev() {
            let encloser = name.suffix(labels);
            let wildcard = encloser.wildcard()?;
            // Who has a wildcard exists.
            let is_above_wildcard =
                [rtype, rtype::CNAME].iter().any(|kind| self.wild.contains_key(&(wildcard.clone(), *kind)));
            let own = hash(&encloser);
            let found = matching(&own);
            if found.is_none() && !is_above_wildcard {
                closer = own;
                continue;
            }
            let covering = self.nsec3_before(&closer, now)?;
            if is_above_wildcard {
                let sets = vec![covering.clone()];
                if let Some(reply) = self.by_wildcard(zone, &wildcard, (name, rtype), (labels, &sets), now) {
                    return Some((Synthesis::Wildcard, reply));
                }
            }
            let mut sets = vec![found?];
            let of_wildcard = hash(&wildcard);
            let of_wildcard = matching(&of_wildcard).or_else(|| self.nsec3_before(&of_wildcard, now));
            for set in [Some(covering), of_wildcard].into_iter().flatten() {
                if sets.iter().all(|other| other.owner != set.owner) {
                    sets.push(set);
                }
            }
            return self.denied(no_such(zone, name, rtype, &sets), sets, now);
        }
        None
    }

    /// What a wildcard has, as the name's own, if `sets` prove that there is nothing closer.
    fn by_wildcard(
        &self,
        zone: &Name,
        wildcard: &Name,
        (name, rtype): (&Name, u16),
        (labels, sets): (usize, &[RrSet]),
        now: u64,
    ) -> Option<Reply> {
        let of_type =
            |kind| self.wild.get(&(wildcard.clone(), kind)).and_then(|record: &Record| record.at(now));
        let set = of_type(rtype).or_else(|| of_type(rtype::CNAME))?;
        let is_proven = Denial::of(zone, sets.iter()).is_expanded(name, labels) == Ok(Proof::Proven);
        let said = match set.rtype == rtype {
            true => Said::Answer,
            false => Said::Alias(Name::from_wire(set.data.first()?)?),
        };
        let answer = vec![RrSet { owner: name.clone(), ..set }];
        let authority = sets.to_vec();
        is_proven.then(|| Reply::known(said, answer, authority))
    }

    /// A denial that was proven, with the zone's SOA record before it.
    fn denied(
        &self,
        proof: Result<(Synthesis, Proof), u16>,
        sets: Vec<RrSet>,
        now: u64,
    ) -> Option<(Synthesis, Reply)> {
        let (what, Proof::Proven) = proof.ok()? else { return None };
        let mut authority = vec![self.soa.as_ref()?.at(now)?];
        authority.extend(sets);
        let said = if what == Synthesis::NoName { Said::NoName } else { Said::NoData };
        Some((what, Reply::known(said, Vec::new(), authority)))
    }

    /// The NSEC record of a name or of the one before it, if it speaks for the name.
    fn nsec_before(&self, name: &Name, now: u64) -> Option<RrSet> {
        let upto = (Bound::Unbounded, Bound::Included(&*name.canonical_key()));
        let (_, record) = self.nsec.range::<[u8], _>(upto).next_back()?;
        (!record.has_nxname || record.set.owner == *name).then(|| record.at(now))?
    }

    /// The NSEC3 record before a hash, the last one if there is none, if it may deny.
    fn nsec3_before(&self, hash: &[u8; HASH_OCTETS], now: u64) -> Option<RrSet> {
        let before = self.nsec3.range(..=*hash).next_back().or_else(|| self.nsec3.last_key_value());
        before.filter(|(_, record)| !record.is_opt_out && !record.has_nxname)?.1.at(now)
    }
}

fn has_nxname(nsec: &RrSet) -> bool {
    let parsed = nsec.data.first().and_then(|data| Nsec::parse(&nsec.owner, data));
    parsed.is_some_and(|nsec| has(nsec.types, rtype::NXNAME))
}

/// Whether there is no such name, or it has nothing of the type.
fn no_such(zone: &Name, name: &Name, rtype: u16, sets: &[RrSet]) -> Result<(Synthesis, Proof), u16> {
    let denial = Denial::of(zone, sets.iter());
    let no_name = denial.no_name(name).map(|proof| (Synthesis::NoName, proof));
    no_name.or_else(|_| denial.no_data(name, rtype).map(|proof| (Synthesis::NoData, proof)))
}

/// Drops the record that expires first among some behind this key, and those of the beginning behind the last.
fn drop_one<K: Ord + Clone>(records: &mut BTreeMap<K, Record>, near: &K) -> Option<Record> {
    let behind = records.range((Bound::Excluded(near), Bound::Unbounded));
    let some = behind.chain(records.iter()).take(SAMPLE);
    let chosen = some.min_by_key(|(_, record)| record.expires)?.0.clone();
    records.remove(&chosen)
}

/// For how long a denial may be kept, as an SOA record says (RFC 2308, 4).
pub(crate) fn minimum(soa: &RrSet) -> u32 {
    let minimum = soa.data.first().and_then(|data| data.last_chunk::<4>());
    minimum.map_or(0, |octets| u32::from_be_bytes(*octets))
}

#[cfg(test)]
mod tests;
