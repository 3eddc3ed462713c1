//! Uploads of zone files: forms of any shape, and files that come out of a form as they went in.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_control::exercise_import(octets);
}
