//! How queries come by streams and by HTTPS: transfers are told from other queries, and queries are found in URLs.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_dns::exercise(octets);
}
