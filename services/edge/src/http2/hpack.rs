//! Field sections (RFC 7541), decoded.

use std::collections::VecDeque;

use super::static_table::FIELDS;
use crate::fields::{FIELD_OVERHEAD_BYTES, FieldError, Measure, Section, take_prefixed, take_string};

/// Octets of the dynamic table, as RFC 7541 (4.1) counts them: what is in force unless something else is said, and we say
/// nothing else.
pub const TABLE_BYTES_MAX: usize = 4096;

/// Decodes the sections of a connection, which share a table.
#[derive(Debug, Default)]
pub struct Decoder {
    table: Table,
    /// Kept between strings: most are Huffman-coded.
    name: Vec<u8>,
    value: Vec<u8>,
}

#[derive(Debug)]
struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

/// A name, and a value behind it.
#[derive(Debug)]
struct Entry {
    octets: Box<[u8]>,
    name_bytes: usize,
}

impl Entry {
    fn new(name: &[u8], value: &[u8]) -> Self {
        Self { octets: [name, value].concat().into(), name_bytes: name.len() }
    }

    fn field(&self) -> (&[u8], &[u8]) {
        self.octets.split_at(self.name_bytes)
    }

    fn cost(&self) -> usize {
        self.octets.len() + FIELD_OVERHEAD_BYTES
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES_MAX }
    }
}

impl Decoder {
    /// Decodes a section; `field` is given each name and value in order, until it finds fault with one or the section is
    /// over its bounds. The section is read to its end all the same.
    ///
    /// # Errors
    /// [`FieldError`]: the first fault that was found, or that the section cannot be decoded.
    pub(crate) fn decode(
        &mut self,
        section: &[u8],
        bounds: Section,
        mut field: impl FnMut(&[u8], &[u8]) -> Result<(), FieldError>,
    ) -> Result<(), FieldError> {
        let mut measure = Measure::of(bounds);
        let mut good = Ok(());
        self.walk(section, &mut |name, value| {
            if good.is_ok() {
                good = measure.add(name, value).and_then(|()| field(name, value));
            }
        })?;
        good
    }

    fn walk(&mut self, mut input: &[u8], field: &mut impl FnMut(&[u8], &[u8])) -> Result<(), FieldError> {
        let Self { table, name: name_space, value: value_space } = self;
        let mut begun = false;
        while let Some(&first) = input.first() {
            match first {
                0x80.. => {
                    let (name, value) = table.entry(take_prefixed(&mut input, 7)?)?;
                    field(name, value);
                }
                0x40..0x80 => {
                    let name = table.name(&mut input, 6, name_space)?;
                    let value = take_string(&mut input, 7, value_space)?;
                    field(name, value);
                    let entry = Entry::new(name, value);
                    table.insert(entry);
                }
                0x20..0x40 => {
                    // Only before the first field (RFC 7541, 4.2).
                    let bytes = usize::try_from(take_prefixed(&mut input, 5)?);
                    let bytes = bytes.ok().filter(|&bytes| bytes <= TABLE_BYTES_MAX && !begun);
                    table.bytes_max = bytes.ok_or(FieldError::Undecodable)?;
                    table.evict(0);
                    continue;
                }
                _ => {
                    let name = table.name(&mut input, 4, name_space)?;
                    field(name, take_string(&mut input, 7, value_space)?);
                }
            }
            begun = true;
        }
        Ok(())
    }
}

impl Table {
    /// An entry of either table.
    fn entry(&self, index: u64) -> Result<(&[u8], &[u8]), FieldError> {
        let index = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
        let index = index.ok_or(FieldError::Undecodable)?;
        if let Some((name, value)) = FIELDS.get(index) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let entry = self.entries.get(index - FIELDS.len()).ok_or(FieldError::Undecodable)?;
        Ok(entry.field())
    }

    /// The name of a literal: that of an entry, or a string.
    fn name<'name, 'input: 'name>(
        &'name self,
        input: &mut &'input [u8],
        bits: u8,
        space: &'name mut Vec<u8>,
    ) -> Result<&'name [u8], FieldError> {
        match take_prefixed(input, bits)? {
            0 => take_string(input, 7, space),
            index => Ok(self.entry(index)?.0),
        }
    }

    /// One that is larger than the table empties it (RFC 7541, 4.4).
    fn insert(&mut self, entry: Entry) {
        self.evict(entry.cost());
        if entry.cost() <= self.bytes_max {
            self.bytes += entry.cost();
            self.entries.push_front(entry);
        }
    }

    fn evict(&mut self, room: usize) {
        while self.bytes + room > self.bytes_max {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.bytes -= oldest.cost();
        }
    }
}
