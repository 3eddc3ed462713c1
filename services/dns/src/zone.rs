//! A zone, compiled for answering: every name that exists, and what it has.

mod https;
mod made;
mod presigned;

use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashMapExt};

use proxima_ledger::{CompileZone, ReadError, Snapshot};
use proxima_model::{
    AccountId, AcmeOrder, CnameFlattening, DnsName, Record, RecordData, SecondaryZone, TransferredRecord,
    Zone, ZoneId, ZoneSigning, ZoneStatus, is_of_signing,
    limits::{self, TTL_SECONDS_MAX},
};

pub(crate) use self::{
    https::HttpsOffer,
    presigned::{Denied, Presigned},
};
use self::{
    made::{add_challenges, signer, start_of_authority, start_of_primary},
    presigned::Gathered,
};
use crate::{
    dnssec::Signer,
    name::{self, NAME_OCTETS_MAX, Name},
    rrset::{self, RrSet},
    wire::rtype,
};

/// How long others may remember that something does not exist, in seconds (RFC 2308, 4).
pub(crate) const NEGATIVE_TTL: u32 = limits::NEGATIVE_TTL_SECONDS;
/// The label of a wildcard (RFC 4592, 2.1.1) on the wire.
pub(crate) const ASTERISK: &[u8] = b"\x01*";

/// A zone as answers are made from it. Immutable; made anew when the zone or one of its records changes.
#[derive(Debug)]
pub struct ZoneTree {
    /// The zone's name on the wire.
    apex: Box<[u8]>,
    /// Which it is.
    pub(crate) id: ZoneId,
    /// Whose it is.
    account: AccountId,
    labels: usize,
    /// Whether its delegation was seen: only then may its data stand in for another zone's (aliases, flattening).
    active: bool,
    /// Whether proxied names answer the network's addresses.
    proxied: bool,
    /// How proxied names speak HTTPS.
    https: HttpsOffer,
    soa: RrSet,
    /// Whether it may be answered from: a secondary one before its first transfer, or that has expired, may not.
    served: bool,
    /// What signs it, if it is signed here.
    signer: Option<Box<Signer>>,
    /// What it has because its primary signed it, if it is answered with that.
    presigned: Option<Box<Presigned>>,
    /// Every name that exists, relative to the apex, in lower case: with records, or only with names below it (an
    /// empty non-terminal, RFC 4592, 2.2.2).
    nodes: HashMap<Box<[u8]>, Node>,
    /// The name that answers a certificate authority's challenges, relative to the apex, and the texts that its owner has
    /// there beside them.
    challenged: Option<(Box<[u8]>, Option<RrSet>)>,
}

/// What a name has.
#[derive(Debug, Default)]
pub(crate) struct Node {
    sets: Vec<RrSet>,
    /// Its CNAME record.
    alias: Option<RrSet>,
    /// Whether the alias is answered as the addresses that it leads to: where RFC 1034, 3.6.2 forbids a CNAME record,
    /// at the apex and beside other records, and where its owner wants it.
    flattened: bool,
    /// Whether its owner wants it.
    wants_flattening: bool,
    /// Whether a record here is proxied.
    proxied: bool,
    /// Whether the zone ends here and another begins (RFC 1034, 4.2.1).
    cut: bool,
    /// Whether the name `*` exists directly below.
    wildcard_below: bool,
}

/// What a name has that only lies between two zones here.
pub(crate) static BETWEEN: Node = Node {
    sets: Vec::new(),
    alias: None,
    flattened: false,
    wants_flattening: false,
    proxied: false,
    cut: false,
    wildcard_below: false,
};

/// What a zone says of a name that lies in it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'z> {
    /// The name exists.
    Node(&'z Node),
    /// The name does not exist, and a wildcard stands for it.
    Wildcard {
        /// What the wildcard has.
        node: &'z Node,
        /// How many labels of the name looked up are not there.
        labels: usize,
    },
    /// The name belongs to a zone that is delegated away.
    Cut {
        /// What the delegated name has.
        node: &'z Node,
        /// Which label of the name looked up the delegated name begins with.
        label: usize,
    },
    /// The name does not exist.
    Nothing {
        /// What the closest name that encloses it has (RFC 4592, 3.3.1).
        encloser: &'z Node,
        /// How many labels of the name looked up are not there.
        labels: usize,
    },
}

/// How a name answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind<'n> {
    /// With the network's addresses where addresses are asked for, with its own records otherwise.
    Proxied,
    /// As the name that it stands for.
    Alias(&'n RrSet),
    /// With the addresses of the name that it stands for, with its own records otherwise.
    Flattened(&'n RrSet),
    /// With its own records.
    Plain,
}

impl Node {
    /// The records of a type.
    pub(crate) fn set(&self, rtype: u16) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    /// How the name answers.
    pub(crate) fn kind(&self, zone: &ZoneTree) -> Kind<'_> {
        match &self.alias {
            _ if self.proxied && zone.proxied => Kind::Proxied,
            Some(alias) if self.flattened => Kind::Flattened(alias),
            Some(alias) => Kind::Alias(alias),
            None => Kind::Plain,
        }
    }

    /// Whether the name has records at all, or is only between others and the apex.
    pub(crate) fn has_data(&self) -> bool {
        self.alias.is_some() || !self.sets.is_empty()
    }

    /// The types of its records.
    pub(crate) fn types(&self) -> impl Iterator<Item = u16> {
        self.sets.iter().map(|set| set.rtype)
    }

    /// Whether it is proxied.
    pub(crate) fn is_proxied(&self, zone: &ZoneTree) -> bool {
        matches!(self.kind(zone), Kind::Proxied)
    }

    fn add(&mut self, record: &Record, wire: Option<Vec<u8>>, ttl_max: u32) {
        let (rtype, data) = rrset::encode(&record.data);
        let data = wire.unwrap_or(data);
        let ttl = record.ttl.wire_seconds().min(ttl_max);
        self.proxied |= record.proxied;
        self.wants_flattening |= record.flatten;
        if let RecordData::Cname { .. } = record.data {
            // One alias at most (RFC 2181, 10.1); the model refuses a second one.
            self.alias.get_or_insert_with(|| RrSet::of_one(rtype, ttl, data));
        } else {
            // They are brought together when all are here: one by one, each would be looked for among those before it.
            self.sets.push(RrSet::of_one(rtype, ttl, data));
        }
    }

    fn add_data(&mut self, rtype: u16, ttl: u32, data: Vec<u8>) {
        match self.sets.iter_mut().find(|set| set.rtype == rtype) {
            Some(set) => set.add(ttl, data),
            None => self.sets.push(RrSet::of_one(rtype, ttl, data)),
        }
    }
}

impl ZoneTree {
    /// Compiles a zone from its records. Records of other zones are left out: there are none, since the model checks
    /// every record when it is made.
    ///
    /// # Errors
    /// The first one that `records` gives.
    pub fn compile<E>(zone: &Zone, records: impl IntoIterator<Item = Result<Record, E>>) -> Result<Self, E> {
        Self::compile_with(zone, &[], None, records)
    }

    /// As [`Self::compile`], with the answers to a certificate authority's challenges (RFC 8555, 8.4) beside the owner's
    /// own records of their name, and signed.
    ///
    /// # Errors
    /// The first one that `records` gives.
    pub fn compile_with<E>(
        zone: &Zone,
        challenges: &[String],
        signing: Option<&ZoneSigning>,
        records: impl IntoIterator<Item = Result<Record, E>>,
    ) -> Result<Self, E> {
        let records = records.into_iter().map(|record| record.map(|record| (record, None)));
        Self::compile_from(zone, None, challenges, signing, records)
    }

    /// Compiles a zone from what its primary transferred, of which what is in force counts: unsigned, signed here, or as its
    /// primary signed it.
    ///
    /// # Errors
    /// The first one that `records` gives.
    pub fn compile_secondary<E>(
        zone: &Zone,
        secondary: &SecondaryZone,
        signing: Option<&ZoneSigning>,
        records: impl IntoIterator<Item = Result<TransferredRecord, E>>,
    ) -> Result<Self, E> {
        let records = records.into_iter().filter_map(|found| match found {
            Ok(found) if found.is_in_force(secondary.generation) => {
                let wire = found.wire();
                Some(Ok((found.record, wire)))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        Self::compile_from(zone, Some(secondary), &[], signing, records)
    }

    /// As [`Self::compile_with`]; a secondary zone has the SOA record and the name servers of its primary. With a record
    /// may come its data on the wire, where that is not what is made of it.
    ///
    /// Of a zone that is signed nothing may be remembered for longer than [`TTL_SECONDS_MAX`], whatever its primary says: a
    /// stage of a key's roll-over lasts as long as that. One that its primary signed is as that has it: nothing of ours stands
    /// in it, which could not be signed.
    fn compile_from<E>(
        zone: &Zone,
        secondary: Option<&SecondaryZone>,
        challenges: &[String],
        signing: Option<&ZoneSigning>,
        records: impl IntoIterator<Item = Result<(Record, Option<Vec<u8>>), E>>,
    ) -> Result<Self, E> {
        let apex = zone.name.wire();
        // A primary may give what it likes; how a key is rolled over counts on what may be remembered of a signed zone.
        let ttl_max = if signing.is_some() { TTL_SECONDS_MAX } else { u32::MAX };
        let mut of_primary =
            secondary.and_then(|secondary| secondary.presigned.as_ref()).map(|_| Gathered::default());
        let mut nodes: HashMap<Box<[u8]>, Node> = HashMap::new();
        for record in records {
            let (record, wire) = record?;
            let owner = record.name.wire();
            let is_kept = match is_of_signing(record.data.record_type().code()) && secondary.is_some() {
                true => of_primary.is_some(),
                false => record.data.is_offered(),
            };
            let relative = owner.strip_suffix(&*apex).filter(|_| record.name.is_within(&zone.name));
            let Some(relative) = relative.filter(|_| is_kept) else { continue };
            if !of_primary.as_mut().is_some_and(|gathered| gathered.take_record(relative, &record)) {
                nodes.entry(relative.into()).or_default().add(&record, wire, ttl_max);
            }
        }
        nodes.values_mut().for_each(|node| RrSet::gather(&mut node.sets));
        let challenges = if of_primary.is_some() { &[] } else { challenges };
        let challenged = add_challenges(&mut nodes, zone, &apex, challenges);
        let mut soa = secondary
            .and_then(|secondary| secondary.soa.as_ref())
            .map_or_else(|| start_of_authority(zone, &apex), |soa| start_of_primary(soa, ttl_max));
        let presigned = of_primary.map(|gathered| Box::new(gathered.compile(&apex, &mut nodes, &mut soa)));
        let signing = signing.filter(|_| presigned.is_none());
        let mut tree = Self {
            labels: Name::of_encoded(&apex).labels(),
            id: zone.id,
            account: zone.account,
            active: zone.status == ZoneStatus::Active,
            proxied: zone.is_proxied(),
            https: HttpsOffer::of(&zone.settings),
            soa,
            served: secondary.is_none_or(SecondaryZone::is_served),
            signer: signing.and_then(|signing| signer(zone, signing, &apex)),
            presigned,
            apex: apex.into(),
            nodes,
            challenged,
        };
        tree.complete_apex(if secondary.is_none() { &zone.name_servers } else { &[] });
        tree.complete_names(zone.settings.cname_flattening == CnameFlattening::FlattenAll);
        Ok(tree)
    }

    fn complete_apex(&mut self, name_servers: &[DnsName]) {
        let apex = self.nodes.entry(Box::default()).or_default();
        for server in name_servers {
            apex.add_data(rtype::NS, limits::APEX_NS_TTL_SECONDS, server.wire());
        }
        apex.sets.push(self.soa.clone());
        if let Some(signer) = &mut self.signer {
            signer.join(&self.apex, |rtype| apex.set(rtype).cloned());
            apex.sets.retain(|set| signer.stands_beside(set.rtype));
        }
        for set in self.signer.iter().flat_map(|signer| signer.apex_sets()) {
            // Its owner may have keys of others beside ours (RFC 8901).
            match apex.sets.iter_mut().find(|known| known.rtype == set.rtype) {
                Some(known) => known.merge(set),
                None => apex.sets.push(set.clone()),
            }
        }
    }

    /// Derives what follows from the names that have records: the names between them and the apex, wildcards, cuts.
    fn complete_names(&mut self, flatten_all: bool) {
        let names: Vec<Box<[u8]>> = self.nodes.keys().cloned().collect();
        for name in names {
            let mut rest = &name[..];
            while let Some((&length, after)) = rest.split_first() {
                let parent = &after[usize::from(length)..];
                let is_wildcard = rest.starts_with(ASTERISK);
                match self.nodes.entry(parent.into()) {
                    // It has records and is looked at itself, or whoever made it made everything above it.
                    Entry::Occupied(known) => {
                        known.into_mut().wildcard_below |= is_wildcard;
                        break;
                    }
                    Entry::Vacant(unknown) => unknown.insert(Node::default()).wildcard_below = is_wildcard,
                }
                rest = parent;
            }
        }
        let is_presigned = self.presigned.is_some();
        for (name, node) in &mut self.nodes {
            let is_apex = name.is_empty();
            // A delegation of a wildcard has no meaning (RFC 4592, 4.2): its NS records are records like others.
            node.cut = !is_apex && !name.starts_with(ASTERISK) && node.set(rtype::NS).is_some();
            if !node.cut {
                // How a zone is signed, where none begins (any more).
                node.sets.retain(|set| set.rtype != rtype::DS);
            }
            node.wants_flattening |= flatten_all;
            node.flattened = !is_presigned && (is_apex || node.wants_flattening || !node.sets.is_empty());
            if is_presigned && is_apex {
                // It would stand for the zone's own records (RFC 1034, 3.6.2).
                node.alias = None;
            }
        }
    }

    /// The zone's name on the wire.
    pub(crate) fn apex(&self) -> &[u8] {
        &self.apex
    }

    /// Whose it is.
    pub(crate) const fn account(&self) -> AccountId {
        self.account
    }

    /// Whether its delegation was seen.
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// Whether it may be answered from.
    pub(crate) const fn is_served(&self) -> bool {
        self.served
    }

    /// How its proxied names speak HTTPS.
    pub(crate) const fn https(&self) -> HttpsOffer {
        self.https
    }

    /// The zone's SOA, as it stands beside what does not exist.
    pub(crate) fn soa(&self) -> &RrSet {
        &self.soa
    }

    /// Its serial.
    pub(crate) fn serial(&self) -> u32 {
        // Serial, refresh, retry, expire, minimum (RFC 1035, 3.3.13).
        let numbers: Option<&[u8; 20]> = self.soa.data[0].last_chunk();
        let serial = numbers.and_then(|numbers| numbers.first_chunk());
        serial.map_or(0, |serial| u32::from_be_bytes(*serial))
    }

    /// What it has because its primary signed it.
    pub(crate) fn presigned(&self) -> Option<&Presigned> {
        self.presigned.as_deref()
    }

    /// A name of the zone relative to its apex, without its first labels.
    pub(crate) fn relative<'n>(&self, name: &'n Name, labels: usize) -> &'n [u8] {
        name.relative(labels, self.apex.len())
    }

    /// What signs it.
    pub(crate) fn signer(&self) -> Option<&Signer> {
        self.signer.as_deref()
    }

    /// Looks up a name that lies within the zone (RFC 1034, 4.3.2; RFC 4592, 3.3.1): from the apex down, so that a
    /// delegation hides all below it, to the name itself or the closest name that encloses it.
    pub(crate) fn find(&self, name: &Name) -> Found<'_> {
        let mut encloser = self.node(&[]);
        for label in (0..name.labels() - self.labels).rev() {
            match self.nodes.get(name.relative(label, self.apex.len())) {
                Some(node) if node.cut => return Found::Cut { node, label },
                Some(node) => encloser = node,
                None if encloser.wildcard_below => {
                    let node = self.wildcard(name.relative(label + 1, self.apex.len()));
                    return Found::Wildcard { node, labels: label + 1 };
                }
                None => return Found::Nothing { encloser, labels: label + 1 },
            }
        }
        Found::Node(encloser)
    }

    /// What a name has by itself, also below a delegation: glue (RFC 1034, 4.2.1).
    /// The name is whole and in lower case.
    pub(crate) fn glue(&self, name: &[u8]) -> Option<&Node> {
        let relative = name.strip_suffix(&*self.apex).filter(|_| name::is_within(name, &self.apex))?;
        self.nodes.get(relative)
    }

    /// Every name that exists, relative to the apex, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.nodes.keys().map(|name| &**name)
    }

    /// How many names exist.
    pub(crate) fn name_count(&self) -> usize {
        self.nodes.len()
    }

    /// What a name has, which is relative to the apex.
    pub(crate) fn at(&self, relative: &[u8]) -> Option<&Node> {
        self.nodes.get(relative)
    }

    /// What a name of this zone has of its owner's, and how it answers by that: without answers to challenges, which are
    /// good once and change without the serial.
    pub(crate) fn of_owner<'z>(
        &'z self,
        relative: &[u8],
        node: &'z Node,
    ) -> (Kind<'z>, impl Iterator<Item = &'z RrSet> + use<'z>) {
        let challenged = self.challenged.as_ref().filter(|(name, _)| **name == *relative);
        let own = challenged.map(|(_, own)| own.as_ref());
        let kind = match node.kind(self) {
            // Only the answers stand beside it.
            Kind::Flattened(alias) if own == Some(None) && node.sets.len() == 1 && !node.wants_flattening => {
                Kind::Alias(alias)
            }
            kind => kind,
        };
        let sets = node.sets.iter().filter(move |set| own.is_none() || set.rtype != rtype::TXT);
        (kind, sets.chain(own.flatten()))
    }

    fn node(&self, relative: &[u8]) -> &Node {
        self.nodes.get(relative).expect("the apex and every name with a wildcard below it exist")
    }

    fn wildcard(&self, encloser: &[u8]) -> &Node {
        let mut octets = [0; NAME_OCTETS_MAX];
        let length = ASTERISK.len() + encloser.len();
        octets[..ASTERISK.len()].copy_from_slice(ASTERISK);
        octets[ASTERISK.len()..length].copy_from_slice(encloser);
        self.node(&octets[..length])
    }
}

impl CompileZone for ZoneTree {
    fn compile(snapshot: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        let challenges =
            snapshot.get::<AcmeOrder>(&zone.id)?.map(|order| order.challenges).unwrap_or_default();
        let signing = snapshot.get::<ZoneSigning>(&zone.id)?;
        let signing = signing.as_ref();
        let Some(secondary) = snapshot.get::<SecondaryZone>(&zone.id)? else {
            return Self::compile_with(&zone, &challenges, signing, snapshot.scan::<Record>(&[&zone.id]));
        };
        Self::compile_secondary(&zone, &secondary, signing, snapshot.scan::<TransferredRecord>(&[&zone.id]))
    }
}
