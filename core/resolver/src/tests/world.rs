//! An internet in a table: zones at addresses, signed as they are asked, and servers that misbehave as they are told.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};

use crate::{
    keys,
    message::{flag, read_u16, rtype},
    name::Name,
    upstream::{Transport, Upstream},
};

/// What the clock of the tests shows at first, in seconds.
pub(crate) const BEGIN: u64 = 1_800_000_000;

/// How many keys of a zone may be chaff.
const CHAFF_MAX: usize = 8;

/// How a server misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Silent,
    /// There is no way to it.
    Unreachable,
    Refuses,
    OtherId,
    OtherQuestion,
    /// Writes the question in lower case, over UDP.
    LowerCase,
    /// The same, and takes connections in which it says nothing.
    Tarpit,
    /// Says TC over UDP.
    Truncates,
    /// Says that names of its signed zone are a zone elsewhere.
    ForgesDelegation,
    /// Adds records of names that are not its own.
    Poisons,
    /// Says this code of names that have no records, as if nothing lay below them.
    NothingBetween(u8),
    /// Can read no question, however it is asked.
    ReadsNothing,
    /// Does not know EDNS, and says so by this code: with the question, or by a header alone.
    NoEdns(u8, bool),
    /// Has lost its zones, and tells of them from a cache.
    Hearsay,
    /// Says that all name servers of the root are at an address of its choice.
    MovesServers,
}

pub(crate) struct Zone {
    pub(crate) name: Name,
    pub(crate) sets: Vec<(Name, u16, Vec<Vec<u8>>)>,
    key: Option<Arc<EcdsaKeyPair>>,
    /// Another key, which it has, and with which it signs all but its keys, from then on.
    pub(crate) rolls_at: Option<(u64, Arc<EcdsaKeyPair>)>,
    /// TTL of its sets.
    pub(crate) ttl: u32,
    /// TTL of its keys.
    pub(crate) keys_ttl: u32,
    /// Seconds for which signatures are good from [`BEGIN`] on.
    pub(crate) signed_for: i64,
    /// Whether each signature is good for a day from when it is asked for, instead.
    pub(crate) signs_anew: bool,
    /// How many keys with the tag of the real one, and bad signatures, come before it.
    pub(crate) chaff: usize,
    /// From when on, in seconds.
    pub(crate) chaff_at: u64,
    /// Whether its answers are changed after they were signed.
    pub(crate) is_forged: bool,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) zones: Vec<(IpAddr, Zone)>,
    pub(crate) faults: Mutex<HashMap<IpAddr, Fault>>,
    /// Questions that came: to whom, name as it was shown, type, transport.
    pub(crate) asked: Mutex<Vec<(IpAddr, Name, u16, Transport)>>,
    /// Their octets.
    pub(crate) queries: Mutex<Vec<Vec<u8>>>,
    pub(crate) now: AtomicU64,
    /// How long each answer takes.
    pub(crate) round_trip: Duration,
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A key that chaff can be made of.
pub(crate) fn new_key() -> Arc<EcdsaKeyPair> {
    loop {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        if (0..CHAFF_MAX).all(|number| chaff(&dnskey(&key), number).is_some()) {
            return Arc::new(key);
        }
    }
}

/// Another key with the same tag: in two octets of the same half of their pairs, what is taken from one is added to the other.
fn chaff(key: &[u8], number: usize) -> Option<Vec<u8>> {
    let (mut other, from, to) = (key.to_vec(), 10 + number * 4, 12 + number * 4);
    (other[from], other[to]) = (other[from].checked_sub(1)?, other[to].checked_add(1)?);
    Some(other)
}

/// The data of a key's record.
fn dnskey(key: &EcdsaKeyPair) -> Vec<u8> {
    [&[1, 1, 3, 13], &key.public_key().as_ref()[1..]].concat()
}

pub(crate) fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

impl Zone {
    pub(crate) fn new(text: &str, is_signed: bool) -> Self {
        let mut zone = Self {
            name: name(text),
            sets: Vec::new(),
            key: is_signed.then(new_key),
            rolls_at: None,
            ttl: 300,
            keys_ttl: 300,
            signed_for: 86_400,
            signs_anew: false,
            chaff: 0,
            chaff_at: 0,
            is_forged: false,
        };
        let soa = [&b"\0\0"[..], &[0; 16], &300_u32.to_be_bytes()].concat();
        zone.add(text, rtype::SOA, vec![soa]);
        zone
    }

    pub(crate) fn add(&mut self, owner: &str, rtype: u16, data: Vec<Vec<u8>>) {
        self.sets.push((name(owner), rtype, data));
    }

    pub(crate) fn with_a(mut self, owner: &str, last: u8) -> Self {
        self.add(owner, rtype::A, vec![vec![192, 0, 2, last]]);
        self
    }

    pub(crate) fn with_name(mut self, owner: &str, rtype: u16, target: &str) -> Self {
        self.add(owner, rtype, vec![name(target).wire().to_vec()]);
        self
    }

    /// A delegation to a server at an address, with the child's DS if it has a key.
    pub(crate) fn with_child(mut self, child: &Zone, last: u8) -> Self {
        let (owner, server) = (child.name.to_string(), format!("ns.{}", child.name));
        self = self.with_name(&owner, rtype::NS, &server).with_a(&server, last);
        if let Some(ds) = child.ds() {
            self.add(&owner, rtype::DS, vec![ds.into()]);
        }
        self
    }

    pub(crate) fn ds(&self) -> Option<Box<[u8]>> {
        Some(keys::digest_of(&self.name, &self.dnskey()?).unwrap())
    }

    /// The same zone at another server, which signs for another while.
    pub(crate) fn elsewhere(&self, signed_for: i64) -> Self {
        let (key, rolls_at) = (self.key.clone(), self.rolls_at.clone());
        Self { name: self.name.clone(), sets: self.sets.clone(), key, rolls_at, signed_for, ..*self }
    }

    pub(crate) fn dnskey(&self) -> Option<Vec<u8>> {
        Some(dnskey(self.key.as_ref()?))
    }

    fn find(&self, owner: &Name, rtype: u16, now: u64) -> Option<Set> {
        let of_apex = || match (rtype, owner == &self.name) {
            (rtype::DNSKEY, true) => {
                let key = self.dnskey()?;
                let mut data = vec![key.clone()];
                data.extend(self.next_key(now).map(|next| dnskey(next)));
                data.extend((0..self.chaff(now)).filter_map(|number| chaff(&key, number)));
                Some(data)
            }
            _ => None,
        };
        let found = self.sets.iter().find(|set| set.0 == *owner && set.1 == rtype).map(|set| set.2.clone());
        found.or_else(of_apex).map(|data| (owner.clone(), rtype, data))
    }

    /// The zone cut at or above a name.
    fn cut(&self, owner: &Name) -> Option<Name> {
        let cuts = self.sets.iter().filter(|set| set.1 == rtype::NS && set.0 != self.name);
        cuts.map(|set| &set.0).find(|cut| owner.is_within(cut)).cloned()
    }

    /// The whole chain of NSEC records.
    fn chain(&self) -> Vec<Set> {
        let mut owners: Vec<&Name> = self.sets.iter().map(|set| &set.0).collect();
        owners.retain(|owner| self.cut(owner).is_none_or(|cut| cut == **owner));
        owners.sort_by(|a, b| a.canonical_cmp(b));
        owners.dedup();
        let nsec = |at: usize| {
            let next = owners[(at + 1) % owners.len()];
            let mut bits = vec![0; 32];
            for set in self.sets.iter().filter(|set| set.0 == *owners[at]) {
                bits[usize::from(set.1 / 8)] |= 0x80 >> (set.1 % 8);
            }
            (owners[at].clone(), rtype::NSEC, vec![[next.wire(), &[0, 32], &bits].concat()])
        };
        (0..owners.len()).map(nsec).collect()
    }

    fn next_key(&self, now: u64) -> Option<&Arc<EcdsaKeyPair>> {
        self.rolls_at.as_ref().filter(|(at, _)| *at <= now).map(|(_, key)| key)
    }

    fn chaff(&self, now: u64) -> usize {
        if now < self.chaff_at { 0 } else { self.chaff }
    }

    fn ttl(&self, kind: u16) -> u32 {
        if kind == rtype::DNSKEY { self.keys_ttl } else { self.ttl }
    }

    fn sign(&self, (owner, kind, data): &Set, now: u64) -> Option<Vec<u8>> {
        let next = self.next_key(now).filter(|_| *kind != rtype::DNSKEY);
        let key = next.or(self.key.as_ref())?;
        let wild = usize::from(owner.labels().next() == Some(b"*".as_slice()));
        let expires =
            if self.signs_anew { now as i64 + 86_400 } else { BEGIN as i64 + self.signed_for } as u32;
        let tag = keys::Key::parse(&dnskey(key)).unwrap().tag;
        let mut rrsig = kind.to_be_bytes().to_vec();
        rrsig.extend([13, (owner.depth() - wild) as u8]);
        rrsig.extend([self.ttl(*kind), expires, expires - 200_000].map(u32::to_be_bytes).concat());
        rrsig.extend(tag.to_be_bytes());
        rrsig.extend(self.name.wire());
        let mut sorted = data.clone();
        sorted.sort();
        let mut message = rrsig.clone();
        for data in sorted {
            let head = [owner.wire(), &kind.to_be_bytes(), &[0, 1], &self.ttl(*kind).to_be_bytes()].concat();
            message.extend(head);
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(data);
        }
        rrsig.extend(key.sign(&SystemRandom::new(), &message).unwrap().as_ref());
        Some(rrsig)
    }
}

type Set = (Name, u16, Vec<Vec<u8>>);

/// Sections of an answer, being written.
#[derive(Default)]
struct Answer {
    counts: [u16; 3],
    octets: [Vec<u8>; 3],
    flags: u16,
    /// Whether signatures and denials are wanted.
    has_do: bool,
    /// When it is written, in seconds.
    now: u64,
}

impl Answer {
    /// Adds a set with its signature, its name replaced by that for which a wildcard stands.
    fn add(&mut self, section: usize, zone: &Zone, set: &Set, shown: Option<&Name>) {
        let owner = shown.unwrap_or(&set.0);
        let mut data: Vec<(u16, Vec<u8>)> = set.2.iter().map(|data| (set.1, data.clone())).collect();
        if self.has_do && (set.1 != rtype::NS || set.0 == zone.name) {
            let good = zone.sign(set, self.now);
            for number in 0..zone.chaff(self.now) {
                data.extend(good.clone().map(|mut bad| {
                    *bad.last_mut().unwrap() ^= number as u8 + 1;
                    (rtype::RRSIG, bad)
                }));
            }
            data.extend(good.map(|good| (rtype::RRSIG, good)));
        }
        for (kind, mut data) in data {
            if zone.is_forged && kind == rtype::A {
                data[3] = 66;
            }
            let ttl = zone.ttl(set.1).to_be_bytes();
            let head = [owner.wire(), &kind.to_be_bytes(), &[0, 1], &ttl].concat();
            self.octets[section].extend(head);
            self.octets[section].extend((data.len() as u16).to_be_bytes());
            self.octets[section].extend(data);
            self.counts[section] += 1;
        }
    }

    fn of(zones: &[&Zone], asked: &Name, kind: u16, has_do: bool, now: u64) -> Option<Self> {
        let mut answer = Self { flags: flag::QR | flag::AA, has_do, now, ..Self::default() };
        // The set of a delegation is in the zone above, if it is here.
        let has = |zone: &&&Zone| asked.is_within(&zone.name) && (kind != rtype::DS || asked != &zone.name);
        let zone = zones.iter().filter(has).max_by_key(|zone| zone.name.depth())?;
        if let Some(cut) = zone.cut(asked).filter(|cut| kind != rtype::DS || cut != asked) {
            answer.flags = flag::QR;
            let servers = zone.find(&cut, rtype::NS, now)?;
            answer.add(1, zone, &servers, None);
            match zone.find(&cut, rtype::DS, now) {
                Some(ds) => answer.add(1, zone, &ds, None),
                None => zone
                    .chain()
                    .iter()
                    .filter(|_| has_do && zone.key.is_some())
                    .for_each(|it| answer.add(1, zone, it, None)),
            }
            for server in &servers.2 {
                let server = Name::from_wire(server)?;
                let glue = zone.find(&server, rtype::A, now);
                glue.iter().for_each(|glue| answer.add(2, &Zone::new(".", false), glue, None));
            }
            return Some(answer);
        }
        let above = (zone.name.depth() + 1..=asked.depth())
            .rev()
            .filter_map(|depth| asked.suffix(depth - 1).wildcard());
        let dname = zone.sets.iter().find(|set| set.1 == rtype::DNAME && asked.is_below(&set.0));
        let exists = zone.sets.iter().any(|set| set.0.is_within(asked));
        let above: Vec<Name> = above.collect();
        let is_wild = zone.sets.iter().any(|set| above.contains(&set.0));
        let wild = || {
            let of_type = |kind| above.iter().find_map(|wildcard| zone.find(wildcard, kind, now));
            of_type(kind).or_else(|| of_type(rtype::CNAME))
        };
        if let Some(set) =
            dname.or(zone.find(asked, kind, now).or_else(|| zone.find(asked, rtype::CNAME, now)).as_ref())
        {
            answer.add(0, zone, set, None);
            let moves = dname.and_then(|dname| Some((&dname.0, Name::from_wire(dname.2.first()?)?)));
            answer.flags |= moves.filter(|(from, to)| asked.moved(from, to).is_none()).map_or(0, |_| 6);
            for server in set.2.iter().filter(|_| kind == rtype::NS).filter_map(|data| Name::from_wire(data))
            {
                let glue = zone.find(&server, rtype::A, now);
                glue.iter().for_each(|glue| answer.add(2, &Zone::new(".", false), glue, None));
            }
        } else if let Some(set) = wild().filter(|_| !exists) {
            answer.add(0, zone, &set, Some(asked));
            zone.chain().iter().filter(|_| has_do).for_each(|it| answer.add(1, zone, it, None));
        } else {
            answer.flags |= if exists || is_wild { 0 } else { 3 };
            answer.add(1, zone, &zone.find(&zone.name, rtype::SOA, now)?, None);
            zone.chain()
                .iter()
                .filter(|_| has_do && zone.key.is_some())
                .for_each(|it| answer.add(1, zone, it, None));
        }
        Some(answer)
    }
}

#[async_trait]
impl Upstream for World {
    async fn exchange(&self, server: IpAddr, query: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
        let mut at = 12;
        let asked = Name::parse(query, &mut at).unwrap();
        let kind = read_u16(query, &mut at).unwrap();
        self.asked.lock().unwrap().push((server, asked.clone(), kind, transport));
        self.queries.lock().unwrap().push(query.to_vec());
        // A flag of the OPT record, which stands at the end, and has no options.
        let (has_edns, has_do) = (query[11] == 1, query[11] == 1 && query[query.len() - 4] & 0x80 != 0);
        let fault = self.faults.lock().unwrap().get(&server).copied();
        // Of the runtime's simulated time.
        if !self.round_trip.is_zero() {
            tokio::time::sleep(self.round_trip).await;
        }
        let zones: Vec<&Zone> =
            self.zones.iter().filter(|zone| zone.0 == server).map(|zone| &zone.1).collect();
        if fault == Some(Fault::Silent) || zones.is_empty() {
            std::future::pending::<()>().await;
        }
        if fault == Some(Fault::Unreachable) {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let refused = Answer { flags: flag::QR | 5, ..Answer::default() };
        let now = self.now.load(Ordering::Relaxed);
        let mut answer = Answer::of(&zones, &asked, kind, has_do, now).unwrap_or(refused);
        let mut question = query[12..at + 2].to_vec();
        let mut id = [query[0], query[1]];
        match fault {
            Some(Fault::Refuses) => answer = Answer { flags: flag::QR | 5, ..Answer::default() },
            Some(Fault::Hearsay) => answer.flags = answer.flags & !flag::AA | flag::RA,
            Some(Fault::NothingBetween(code))
                if !zones.iter().flat_map(|zone| &zone.sets).any(|set| set.0 == asked) =>
            {
                answer = Answer { flags: flag::QR | flag::AA | u16::from(code), ..Answer::default() };
            }
            Some(Fault::ReadsNothing) => answer = Answer { flags: flag::QR | 1, ..Answer::default() },
            Some(Fault::NoEdns(code, is_header)) if has_edns => {
                let flags = flag::QR | u16::from(code);
                if is_header {
                    return Ok([&id[..], &flags.to_be_bytes(), &[0; 8]].concat());
                }
                answer = Answer { flags, ..Answer::default() };
            }
            Some(Fault::OtherId) => id[0] ^= 1,
            Some(Fault::OtherQuestion) => question[1] ^= 1,
            Some(Fault::LowerCase | Fault::Tarpit) if transport == Transport::Udp => {
                question.make_ascii_lowercase();
            }
            Some(Fault::Tarpit) => std::future::pending().await,
            Some(Fault::Truncates) if transport == Transport::Udp => {
                answer = Answer { flags: answer.flags | flag::TC, ..Answer::default() };
            }
            Some(Fault::ForgesDelegation) if kind != rtype::DS && asked.depth() == 3 => {
                let server = name("ns.evil.test").wire().to_vec();
                answer = Answer { flags: flag::QR, ..Answer::default() };
                answer.add(1, &Zone::new(".", false), &(asked.clone(), rtype::NS, vec![server]), None);
            }
            Some(Fault::MovesServers) if kind == rtype::NS && asked.is_root() => {
                let servers = zones[0].find(&asked, rtype::NS, BEGIN).map(|set| set.2).unwrap_or_default();
                (answer.counts[2], answer.octets[2]) = (0, Vec::new());
                for server in servers.iter().filter_map(|data| Name::from_wire(data)) {
                    let lie = (server, rtype::A, vec![vec![192, 0, 2, 66]]);
                    answer.add(2, &Zone::new(".", false), &lie, None);
                }
            }
            Some(Fault::Poisons) => {
                let lie = (name("www.bank.test"), rtype::A, vec![vec![6, 6, 6, 6]]);
                (0..3).for_each(|section| answer.add(section, &Zone::new(".", false), &lie, None));
            }
            _ => {}
        }
        let mut message = [id, answer.flags.to_be_bytes(), [0, 1]].concat();
        message.extend(answer.counts.iter().flat_map(|count| count.to_be_bytes()));
        message.extend(question);
        message.extend(answer.octets.concat());
        Ok(message)
    }
}

impl World {
    pub(crate) fn set(&self, server: IpAddr, fault: Option<Fault>) {
        let mut faults = self.faults.lock().unwrap();
        match fault {
            Some(fault) => faults.insert(server, fault),
            None => faults.remove(&server),
        };
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}
