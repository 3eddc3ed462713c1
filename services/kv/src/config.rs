//! `[kv]` of `node.toml`.

use proxima_chassis::{ConfigError, NodeConfig};
use proxima_store::{FREE_OCTETS_MIN, check_octets};
use serde::Deserialize;

use crate::SERVICE;

/// Less could not take one value of 25 MiB beside another one.
const STORE_BYTES_MIN: u64 = 128 << 20;
/// Less would keep next to nothing.
const CACHE_BYTES_MIN: u64 = 1 << 20;

/// `[kv]`. [`Default`] is what a node has that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KvConfig {
    /// What the values of those namespaces that this server has may take on the disk, in octets.
    pub store_bytes_max: u64,
    /// What is left free of the disk, in octets: values that need more are refused.
    pub free_bytes_min: u64,
    /// What this server keeps in memory of values that others have, in octets.
    pub cache_bytes_max: u64,
}

impl Default for KvConfig {
    fn default() -> Self {
        // The file grows as it is filled.
        Self { store_bytes_max: 16 << 30, free_bytes_min: FREE_OCTETS_MIN, cache_bytes_max: 64 << 20 }
    }
}

impl KvConfig {
    /// Reads and checks the table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(node: &NodeConfig) -> Result<Self, ConfigError> {
        let config: Self = node.service(SERVICE)?;
        let refused = |problem| ConfigError::Section { section: SERVICE.to_owned(), problem };
        check_octets("store_bytes_max", config.store_bytes_max, STORE_BYTES_MIN).map_err(refused)?;
        if config.cache_bytes_max < CACHE_BYTES_MIN {
            return Err(refused(format!("cache_bytes_max: give {CACHE_BYTES_MIN} or more")));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<KvConfig, String> {
        let node = "[node]\nname = \"a\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = \"d\"\nkey_file = \"k\"\n\
                    [network]\n[kv]\n";
        let config = NodeConfig::parse(&format!("{node}{text}")).map_err(|error| error.to_string())?;
        KvConfig::of(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn what_could_not_work_is_told() {
        assert_eq!(read(""), Ok(KvConfig::default()));
        for (text, told) in [
            ("store_bytes_max = 134217727", "store_bytes_max: give 134217728 to"),
            ("store_bytes_max = 17592186109952", "store_bytes_max: give 134217728 to"),
            ("store_bytes_max = 134217729", "store_bytes_max: give a multiple"),
            ("cache_bytes_max = 1048575", "cache_bytes_max: give 1048576"),
            ("cache_mib = 1", "unknown field `cache_mib`"),
        ] {
            let error = read(text).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
        assert!(read("store_bytes_max = 134217728\nfree_bytes_min = 0\ncache_bytes_max = 1048576").is_ok());
    }
}
