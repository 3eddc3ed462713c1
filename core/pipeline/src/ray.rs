//! The name of one request: what an error page shows, what a log line holds, what a user reads to support.

use std::fmt;

use bytes::BufMut;
use proxima_model::PopCode;

/// A ray id: 64 random bits, written as 16 hexadecimal digits, a hyphen and the PoP's code (`8d3f0c21a4b96e75-FRA`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RayId {
    bits: u64,
    pop: PopCode,
}

impl RayId {
    /// A new ray at this PoP.
    pub fn new(pop: PopCode) -> Self {
        Self { bits: rand::random(), pop }
    }

    /// Makes it the ray of another request, at the same PoP.
    pub fn renew(&mut self) {
        self.bits = rand::random();
    }

    /// Writes it, as `Display` does. Every answer has one: without the machinery of formatting.
    pub fn put(&self, buffer: &mut impl BufMut) {
        let mut digits = *b"0000000000000000-";
        for (digit, shift) in digits.iter_mut().zip((0..16).rev()) {
            let nibble = usize::try_from(self.bits >> (4 * shift) & 0xf).unwrap_or_default();
            *digit = b"0123456789abcdef"[nibble];
        }
        buffer.put_slice(&digits);
        buffer.put_slice(self.pop.as_str().as_bytes());
    }

    /// Writes its digits alone, without the PoP.
    pub fn digits(&self) -> String {
        format!("{:016x}", self.bits)
    }

    /// Whether it is among the one in `interval` that are looked at closely: for the same ray, the same everywhere.
    pub const fn is_sampled(&self, interval: u64) -> bool {
        interval <= 1 || self.bits.is_multiple_of(interval)
    }

    /// Where it was served.
    pub fn pop(&self) -> &PopCode {
        &self.pop
    }
}

impl fmt::Display for RayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.bits, self.pop)
    }
}

impl fmt::Debug for RayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_write_the_same() {
        for bits in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            let ray = RayId { bits, pop: PopCode::parse("FRA").expect("a code") };
            let mut written = Vec::new();
            ray.put(&mut written);
            assert_eq!(written, ray.to_string().as_bytes());
        }
    }
}
