//! What the edge reads beside messages: headers of the PROXY protocol, `CDN-Loop`, hosts, coded strings, requests to be
//! explained.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_edge::exercise_fields(octets);
}
