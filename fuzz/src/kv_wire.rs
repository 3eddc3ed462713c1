//! What servers ask each other of keys and values, and rows of the store.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_kv::exercise(octets);
}
