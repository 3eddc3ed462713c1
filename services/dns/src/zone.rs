//! A zone, compiled for answering: every name that exists, and what it has.
//!
//! ```text
//!  records of the replica ─▶ Draft: names, gathered (draft.rs) ─▶ Packed: one piece of memory (packed.rs) ─▶ find
//! ```

mod draft;
mod https;
mod made;
mod packed;
mod presigned;
mod secondary;

use proxima_ledger::{CompileZone, ENTRY_OCTETS, ReadError, Snapshot};
use proxima_model::{
    AccountId, AcmeOrder, CnameFlattening, DnsName, Kind as ModelKind, Record, SecondaryZone,
    TransferredRecord, Zone, ZoneId, ZoneSigning, ZoneStatus, is_of_signing,
    limits::{self, TTL_SECONDS_MAX},
};

use self::{
    draft::Draft,
    made::{Challenged, add_challenges, signer, start_of_authority, start_of_primary},
    packed::{Packed, flag},
    presigned::Gathered,
    secondary::Came,
};
pub(crate) use self::{
    https::HttpsOffer,
    packed::{Node, Place},
    presigned::{Denied, Presigned},
};
use crate::{
    dnssec::Signer,
    name::{self, NAME_OCTETS_MAX, Name},
    rrset::{RrSet, Set},
    wire::rtype,
};

/// How long others may remember that something does not exist, in seconds (RFC 2308, 4).
pub(crate) const NEGATIVE_TTL: u32 = limits::NEGATIVE_TTL_SECONDS;
/// Octets that keys take, about: two, what the apex says of them, and the cryptographic library's own.
const SIGNER_OCTETS: usize = 8 << 10;
/// Octets that the answers to challenges take beside their set, about.
const CHALLENGED_OCTETS: usize = 256;
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
    /// Whether it may be answered from: a secondary one before its first transfer, or that has expired, may not.
    served: bool,
    /// What it is made of beside records, if it is a secondary one.
    came: Option<Box<Came>>,
    /// What signs it, if it is signed here.
    signer: Option<Box<Signer>>,
    /// What it has because its primary signed it, if it is answered with that.
    presigned: Option<Box<Presigned>>,
    /// Every name that exists.
    names: Packed,
    /// The name that answers a certificate authority's challenges, if there is one now.
    challenged: Option<Box<Challenged>>,
}

/// What a zone says of a name that lies in it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'z> {
    /// The name exists.
    Node(Node<'z>),
    /// The name does not exist, and a wildcard stands for it.
    Wildcard {
        /// What the wildcard has.
        node: Node<'z>,
        /// How many labels of the name looked up are not there.
        labels: usize,
    },
    /// The name belongs to a zone that is delegated away.
    Cut {
        /// What the delegated name has.
        node: Node<'z>,
        /// Which label of the name looked up the delegated name begins with.
        label: usize,
    },
    /// The name is found elsewhere, for one above it has a DNAME record (RFC 6672).
    Redirected {
        /// What the name with that record has.
        node: Node<'z>,
        /// Which label of the name looked up it begins with.
        label: usize,
    },
    /// The name does not exist.
    Nothing {
        /// What the closest name that encloses it has (RFC 4592, 3.3.1).
        encloser: Node<'z>,
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
    Alias(Set<'n>),
    /// With the addresses of the name that it stands for, with its own records otherwise.
    Flattened(Set<'n>),
    /// With its own records.
    Plain,
}

impl<'z> Node<'z> {
    /// How the name answers.
    pub(crate) fn kind(self, zone: &ZoneTree) -> Kind<'z> {
        match self.alias() {
            _ if self.is(flag::PROXIED) && zone.proxied => Kind::Proxied,
            Some(alias) if self.is(flag::FLATTENED) => Kind::Flattened(alias),
            Some(alias) => Kind::Alias(alias),
            None => Kind::Plain,
        }
    }

    /// The types of its records, but for an alias.
    pub(crate) fn types(self) -> impl Iterator<Item = u16> + use<'z> {
        self.sets().map(|set| set.rtype)
    }

    /// Whether it is proxied.
    pub(crate) fn is_proxied(self, zone: &ZoneTree) -> bool {
        matches!(self.kind(zone), Kind::Proxied)
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
        let mut draft = Draft::default();
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
                draft.node(relative).add(&record, wire, ttl_max);
            }
        }
        draft.gather();
        let challenges = if of_primary.is_some() { &[] } else { challenges };
        let challenged = add_challenges(&mut draft, zone, &apex, challenges);
        let soa = secondary
            .and_then(|secondary| secondary.soa.as_ref())
            .map_or_else(|| start_of_authority(zone, &apex), |soa| start_of_primary(soa, ttl_max));
        let presigned = of_primary.map(|gathered| Box::new(gathered.compile(&apex, &mut draft)));
        let signing = signing.filter(|_| presigned.is_none());
        let mut signer = signing.and_then(|signing| signer(zone, signing, &apex));
        let servers = if secondary.is_none() { &zone.name_servers[..] } else { &[] };
        complete_apex(&mut draft, soa, servers, (signer.as_deref_mut(), &apex[..]));
        let flatten_all = zone.settings.cname_flattening == CnameFlattening::FlattenAll;
        draft.complete(flatten_all, presigned.is_some());
        Ok(Self {
            labels: Name::of_encoded(&apex).labels(),
            id: zone.id,
            account: zone.account,
            active: zone.status == ZoneStatus::Active,
            proxied: zone.is_proxied(),
            https: HttpsOffer::of(&zone.settings),
            served: secondary.is_none_or(SecondaryZone::is_served),
            came: secondary.map(|secondary| Box::new(Came::of(secondary))),
            signer,
            presigned,
            apex: apex.into(),
            names: Packed::of(draft),
            challenged,
        })
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
    pub fn is_active(&self) -> bool {
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
    pub(crate) fn soa(&self) -> Set<'_> {
        self.names.apex().set(rtype::SOA).expect("every zone has one")
    }

    /// Its serial.
    pub(crate) fn serial(&self) -> u32 {
        // Serial, refresh, retry, expire, minimum (RFC 1035, 3.3.13).
        let numbers: Option<&[u8; 20]> = self.soa().first().last_chunk();
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
    /// delegation and a DNAME record hide all below them, to the name itself or the closest name that encloses it.
    pub(crate) fn find(&self, name: &Name) -> Found<'_> {
        let mut encloser = self.names.apex();
        for label in (0..name.labels() - self.labels).rev() {
            if encloser.is(flag::REDIRECTS) {
                return Found::Redirected { node: encloser, label: label + 1 };
            }
            match self.names.get(name.relative(label, self.apex.len())) {
                Some(node) if node.is(flag::CUT) => return Found::Cut { node, label },
                Some(node) => encloser = node,
                None if encloser.is(flag::WILDCARD_BELOW) => {
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
    pub(crate) fn glue(&self, name: &[u8]) -> Option<Node<'_>> {
        let relative = name.strip_suffix(&*self.apex).filter(|_| name::is_within(name, &self.apex))?;
        self.names.get(relative)
    }

    /// Every name that exists, relative to the apex, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names.names()
    }

    /// How many names exist.
    pub(crate) const fn name_count(&self) -> usize {
        self.names.len()
    }

    /// What a name has, which is relative to the apex.
    pub(crate) fn at(&self, relative: &[u8]) -> Option<Node<'_>> {
        self.names.get(relative)
    }

    /// What a name of this zone has of its owner's, and how it answers by that: without answers to challenges, which are
    /// good once and change without the serial.
    pub(crate) fn of_owner<'z>(
        &'z self,
        relative: &[u8],
        node: Node<'z>,
    ) -> (Kind<'z>, impl Iterator<Item = Set<'z>> + use<'z>) {
        let challenged = self.challenged.as_ref().filter(|challenged| *challenged.name == *relative);
        let own = challenged.map(|challenged| challenged.own.as_ref());
        let is_alone = || node.sets().count() == 1 && !node.is(flag::WANTS_FLATTENING);
        let kind = match node.kind(self) {
            // Only the answers stand beside it.
            Kind::Flattened(alias) if own == Some(None) && is_alone() => Kind::Alias(alias),
            kind => kind,
        };
        let sets = node.sets().filter(move |set| own.is_none() || set.rtype != rtype::TXT);
        (kind, sets.chain(own.flatten().map(RrSet::view)))
    }

    /// Where this set of a name lies, whole and in lower case, if it is the name's own.
    pub(crate) fn place(&self, owner: &[u8], set: Set<'_>) -> Option<Place> {
        self.names.place(owner.strip_suffix(&*self.apex)?, set)
    }

    /// The signatures that its primary made of a set of a name, whole and in lower case, or of the wildcard that stands for it;
    /// of what is not the zone's own there are none.
    pub(crate) fn signatures(&self, owner: &[u8], set: Set<'_>) -> Option<Set<'_>> {
        self.presigned.as_ref()?;
        let relative = owner.strip_suffix(&*self.apex)?;
        // The names of hashes are none of the zone's.
        if set.rtype == rtype::NSEC3 || self.names.get(relative).is_some() {
            return self.signatures_at(relative, set);
        }
        let name = Name::of_encoded(owner);
        let Found::Wildcard { labels, .. } = self.find(&name) else { return None };
        self.signatures_at(&[ASTERISK, self.relative(&name, labels)].concat(), set)
    }

    /// The same of a set of a name that exists or denies, relative to the apex.
    pub(crate) fn signatures_at(&self, relative: &[u8], set: Set<'_>) -> Option<Set<'_>> {
        let signatures = self.presigned()?.signatures(relative, set.rtype)?;
        // What lies there is the name's own; the records of others are compared, which may be many.
        let is_own = || {
            let sets = self
                .names
                .get(relative)
                .into_iter()
                .flat_map(|node| node.alias().into_iter().chain(node.sets()));
            sets.into_iter().any(|own| own == set)
        };
        let denies = matches!(set.rtype, rtype::NSEC | rtype::NSEC3);
        (denies || self.names.place(relative, set).is_some() || is_own()).then_some(signatures)
    }

    fn wildcard(&self, encloser: &[u8]) -> Node<'_> {
        let mut octets = [0; NAME_OCTETS_MAX];
        let length = ASTERISK.len() + encloser.len();
        octets[..ASTERISK.len()].copy_from_slice(ASTERISK);
        octets[ASTERISK.len()..length].copy_from_slice(encloser);
        self.names.get(&octets[..length]).expect("a name says so only if there is a wildcard below it")
    }
}

impl CompileZone for ZoneTree {
    /// Records that came by a transfer come into force together with the zone's `Secondary`.
    const KINDS: &'static [ModelKind] =
        &[ModelKind::Zone, ModelKind::Record, ModelKind::AcmeOrder, ModelKind::Dnssec, ModelKind::Secondary];
    const KINDS_THAT_SAY_MORE: &'static [ModelKind] = &[ModelKind::Secondary];
    const WEIGHT_COMMON: u64 = 1 << 10;

    fn weight(&self) -> u64 {
        let challenged = self.challenged.as_ref().map_or(0, |_| CHALLENGED_OCTETS);
        let signer = self.signer.as_ref().map_or(0, |_| SIGNER_OCTETS);
        let presigned = self.presigned.as_ref().map_or(0, |presigned| presigned.octets());
        let octets = size_of::<Self>() + self.apex.len() + self.names.octets();
        let came = self.came.as_ref().map_or(0, |came| came.octets());
        let octets = octets + challenged + signer + presigned + came;
        octets as u64 + ENTRY_OCTETS
    }

    fn is_as_in(&self, snapshot: &Snapshot, zone: ZoneId) -> Result<bool, ReadError> {
        let secondary = snapshot.get::<SecondaryZone>(&zone)?;
        Ok(secondary.as_ref().map(Came::of).as_ref() == self.came.as_deref())
    }

    fn is_larger_than(snapshot: &Snapshot, zone: ZoneId, records: usize) -> Result<bool, ReadError> {
        Ok(snapshot.has_more_than::<Record>(&[&zone], records)?
            || snapshot.has_more_than::<TransferredRecord>(&[&zone], records)?)
    }

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

/// Gives the apex what a zone has by itself: its SOA record, name servers, and what follows from its keys.
fn complete_apex(
    draft: &mut Draft,
    soa: RrSet,
    name_servers: &[DnsName],
    (signer, apex_name): (Option<&mut Signer>, &[u8]),
) {
    let apex = draft.node(&[]);
    for server in name_servers {
        apex.add_data(rtype::NS, limits::APEX_NS_TTL_SECONDS, &server.wire());
    }
    // What is asked for most often, and stands beside all that does not exist, is found first.
    apex.sets.insert(0, soa);
    let Some(signer) = signer else { return };
    signer.join(apex_name, |rtype| apex.set(rtype).cloned());
    apex.sets.retain(|set| signer.stands_beside(set.rtype));
    for set in signer.apex_sets() {
        // Its owner may have keys of others beside ours (RFC 8901).
        match apex.sets.iter_mut().find(|known| known.rtype == set.rtype) {
            Some(known) => known.merge(set.view()),
            None => apex.sets.push(set.clone()),
        }
    }
}
