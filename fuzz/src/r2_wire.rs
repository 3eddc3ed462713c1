//! What servers ask each other of objects.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_r2::exercise(octets);
}
