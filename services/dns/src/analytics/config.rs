//! `[dns.analytics]`: counting queries.

use serde::Deserialize;

use crate::DnsError;

/// Less has no room for what one report changes.
const STORE_BYTES_MIN: u64 = 16 << 20;
/// More takes addresses that the process has no room for.
const STORE_BYTES_LARGEST: u64 = 1 << 40;

/// How queries are counted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnalyticsConfig {
    /// Whether this server counts its queries; and, if the log is on it, keeps what all have counted.
    pub enabled: bool,
    /// Octets of the file in which the log's node keeps it, 16 MiB to 1 TiB; when it is full, the oldest goes earlier.
    pub store_bytes_max: u64,
}

impl Default for AnalyticsConfig {
    fn default() -> Self {
        Self { enabled: true, store_bytes_max: 1 << 30 }
    }
}

impl AnalyticsConfig {
    /// What the table alone tells.
    pub(crate) fn check(&self) -> Result<(), DnsError> {
        if (STORE_BYTES_MIN..=STORE_BYTES_LARGEST).contains(&self.store_bytes_max) {
            return Ok(());
        }
        let problem = format!("give {STORE_BYTES_MIN} to {STORE_BYTES_LARGEST}");
        Err(DnsError::Config { field: "analytics.store_bytes_max", problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_room_for_what_is_written_at_a_time() {
        let of = |store_bytes_max| AnalyticsConfig { store_bytes_max, ..AnalyticsConfig::default() };
        assert!(AnalyticsConfig::default().check().is_ok());
        assert!(of(STORE_BYTES_MIN).check().is_ok() && of(STORE_BYTES_LARGEST).check().is_ok());
        assert!(of(STORE_BYTES_MIN - 1).check().is_err() && of(STORE_BYTES_LARGEST + 1).check().is_err());
    }
}
