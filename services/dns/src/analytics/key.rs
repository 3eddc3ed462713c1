//! Keys of the store: they begin with the time, so that what is old goes by ranges, and then say the zone, so that what one
//! zone had in a time lies together.
//!
//! ```text
//!  span  slot     zone       PoP, zeros behind  type  code  flags  name
//!  1     4        16         5                  2     2     1      up to 255
//! ```
//!
//! A key that ends with the zone has the number of its rows.

use proxima_model::{Timestamp, ZoneId};

use super::row::{Row, TEXT_OCTETS_MAX};

/// Octets of the key of a zone's rows in one slot.
pub(super) const ZONE_OCTETS: usize = 21;
const POP_OCTETS: usize = 5;
const NAME_AT: usize = ZONE_OCTETS + POP_OCTETS + 5;
// What LMDB takes.
const _: () = assert!(NAME_AT + TEXT_OCTETS_MAX <= 511);

const STREAMED: u8 = 1;
const V6: u8 = 2;

/// How long a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Minute,
    Hour,
}

impl Span {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    const fn octet(self) -> u8 {
        match self {
            Self::Minute => b'm',
            Self::Hour => b'h',
        }
    }

    const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }

    /// The slot in which a time lies; the first for what was before 1970.
    pub(super) fn slot(self, at: Timestamp) -> u32 {
        u32::try_from(at.as_seconds().div_euclid(self.seconds()).max(0)).unwrap_or(u32::MAX)
    }

    /// Slots that so many seconds have.
    pub(super) fn slots(self, seconds: i64) -> u32 {
        u32::try_from(seconds / self.seconds()).unwrap_or(u32::MAX)
    }

    /// From 1, Monday, to 7; a slot lies in one day.
    pub(super) fn day_of_week(self, slot: u32) -> u8 {
        let days = i64::from(slot) * self.seconds() / 86_400;
        // The first day was a Thursday.
        u8::try_from((days + 3) % 7).unwrap_or_default() + 1
    }

    /// What all keys of a slot begin with, and, for the slot after the last, where the span ends.
    pub(super) fn begin(self, slot: u32) -> [u8; 5] {
        let mut key = [self.octet(), 0, 0, 0, 0];
        key[1..].copy_from_slice(&slot.to_be_bytes());
        key
    }

    /// The slot of a key of this span.
    pub(super) fn slot_of(self, key: &[u8]) -> Option<u32> {
        let (&span, rest) = key.split_first()?;
        let slot = rest.first_chunk().map(|slot| u32::from_be_bytes(*slot))?;
        (span == self.octet()).then_some(slot)
    }
}

/// What all keys of a zone in one slot begin with.
pub(super) fn of_zone(span: Span, slot: u32, zone: ZoneId) -> [u8; ZONE_OCTETS] {
    let mut key = [0; ZONE_OCTETS];
    key[..5].copy_from_slice(&span.begin(slot));
    key[5..].copy_from_slice(zone.as_bytes());
    key
}

/// The key of a row at a PoP.
pub(super) fn of_row(of_zone: &[u8; ZONE_OCTETS], pop: &str, row: &Row) -> Vec<u8> {
    let mut key = Vec::with_capacity(NAME_AT + row.name.len());
    key.extend_from_slice(of_zone);
    let mut place = [0; POP_OCTETS];
    let octets = pop.len().min(POP_OCTETS);
    place[..octets].copy_from_slice(&pop.as_bytes()[..octets]);
    key.extend_from_slice(&place);
    key.extend_from_slice(&row.qtype.to_be_bytes());
    key.extend_from_slice(&row.rcode.to_be_bytes());
    key.push(if row.streamed { STREAMED } else { 0 } | if row.v6 { V6 } else { 0 });
    key.extend_from_slice(&row.name.as_bytes()[..row.name.floor_char_boundary(TEXT_OCTETS_MAX)]);
    key
}

/// What the key of a row says behind its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowKey<'k> {
    pub(super) pop: &'k str,
    pub(super) qtype: u16,
    pub(super) rcode: u16,
    pub(super) streamed: bool,
    pub(super) v6: bool,
    pub(super) name: &'k str,
}

impl<'k> RowKey<'k> {
    /// Of a whole key; none if it is no row's.
    pub(super) fn read(key: &'k [u8]) -> Option<Self> {
        let (pop, rest) = key.get(ZONE_OCTETS..)?.split_first_chunk::<POP_OCTETS>()?;
        let (&[q, t, r, c, flags], name) = rest.split_first_chunk()?;
        Some(Self {
            pop: str::from_utf8(pop).ok()?.trim_end_matches('\0'),
            qtype: u16::from_be_bytes([q, t]),
            rcode: u16::from_be_bytes([r, c]),
            streamed: flags & STREAMED != 0,
            v6: flags & V6 != 0,
            name: str::from_utf8(name).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_and_slots_are_those_of_the_calendar() {
        // 2026-11-29 was a Sunday, 2026-11-30 a Monday.
        let sunday = Timestamp::from_millis(1_795_996_799_999);
        for span in Span::ALL {
            let slot = span.slot(sunday);
            assert_eq!((span.day_of_week(slot), span.day_of_week(slot + 1)), (7, 1), "{span:?}");
            assert_eq!(span.slot_of(&span.begin(slot)), Some(slot));
            assert_eq!(span.slot(Timestamp::from_millis(-1)), 0);
        }
        assert_eq!(Span::Minute.slot_of(&Span::Hour.begin(1)), None);
        assert_eq!((Span::Minute.slots(3_600), Span::Hour.slots(86_400)), (60, 24));
    }

    proptest! {
        #[test]
        fn a_key_says_what_it_was_made_of(
            name in "[a-z.]{0,255}", qtype: u16, rcode: u16, streamed: bool, v6: bool, pop in "[A-Z]{3,5}"
        ) {
            let row = Row { name: name.as_str().into(), qtype, rcode, streamed, v6 };
            let of_zone = of_zone(Span::Hour, 7, ZoneId::from_bytes([9; 16]));
            let key = of_row(&of_zone, &pop, &row);
            prop_assert!(key.len() <= 511 && key.starts_with(&of_zone));
            let read = RowKey { pop: &pop, qtype, rcode, streamed, v6, name: &name };
            prop_assert_eq!(RowKey::read(&key), Some(read));
            prop_assert_eq!(RowKey::read(&of_zone), None);
        }
    }
}
