//! What queries are told apart by.

use std::fmt::Write as _;

use proxima_pipeline::QUERY_NAMES_OTHER;
use serde::{Deserialize, Serialize};

/// Octets of a name as text. Nearly every name is shorter; of what is not, most octets are written as four.
pub(super) const TEXT_OCTETS_MAX: usize = 255;

/// Queries of one zone that are counted as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Row {
    /// The name that was asked for, as text.
    pub(super) name: Box<str>,
    /// The type that was; 0 where types are not told apart.
    pub(super) qtype: u16,
    pub(super) rcode: u16,
    /// Whether it came in a stream.
    pub(super) streamed: bool,
    /// Whether it came by IPv6.
    pub(super) v6: bool,
}

impl Row {
    /// What it is counted as where there is no place for it: by no name, or else by no type. What is left is told apart
    /// by what no asker can make more of.
    pub(super) fn coarser(&self) -> Option<Self> {
        if &*self.name != QUERY_NAMES_OTHER {
            return Some(Self { name: QUERY_NAMES_OTHER.into(), ..self.clone() });
        }
        (self.qtype != 0).then(|| Self { qtype: 0, ..self.clone() })
    }

    /// How many rows there may be before this one has no place beside them, of a number for those with a name: as many
    /// again have a type, and the others always have a place.
    pub(super) fn places(&self, named_max: usize) -> usize {
        match (&*self.name != QUERY_NAMES_OTHER, self.qtype != 0) {
            (true, _) => named_max,
            (false, true) => 2 * named_max,
            (false, false) => usize::MAX,
        }
    }
}

/// A name on the wire, in lower case, as text without the last dot.
pub(super) fn text(wire: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(wire.len());
    let mut rest = wire;
    while let Some((&length @ 1.., after)) = rest.split_first() {
        let Some((label, after)) = after.split_at_checked(usize::from(length)) else { break };
        if !text.is_empty() {
            text.push('.');
        }
        for &octet in label {
            match octet {
                b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                    text.push('\\');
                    text.push(char::from(octet));
                }
                0x21..=0x7e => text.push(char::from(octet)),
                // A `String` takes whatever it is given.
                _ => _ = write!(text, "\\{octet:03}"),
            }
        }
        rest = after;
    }
    if text.len() > TEXT_OCTETS_MAX { QUERY_NAMES_OTHER.into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::encode;

    #[test]
    fn a_name_is_written_as_zone_files_write_it_and_never_as_the_others() {
        assert_eq!(&*text(&encode("www.example.com")), "www.example.com");
        assert_eq!(&*text(b"\x04a.b\\\x07example\x00"), "a\\.b\\\\.example");
        assert_eq!(&*text(b"\x07(other)\x00"), "\\(other\\)");
        assert_eq!(&*text(b"\x02\x00\xff\x00"), "\\000\\255");
        assert_eq!(&*text(&[0]), "");
        let long = [&[63_u8][..], &[0; 63], &[63], &[0; 63], &[0]].concat();
        assert_eq!(&*text(&long), QUERY_NAMES_OTHER);
    }

    #[test]
    fn what_has_no_place_loses_its_name_and_then_its_type() {
        let row = Row { name: "a".into(), qtype: 1, rcode: 0, streamed: true, v6: false };
        let unnamed = row.coarser().unwrap();
        assert_eq!((&*unnamed.name, unnamed.qtype), (QUERY_NAMES_OTHER, 1));
        let bare = unnamed.coarser().unwrap();
        assert_eq!((bare.qtype, bare.streamed, bare.coarser()), (0, true, None));
        assert_eq!([row, unnamed, bare].map(|row| row.places(10)), [10, 20, usize::MAX]);
    }
}
