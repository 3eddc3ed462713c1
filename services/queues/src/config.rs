//! `[queues]` of `node.toml`.

use proxima_chassis::{ConfigError, NodeConfig};
use proxima_store::{FREE_OCTETS_MIN, check_octets};
use serde::Deserialize;

use crate::SERVICE;

/// Less could not take much more than what is under way.
const STORE_BYTES_MIN: u64 = 64 << 20;
/// Less would not take one batch.
const BACKLOG_BYTES_MIN: u64 = 1 << 20;

/// `[queues]`. [`Default`] is what a node has that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueuesConfig {
    /// What the messages of those queues that this server has may take on the disk, in octets.
    pub store_bytes_max: u64,
    /// What is left free of the disk, in octets: messages that need more are refused.
    pub free_bytes_min: u64,
    /// What may wait in one queue, in octets of messages.
    pub backlog_bytes_max: u64,
}

impl Default for QueuesConfig {
    fn default() -> Self {
        // The file grows as it is filled. One queue does not fill it.
        Self { store_bytes_max: 16 << 30, free_bytes_min: FREE_OCTETS_MIN, backlog_bytes_max: 4 << 30 }
    }
}

impl QueuesConfig {
    /// Reads and checks the table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(node: &NodeConfig) -> Result<Self, ConfigError> {
        let config: Self = node.service(SERVICE)?;
        let refused = |problem| ConfigError::Section { section: SERVICE.to_owned(), problem };
        check_octets("store_bytes_max", config.store_bytes_max, STORE_BYTES_MIN).map_err(refused)?;
        if config.backlog_bytes_max < BACKLOG_BYTES_MIN {
            return Err(refused(format!("backlog_bytes_max: give {BACKLOG_BYTES_MIN} or more")));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<QueuesConfig, String> {
        let node = "[node]\nname = \"a\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = \"d\"\nkey_file = \"k\"\n\
                    [network]\n[queues]\n";
        let config = NodeConfig::parse(&format!("{node}{text}")).map_err(|error| error.to_string())?;
        QueuesConfig::of(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn what_could_not_work_is_told() {
        assert_eq!(read(""), Ok(QueuesConfig::default()));
        for (text, told) in [
            ("store_bytes_max = 67108863", "store_bytes_max: give 67108864 to"),
            ("store_bytes_max = 17592186109952", "store_bytes_max: give 67108864 to"),
            ("store_bytes_max = 67108865", "store_bytes_max: give a multiple"),
            ("backlog_bytes_max = 1048575", "backlog_bytes_max: give 1048576"),
            ("backlog_mib = 1", "unknown field `backlog_mib`"),
        ] {
            let error = read(text).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
        assert!(read("store_bytes_max = 67108864\nfree_bytes_min = 0\nbacklog_bytes_max = 1048576").is_ok());
    }
}
