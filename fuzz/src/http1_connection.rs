//! A whole connection of HTTP/1, in memory: octets in, octets out.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_edge::exercise_http1(octets);
}
