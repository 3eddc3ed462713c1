//! Names on the wire (RFC 1035, 4.1.4), with the pointers that messages have in them.

use crate::{HEADER_OCTETS, Malformed};

/// Octets of a name without pointers, with the root (RFC 1035, 2.3.4).
pub const NAME_OCTETS_MAX: usize = 255;
/// Octets of a label; longer "lengths" are compression pointers or reserved.
pub const LABEL_OCTETS_MAX: u8 = 63;
/// Pointers of a name: as many as it can have labels. More lead to nothing but further pointers, thousands of which fit into
/// a message and would be followed for each name in it.
const POINTERS_MAX: usize = 127;

/// Reads the name at `at`, in lower case and without pointers, and tells where what follows it begins. Pointers lead
/// backwards only, to before what was read so far, so that reading ends, and there are at most as many as a name has labels.
/// None leads into the header, where no name can be, and whose octets change: a name would be another one behind a new id.
///
/// # Errors
/// There is none.
pub fn read(message: &[u8], at: usize) -> Result<(Vec<u8>, usize), Malformed> {
    let (mut name, mut at, mut end, mut before, mut pointers) = (Vec::new(), at, None, at, 0);
    loop {
        match *message.get(at).ok_or(Malformed)? {
            0 => {
                name.push(0);
                return Ok((name, end.unwrap_or(at + 1)));
            }
            length @ 1..=LABEL_OCTETS_MAX => {
                let label = message.get(at..=at + usize::from(length)).ok_or(Malformed)?;
                if name.len() + label.len() >= NAME_OCTETS_MAX {
                    return Err(Malformed);
                }
                name.push(length);
                name.extend(label[1..].iter().map(u8::to_ascii_lowercase));
                at += label.len();
            }
            high @ 0xc0.. => {
                let low = *message.get(at + 1).ok_or(Malformed)?;
                let target = usize::from(u16::from_be_bytes([high & 0x3f, low]));
                pointers += 1;
                if !(HEADER_OCTETS..before).contains(&target) || pointers > POINTERS_MAX {
                    return Err(Malformed);
                }
                end.get_or_insert(at + 2);
                (at, before) = (target, target);
            }
            _ => return Err(Malformed),
        }
    }
}

/// Whether a name is `apex` or lies below it; both whole, in lower case and without compression.
pub fn is_within(mut name: &[u8], apex: &[u8]) -> bool {
    while name.len() > apex.len() {
        let Some(below) = name.get(1 + usize::from(name[0])..) else { return false };
        name = below;
    }
    name == apex
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets behind a header.
    fn message(octets: &[u8]) -> Vec<u8> {
        [&[0; HEADER_OCTETS], octets].concat()
    }

    #[test]
    fn a_name_is_read_through_pointers_that_lead_backwards() {
        let message = message(b"\x03ORG\x00\x07Example\xc0\x0c\x03www\xc0\x11rest");
        assert_eq!(read(&message, 12), Ok((b"\x03org\x00".to_vec(), 17)));
        assert_eq!(read(&message, 27), Ok((b"\x03www\x07example\x03org\x00".to_vec(), 33)));
    }

    #[test]
    fn what_is_no_name_is_not_read() {
        let long = [&[63; 64][..]; 4].concat();
        for (octets, at) in [
            (&b""[..], 0),
            (b"\x03ww", 0),
            (b"\x03www", 0),
            (b"\xc0", 0),
            (b"\xc0\x0c", 0),
            (b"\x00\xc0\x11\x00\x00\x00", 1),
            (b"\x01a\xc0\x0c", 0),
            // Into the header, whose octets are a root here.
            (b"\x00\xc0\x0b", 1),
            (b"\x00\xc0\x00", 1),
            (b"\x40a\x00", 0),
            (b"\x80a\x00", 0),
            (&long, 0),
        ] {
            assert_eq!(read(&message(octets), HEADER_OCTETS + at), Err(Malformed), "{octets:?}");
        }
    }

    #[test]
    fn a_name_of_as_many_pointers_as_labels_is_read_and_none_of_more() {
        // The root, and behind it pointers that each lead to the one before.
        let chain = |pointers: u16| {
            let pointer =
                |number: u16| (0xc00c + number.saturating_sub(1) * 2 + u16::from(number > 0)).to_be_bytes();
            message(&[&[0][..], &(0..pointers).map(pointer).collect::<Vec<_>>().concat()].concat())
        };
        let read_last = |pointers: u16| {
            let message = chain(pointers);
            read(&message, message.len() - 2)
        };
        assert_eq!(read_last(127), Ok((vec![0], HEADER_OCTETS + 1 + 2 * 127)));
        assert_eq!(read_last(128), Err(Malformed));
    }

    #[test]
    fn within_means_at_a_label_border() {
        let apex = b"\x07example\x03com\x00";
        assert!(is_within(b"\x03www\x07example\x03com\x00", apex) && is_within(apex, apex));
        assert!(!is_within(b"\x0anotexample\x03com\x00", apex) && !is_within(b"\x03com\x00", apex));
    }
}
