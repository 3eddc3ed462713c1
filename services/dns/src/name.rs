//! Domain names on the wire (RFC 1035, 3.1): a label is its length and its octets, the root is a zero.

use proxima_wire::name::LABEL_OCTETS_MAX;
pub(crate) use proxima_wire::name::{NAME_OCTETS_MAX, is_within};

/// Labels of a name without the root: each takes two octets at least.
const LABELS_MAX: usize = NAME_OCTETS_MAX / 2;
/// Octets of what orders a name: each octet of it takes two at the most.
pub(crate) const ORDER_OCTETS_MAX: usize = 2 * NAME_OCTETS_MAX;

/// A name in lower case, without compression, on the stack.
#[derive(Clone)]
pub(crate) struct Name {
    octets: [u8; NAME_OCTETS_MAX],
    length: u8,
    /// Where each label begins.
    starts: [u8; LABELS_MAX],
    labels: u8,
}

impl Name {
    /// Reads an uncompressed name from the beginning of `octets`; `None` if it is cut off, too long, or not one.
    /// A question's name has nothing before it that it could be compressed against.
    pub(crate) fn read(octets: &[u8]) -> Option<Self> {
        let mut name = Self { octets: [0; NAME_OCTETS_MAX], length: 0, starts: [0; LABELS_MAX], labels: 0 };
        let mut at = 0_u8;
        loop {
            let length = *octets.get(usize::from(at))?;
            if length == 0 {
                name.length = at.checked_add(1)?;
                return Some(name);
            }
            if length > LABEL_OCTETS_MAX {
                return None;
            }
            // The root's octet must still fit: the last label ends at 254 at the latest.
            let end =
                at.checked_add(1)?.checked_add(length).filter(|end| usize::from(*end) < NAME_OCTETS_MAX)?;
            let label = octets.get(usize::from(at)..usize::from(end))?;
            let copy = &mut name.octets[usize::from(at)..usize::from(end)];
            copy.copy_from_slice(label);
            copy[1..].make_ascii_lowercase();
            name.starts[usize::from(name.labels)] = at;
            name.labels += 1;
            at = end;
        }
    }

    /// The name of these octets, which were made of a name of the model.
    pub(crate) fn of_encoded(octets: &[u8]) -> Self {
        Self::read(octets).expect("what the model made is a name")
    }

    /// The name with what is before its label `index` before `target` instead of what is behind (RFC 6672, 2.2); `None` if that
    /// is too long. `target` is a whole name in lower case.
    pub(crate) fn redirected(&self, index: usize, target: &[u8]) -> Option<Self> {
        let before = &self.octets[..self.wire().len() - self.relative(index, 0).len()];
        Self::read(&[before, target].concat())
    }

    /// The whole name, in lower case.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }

    /// How many labels it has, without the root.
    pub(crate) fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// The octets from the label `index` on, without the last `apex` octets: a name relative to an apex.
    pub(crate) fn relative(&self, index: usize, apex: usize) -> &[u8] {
        let end = self.wire().len() - apex;
        let start = self.starts[..self.labels()].get(index).map_or(end, |start| usize::from(*start));
        &self.octets[start.min(end)..end]
    }

    /// Whether it is `apex` or lies below it; `apex` is a whole name in lower case.
    pub(crate) fn is_within(&self, apex: &[u8]) -> bool {
        is_within(self.wire(), apex)
    }

    /// The name as text, as zones are looked up by: without the last dot, empty for the root. Labels that no zone's
    /// name can have (a dot or another odd octet in them) are left out with all before them: the zone that encloses
    /// the rest encloses the whole.
    pub(crate) fn text<'b>(&self, buffer: &'b mut [u8; NAME_OCTETS_MAX]) -> &'b str {
        let mut length = 0;
        for index in 0..self.labels() {
            let start = usize::from(self.starts[index]);
            let end = start + 1 + usize::from(self.octets[start]);
            let label = &self.octets[start + 1..end];
            if !label.iter().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'*')) {
                length = 0;
                continue;
            }
            if length > 0 {
                buffer[length] = b'.';
                length += 1;
            }
            buffer[length..length + label.len()].copy_from_slice(label);
            length += label.len();
        }
        std::str::from_utf8(&buffer[..length]).expect("only ASCII was copied")
    }
}

/// The wire form of a name, also of one that no zone can have.
#[cfg(test)]
pub(crate) fn encode(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).expect("a label has 63 octets at most"));
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

/// The same without the root.
#[cfg(test)]
pub(crate) fn encode_relative(text: &str) -> Vec<u8> {
    let mut octets = encode(text);
    octets.pop();
    octets
}

/// A name without its first labels; the root where it has no more.
pub(crate) fn without(name: &[u8], labels: usize) -> &[u8] {
    let mut rest = name;
    for _ in 0..labels {
        match rest.split_first() {
            Some((&length @ 1.., below)) => rest = &below[usize::from(length)..],
            _ => break,
        }
    }
    rest
}

/// The octets of a name at the beginning of `octets`, which may end in a compression pointer: its length there.
/// `None` if it is cut off or not a name.
pub(crate) fn skip(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=LABEL_OCTETS_MAX => at += 1 + usize::from(length),
            0xc0.. => return octets.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
        if at >= NAME_OCTETS_MAX {
            return None;
        }
    }
}

/// Octets whose order is that of names (RFC 4034, 6.1), of a name relative to the apex, in lower case: its labels from the last
/// to the first, each behind what is less than any octet of a label.
pub(crate) fn order<'b>(relative: &[u8], buffer: &'b mut [u8; ORDER_OCTETS_MAX]) -> &'b [u8] {
    let (mut starts, mut labels) = ([0_u8; LABELS_MAX], 0);
    let mut at = 0;
    while let Some(length) = relative.get(at) {
        starts[labels] = u8::try_from(at).expect("a name has 255 octets at most");
        labels += 1;
        at += 1 + usize::from(*length);
    }
    let mut written = 0;
    let mut put = |octet: u8| {
        buffer[written] = octet;
        written += 1;
    };
    for start in starts[..labels].iter().rev().map(|start| usize::from(*start)) {
        put(0);
        for octet in &relative[start + 1..start + 1 + usize::from(relative[start])] {
            match octet {
                0 | 1 => [1, octet + 1].into_iter().for_each(&mut put),
                _ => put(*octet),
            }
        }
    }
    &buffer[..written]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_order_of_rfc_4034() {
        // 6.1, without the zone's own labels.
        let mut names: Vec<Vec<u8>> =
            ["", "a", "yljkjljk.a", "z.a", "zabc.a", "z"].map(encode_relative).to_vec();
        names.extend([b"\x01\x01\x01z".to_vec(), b"\x01*\x01z".to_vec(), b"\x01\xc8\x01z".to_vec()]);
        let key = |name: &Vec<u8>| order(name, &mut [0; ORDER_OCTETS_MAX]).to_vec();
        assert!(names.iter().map(key).is_sorted_by(|one, other| one < other));
        // A label that goes on with a zero is behind the one that ends there, and before all other longer ones.
        let odd =
            [&b"\x01a"[..], b"\x01\x00\x01a", b"\x02a\x00", b"\x02a\x01", b"\x02a-"].map(<[u8]>::to_vec);
        assert!(odd.iter().map(key).is_sorted_by(|one, other| one < other));
        let longest = [&[63; 64][..], &[63; 64], &[63; 64], &[61; 62]].concat();
        assert_eq!(key(&longest).len(), longest.len());
        let odd = [&[63][..], &[0; 63]].concat().repeat(3);
        assert_eq!(key(&odd).len(), 3 * 127);
    }

    #[test]
    fn a_name_of_255_octets_is_read_and_one_of_256_is_not() {
        let mut octets: Vec<u8> = [63; 64 * 3].to_vec();
        octets.extend([61; 62]);
        octets.push(0);
        assert_eq!(octets.len(), 255);
        assert_eq!(Name::read(&octets).map(|name| name.wire().len()), Some(255));
        let mut longer: Vec<u8> = [63; 64 * 3].to_vec();
        longer.extend([62; 63]);
        longer.push(0);
        assert!(Name::read(&longer).is_none());
    }

    #[test]
    fn a_name_of_127_labels_is_read() {
        let mut octets = b"\x01a".repeat(127);
        octets.push(0);
        assert_eq!(Name::read(&octets).map(|name| name.labels()), Some(127));
    }

    #[test]
    fn a_cut_off_or_compressed_question_name_is_not_read() {
        for octets in [&b""[..], b"\x03ww", b"\x03www", b"\xc0\x0c", b"\x40a\x00", b"\x80a\x00"] {
            assert!(Name::read(octets).is_none(), "{octets:?}");
        }
    }

    #[test]
    fn within_means_at_a_label_border() {
        let name = Name::of_encoded(&encode("notexample.com"));
        assert!(!name.is_within(&encode("example.com")));
        assert!(name.is_within(&encode("com")));
        assert!(name.is_within(&encode(".")));
        // The octets of example.com, but inside of a longer label.
        let tricky = Name::read(b"\x0dx\x07example\x03com\x00").expect("a name");
        assert!(!tricky.is_within(&encode("example.com")));
    }

    #[test]
    fn the_text_leaves_out_labels_that_no_zone_can_have() {
        let mut buffer = [0; NAME_OCTETS_MAX];
        let name = Name::read(b"\x01A\x03b.c\x07EXAMPLE\x03com\x00").expect("a name");
        assert_eq!(name.text(&mut buffer), "example.com");
        assert_eq!(Name::of_encoded(&encode("*.a_b.example.com")).text(&mut buffer), "*.a_b.example.com");
        assert_eq!(Name::of_encoded(&encode(".")).text(&mut buffer), "");
    }

    #[test]
    fn a_name_loses_its_first_labels_and_never_its_root() {
        let name = encode("a.bc.d");
        for (labels, expected) in [(0, "a.bc.d"), (1, "bc.d"), (3, "."), (9, ".")] {
            assert_eq!(without(&name, labels), encode(expected));
        }
    }

    #[test]
    fn skipping_a_name_knows_pointers_and_refuses_reserved_labels() {
        assert_eq!(skip(b"\x00"), Some(1));
        assert_eq!(skip(b"\x01a\xc0\x0c"), Some(4));
        assert_eq!(skip(b"\x01a\xc0"), None);
        assert_eq!(skip(b"\x41a\x00"), None);
        assert_eq!(skip(&b"\x01a".repeat(200)), None);
    }
}
