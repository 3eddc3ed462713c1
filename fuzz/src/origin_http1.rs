//! What an origin says by HTTP/1.1, as whole sessions over TCP: heads, interim answers, bodies of every framing, trailers, cut
//! anywhere.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_edge::exercise_origin_http1(octets);
}
