//! Keys that cache rules make of requests.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_cache::exercise_key(octets);
}
