//! Names as hashes (RFC 5155, 5), and by which of a zone's chains of them its names are denied.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use proxima_model::limits::NSEC3_ITERATIONS_MAX;

/// SHA-1 as the hash of names: the only one that there is (RFC 5155, 11).
pub const HASH_ALGORITHM: u8 = 1;
/// Octets of a hash.
pub const HASH_OCTETS: usize = 20;
/// Octets that a hash has as a label on the wire, in base 32: with its length.
pub const LABEL_OCTETS: usize = 33;
/// The digits of base 32 with an extended alphabet of hexadecimal digits (RFC 4648, 7), in small letters.
pub const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
/// NSEC3PARAM records of a zone that are looked at: a chain has one, and while it is replaced there are two.
const PARAMETERS_MAX: usize = 4;

/// How names are hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hashing {
    /// How often once more.
    pub iterations: u16,
    /// With what.
    pub salt: Box<[u8]>,
}

impl Hashing {
    /// As data of NSEC3 or NSEC3PARAM begins: hash, flags, iterations, salt. And the flags.
    pub fn of(data: &[u8]) -> Option<(Self, u8)> {
        let (&[hash, flags, high, low, length], rest) = data.split_first_chunk()?;
        let salt = rest.get(..usize::from(length)).filter(|_| hash == HASH_ALGORITHM)?;
        Some((Self { iterations: u16::from_be_bytes([high, low]), salt: salt.into() }, flags))
    }

    /// By which chain a zone's names are denied: the first that one of its NSEC3PARAM records, whose data these are, says to be
    /// whole, that is not hashed more often than is done here, and that has its apex, which is a whole name; `has` says
    /// whether there is a record of a chain at a hash.
    pub fn of_zone<'d>(
        apex: &[u8],
        parameters: impl Iterator<Item = &'d [u8]>,
        has: impl Fn(&Self, &[u8; HASH_OCTETS]) -> bool,
    ) -> Option<Self> {
        parameters.take(PARAMETERS_MAX).find_map(|data| {
            // Flags mean that the chain is not whole, or going (RFC 5155, 4.1.2).
            let (hashing, _) = Self::of(data).filter(|(_, flags)| *flags == 0)?;
            (hashing.is_bounded() && has(&hashing, &hashing.hash(apex))).then_some(hashing)
        })
    }

    /// Whether names are not hashed more often than is done here.
    pub const fn is_bounded(&self) -> bool {
        self.iterations <= NSEC3_ITERATIONS_MAX
    }

    /// The hash of a name.
    pub fn hash(&self, name: &[u8]) -> [u8; HASH_OCTETS] {
        hash(name, &self.salt, self.iterations)
    }
}

/// The hash of a name, and of that again with the salt so many times (RFC 5155, 5).
pub fn hash(name: &[u8], salt: &[u8], iterations: u16) -> [u8; HASH_OCTETS] {
    let once = |octets: &[u8]| -> [u8; HASH_OCTETS] {
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(octets);
        context.update(salt);
        context.finish().as_ref().try_into().expect("SHA-1 has 20 octets")
    };
    (0..iterations).fold(once(name), |hash, _| once(&hash))
}

/// The hash that a label says, which is all of a name relative to the apex, in lower case.
pub fn hash_of(relative: &[u8]) -> Option<[u8; HASH_OCTETS]> {
    let (&length, digits) = relative.split_first()?;
    if usize::from(length) + 1 != LABEL_OCTETS {
        return None;
    }
    hash_of_digits(digits)
}

/// The hash that a label's octets say, in lower case.
pub fn hash_of_digits(digits: &[u8]) -> Option<[u8; HASH_OCTETS]> {
    if digits.len() + 1 != LABEL_OCTETS {
        return None;
    }
    let mut hash = [0; HASH_OCTETS];
    for (octets, digits) in hash.chunks_exact_mut(5).zip(digits.chunks_exact(8)) {
        let value =
            |digit: &u8| DIGITS.iter().position(|known| known == digit).and_then(|at| u64::try_from(at).ok());
        let number = digits.iter().try_fold(0_u64, |number, digit| Some(number << 5 | value(digit)?))?;
        octets.copy_from_slice(&number.to_be_bytes()[3..]);
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_denies_that_is_whole_bounded_and_has_the_apex() {
        let apex = b"\x07example\x00";
        let chain = |iterations, flags| -> Vec<u8> { vec![1, flags, 0, iterations, 1, 0xab] };
        let chosen = |parameters: &[Vec<u8>], has: bool| {
            let parameters = parameters.iter().map(Vec::as_slice);
            let is_of_apex = |hashing: &Hashing, hash: &[u8; 20]| has && *hash == hashing.hash(apex);
            Hashing::of_zone(apex, parameters, is_of_apex).map(|hashing| hashing.iterations)
        };
        assert_eq!(chosen(&[chain(3, 0)], true), Some(3));
        assert_eq!(chosen(&[chain(3, 0)], false), None, "it has not the apex");
        assert_eq!(chosen(&[chain(3, 1), chain(151, 0), chain(150, 0)], true), Some(150));
        assert_eq!(chosen(&[vec![2, 0, 0, 0, 0], vec![1, 0, 0, 0, 1]], true), None, "it cannot be read");
        let many = [vec![chain(151, 0); PARAMETERS_MAX], vec![chain(3, 0)]].concat();
        assert_eq!((chosen(&many[1..], true), chosen(&many, true)), (Some(3), None));
    }
}
