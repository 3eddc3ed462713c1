//! Names that exist because another zone lies beneath them.
//!
//! With `example.com` and `a.b.example.com` here, no record of either says that `b.example.com` exists; yet it does, as if
//! `example.com` had NS records at `a.b` (RFC 4592, 2.2.2). Were it denied, a resolver would take all beneath it for denied too
//! (RFC 8020), and lose the lower zone. A wildcard stands for it nevertheless: such an answer denies nothing beneath it.

use super::{Answer, Failure, Zones};
use crate::{
    name::Name,
    zone::{Found, Node, ZoneTree},
};

impl<Z: Zones> Answer<'_, Z> {
    /// Looks up a name that lies within the zone, with the names that exist for the sake of zones beneath.
    /// A zone that came signed has no others than its primary signed.
    pub(super) fn find<'z>(&self, zone: &'z ZoneTree, name: &Name) -> Result<Found<'z>, Failure> {
        let found = zone.find(name);
        if zone.presigned().is_some() {
            return Ok(found);
        }
        let Found::Nothing { mut encloser, mut labels } = found else { return Ok(found) };
        while labels > 0 && self.has_zone_beneath(zone, name.relative(labels - 1, 0))? {
            (encloser, labels) = (Node::BETWEEN, labels - 1);
        }
        Ok(if labels == 0 { Found::Node(encloser) } else { Found::Nothing { encloser, labels } })
    }

    /// Whether a zone that answers for itself lies beneath a name of `zone`. Where that is not known, one does: what is
    /// not denied does no harm.
    fn has_zone_beneath(&self, zone: &ZoneTree, name: &[u8]) -> Result<bool, Failure> {
        let mut buffer = [0; crate::name::NAME_OCTETS_MAX];
        let name = Name::of_encoded(name);
        let text = name.text(&mut buffer);
        // A label that no zone's name has is left out of the text.
        if text.len() + 2 != name.wire().len() {
            return Ok(false);
        }
        let Some(beneath) = self.zones.beneath(text) else { return Ok(true) };
        for text in beneath {
            // One that is not active is answered by the next zone above it that is (`zone_of`).
            if self.zones.is_active(&text)?.is_some_and(|is_active| is_active || !zone.is_active()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
