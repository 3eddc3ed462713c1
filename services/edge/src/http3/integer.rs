//! The two kinds of integers: QUIC's of variable length (RFC 9000, 16) and QPACK's with a prefix (RFC 9204, 4.1.1).

use bytes::{BufMut, BytesMut};

use super::code::Broken;

/// Octets of QUIC's longest integer.
pub const VARINT_BYTES_MAX: usize = 8;
/// The largest integer that a field section may hold: no length or index that is allowed comes near it.
const PREFIXED_MAX: u64 = u32::MAX as u64;

/// The integer at the beginning of `octets` and how many octets it takes; `None` if it is not whole yet.
pub fn read_varint(octets: &[u8]) -> Option<(u64, usize)> {
    let first = *octets.first()?;
    let length = 1_usize << (first >> 6);
    let rest = octets.get(1..length)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, &octet| value << 8 | u64::from(octet));
    Some((value, length))
}

/// Appends an integer; at most 2^62 - 1.
#[expect(clippy::cast_possible_truncation, reason = "each arm keeps the octets that its range has")]
pub(super) fn write_varint(value: u64, out: &mut BytesMut) {
    match value {
        0..0x40 => out.put_u8(value as u8),
        0x40..0x4000 => out.put_u16(value as u16 | 0x4000),
        0x4000..0x4000_0000 => out.put_u32(value as u32 | 0x8000_0000),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

/// Takes an integer with a prefix of `bits` off `input`. It must be whole: sections are decoded when they are.
pub(super) fn take_prefixed(input: &mut &[u8], bits: u8) -> Result<u64, Broken> {
    let (&first, mut rest) = input.split_first().ok_or(Broken::SECTION)?;
    let mask = (1_u64 << bits) - 1;
    let mut value = u64::from(first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (&octet, after) = rest.split_first().ok_or(Broken::SECTION)?;
            rest = after;
            // A shift of 28 still fits; more octets than that only pad, or overflow.
            if shift > 28 {
                return Err(Broken::SECTION);
            }
            value += u64::from(octet & 0x7f) << shift;
            shift += 7;
            if octet & 0x80 == 0 {
                break;
            }
        }
    }
    if value > PREFIXED_MAX {
        return Err(Broken::SECTION);
    }
    *input = rest;
    Ok(value)
}

/// Appends an integer with a prefix of `bits`, below `pattern`.
#[expect(clippy::cast_possible_truncation, reason = "each octet is masked or compared before")]
pub(super) fn write_prefixed(value: u64, bits: u8, pattern: u8, out: &mut BytesMut) {
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
