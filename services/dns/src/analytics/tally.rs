//! What one server has counted since it last reported: samples, added up. Pure.
//!
//! Limits: [`ZONE_ROWS_MAX`] rows of a zone have a name, and [`ROWS_MAX`] of all zones; beyond that queries are told apart
//! by less ([`Row::coarser`]), and not at all beyond [`ZONES_MAX`] zones.

use std::collections::{HashMap, hash_map::Entry};

use proxima_model::ZoneId;

use super::row::Row;

/// Rows of one zone with a name: a flood of random names beneath one leaves the others their places.
const ZONE_ROWS_MAX: usize = 1_000;
/// Rows with a name of all zones together, each of some 300 octets.
const ROWS_MAX: usize = 20_000;
/// Zones that are asked for between two reports.
const ZONES_MAX: usize = 50_000;

/// The queries of one minute.
#[derive(Default)]
pub(super) struct Tally {
    zones: HashMap<ZoneId, HashMap<Row, u64>>,
    rows: usize,
}

/// A row of a zone and its number.
pub(super) type Counted = (ZoneId, Row, u64);

impl Tally {
    /// Adds so many queries; `false` if there is no place for them.
    pub(super) fn add(&mut self, zone: ZoneId, mut row: Row, weight: u64) -> bool {
        let zones = self.zones.len();
        let of_zone = match self.zones.entry(zone) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if zones >= ZONES_MAX => return false,
            Entry::Vacant(unknown) => unknown.insert(HashMap::new()),
        };
        loop {
            if let Some(count) = of_zone.get_mut(&row) {
                *count = count.saturating_add(weight);
                return true;
            }
            let has_place = of_zone.len() < row.places(ZONE_ROWS_MAX) && self.rows < row.places(ROWS_MAX);
            if has_place {
                of_zone.insert(row, weight);
                self.rows += 1;
                return true;
            }
            match row.coarser() {
                Some(coarser) => row = coarser,
                None => return false,
            }
        }
    }

    /// Takes what there is, and begins anew.
    pub(super) fn take(&mut self) -> Vec<Counted> {
        self.rows = 0;
        let zones = std::mem::take(&mut self.zones).into_iter();
        zones.flat_map(|(zone, rows)| rows.into_iter().map(move |(row, count)| (zone, row, count))).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxima_pipeline::QUERY_NAMES_OTHER;

    use super::*;

    fn zone(number: u16) -> ZoneId {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        ZoneId::from_bytes(id)
    }

    fn row(name: String, qtype: u16) -> Row {
        Row { name: name.into(), qtype, rcode: 0, streamed: false, v6: false }
    }

    #[test]
    fn random_names_and_types_of_one_zone_take_no_more_than_its_places() {
        let mut tally = Tally::default();
        for number in 0..5_000_u16 {
            assert!(tally.add(zone(0), row(format!("r{number}"), number % 3_000), 2));
        }
        assert!(tally.add(zone(1), row("www".to_owned(), 1), 1));
        let counted = tally.take();
        let of = |wanted| counted.iter().filter(move |(zone, ..)| *zone == wanted);
        assert!(of(zone(0)).count() <= 2 * ZONE_ROWS_MAX + 1);
        assert_eq!(of(zone(0)).filter(|(_, row, _)| &*row.name != QUERY_NAMES_OTHER).count(), ZONE_ROWS_MAX);
        assert_eq!(of(zone(0)).map(|(.., count)| count).sum::<u64>(), 10_000, "none is lost");
        assert!(of(zone(0)).any(|(_, row, _)| row.qtype == 0));
        assert_eq!(of(zone(1)).map(|(_, row, _)| &*row.name).collect::<Vec<_>>(), ["www"]);
        assert!(tally.take().is_empty());
    }

    #[test]
    fn names_of_all_zones_have_a_bound_too() {
        let mut tally = Tally::default();
        for number in 0..60 {
            for name in 0..900 {
                tally.add(zone(number), row(format!("n{name}"), 1), 1);
            }
        }
        let counted = tally.take();
        assert!(counted.len() <= ROWS_MAX + 60, "{}", counted.len());
        assert_eq!(counted.iter().map(|(.., count)| count).sum::<u64>(), 60 * 900);
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_was_added(
            added in proptest::collection::vec((0..4_u16, "[a-c]{1,2}", 0..3_u16, 1..9_u64), 0..200)
        ) {
            let mut tally = Tally::default();
            let mut expected = HashMap::<(ZoneId, Row), u64>::new();
            for (number, name, qtype, weight) in added {
                let row = row(name, qtype);
                prop_assert!(tally.add(zone(number), row.clone(), weight));
                *expected.entry((zone(number), row)).or_default() += weight;
            }
            let taken: HashMap<_, _> =
                tally.take().into_iter().map(|(zone, row, count)| ((zone, row), count)).collect();
            prop_assert_eq!(taken, expected);
        }
    }
}
