//! What lies in the cache's segments on disk: heads, descriptions, footers.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_cache::exercise_disk(octets);
}
