//! Record sets as they lie ready for the wire.
//!
//! The records of a set lie one behind the other, each with its length before it (two octets): in a set of its own
//! ([`RrSet`]), or among all that a zone has (`zone/packed.rs`). Answers are made of a view of either ([`Set`]).

use proxima_model::RecordData;

use crate::wire::rtype;

/// Where in a record's data names stand that are compressed: only those of RFC 1035's types may be (RFC 3597, 4), and only
/// those that the model knows as names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Octets before the first name.
    pub(crate) prefix: usize,
    /// How many names follow them.
    pub(crate) names: usize,
}

impl Layout {
    pub(crate) const fn of(rtype: u16) -> Self {
        match rtype {
            rtype::NS | rtype::CNAME => Self { prefix: 0, names: 1 },
            rtype::MX => Self { prefix: 2, names: 1 },
            rtype::SOA => Self { prefix: 0, names: 2 },
            _ => Self { prefix: 0, names: 0 },
        }
    }
}

/// The records of one name and type, encoded but for compression, where they lie. Cheap to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Set<'s> {
    pub(crate) rtype: u16,
    /// In seconds; one for the whole set (RFC 2181, 5.2).
    pub(crate) ttl: u32,
    pub(crate) records: Records<'s>,
}

impl<'s> Set<'s> {
    /// Its first record's data: there is one.
    pub(crate) fn first(self) -> &'s [u8] {
        self.records.into_iter().next().expect("a set is never empty")
    }

    /// The name that this CNAME or DNAME set stands for, on the wire.
    pub(crate) fn target(self) -> &'s [u8] {
        self.first()
    }

    /// The same in octets of its own.
    pub(crate) fn detached(self) -> RrSet {
        RrSet { rtype: self.rtype, ttl: self.ttl, octets: self.records.octets.to_vec() }
    }
}

/// Each record's data, names uncompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Records<'s> {
    octets: &'s [u8],
}

impl<'s> Records<'s> {
    /// Those that were packed here: nothing else is to be read as records.
    pub(crate) const fn packed(octets: &'s [u8]) -> Self {
        Self { octets }
    }

    /// Where the first one's length lies.
    pub(crate) const fn as_ptr(self) -> *const u8 {
        self.octets.as_ptr()
    }
}

impl<'s> Iterator for Records<'s> {
    type Item = &'s [u8];

    fn next(&mut self) -> Option<&'s [u8]> {
        let (length, rest) = self.octets.split_first_chunk()?;
        let (record, rest) = rest.split_at(u16::from_ne_bytes(*length).into());
        self.octets = rest;
        Some(record)
    }
}

/// The same in octets of its own. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RrSet {
    pub(crate) rtype: u16,
    /// In seconds.
    pub(crate) ttl: u32,
    octets: Vec<u8>,
}

impl RrSet {
    /// A set of one record.
    pub(crate) fn of_one(rtype: u16, ttl: u32, data: impl AsRef<[u8]>) -> Self {
        let data = data.as_ref();
        let mut octets = Vec::with_capacity(2 + data.len());
        pack(data, &mut octets);
        Self { rtype, ttl, octets }
    }

    /// A set of these records, each as often as it comes; `None` without any.
    pub(crate) fn of<D: AsRef<[u8]>>(
        rtype: u16,
        ttl: u32,
        data: impl IntoIterator<Item = D>,
    ) -> Option<Self> {
        let mut octets = Vec::new();
        data.into_iter().for_each(|data| pack(data.as_ref(), &mut octets));
        (!octets.is_empty()).then_some(Self { rtype, ttl, octets })
    }

    /// A view of it.
    pub(crate) fn view(&self) -> Set<'_> {
        Set { rtype: self.rtype, ttl: self.ttl, records: self.records() }
    }

    /// Its records.
    pub(crate) fn records(&self) -> Records<'_> {
        Records::packed(&self.octets)
    }

    /// As they lie one behind the other.
    pub(crate) fn packed(&self) -> &[u8] {
        &self.octets
    }

    /// Brings sets of one record each, or of more, together to one set for each type, in the order of types: each record once,
    /// however often it is said, in the order in which they were said first; a set lives as long as its shortest-lived record.
    ///
    /// Whatever the records are, by whoever they were written, this sorts and takes no more time than that.
    pub(crate) fn gather(sets: &mut Vec<Self>) {
        sets.sort_by_key(|set| set.rtype);
        sets.dedup_by(|next, set| {
            let is_same = next.rtype == set.rtype;
            if is_same {
                set.ttl = set.ttl.min(next.ttl);
                set.octets.append(&mut next.octets);
            }
            is_same
        });
        sets.shrink_to_fit();
        sets.iter_mut().for_each(Self::distinct);
    }

    /// Adds a record to a set of few: once, however often it is said; the set lives as long as its shortest-lived record.
    pub(crate) fn add(&mut self, ttl: u32, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        self.ttl = self.ttl.min(ttl);
        if !self.records().any(|known| known == data) {
            pack(data, &mut self.octets);
        }
    }

    /// Adds the records of another set of its type.
    pub(crate) fn merge(&mut self, other: Set<'_>) {
        self.ttl = self.ttl.min(other.ttl);
        self.octets.extend_from_slice(other.records.octets);
        self.distinct();
    }

    /// Leaves each record once, where it was said first.
    fn distinct(&mut self) {
        let mut records: Vec<&[u8]> = self.records().collect();
        let all = records.len();
        distinct(&mut records);
        if records.len() < all {
            let mut octets = Vec::with_capacity(self.octets.len());
            records.into_iter().for_each(|data| pack(data, &mut octets));
            self.octets = octets;
        }
        self.octets.shrink_to_fit();
    }
}

/// Leaves each item once, where it stood first.
fn distinct<T: Ord>(items: &mut Vec<T>) {
    if items.len() < 2 {
        return;
    }
    let mut sorted: Vec<usize> = (0..items.len()).collect();
    sorted.sort_by(|one, other| items[*one].cmp(&items[*other]));
    let mut is_again = vec![false; items.len()];
    for pair in sorted.windows(2) {
        // The sort is stable: of like ones the first comes first.
        is_again[pair[1]] = items[pair[0]] == items[pair[1]];
    }
    let mut is_again = is_again.into_iter();
    items.retain(|_| !is_again.next().unwrap_or_default());
}

/// What can be written as a record set.
pub(crate) trait AsSet {
    /// A view of it.
    fn as_set(&self) -> Set<'_>;
}

impl AsSet for Set<'_> {
    fn as_set(&self) -> Set<'_> {
        *self
    }
}

impl AsSet for RrSet {
    fn as_set(&self) -> Set<'_> {
        self.view()
    }
}

/// Appends a record's data, with its length before it.
fn pack(data: &[u8], octets: &mut Vec<u8>) {
    let length = u16::try_from(data.len()).expect("a record's data is far below 64 KiB");
    octets.extend_from_slice(&length.to_ne_bytes());
    octets.extend_from_slice(data);
}

/// A record's type and data on the wire.
pub(crate) fn encode(data: &RecordData) -> (u16, Vec<u8>) {
    match data {
        RecordData::A { address } => (rtype::A, address.octets().to_vec()),
        RecordData::Aaaa { address } => (rtype::AAAA, address.octets().to_vec()),
        RecordData::Cname { target } => (rtype::CNAME, target.wire()),
        RecordData::Ns { host } => (rtype::NS, host.wire()),
        RecordData::Mx { priority, exchange } => {
            (rtype::MX, [&priority.to_be_bytes()[..], &exchange.wire()].concat())
        }
        RecordData::Srv { priority, weight, port, target } => {
            let numbers = [priority.to_be_bytes(), weight.to_be_bytes(), port.to_be_bytes()].concat();
            (rtype::SRV, [numbers, target.wire()].concat())
        }
        RecordData::Txt(text) => (rtype::TXT, text.octets().to_vec()),
        RecordData::Caa { flags, tag, value } => {
            let tag: Vec<u8> = character_string(tag.as_str().as_bytes()).collect();
            (rtype::CAA, [&[*flags][..], &tag, value.as_bytes()].concat())
        }
        RecordData::Other(rdata) => (rdata.record_type().code(), rdata.octets().to_vec()),
    }
}

/// A character string (RFC 1035, 3.3): its length in one octet, and its octets.
pub(crate) fn character_string(octets: &[u8]) -> impl Iterator<Item = u8> {
    let length = u8::try_from(octets.len()).expect("a character string has 255 octets at most");
    std::iter::once(length).chain(octets.iter().copied())
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, cmp::Ordering};

    use super::*;

    #[test]
    fn records_come_together_by_type_each_once_in_the_order_in_which_they_were_said() {
        let said = [(16, 60, "b"), (1, 300, "x"), (16, 30, "a"), (16, 90, "b"), (1, 300, "w"), (16, 60, "c")];
        let mut sets = said.map(|(rtype, ttl, data)| RrSet::of_one(rtype, ttl, data)).to_vec();
        for _ in 0..2 {
            RrSet::gather(&mut sets);
            let found =
                sets.iter().map(|set| (set.rtype, set.ttl, set.records().collect::<Vec<_>>().concat()));
            assert!(found.eq([(1, 300, b"xw".to_vec()), (16, 30, b"bac".to_vec())]), "{sets:?}");
        }
        let mut merged = sets[1].clone();
        merged.merge(RrSet::of(16, 20, ["d", "a"]).expect("two records").view());
        assert_eq!((merged.ttl, merged.records().collect::<Vec<_>>().concat()), (20, b"bacd".to_vec()));
    }

    /// Something whose comparisons are counted.
    #[derive(Clone)]
    struct Counted<'c>(u32, &'c Cell<usize>);

    impl Ord for Counted<'_> {
        fn cmp(&self, other: &Self) -> Ordering {
            self.1.set(self.1.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted<'_> {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl PartialEq for Counted<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }

    impl Eq for Counted<'_> {}

    #[test]
    fn a_set_of_tens_of_thousands_takes_no_more_comparisons_than_a_sort() {
        const RECORDS: u32 = 50_000;
        let count = Cell::new(0);
        // Mixed, and many of them twice.
        let numbers = (0..2 * RECORDS).map(|number| number.wrapping_mul(0x9E37_79B1) % RECORDS);
        let mut items: Vec<_> = numbers.map(|number| Counted(number, &count)).collect();
        let before: std::collections::BTreeSet<u32> = items.iter().map(|item| item.0).collect();
        distinct(&mut items);
        assert_eq!(items.len(), before.len());
        // Twenty is more than the logarithm of their number; a set that is looked through for each takes a thousand times that.
        assert!(count.get() <= 20 * 2 * RECORDS as usize, "{} comparisons", count.get());
    }

    #[test]
    fn a_name_of_every_type_and_a_set_of_tens_of_thousands_are_gathered_whole() {
        let addresses = (0..50_000_u32).map(|number| RrSet::of_one(rtype::A, 60, number.to_be_bytes()));
        let types = (0..=u16::MAX).map(|rtype| RrSet::of_one(rtype, 60, [7]));
        let mut sets: Vec<RrSet> = addresses.chain(types).collect();
        RrSet::gather(&mut sets);
        assert_eq!(sets.len(), 1 << 16);
        assert_eq!(sets[1].records().count(), 50_001);
        assert_eq!(sets.iter().map(|set| set.records().count()).sum::<usize>(), 50_000 + (1 << 16));
    }

    #[test]
    fn a_set_has_each_record_once_and_the_shortest_time_to_live() {
        let mut set = RrSet::of_one(rtype::TXT, 60, b"\x01a");
        set.add(90, b"");
        set.add(30, b"\x01a");
        set.merge(RrSet::of(rtype::TXT, 20, [&b"\x01b"[..], b""]).expect("two records").view());
        assert_eq!(set.records().collect::<Vec<_>>(), [&b"\x01a"[..], b"", b"\x01b"]);
        assert_eq!((set.ttl, set.view().first()), (20, &b"\x01a"[..]));
        assert_eq!(set.view().detached(), set);
        assert_eq!(RrSet::of(rtype::TXT, 20, [[0_u8; 0]; 0]), None);
    }
}
