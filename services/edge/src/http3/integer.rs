//! QUIC's integers of variable length (RFC 9000, 16).

use bytes::{BufMut, BytesMut};

/// Octets of QUIC's longest integer.
pub const VARINT_BYTES_MAX: usize = 8;

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
