//! What customers write about their assets: `_headers`, `_redirects`, and which paths code is asked about first.

/// The target: a path, and behind its line the rules.
pub fn run(octets: &[u8]) {
    proxima_workers::exercise_asset_rules(octets);
}
