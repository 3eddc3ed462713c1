//! What servers ask each other of queues.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_queues::exercise(octets);
}
