//! The way down to a name: its servers are shown no more of it than they need (RFC 9156).

use crate::{message::rtype, name::Name};

/// Labels that are shown one by one (RFC 9156, 2.3); below them is rarely another zone.
pub(crate) const MINIMISED_MAX: usize = 10;

/// How much of a name the servers of its zones have been shown (RFC 9156).
pub(crate) struct Way {
    /// Labels, from the root on.
    pub(crate) shown: usize,
    /// How many are before the whole question is asked.
    pub(crate) shown_max: usize,
    /// How often fewer than all were, since the last zone that was known, and how often they may.
    pub(crate) minimised: usize,
    pub(crate) minimised_max: usize,
}

/// What the servers of a zone are asked next.
pub(crate) struct Step {
    pub(crate) asked: Name,
    pub(crate) rtype: u16,
    /// Whether it is less than the whole name.
    pub(crate) is_minimised: bool,
}

impl Way {
    /// From a zone on to a name.
    pub(crate) fn from(zone: &Name, name: &Name) -> Self {
        let shown_max = name.depth().saturating_sub(1);
        Self { shown: zone.depth(), shown_max, minimised: 0, minimised_max: MINIMISED_MAX }
    }

    pub(crate) fn next(&self, name: &Name, rtype: u16) -> Step {
        let is_minimised = self.shown < self.shown_max && self.minimised < self.minimised_max;
        let asked = if is_minimised { name.suffix(self.shown + 1) } else { name.clone() };
        Step { asked, rtype: if is_minimised { rtype::NS } else { rtype }, is_minimised }
    }

    /// Goes on label by label, once, to a name whose answer is bogus: the same servers may have a zone between, or one that
    /// begins at the name, which was not seen.
    pub(crate) fn again(&mut self, name: &Name, sought: u16) -> bool {
        let shown_max = name.depth().saturating_sub(usize::from(sought == rtype::DS));
        let is_again = self.shown < shown_max && self.minimised_max == MINIMISED_MAX;
        if is_again {
            (self.minimised, self.minimised_max, self.shown_max) = (0, usize::MAX, shown_max);
        }
        is_again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_label_by_label_and_then_whole() {
        let name: Name = "a.b.example.test".parse().unwrap();
        let mut way = Way::from(&"test".parse().unwrap(), &name);
        for (shown, asked, rtype, is_minimised) in [
            (1, "example.test", rtype::NS, true),
            (2, "b.example.test", rtype::NS, true),
            (3, "a.b.example.test", rtype::A, false),
        ] {
            way.shown = shown;
            let step = way.next(&name, rtype::A);
            assert_eq!(
                (step.asked, step.rtype, step.is_minimised),
                (asked.parse().unwrap(), rtype, is_minimised)
            );
        }
        (way.shown, way.minimised) = (1, MINIMISED_MAX);
        assert!(!way.next(&name, rtype::A).is_minimised, "so often and no more");
        assert!(way.again(&name, rtype::DS));
        way.shown = 3;
        assert!(!way.next(&name, rtype::DS).is_minimised, "a name's DS record is above it");
        assert!(!way.again(&name, rtype::A), "once");
    }
}
