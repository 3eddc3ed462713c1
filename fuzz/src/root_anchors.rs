//! The file of the root's keys that a node follows: what is not to the letter what was written is not read.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_resolver::exercise_anchors(octets);
}
