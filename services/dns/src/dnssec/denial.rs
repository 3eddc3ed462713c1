//! Denial of existence for the one name that was asked for (RFC 9824): an NSEC record that ends right behind it.

use crate::{name::NAME_OCTETS_MAX, rrset::RrSet, wire::rtype};

/// The NSEC record of a name, which has these types and the two that every signed name has. It denies all other types
/// of this name, and nothing of any other name.
pub(crate) fn nsec(owner: &[u8], apex: &[u8], mut types: Vec<u16>, ttl: u32) -> RrSet {
    types.extend([rtype::RRSIG, rtype::NSEC]);
    types.sort_unstable();
    types.dedup();
    let mut data = successor(owner, apex);
    write_types(&types, &mut data);
    RrSet::of_one(rtype::NSEC, ttl, data)
}

/// The first name behind `owner` in canonical order (RFC 4034, 6.1) that a name can have: the shortest one below it, or,
/// where names leave no room below it (RFC 4471, 3.1.2), the next one beside it or beside the names above it.
fn successor(owner: &[u8], apex: &[u8]) -> Vec<u8> {
    if owner.len() + 2 <= NAME_OCTETS_MAX {
        return [b"\x01\x00", owner].concat();
    }
    let mut name = owner;
    while name.len() > apex.len() {
        let (label, rest) = name[1..].split_at(usize::from(name[0]));
        if name.len() < NAME_OCTETS_MAX && name[0] < 63 {
            return [&[name[0] + 1], label, b"\x00", rest].concat();
        }
        if let Some(last) = label.iter().rposition(|octet| *octet != u8::MAX) {
            // Capitals sort as small letters do.
            let next = if label[last] == b'@' { b'[' } else { label[last] + 1 };
            let length = u8::try_from(last + 1).expect("a label has 63 octets at most");
            return [&[length], &label[..last], &[next], rest].concat();
        }
        name = rest;
    }
    apex.to_vec()
}

/// Writes types, sorted, as the bits of windows of 256 (RFC 4034, 4.1.2).
pub(super) fn write_types(types: &[u16], out: &mut Vec<u8>) {
    for window in types.chunk_by(|one, other| one >> 8 == other >> 8) {
        let mut bits = [0_u8; 32];
        let mut length = 0;
        let [number, _] = window[0].to_be_bytes();
        for [_, low] in window.iter().map(|rtype| rtype.to_be_bytes()) {
            bits[usize::from(low / 8)] |= 0x80 >> (low % 8);
            length = low / 8 + 1;
        }
        out.extend_from_slice(&[number, length]);
        out.extend_from_slice(&bits[..length.into()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Name, encode};

    #[test]
    fn types_are_written_as_in_the_example_of_rfc_4034() {
        // 4.3: A MX RRSIG NSEC TYPE1234.
        let mut out = Vec::new();
        write_types(&[1, 15, 46, 47, 1234], &mut out);
        let mut expected = b"\x00\x06\x40\x01\x00\x00\x00\x03\x04\x1b".to_vec();
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(out, expected);
    }

    #[test]
    fn a_name_that_does_not_exist_has_the_type_that_says_so() {
        let set = nsec(&encode("a.example"), &encode("example"), vec![rtype::NXNAME], 300);
        // RFC 9824, 2 and 3.1: RRSIG, NSEC and NXNAME, from the name to the first one below it.
        let bits = b"\x00\x11\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80";
        assert_eq!(*set.view().first(), [&b"\x01\x00\x01a\x07example\x00"[..], bits].concat());
    }

    /// A name of these labels below an apex.
    fn name(labels: &[&[u8]], apex: &[u8]) -> Vec<u8> {
        let label = |label: &&[u8]| [&[u8::try_from(label.len()).expect("a label")], *label].concat();
        [labels.iter().flat_map(label).collect(), apex.to_vec()].concat()
    }

    #[test]
    fn names_that_leave_no_room_below_them_have_a_successor_beside_them() {
        let apex = encode("example");
        let (long, full) = ([b'x'; 63], [u8::MAX; 63]);
        let whole = |first: &[u8]| name(&[first, &long, &long, &long], &apex);
        // Room for one octet, and for none.
        let cases = [
            (whole(&[b'a'; 52]), whole(&[&[b'a'; 52][..], &[0]].concat())),
            (whole(&[b'a'; 53]), whole(&[&[b'a'; 52][..], b"b"].concat())),
            (whole(&[&[b'a'; 52][..], b"@"].concat()), whole(&[&[b'a'; 52][..], b"["].concat())),
            (whole(&[&[b'a'; 52][..], &[u8::MAX]].concat()), whole(&[&[b'a'; 51][..], b"b"].concat())),
            (whole(&[u8::MAX; 53]), name(&[&[&[b'x'; 62][..], b"y"].concat(), &long, &long], &apex)),
        ];
        for (owner, expected) in cases {
            assert!((254..=255).contains(&owner.len()), "{}", owner.len());
            assert_eq!(successor(&owner, &apex), expected);
            assert!(Name::read(&expected).is_some());
        }
        // Nothing at all is behind the last name of all.
        let last = name(&[&full[..53], &full, &full, &full], &apex);
        assert_eq!((last.len(), successor(&last, &apex)), (255, apex));
    }
}
