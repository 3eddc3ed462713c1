//! What clients of the API say of zone transfers, and what records a zone's primary sends.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_control::exercise_transfers(octets);
}
