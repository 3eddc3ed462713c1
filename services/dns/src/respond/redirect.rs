//! Names that are found elsewhere, because one above them has a DNAME record (RFC 6672).

use std::sync::Arc;

use super::{Answer, Failure, Step, Zones};
use crate::{
    message::Section,
    name::Name,
    rrset::RrSet,
    wire::{Rcode, rtype},
    zone::{Found, Node, ZoneTree},
};

impl<Z: Zones> Answer<'_, Z> {
    /// Answers about a name that is found elsewhere: with the DNAME record, which is signed, and the alias that follows from it
    /// for who does not know that type, which is not (RFC 6672, 3.1 and 5.3.1).
    pub(super) fn redirect(
        &mut self,
        zone: &Arc<ZoneTree>,
        node: Node<'_>,
        name: &Name,
        label: usize,
    ) -> Result<Step, Failure> {
        let owner = name.relative(label, 0);
        let Some(dname) = node.set(rtype::DNAME) else {
            return self.negative(zone, owner, Found::Node(node));
        };
        // An alias may lead here again, and no record stands twice in a message (RFC 2181, 5).
        let place = zone.place(owner, dname);
        if !place.is_some_and(|place| self.moved.contains(&place)) {
            if !self.set(zone, Section::Answer, owner, dname, dname.ttl)? {
                return Ok(Step::Done(Rcode::NoError));
            }
            self.moved.extend(place);
        }
        let Some(target) = name.redirected(label, dname.target()) else {
            return Ok(Step::Done(Rcode::YxDomain));
        };
        let alias = RrSet::of_one(rtype::CNAME, dname.ttl, target.wire());
        let written = self.unsigned_set(Section::Answer, name.wire(), alias.view(), alias.ttl)?;
        // Who asks for an alias has one.
        let ends = !written || self.query.qtype == rtype::CNAME;
        Ok(if ends { Step::Done(Rcode::NoError) } else { Step::Follow(target) })
    }
}
