//! The name of one request: what an error page shows, what a log line holds, what a user reads to support.

use std::fmt;

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
