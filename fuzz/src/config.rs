//! A node's configuration: read or refused with words, never a panic.

use proxima_chassis::NodeConfig;

/// The target.
pub fn run(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if let Err(error) = NodeConfig::parse(text) {
        assert!(!error.to_string().is_empty());
    }
}
