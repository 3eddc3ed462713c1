//! Field sections (RFC 9204, 4.5), without a dynamic table.

use super::code::Broken;
use super::huffman;
use super::integer::take_prefixed;
use super::static_table;

/// What a field costs beside its octets when a section is measured (RFC 9114, 4.2.2).
const FIELD_OVERHEAD_BYTES: usize = 32;

/// Bounds of a decoded section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Octets of names and values, with 32 for each field.
    pub bytes_max: usize,
    /// Fields.
    pub fields_max: usize,
}

/// Decodes a section; `field` is given each name and value in order.
///
/// # Errors
/// [`Broken`]: what `field` says, a section over its bounds, or one that cannot be decoded.
pub fn decode_section(
    mut input: &[u8],
    bounds: Section,
    mut field: impl FnMut(&[u8], &[u8]) -> Result<(), Broken>,
) -> Result<(), Broken> {
    // Required Insert Count: there is no table into which anything could have been inserted.
    if take_prefixed(&mut input, 8)? != 0 {
        return Err(Broken::SECTION);
    }
    // Base: with its sign set it would lie below nothing.
    if input.first().is_none_or(|octet| octet & 0x80 != 0) {
        return Err(Broken::SECTION);
    }
    take_prefixed(&mut input, 7)?;
    let (mut bytes, mut fields) = (0_usize, 0_usize);
    let (mut name_space, mut value_space) = (Vec::new(), Vec::new());
    while let Some(&first) = input.first() {
        let (name, value): (&[u8], &[u8]) = if first & 0x80 != 0 {
            // Indexed; 0x40 says: in the static table.
            let (name, value) = static_field(&mut input, first & 0x40 != 0, 6)?;
            (name.as_bytes(), value.as_bytes())
        } else if first & 0x40 != 0 {
            // A literal whose name is in a table; 0x10 says: the static one.
            let (name, _) = static_field(&mut input, first & 0x10 != 0, 4)?;
            (name.as_bytes(), take_string(&mut input, 7, &mut value_space)?)
        } else if first & 0x20 != 0 {
            let name = take_string(&mut input, 3, &mut name_space)?;
            (name, take_string(&mut input, 7, &mut value_space)?)
        } else {
            // What refers to the table after the base.
            return Err(Broken::SECTION);
        };
        bytes += name.len() + value.len() + FIELD_OVERHEAD_BYTES;
        fields += 1;
        if bytes > bounds.bytes_max || fields > bounds.fields_max {
            return Err(Broken::TooLarge);
        }
        field(name, value)?;
    }
    Ok(())
}

fn static_field(
    input: &mut &[u8],
    in_static_table: bool,
    bits: u8,
) -> Result<(&'static str, &'static str), Broken> {
    let index = take_prefixed(input, bits)?;
    static_table::field(index).filter(|_| in_static_table).ok_or(Broken::SECTION)
}

/// Takes a string whose length has a prefix of `bits`; the bit above says whether it is Huffman-coded.
fn take_string<'input: 'string, 'space: 'string, 'string>(
    input: &mut &'input [u8],
    bits: u8,
    space: &'space mut Vec<u8>,
) -> Result<&'string [u8], Broken> {
    let coded = input.first().is_some_and(|octet| octet >> bits & 1 == 1);
    let length = usize::try_from(take_prefixed(input, bits)?).map_err(|_| Broken::SECTION)?;
    let (string, rest) = input.split_at_checked(length).ok_or(Broken::SECTION)?;
    *input = rest;
    if !coded {
        return Ok(string);
    }
    space.clear();
    huffman::decode(string, space)?;
    Ok(space)
}
