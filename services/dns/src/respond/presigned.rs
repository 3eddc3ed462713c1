//! What of an answer comes of its zone's primary having signed it: signatures and proofs that came with the zone.
//!
//! Proofs stand behind all answers (RFC 4035, 3.1.3.3), and one answer may need several: each alias that a wildcard stands for
//! needs one, and so does its end. So they are gathered, each record once, and written when nothing more is answered.

use std::{borrow::Cow, sync::Arc};

use super::{Answer, Failure, Zones, secure::negative_ttl};
use crate::{
    message::Section,
    name::Name,
    rrset::Set,
    wire::rtype,
    zone::{ASTERISK, Denied, Found, Kind, Node, Presigned, ZoneTree},
};

/// A record that is still to be written: which one of a zone's chain.
pub(super) struct Proof {
    zone: Arc<ZoneTree>,
    at: usize,
}

impl<Z: Zones> Answer<'_, Z> {
    /// What a zone's primary signed, if signatures are asked for.
    fn presigned<'z>(&self, zone: &'z ZoneTree) -> Option<&'z Presigned> {
        if self.dnssec { zone.presigned() } else { None }
    }

    /// Says of a name, whole and in lower case, what is to be proven, once all is answered.
    pub(super) fn prove(&mut self, zone: &Arc<ZoneTree>, name: &[u8], denied: Denied) {
        let Some(presigned) = self.presigned(zone) else { return };
        let proofs = &mut self.proofs;
        presigned.prove(zone.apex(), name, denied, |at| {
            // No record stands twice in a message (RFC 2181, 5).
            if !proofs.iter().any(|known| known.at == at && Arc::ptr_eq(&known.zone, zone)) {
                proofs.push(Proof { zone: zone.clone(), at });
            }
        });
    }

    /// Writes what is to be proven, unless something before it did not fit: `false` if it did not.
    pub(super) fn write_proofs(&mut self) -> Result<bool, Failure> {
        for Proof { zone, at } in std::mem::take(&mut self.proofs) {
            if self.writer.is_truncated() {
                return Ok(false);
            }
            let Some(presigned) = zone.presigned() else { continue };
            let link = presigned.link(at);
            let owner = [&*link.owner, zone.apex()].concat();
            self.set(
                &zone,
                Section::Authority,
                &owner,
                link.set.view(),
                link.set.ttl.min(negative_ttl(&zone)),
            )?;
        }
        Ok(!self.writer.is_truncated())
    }

    /// What a question for NSEC, RRSIG or everything is answered with, of a name that exists or that a wildcard stands for; the
    /// latter two with what is about one type of it (RFC 8482, 4.1): HINFO, which is made here, could not be signed. `None` for
    /// other questions and other zones.
    pub(super) fn of_primary<'z>(
        &self,
        zone: &'z ZoneTree,
        name: &Name,
        found: Found<'z>,
    ) -> Option<Option<Set<'z>>> {
        let presigned = zone.presigned()?;
        let (Found::Node(node) | Found::Wildcard { node, .. }) = found else { return None };
        let owner = match found {
            Found::Wildcard { labels, .. } => [ASTERISK, zone.relative(name, labels)].concat().into(),
            _ => Cow::Borrowed(zone.relative(name, 0)),
        };
        match self.query.qtype {
            rtype::NSEC => Some(presigned.nsec(&owner)),
            rtype::ANY => Some(first(zone, node)),
            rtype::RRSIG => {
                let set = first(zone, node).or_else(|| presigned.nsec(&owner));
                Some(set.and_then(|set| presigned.signatures(&owner, set.rtype)))
            }
            _ => None,
        }
    }
}

/// The set of a name whose type has the smallest number.
fn first<'z>(zone: &ZoneTree, node: Node<'z>) -> Option<Set<'z>> {
    match node.kind(zone) {
        Kind::Alias(alias) => Some(alias),
        _ => node.types().min().and_then(|rtype| node.set(rtype)),
    }
}

impl Denied {
    /// What is to be proven of a name that has nothing of a type, or is not there.
    pub(super) const fn of(found: Found<'_>) -> Self {
        match found {
            Found::Node(_) | Found::Cut { .. } | Found::Redirected { .. } => Self::Type,
            Found::Wildcard { labels, .. } => Self::ExpandedType(labels),
            Found::Nothing { labels, .. } => Self::Name(labels),
        }
    }
}
