//! Field sections (RFC 7541), decoded.

use std::collections::VecDeque;
use std::sync::Arc;

use super::static_table::FIELDS;
use crate::fields::{FIELD_OVERHEAD_BYTES, FieldError, Measure, Section, take_prefixed, take_string};

/// Octets of the dynamic table, as RFC 7541 (4.1) counts them: what is in force unless something else is said, and we say
/// nothing else.
pub const TABLE_BYTES_MAX: usize = 4096;

/// Octets that are kept for decoding the next string.
const SPACE_BYTES_MAX: usize = 4096;

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

#[derive(Debug)]
struct Entry {
    /// Shared by those that were made of one another: two octets are enough to make one, however long its name is.
    name: Arc<[u8]>,
    value: Box<[u8]>,
}

impl Entry {
    fn cost(&self) -> usize {
        self.name.len() + self.value.len() + FIELD_OVERHEAD_BYTES
    }
}

/// The name of a literal.
enum Name<'a> {
    /// Of an entry of the dynamic table.
    Shared(&'a Arc<[u8]>),
    Plain(&'a [u8]),
}

impl Name<'_> {
    fn octets(&self) -> &[u8] {
        match self {
            Self::Shared(name) => name,
            Self::Plain(name) => name,
        }
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
        let walked = self.walk(section, &mut |name, value| {
            if good.is_ok() {
                good = measure.add(name, value).and_then(|()| field(name, value));
            }
        });
        for space in [&mut self.name, &mut self.value] {
            if space.capacity() > SPACE_BYTES_MAX {
                *space = Vec::new();
            }
        }
        walked.and(good)
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
                    field(name.octets(), value);
                    let name = match name {
                        Name::Shared(name) => Arc::clone(name),
                        Name::Plain(name) => name.into(),
                    };
                    table.insert(Entry { name, value: value.into() });
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
                    field(name.octets(), take_string(&mut input, 7, value_space)?);
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
        Ok((&entry.name, &entry.value))
    }

    /// The name of a literal: that of an entry, or a string.
    fn name<'name, 'input: 'name>(
        &'name self,
        input: &mut &'input [u8],
        bits: u8,
        space: &'name mut Vec<u8>,
    ) -> Result<Name<'name>, FieldError> {
        let index = take_prefixed(input, bits)?;
        if index == 0 {
            return Ok(Name::Plain(take_string(input, 7, space)?));
        }
        let dynamic = usize::try_from(index).ok().and_then(|index| index.checked_sub(FIELDS.len() + 1));
        match dynamic.and_then(|index| self.entries.get(index)) {
            Some(entry) => Ok(Name::Shared(&entry.name)),
            None => Ok(Name::Plain(self.entry(index)?.0)),
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
