//! A zone file of anybody's: read or refused line by line, never a panic; what was read is within bounds.

use proxima_model::ZoneName;

/// The target.
pub fn run(octets: &[u8]) {
    let zone = ZoneName::parse("example.com").expect("a constant name is valid");
    match proxima_control::zonefile::parse(&zone, octets) {
        Ok(file) => {
            assert!(file.records.iter().all(|record| record.name.is_within(&zone) && record.line > 0))
        }
        Err(problems) => assert!(!problems.is_empty()),
    }
}
