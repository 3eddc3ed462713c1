//! The Huffman code of HPACK and QPACK (RFC 7541, appendix B).
//!
//! The code is canonical: codes of one length are consecutive in the order of their symbols, and each length goes on
//! where the shorter one before ended. So the lengths are all that has to be written down.

use std::sync::LazyLock;

use super::FieldError;

/// The symbol that ends a string, which is never sent whole.
const END: usize = 256;
/// Symbols: every octet, and the end.
const SYMBOLS: usize = 257;

/// The length of each symbol's code in bits.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// What four bits lead to from a node of the code's tree.
#[derive(Clone, Copy, Default)]
struct Step {
    /// The node from which the next bits are read.
    next: u16,
    /// The octet that ended on the way. No code has fewer than five bits, so there is at most one.
    octet: Option<u8>,
    /// Whether the code of the end was met.
    forbidden: bool,
}

struct Decoder {
    /// Sixteen steps for each inner node; the root is the first.
    steps: Vec<[Step; 16]>,
    /// Whether a string may end at a node: at the root, or after at most seven bits of ones (RFC 7541, 5.2).
    may_end: Vec<bool>,
}

static DECODER: LazyLock<Decoder> = LazyLock::new(Decoder::new);

/// A place in the tree.
#[derive(Clone, Copy)]
enum Node {
    Unknown,
    Inner(u16),
    Leaf(u16),
}

impl Decoder {
    fn new() -> Self {
        let tree = tree();
        let walk = |node: usize, bits: u8| {
            let mut step = Step::default();
            let mut at = node;
            for bit in (0..4).rev() {
                match tree[at][usize::from(bits >> bit & 1)] {
                    Node::Inner(next) => at = usize::from(next),
                    Node::Leaf(symbol) => {
                        step.octet = u8::try_from(symbol).ok();
                        step.forbidden |= usize::from(symbol) == END;
                        at = 0;
                    }
                    Node::Unknown => unreachable!("the code is complete"),
                }
            }
            step.next = u16::try_from(at).expect("there are 256 inner nodes");
            step
        };
        let steps = (0..tree.len())
            .map(|node| std::array::from_fn(|bits| walk(node, u8::try_from(bits).expect("it is below 16"))))
            .collect();
        let mut may_end = vec![false; tree.len()];
        let mut at = 0;
        for _ in 0..8 {
            may_end[at] = true;
            let Node::Inner(next) = tree[at][1] else { unreachable!("the code of the end has 30 bits") };
            at = usize::from(next);
        }
        Self { steps, may_end }
    }
}

/// The tree, from the lengths.
fn tree() -> Vec<[Node; 2]> {
    let mut order: Vec<u16> = (0..).take(SYMBOLS).collect();
    order.sort_by_key(|&symbol| (LENGTHS[usize::from(symbol)], symbol));
    let mut tree = vec![[Node::Unknown; 2]];
    let (mut code, mut length_before) = (0_u32, 0);
    for symbol in order {
        let length = LENGTHS[usize::from(symbol)];
        code <<= length - length_before;
        length_before = length;
        let mut at = 0;
        for bit in (1..length).rev() {
            let side = (code >> bit & 1) as usize;
            at = match tree[at][side] {
                Node::Inner(next) => usize::from(next),
                _ => {
                    let next = tree.len();
                    tree[at][side] = Node::Inner(u16::try_from(next).expect("there are 256 inner nodes"));
                    tree.push([Node::Unknown; 2]);
                    next
                }
            };
        }
        tree[at][(code & 1) as usize] = Node::Leaf(symbol);
        code += 1;
    }
    tree
}

/// Appends what `coded` stands for: at most 8/5 of its length.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), FieldError> {
    let decoder = &*DECODER;
    let mut at = 0_usize;
    for &octet in coded {
        for bits in [octet >> 4, octet & 15] {
            let step = decoder.steps[at][usize::from(bits)];
            if step.forbidden {
                return Err(FieldError::Undecodable);
            }
            out.extend(step.octet);
            at = step.next.into();
        }
    }
    if decoder.may_end[at] { Ok(()) } else { Err(FieldError::Undecodable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(hex: &str) -> Result<String, FieldError> {
        let mut out = Vec::new();
        decode(&hex::decode(hex).unwrap(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 7541, C.4 and C.6.
        let cases = [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("6402", "302"),
            ("aec3771a4b", "private"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
            (
                "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
            ("", ""),
        ];
        for (coded, text) in cases {
            assert_eq!(decoded(coded).as_deref(), Ok(text));
        }
    }

    #[test]
    fn padding_is_ones_and_shorter_than_an_octet_and_the_end_is_never_sent() {
        // "0" is 00000, then three bits of padding.
        assert_eq!(decoded("07").as_deref(), Ok("0"));
        for coded in ["00", "01", "06", "07ff", "ff", "ffffffff", "fffffffc", "3fffffff"] {
            assert_eq!(decoded(coded), Err(FieldError::Undecodable), "{coded}");
        }
    }
}
