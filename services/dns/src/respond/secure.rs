//! What of an answer is there because its asker wants it signed, or asks about signatures.

use std::sync::Arc;

use crate::{
    dnssec::{Signer, nsec, nsec3},
    message::Section,
    name::{self, Name},
    rrset::{AsSet as _, RrSet, Set},
    wire::{ExtendedError, Rcode, rtype},
    zone::{ASTERISK, Denied, Found, HttpsOffer, Kind, NEGATIVE_TTL, Node, ZoneTree},
};

use super::{Answer, Failure, Step, Zones};

impl<Z: Zones> Answer<'_, Z> {
    /// What signs the sets of a zone in this answer, if it is asked for and the zone is signed.
    pub(super) fn signer<'z>(&self, zone: &'z ZoneTree) -> Option<&'z Signer> {
        if self.dnssec { zone.signer() } else { None }
    }

    /// Writes a set that the answer is not whole without, with its signatures: `false` if they did not fit.
    pub(super) fn signed_set(
        &mut self,
        signer: &Signer,
        zone: &ZoneTree,
        section: Section,
        (owner, set, ttl): (&[u8], Set<'_>, u32),
    ) -> Result<bool, Failure> {
        let (signatures, made) = (&self.responder.signatures, &mut self.signatures);
        let written = self.writer.signed_set(section, owner, set, ttl, || {
            let signed = (owner, set, zone.place(owner, set));
            let (rrsigs, new) = signatures.of(signer, zone.apex(), signed).ok_or(Failure::UNSIGNED)?;
            *made += new;
            Ok::<_, Failure>(rrsigs)
        })?;
        self.fitted(written)
    }

    /// Ends a negative answer with its proof, unless its beginning did not fit. Without NSEC3, a name that does not exist is
    /// told by its denial, and by the rcode only to who knows that both go together (RFC 9824, 5.1).
    pub(super) fn deny(
        &mut self,
        zone: &ZoneTree,
        name: &[u8],
        found: Found<'_>,
        fits: bool,
    ) -> Result<Step, Failure> {
        let is_nothing = matches!(found, Found::Nothing { .. });
        let hashed = zone.signer().is_some_and(Signer::hashes_names);
        if fits {
            match found {
                Found::Nothing { encloser, labels } if hashed => {
                    self.deny_hashed(zone, name, encloser, labels)?;
                }
                _ => {
                    let types = self.types(zone, found);
                    self.denial(zone, name, types)?;
                }
            }
        }
        let compact_ok = self.query.edns.is_some_and(|edns| edns.compact_ok);
        Ok(Step::Done(if is_nothing && (hashed || compact_ok) { Rcode::NxDomain } else { Rcode::NoError }))
    }

    /// Proves by NSEC3 that a name does not exist, the first `labels` labels of which are not there: the name above them
    /// is, the first one below that is not, and neither is a wildcard (RFC 5155, 7.2.2).
    fn deny_hashed(
        &mut self,
        zone: &ZoneTree,
        name: &[u8],
        encloser: Node<'_>,
        labels: usize,
    ) -> Result<(), Failure> {
        let (apex, ttl) = (zone.apex(), negative_ttl(zone));
        let above = name::without(name, labels);
        let (below, wildcard) = (name::without(name, labels - 1), [ASTERISK, above].concat());
        let mut proofs = vec![
            nsec3::of(above, apex, with_signatures(types(zone, encloser)), ttl),
            nsec3::around(below, apex, ttl),
        ];
        // Who asks for the wildcard itself has that proof already, and no record stands twice in a message (RFC 2181, 5).
        if *below != *wildcard {
            proofs.push(nsec3::around(&wildcard, apex, ttl));
        }
        for (owner, set) in proofs {
            if !self.set(zone, Section::Authority, &owner, set.view(), set.ttl)? {
                break;
            }
        }
        Ok(())
    }

    /// Says in a referral how the delegated zone is signed, or that it is not (RFC 4035, 3.1.4), where that can be proven:
    /// `false` if it did not fit.
    pub(super) fn say_ds(
        &mut self,
        zone: &Arc<ZoneTree>,
        node: Node<'_>,
        cut: &[u8],
    ) -> Result<bool, Failure> {
        let is_presigned = self.dnssec && zone.presigned().is_some();
        match (self.signer(zone), node.set(rtype::DS)) {
            (None, None) if is_presigned => {
                self.prove(zone, cut, Denied::Type);
                Ok(true)
            }
            (None, Some(ds)) if is_presigned => self.set(zone, Section::Authority, cut, ds, ds.ttl),
            (None, _) => Ok(true),
            (Some(_), Some(ds)) => self.set(zone, Section::Authority, cut, ds, ds.ttl),
            (Some(_), None) => self.deny_ds(zone, cut),
        }
    }

    /// Proves that a delegated zone is not signed (RFC 4035, 3.1.4; RFC 9824, 3.4).
    fn deny_ds(&mut self, zone: &ZoneTree, cut: &[u8]) -> Result<bool, Failure> {
        self.denial(zone, cut, vec![rtype::NS])
    }

    /// Answers how far a zone here trusts the keys of one beneath it that is here too, and therefore needs no NS
    /// records in it. What the upper zone's owner says comes beside what follows from the keys: others may sign the zone
    /// beneath it too (RFC 8901). Without keys of its own, the upper zone has nothing to vouch with.
    ///
    /// A wildcard, an alias or a DNAME record of the upper zone says nothing of the lower one, which answers all other
    /// questions itself. (Servers to which a zone without a delegation above is none, as Knot DNS and BIND, answer by them.)
    pub(super) fn vouch(&mut self, zone: &ZoneTree, child: &ZoneTree) -> Result<Rcode, Failure> {
        let said = match zone.find(&Name::of_encoded(child.apex())) {
            Found::Cut { node, label: 0 } => node.set(rtype::DS),
            _ => None,
        };
        let signer = zone.signer().and_then(|_| child.signer());
        let ours = signer.and_then(Signer::ds).map(RrSet::view);
        let mut ds = ours.or(said).map(Set::detached);
        if let (Some(ds), Some(said)) = (&mut ds, said) {
            ds.merge(said);
        }
        if let Some(ds) = &ds {
            self.set(zone, Section::Answer, child.apex(), ds.view(), ds.ttl)?;
            return Ok(Rcode::NoError);
        }
        let soa = zone.soa();
        if self.set(zone, Section::Authority, zone.apex(), soa, negative_ttl(zone))?
            && self.signer(zone).is_some()
        {
            self.deny_ds(zone, child.apex())?;
        }
        Ok(Rcode::NoError)
    }

    /// What a question for NSEC or RRSIG is about in a signed zone: the NSEC record that every name has; with NSEC3, which
    /// leaves no NSEC record, what is answered to a question for everything. `None` for other questions.
    pub(super) fn about_signatures(&self, zone: &ZoneTree, name: &[u8], node: Node<'_>) -> Option<RrSet> {
        let signer = zone.signer()?;
        match (self.query.qtype, signer.hashes_names()) {
            (rtype::NSEC | rtype::RRSIG, false) => {
                Some(nsec(name, zone.apex(), self.types(zone, Found::Node(node)), negative_ttl(zone)))
            }
            (rtype::RRSIG, true) if node.has_data() => match node.kind(zone) {
                Kind::Alias(alias) => Some(alias.detached()),
                _ => Some(self.responder.everything.clone()),
            },
            _ => None,
        }
    }

    /// Answers a question for NSEC or RRSIG with this set, or with its signatures, since others may not be there before
    /// they are asked for.
    pub(super) fn answer_about_signatures(
        &mut self,
        zone: &ZoneTree,
        name: &[u8],
        set: Set<'_>,
    ) -> Result<Step, Failure> {
        if self.query.qtype == rtype::NSEC {
            self.set(zone, Section::Answer, name, set, set.ttl)?;
        } else if let Some(signer) = zone.signer() {
            let made = self.responder.signatures.of(signer, zone.apex(), (name, set, None));
            let (rrsigs, new) = made.ok_or(Failure::UNSIGNED)?;
            self.signatures += new;
            self.unsigned_set(Section::Answer, name, rrsigs.as_set(), rrsigs.ttl)?;
        }
        Ok(Step::Done(Rcode::NoError))
    }

    /// Writes the record that says of a name, or of what stands for it, that it has these types and no others.
    fn denial(&mut self, zone: &ZoneTree, name: &[u8], types: Vec<u16>) -> Result<bool, Failure> {
        let ttl = negative_ttl(zone);
        if zone.signer().is_some_and(Signer::hashes_names) {
            let (owner, set) = nsec3::of(name, zone.apex(), types, ttl);
            return self.set(zone, Section::Authority, &owner, set.view(), ttl.min(self.denied_for));
        }
        let set = nsec(name, zone.apex(), types, ttl);
        self.set(zone, Section::Authority, name, set.view(), ttl.min(self.denied_for))
    }

    /// The types that a denial must not deny, but for the one that was asked for and is not there.
    fn types(&self, zone: &ZoneTree, found: Found<'_>) -> Vec<u16> {
        let mut types = match found {
            Found::Nothing { .. } => return vec![rtype::NXNAME],
            // Of a delegation, only DS is signed, which is not there.
            Found::Cut { .. } => return vec![rtype::NS],
            Found::Node(node) | Found::Wildcard { node, .. } | Found::Redirected { node, .. } => {
                with_signatures(types(zone, node))
            }
        };
        types.retain(|rtype| *rtype != self.query.qtype);
        types
    }
}

/// The types that a name has or may have, as aliases that are flattened do.
fn types(zone: &ZoneTree, node: Node<'_>) -> Vec<u16> {
    let mut types: Vec<u16> = node.types().collect();
    match node.kind(zone) {
        Kind::Plain => {}
        Kind::Alias(_) => types.push(rtype::CNAME),
        Kind::Flattened(_) => types.extend([rtype::A, rtype::AAAA]),
        Kind::Proxied => {
            types.extend([rtype::A, rtype::AAAA]);
            if zone.https() != HttpsOffer::None {
                types.push(rtype::HTTPS);
            }
        }
    }
    types
}

/// With the type of their signatures, if there is anything to sign (RFC 5155, 7.1): not of a name that is only between
/// others.
fn with_signatures(mut types: Vec<u16>) -> Vec<u16> {
    if !types.is_empty() {
        types.push(rtype::RRSIG);
    }
    types
}

impl Failure {
    const UNSIGNED: Self = Self::because(Rcode::ServFail, ExtendedError::UNSIGNED);
}

/// How long others may remember a denial, in seconds (RFC 2308, 3; RFC 9077): no longer than the SOA record, nor than its last
/// number.
pub(super) fn negative_ttl(zone: &ZoneTree) -> u32 {
    let soa = zone.soa();
    let minimum = soa.first().last_chunk();
    soa.ttl.min(minimum.map_or(NEGATIVE_TTL, |octets| u32::from_be_bytes(*octets))).min(NEGATIVE_TTL)
}
