//! From a query to its answer: the algorithm of RFC 1034, 4.3.2, over the zones that are here. No I/O; a clock and kept
//! signatures only where DNSSEC is asked for (`respond/secure.rs`).

mod beneath;
mod flatten;
mod https;
mod presigned;
mod redirect;
mod responder;
mod secure;
mod zones;

use std::{borrow::Cow, sync::Arc};

use proxima_ledger::{ReadError, first_active};
use proxima_model::ZoneId;

use https::Https;
use presigned::Proof;
pub use responder::Responder;
pub use zones::Zones;

use crate::{
    asker::{Asker, Transport},
    cookies::Judged,
    message::{Section, Writer},
    name::{self, NAME_OCTETS_MAX, Name},
    query::Query,
    rate::{Kind as Counted, Limited},
    rrset::{self, Set},
    wire::{ExtendedError, Rcode, class, rtype},
    zone::{Denied, Found, Kind, Node, Place, ZoneTree},
};

/// Aliases that one answer follows. Resolvers follow 8 to 16 of their own; more are a mistake or an attack.
const ALIASES_MAX: usize = 8;
/// How long others may remember the answer to a question for everything, in seconds (RFC 8482, 4.2).
const ANY_TTL: u32 = 3_600;
/// What the server says that it is (`version.bind`), and no more.
const VERSION: &[u8] = b"proxima";

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// How it ended.
    pub rcode: Rcode,
    /// What type was asked for; `None` if the query was not read that far.
    pub qtype: Option<u16>,
    /// The zone here that the question was about; `None` if there is none, or it was not looked for.
    pub zone: Option<ZoneId>,
    /// Whether something did not fit, so that the asker comes again over TCP.
    pub truncated: bool,
    /// How many signatures were made for it; those that were kept cost nothing.
    pub signatures: u16,
    /// For how long, in seconds, all of it may be remembered; `None` if there are no records in it.
    pub ttl: Option<u32>,
    /// Whether it was one too many. If it was dropped, nothing is sent.
    pub limited: Option<Limited>,
}

impl Answered {
    /// Whether anything is sent.
    pub(crate) fn is_said(&self) -> bool {
        self.limited != Some(Limited::Dropped)
    }
}

/// Why there is no better answer than an error.
struct Failure {
    rcode: Rcode,
    why: Option<ExtendedError>,
    /// Whether it would have been one answer too many.
    limited: Option<Limited>,
}

impl Failure {
    const fn new(rcode: Rcode) -> Self {
        Self { rcode, why: None, limited: None }
    }

    const fn because(rcode: Rcode, why: ExtendedError) -> Self {
        Self { rcode, why: Some(why), limited: None }
    }
}

impl From<ReadError> for Failure {
    fn from(_: ReadError) -> Self {
        Self::because(Rcode::ServFail, ExtendedError::NOT_READY)
    }
}

/// An answer in the making.
struct Answer<'a, Z> {
    responder: &'a Responder,
    zones: &'a Z,
    query: &'a Query,
    asker: Asker,
    /// Whether it was counted.
    counted: bool,
    /// Which zone the question is about, once that is known.
    zone: Option<ZoneId>,
    /// What the query's cookies are worth.
    judged: Option<Judged>,
    writer: Writer<'a>,
    /// The longest that a denial may be remembered, in seconds, where it follows from what was found outside.
    denied_for: u32,
    /// Whether signatures are asked for.
    dnssec: bool,
    /// How many were made.
    signatures: u16,
    /// The DNAME records that are in it.
    moved: Vec<Place>,
    /// What is still to be proven, of zones that came signed.
    proofs: Vec<Proof>,
}

/// The zone that is asked about, where the one above it answers.
type Child = Option<Arc<ZoneTree>>;

/// Where looking up one name leads.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack for a moment; a box would cost an allocation"
)]
enum Step {
    Done(Rcode),
    /// To the name that it stands for.
    Follow(Name),
}

impl<Z: Zones> Answer<'_, Z> {
    /// Makes it, to whatever end; errors are counted too. What is made once more is counted then, as what it is.
    fn finish_making(&mut self) -> (Rcode, Option<Limited>) {
        let made = self.make().and_then(|rcode| self.write_proofs().map(|_| rcode));
        let is_counted = self.counted || self.zones.awaits_zone();
        let counted = if is_counted { Ok(()) } else { self.count(Counted::Other) };
        let failure = match (counted, made) {
            (Ok(()), Ok(rcode)) => return (rcode, None),
            (Err(failure), _) | (Ok(()), Err(failure)) => failure,
        };
        self.writer.clear();
        self.writer.extended = failure.why;
        if failure.limited.is_some() && failure.rcode == Rcode::NoError {
            self.writer.set_truncated();
        }
        (failure.rcode, failure.limited)
    }

    fn make(&mut self) -> Result<Rcode, Failure> {
        self.check()?;
        if !self.query.asks {
            return self.about_cookie();
        }
        if self.query.qclass == class::CH {
            return self.about_this_server();
        }
        let query = self.query;
        let mut name = Cow::Borrowed(&query.name);
        let (mut zone, mut child) = self
            .zones_of(&name)?
            .ok_or(Failure::because(Rcode::Refused, ExtendedError::NOT_AUTHORITATIVE))?;
        self.zone = Some(zone.id);
        if !zone.is_served() {
            return Err(Failure::because(Rcode::ServFail, ExtendedError::EXPIRED));
        }
        self.writer.set_authoritative(true);
        let mut passed: Vec<Cow<'_, Name>> = Vec::new();
        loop {
            if let Some(child) = child {
                self.count(Counted::Name(name.wire()))?;
                return self.vouch(&zone, &child);
            }
            let target = match self.step(&zone, &name, passed.is_empty())? {
                Step::Done(rcode) => return Ok(rcode),
                Step::Follow(target) => target,
            };
            passed.push(name);
            // Whoever asks follows, or finds the loop, from where this answer ends.
            if passed.len() >= ALIASES_MAX || passed.iter().any(|name| name.wire() == target.wire()) {
                return Ok(Rcode::NoError);
            }
            match self.zones_of_target(&zone, &target)? {
                Some(next) => ((zone, child), name) = (next, Cow::Owned(target)),
                None => return Ok(Rcode::NoError),
            }
        }
    }

    /// What is refused whatever it asks about.
    fn check(&self) -> Result<(), Failure> {
        let Query { qtype, qclass, edns, signed, .. } = *self.query;
        if edns.is_some_and(|edns| edns.version > 0) {
            return Err(Failure::new(Rcode::BadVers));
        }
        if edns.is_some_and(|edns| edns.is_malformed(self.asker.transport)) {
            return Err(Failure::new(Rcode::FormErr));
        }
        // Whoever asks for no more than a cookie has no good one yet.
        if self.responder.cookies_required
            && self.query.asks
            && self.asker.transport == Transport::Udp
            && self.judged.is_some_and(|judged| !judged.is_good)
        {
            return Err(Failure::new(Rcode::BadCookie));
        }
        if signed {
            return Err(Failure::new(Rcode::NotAuth));
        }
        match (qclass, qtype) {
            (_, rtype::AXFR | rtype::IXFR) => Err(Failure::because(Rcode::Refused, ExtendedError::TRANSFER)),
            (_, rtype::TKEY | rtype::TSIG | rtype::MAILA | rtype::MAILB) => Err(Failure::new(Rcode::NotImp)),
            (_, rtype::NXNAME) => Err(Failure::because(Rcode::FormErr, ExtendedError::INVALID_TYPE)),
            (class::IN | class::CH, _) => Ok(()),
            _ => Err(Failure::because(Rcode::Refused, ExtendedError::CLASS)),
        }
    }

    /// Says whether the server's cookie that came with the client's is good, if one came (RFC 7873, 5.4).
    fn about_cookie(&self) -> Result<Rcode, Failure> {
        let cookie = self.query.edns.and_then(|edns| edns.cookie);
        let came = cookie.is_some_and(|cookie| cookie.server.is_some());
        let is_bad = came && self.judged.is_some_and(|judged| !judged.is_good);
        if is_bad { Err(Failure::new(Rcode::BadCookie)) } else { Ok(Rcode::NoError) }
    }

    /// Counts the answer before anything is written or signed; it may be one too many.
    fn count(&mut self, kind: Counted<'_>) -> Result<(), Failure> {
        if std::mem::replace(&mut self.counted, true) {
            return Ok(());
        }
        let Some(limited) = self.responder.limit(self.asker, self.judged, kind) else { return Ok(()) };
        // Who knows cookies comes again with the one that it gets.
        let rcode = if self.judged.is_some() { Rcode::BadCookie } else { Rcode::NoError };
        Err(Failure { rcode, why: None, limited: Some(limited) })
    }

    /// Chaosnet's class is where servers are asked who they are (RFC 4892): in anycast, which one answers.
    fn about_this_server(&mut self) -> Result<Rcode, Failure> {
        if let Some(rcode) = self.about_outside() {
            return Ok(rcode);
        }
        let text = match self.query.name.wire() {
            b"\x02id\x06server\x00" | b"\x08hostname\x04bind\x00" => &self.responder.identity,
            b"\x07version\x06server\x00" | b"\x07version\x04bind\x00" => VERSION,
            _ => return Err(Failure::new(Rcode::Refused)),
        };
        if !matches!(self.query.qtype, rtype::TXT | rtype::ANY) {
            return Err(Failure::new(Rcode::Refused));
        }
        let data: Vec<u8> = rrset::character_string(text).collect();
        self.writer.set_authoritative(true);
        self.writer.chaos_text(self.query.name.wire(), &data);
        Ok(Rcode::NoError)
    }

    /// Looks up one name in its zone and writes what it has.
    fn step(&mut self, zone: &Arc<ZoneTree>, name: &Name, first: bool) -> Result<Step, Failure> {
        let qtype = self.query.qtype;
        let found = self.find(zone, name)?;
        if first {
            self.count(counted(zone, name, found))?;
        }
        let node = match found {
            Found::Node(node) => node,
            Found::Wildcard { node, labels } => {
                self.prove(zone, name.wire(), Denied::Expanded(labels));
                node
            }
            Found::Nothing { .. } => return self.negative(zone, name.wire(), found),
            // Whether a delegation is signed is said above it (RFC 4035, 3.1.4.1).
            Found::Cut { node, label: 0 } if qtype == rtype::DS => {
                let Some(ds) = node.set(rtype::DS) else {
                    return self.negative(zone, name.wire(), found);
                };
                self.set(zone, Section::Answer, name.wire(), ds, ds.ttl)?;
                return Ok(Step::Done(Rcode::NoError));
            }
            Found::Cut { node, label } => {
                if first {
                    self.writer.set_authoritative(false);
                }
                return self.refer(zone, node, name.relative(label, 0));
            }
            Found::Redirected { node, label } => return self.redirect(zone, node, name, label),
        };
        if let Some(set) = self.about_signatures(zone, name.wire(), node) {
            return self.answer_about_signatures(zone, name.wire(), set.view());
        }
        if let Some(set) = self.of_primary(zone, name, found) {
            let Some(set) = set else { return self.negative(zone, name.wire(), found) };
            self.set(zone, Section::Answer, name.wire(), set, set.ttl)?;
            return Ok(Step::Done(Rcode::NoError));
        }
        let set = match (node.kind(zone), qtype) {
            (Kind::Alias(alias), rtype::CNAME | rtype::ANY) => Some(alias),
            // These stand beside an alias themselves, or are not there (RFC 4034, 3 and 4; RFC 4035, 2.5).
            (Kind::Alias(_), rtype::NSEC | rtype::RRSIG) => None,
            (Kind::Alias(alias), _) => {
                let written = self.set(zone, Section::Answer, name.wire(), alias, alias.ttl)?;
                let target = Name::of_encoded(alias.target());
                return Ok(if written { Step::Follow(target) } else { Step::Done(Rcode::NoError) });
            }
            (_, rtype::ANY) => node.has_data().then_some(self.responder.everything.view()),
            (Kind::Proxied, rtype::A | rtype::AAAA) => self.responder.addresses(qtype),
            // What its owner says of it comes before what we say.
            (Kind::Proxied, rtype::HTTPS) if node.set(rtype::HTTPS).is_none() => {
                self.responder.https_of(zone.https())
            }
            (Kind::Flattened(alias), rtype::A | rtype::AAAA) => return self.flatten(zone, name, node, alias),
            _ => node.set(qtype),
        };
        let Some(set) = set else { return self.negative(zone, name.wire(), found) };
        self.set(zone, Section::Answer, name.wire(), set, set.ttl)?;
        Ok(Step::Done(Rcode::NoError))
    }

    /// Says that a name, or data of the type, does not exist, and for how long (RFC 2308).
    fn negative(&mut self, zone: &Arc<ZoneTree>, name: &[u8], found: Found<'_>) -> Result<Step, Failure> {
        let soa = zone.soa();
        let ttl = secure::negative_ttl(zone).min(self.denied_for);
        let written = self.set(zone, Section::Authority, zone.apex(), soa, ttl)?;
        if self.signer(zone).is_some() {
            return self.deny(zone, name, found, written);
        }
        self.prove(zone, name, Denied::of(found));
        Ok(Step::Done(if matches!(found, Found::Nothing { .. }) { Rcode::NxDomain } else { Rcode::NoError }))
    }

    /// Refers to the servers of a delegated zone, with the addresses that cannot be had without (RFC 9471).
    fn refer(&mut self, zone: &Arc<ZoneTree>, node: Node<'_>, cut: &[u8]) -> Result<Step, Failure> {
        let Some(servers) = node.set(rtype::NS) else {
            return self.negative(zone, cut, Found::Cut { node, label: 0 });
        };
        // They are the delegated zone's own, which signs them (RFC 4035, 2.2); how or that it is not is said here.
        if !self.unsigned_set(Section::Authority, cut, servers, servers.ttl)?
            || !self.say_ds(zone, node, cut)?
            // Behind the glue is no place for them.
            || !self.write_proofs()?
        {
            return Ok(Step::Done(Rcode::NoError));
        }
        let hosts = |below: bool| servers.records.filter(move |host| name::is_within(host, cut) == below);
        for host in hosts(true) {
            for set in glue(zone, host, true) {
                if !self.unsigned_set(Section::Additional, host, set, set.ttl)? {
                    return Ok(Step::Done(Rcode::NoError));
                }
            }
        }
        for host in hosts(false) {
            for set in glue(zone, host, false) {
                // These can be asked for: whatever of them fits is a courtesy.
                self.writer.set(Section::Additional, host, set, set.ttl);
            }
        }
        Ok(Step::Done(Rcode::NoError))
    }

    /// Writes a set of a zone that the answer is not whole without, signed if that is asked for: `false` if it did not
    /// fit, which the answer then says.
    fn set(
        &mut self,
        zone: &ZoneTree,
        section: Section,
        owner: &[u8],
        set: Set<'_>,
        ttl: u32,
    ) -> Result<bool, Failure> {
        if let Some(signer) = self.signer(zone) {
            return self.signed_set(signer, zone, section, (owner, set, ttl));
        }
        // Those of a set stand for it in its own zone only, not where an alias that is flattened leads to it.
        match if self.dnssec { zone.signatures(owner, set) } else { None } {
            Some(rrsigs) => {
                let written =
                    self.writer.signed_set(section, owner, set, ttl, || Ok::<_, Failure>(rrsigs))?;
                self.fitted(written)
            }
            None => self.unsigned_set(section, owner, set, ttl),
        }
    }

    /// As [`Self::set`], of a set that is not the zone's own.
    fn unsigned_set(
        &mut self,
        section: Section,
        owner: &[u8],
        set: Set<'_>,
        ttl: u32,
    ) -> Result<bool, Failure> {
        let written = self.writer.set(section, owner, set, ttl);
        self.fitted(written)
    }

    /// Says in the answer whether something that it is not whole without did not fit.
    fn fitted(&mut self, written: bool) -> Result<bool, Failure> {
        if !written {
            if self.asker.transport != Transport::Udp {
                return Err(Failure::because(Rcode::ServFail, ExtendedError::TOO_LARGE));
            }
            self.writer.set_truncated();
        }
        Ok(written)
    }

    /// The zone that answers what is asked of a name. How a zone is signed is said by the one above it (RFC 4035, 3.1.4.1), which
    /// then comes with that zone: unless another server has one between them, or its primary signed it, for then it says what
    /// that signed and no more.
    fn zones_of(&self, name: &Name) -> Result<Option<(Arc<ZoneTree>, Child)>, Failure> {
        let Some(zone) = self.zone_of(name)? else { return Ok(None) };
        if self.query.qtype != rtype::DS || zone.apex() != name.wire() {
            return Ok(Some((zone, None)));
        }
        let Some(above) = self.zone_above(&zone)? else { return Ok(Some((zone, None))) };
        let above = first_active(above, ZoneTree::is_active, |zone| self.zone_above(zone))?;
        // Anybody can have made one that is not active.
        if zone.is_active() && !above.is_active() {
            return Ok(Some((zone, None)));
        }
        let is_parent =
            above.presigned().is_none() && !matches!(above.find(name), Found::Cut { label: 1.., .. });
        Ok(Some((above, is_parent.then_some(zone))))
    }

    /// The same of a name that an alias leads to from `zone`; none if it leads out of what is known here for certain.
    fn zones_of_target(
        &self,
        zone: &ZoneTree,
        target: &Name,
    ) -> Result<Option<(Arc<ZoneTree>, Child)>, Failure> {
        let speaks =
            |found: &Arc<ZoneTree>| found.is_served() && (found.is_active() || found.apex() == zone.apex());
        Ok(self.zones_of(target)?.filter(|(found, _)| speaks(found)))
    }

    /// The zone in which a name lies.
    fn zone_of(&self, name: &Name) -> Result<Option<Arc<ZoneTree>>, Failure> {
        let Some(nearest) = self.lookup(name)? else { return Ok(None) };
        first_active(nearest, ZoneTree::is_active, |zone| self.zone_above(zone)).map(Some)
    }

    /// The next zone here that encloses another.
    fn zone_above(&self, zone: &ZoneTree) -> Result<Option<Arc<ZoneTree>>, Failure> {
        let apex = zone.apex();
        match apex.get(1 + usize::from(apex[0])..) {
            Some(parent) if !parent.is_empty() => self.lookup(&Name::of_encoded(parent)),
            _ => Ok(None),
        }
    }

    fn lookup(&self, name: &Name) -> Result<Option<Arc<ZoneTree>>, Failure> {
        let mut buffer = [0; NAME_OCTETS_MAX];
        let text = name.text(&mut buffer);
        if text.is_empty() {
            return Ok(None);
        }
        Ok(self.zones.find(text)?.filter(|zone| name.is_within(zone.apex())))
    }
}

/// What an answer counts as: what can be made up without end counts for the zone.
fn counted<'n>(zone: &'n ZoneTree, name: &'n Name, found: Found<'_>) -> Counted<'n> {
    match found {
        Found::Nothing { .. } => Counted::Nothing(zone.apex()),
        Found::Cut { .. } => Counted::Referral(zone.apex()),
        Found::Wildcard { .. } | Found::Redirected { .. } => Counted::Wildcard(zone.apex()),
        Found::Node(_) => Counted::Name(name.wire()),
    }
}

/// The addresses of a name server's host, as far as they lie in `zone`. Those of a proxied host are told only where
/// nothing else can be: below the delegation, where it is not proxied in truth; those that a DNAME record hides are not.
fn glue<'z>(zone: &'z ZoneTree, host: &[u8], below: bool) -> impl Iterator<Item = Set<'z>> + use<'z> {
    let is_hidden = || matches!(zone.find(&Name::of_encoded(host)), Found::Redirected { .. });
    let node = zone.glue(host).filter(|node| below || !node.is_proxied(zone) && !is_hidden());
    node.into_iter()
        .flat_map(|node| [rtype::A, rtype::AAAA].into_iter().filter_map(move |rtype| node.set(rtype)))
}
