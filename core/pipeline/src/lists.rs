//! Fields that are lists, and weights in them (RFC 9110, 5.6.1 and 12.4.2).

use http::{HeaderMap, HeaderName, HeaderValue};

/// A weight of 1, in thousandths.
pub const WEIGHT_MAX: u16 = 1_000;

/// The members of a list in all lines of its field, without the white space about them; empty ones too. It is split at
/// every comma: for lists whose members have no quoted strings with commas in them.
pub fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).flat_map(members_of)
}

/// The members of a list in one line.
pub fn members_of(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|octet| *octet == b',').map(<[u8]>::trim_ascii)
}

/// A qvalue in thousandths: `0`, `1`, or with at most three digits after the point, and no more than 1.
pub fn weight(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text {
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        [whole] => (*whole, &[][..]),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths = [100, 10, 1].iter().zip(fraction).map(|(unit, digit)| unit * u16::from(digit - b'0'));
    let weight = u16::from(whole - b'0') * WEIGHT_MAX + thousandths.sum::<u16>();
    (weight <= WEIGHT_MAX).then_some(weight)
}
