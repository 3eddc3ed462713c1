//! What clients of the API send: bodies, query strings, conditions.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_control::exercise(octets);
}
