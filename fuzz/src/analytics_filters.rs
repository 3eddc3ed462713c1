//! The filters of a report of DNS queries: refused in words, or written and read as the same.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_control::exercise_filters(octets);
}
