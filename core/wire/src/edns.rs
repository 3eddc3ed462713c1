//! What OPT records are made of (RFC 6891): numbers, and how much padding a message gets.

use crate::MESSAGE_OCTETS_MAX;

/// Octets of an OPT record without options.
pub const OPT_OCTETS: usize = 11;
/// Octets of an option's code and length.
pub const OPTION_HEADER_OCTETS: usize = 4;
/// Encrypted answers have a multiple of so many octets (RFC 8467, 4.1).
pub const PADDED_OCTETS: usize = 468;
/// The flag that asks for signatures (RFC 3225).
pub const DO: u16 = 1 << 15;
/// The flag that lets the rcode tell of a name that does not exist although its denial says otherwise (RFC 9824, 5.1).
pub const CO: u16 = 1 << 14;

numbers! {
    /// Options that are understood somewhere here, by their names in the IANA registry.
    option {
        NSID = 3,
        SUBNET = 8,
        COOKIE = 10,
        KEEPALIVE = 11,
        PADDING = 12,
        EXTENDED_ERROR = 15,
    }
}

/// Octets within the padding option (RFC 7830) of a message that has so many without it: up to the next block, or to the end
/// of the largest message; `None` if not even an empty option fits.
pub fn padding(octets: usize) -> Option<u16> {
    let octets = octets + OPTION_HEADER_OCTETS;
    let padded = octets.next_multiple_of(PADDED_OCTETS).min(MESSAGE_OCTETS_MAX);
    padded.checked_sub(octets).and_then(|padding| u16::try_from(padding).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_padded_to_whole_blocks_or_to_the_largest_message() {
        for (octets, expected) in [(0, 464), (464, 0), (465, 467), (65_000, 48), (65_530, 1), (65_531, 0)] {
            assert_eq!(padding(octets), Some(expected), "{octets}");
        }
        assert_eq!(padding(65_532), None);
    }
}
