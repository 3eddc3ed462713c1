//! What the tests of this crate have in common.

use proxima_model::{AccountId, Timestamp, Zone, ZoneId, ZoneName, ZoneSettings, ZoneStatus};

/// An active zone, `example.com`.
pub(crate) fn zone() -> Zone {
    let epoch = Timestamp::from_millis(0);
    Zone {
        id: ZoneId::from_bytes([1; 16]),
        account: AccountId::from_bytes([2; 16]),
        name: ZoneName::parse("example.com").unwrap(),
        status: ZoneStatus::Active,
        paused: false,
        name_servers: Vec::new(),
        settings: ZoneSettings::default(),
        serial: 1,
        created_at: epoch,
        modified_at: epoch,
        activated_at: None,
    }
}
