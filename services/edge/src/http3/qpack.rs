//! Field sections (RFC 9204, 4.5), without a dynamic table.

use super::static_table;
use crate::fields::{FieldError, Measure, Section, take_prefixed, take_string};

/// Decodes a section; `field` is given each name and value in order.
///
/// # Errors
/// [`FieldError`]: what `field` says, a section over its bounds, or one that cannot be decoded.
pub fn decode_section(
    mut input: &[u8],
    bounds: Section,
    mut field: impl FnMut(&[u8], &[u8]) -> Result<(), FieldError>,
) -> Result<(), FieldError> {
    // Required Insert Count: there is no table into which anything could have been inserted.
    if take_prefixed(&mut input, 8)? != 0 {
        return Err(FieldError::Undecodable);
    }
    // Base: with its sign set it would lie below nothing.
    if input.first().is_none_or(|octet| octet & 0x80 != 0) {
        return Err(FieldError::Undecodable);
    }
    take_prefixed(&mut input, 7)?;
    let mut measure = Measure::of(bounds);
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
            return Err(FieldError::Undecodable);
        };
        measure.add(name, value)?;
        field(name, value)?;
    }
    Ok(())
}

fn static_field(
    input: &mut &[u8],
    in_static_table: bool,
    bits: u8,
) -> Result<(&'static str, &'static str), FieldError> {
    let index = take_prefixed(input, bits)?;
    static_table::field(index).filter(|_| in_static_table).ok_or(FieldError::Undecodable)
}
