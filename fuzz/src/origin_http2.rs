//! What an origin says by HTTP/2 to a call of gRPC, in memory: frames of a whole connection, cut anywhere.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_edge::exercise_origin_http2(octets);
}
