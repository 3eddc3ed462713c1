//! Names, in wire form and lower case.

use std::{cmp::Ordering, fmt, str::FromStr};

use proxima_wire::name::{self, LABEL_OCTETS_MAX};

/// A name: labels with their lengths, to the root's zero, ASCII in lower case.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Box<[u8]>);

/// It is no name.
#[derive(Debug, thiserror::Error)]
#[error("not a domain name")]
pub struct NotAName;

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// The name at `at` of a message, which moves behind it; compression is undone.
    pub fn parse(message: &[u8], at: &mut usize) -> Option<Self> {
        let (wire, behind) = name::read(message, *at).ok()?;
        *at = behind;
        Some(Self::of_read(wire))
    }

    /// Of octets that were read as a name.
    pub(crate) fn of_read(wire: Vec<u8>) -> Self {
        Self(wire.into())
    }

    /// A whole name without compression.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        let mut at = 0;
        let name = Self::parse(wire, &mut at)?;
        (at == wire.len() && name.0.len() == wire.len()).then_some(name)
    }

    /// Its octets.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Its labels, from the leftmost, without the root's.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            if *length == 0 {
                return None;
            }
            let (label, after) = after.split_at(usize::from(*length));
            rest = after;
            Some(label)
        })
    }

    /// How many labels it has without the root's.
    pub(crate) fn depth(&self) -> usize {
        self.labels().count()
    }

    /// Its last `depth` labels; itself, if it has fewer.
    pub(crate) fn suffix(&self, depth: usize) -> Self {
        let skipped = self.depth().saturating_sub(depth);
        let octets: usize = self.labels().take(skipped).map(|label| label.len() + 1).sum();
        Self(self.0[octets..].into())
    }

    /// The name above it.
    pub fn parent(&self) -> Option<Self> {
        let first = usize::from(self.0[0]);
        (first > 0).then(|| Self(self.0[first + 1..].into()))
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether it is `zone` or below it.
    pub fn is_within(&self, zone: &Self) -> bool {
        name::is_within(&self.0, &zone.0)
    }

    /// Whether it is below `zone`, and not it.
    pub(crate) fn is_below(&self, zone: &Self) -> bool {
        self.0.len() > zone.0.len() && self.is_within(zone)
    }

    /// `*.` and this; `None` if that is too long to be a name.
    pub(crate) fn wildcard(&self) -> Option<Self> {
        Self::from_wire(&[b"\x01*", &*self.0].concat())
    }

    /// With `from` at its end replaced by `to` (RFC 6672); `None` if that is too long, or it is not below `from`.
    pub(crate) fn moved(&self, from: &Self, to: &Self) -> Option<Self> {
        if !self.is_below(from) {
            return None;
        }
        Self::from_wire(&[&self.0[..self.0.len() - from.0.len()], &*to.0].concat())
    }

    /// The name that it has in common with another, as far up as it takes.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let (ours, theirs): (Vec<_>, Vec<_>) = (self.labels().collect(), other.labels().collect());
        self.suffix(
            ours.iter().rev().zip(theirs.iter().rev()).take_while(|(ours, theirs)| ours == theirs).count(),
        )
    }

    /// The order of RFC 4034, 6.1.
    pub(crate) fn canonical_cmp(&self, other: &Self) -> Ordering {
        let (ours, theirs): (Vec<_>, Vec<_>) = (self.labels().collect(), other.labels().collect());
        ours.iter().rev().cmp(theirs.iter().rev())
    }

    /// Octets whose order is that of RFC 4034, 6.1: the labels from the last to the first, each behind what is less than any
    /// octet of a label.
    pub(crate) fn canonical_key(&self) -> Box<[u8]> {
        let labels: Vec<_> = self.labels().collect();
        let mut key = Vec::with_capacity(self.0.len() + 4);
        for label in labels.iter().rev() {
            key.push(0);
            for octet in *label {
                match octet {
                    0 | 1 => key.extend_from_slice(&[1, octet + 1]),
                    _ => key.push(*octet),
                }
            }
        }
        key.into()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for octet in label {
                match octet {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(*octet))?,
                    0x21..=0x7E => write!(f, "{}", char::from(*octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Name {
    type Err = NotAName;

    /// Without escapes: hints and anchors need none.
    fn from_str(text: &str) -> Result<Self, NotAName> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.trim_end_matches('.').split('.').filter(|_| text != ".") {
            if label.is_empty() || label.len() > usize::from(LABEL_OCTETS_MAX) || label.contains('\\') {
                return Err(NotAName);
            }
            wire.push(u8::try_from(label.len()).map_err(|_| NotAName)?);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        Self::from_wire(&wire).ok_or(NotAName)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "labels are short")]

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_lies_within_those_above_it_by_whole_labels() {
        assert!(name("www.example.org").is_within(&name("Example.ORG.")));
        assert!(name("example.org").is_within(&Name::root()));
        assert!(!name("badexample.org").is_within(&name("example.org")));
        assert!(!name("org").is_below(&name("org")));
    }

    #[test]
    fn names_have_the_canonical_order_of_rfc_4034() {
        let sorted =
            ["example", "a.example", "yljkjljk.a.example", "z.a.example", "zabc.a.example", "z.example"];
        for pair in sorted.windows(2) {
            assert_eq!(name(pair[0]).canonical_cmp(&name(pair[1])), Ordering::Less, "{pair:?}");
        }
    }

    proptest! {
        #[test]
        fn keys_of_names_have_their_order(
            one in prop::collection::vec(prop::collection::vec(0..4_u8, 1..4), 0..4),
            other in prop::collection::vec(prop::collection::vec(0..4_u8, 1..4), 0..4),
        ) {
            let [one, other] = [one, other].map(|labels| {
                let labels = labels.iter().flat_map(|label| [&[label.len() as u8][..], label].concat());
                Name::from_wire(&labels.chain([0]).collect::<Vec<_>>()).unwrap()
            });
            prop_assert_eq!(one.canonical_key().cmp(&other.canonical_key()), one.canonical_cmp(&other));
        }
    }

    #[test]
    fn a_pointer_leads_only_backwards() {
        // Behind a header.
        let message = b"\0\0\0\0\0\0\0\0\0\0\0\0\x03org\0\x01a\xC0\x0C\xC0\x15";
        assert_eq!(Name::parse(message, &mut 17), Some(name("a.org")));
        assert_eq!(Name::parse(message, &mut 21), None, "to itself");
        assert_eq!(Name::parse(&message[..20], &mut 17), None, "cut");
    }

    #[test]
    fn what_a_dname_moves_keeps_the_labels_before_it() {
        assert_eq!(name("a.b.org").moved(&name("b.org"), &name("c.net")), Some(name("a.c.net")));
        assert_eq!(name("b.org").moved(&name("b.org"), &name("c.net")), None);
        assert_eq!(name("a.b.org").common(&name("x.b.org")), name("b.org"));
    }
}
