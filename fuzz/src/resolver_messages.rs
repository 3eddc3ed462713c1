//! What name servers and clients say to the resolver, message by message.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_resolver::exercise(octets);
}
