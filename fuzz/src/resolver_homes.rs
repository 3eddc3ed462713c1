//! What one server of a PoP asks the home of a name, and what that answers.

/// The target.
pub fn run(octets: &[u8]) {
    proxima_resolver::exercise_homes(octets);
}
