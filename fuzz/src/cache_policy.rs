//! What the cache decides by the fields of requests and answers: may it be stored, for how long, for whom, which part.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_cache::exercise_policy(octets);
}
