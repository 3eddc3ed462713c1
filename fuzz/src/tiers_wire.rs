//! What one cache asks another.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_tiers::exercise(octets);
}
