//! What lies in a store of the ledger: heads, values, entries, and what they replaced.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_ledger::exercise(octets);
}
