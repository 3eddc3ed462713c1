//! A whole connection of HTTP/2, in memory: octets in, octets out.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_edge::exercise_http2(octets);
}
