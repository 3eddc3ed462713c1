//! Integers with a prefix (RFC 7541, 5.1; RFC 9204, 4.1.1), and strings that begin with one.

use bytes::{BufMut, BytesMut};

use super::{FieldError, huffman};

/// The largest integer that a field section may hold: no length or index that is allowed comes near it.
const PREFIXED_MAX: u64 = u32::MAX as u64;

/// Takes an integer with a prefix of `bits` off `input`. It must be whole: sections are decoded when they are.
pub(crate) fn take_prefixed(input: &mut &[u8], bits: u8) -> Result<u64, FieldError> {
    let (&first, mut rest) = input.split_first().ok_or(FieldError::Undecodable)?;
    let mask = (1_u64 << bits) - 1;
    let mut value = u64::from(first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (&octet, after) = rest.split_first().ok_or(FieldError::Undecodable)?;
            rest = after;
            // A shift of 28 still fits; more octets than that only pad, or overflow.
            if shift > 28 {
                return Err(FieldError::Undecodable);
            }
            value += u64::from(octet & 0x7f) << shift;
            shift += 7;
            if octet & 0x80 == 0 {
                break;
            }
        }
    }
    if value > PREFIXED_MAX {
        return Err(FieldError::Undecodable);
    }
    *input = rest;
    Ok(value)
}

/// Appends an integer with a prefix of `bits`, below `pattern`.
#[expect(clippy::cast_possible_truncation, reason = "each octet is masked or compared before")]
pub(crate) fn write_prefixed(value: u64, bits: u8, pattern: u8, out: &mut BytesMut) {
    let mask = (1_u64 << bits) - 1;
    if value < mask {
        out.put_u8(pattern | value as u8);
        return;
    }
    out.put_u8(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// Takes a string whose length has a prefix of `bits`; the bit above says whether it is Huffman-coded.
pub(crate) fn take_string<'input: 'string, 'space: 'string, 'string>(
    input: &mut &'input [u8],
    bits: u8,
    space: &'space mut Vec<u8>,
) -> Result<&'string [u8], FieldError> {
    let coded = input.first().is_some_and(|octet| octet >> bits & 1 == 1);
    let length = usize::try_from(take_prefixed(input, bits)?).map_err(|_| FieldError::Undecodable)?;
    let (string, rest) = input.split_at_checked(length).ok_or(FieldError::Undecodable)?;
    *input = rest;
    if !coded {
        return Ok(string);
    }
    space.clear();
    huffman::decode(string, space)?;
    Ok(space)
}

/// Appends a string that is not Huffman-coded.
pub(crate) fn write_string(string: &[u8], bits: u8, pattern: u8, out: &mut BytesMut) {
    write_prefixed(string.len() as u64, bits, pattern, out);
    out.extend_from_slice(string);
}
