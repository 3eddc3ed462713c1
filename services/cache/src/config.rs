//! `[cache]` of `node.toml`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use crate::disk::DISK_BYTES_MIN;
use crate::error::CacheError;

/// Least memory with which a cache makes sense: a few pages with what belongs to them.
pub const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// The largest object by default; larger ones are kept in slices.
const OBJECT_BYTES_DEFAULT: u64 = 16 << 20;
/// An object may take at most this fraction of the memory: one request must not empty the cache.
const OBJECTS_MIN: u64 = 8;
/// What is being fetched may take this fraction of the memory on top of it.
const FILL_DIVISOR: u64 = 4;

/// `[cache]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Octets of memory for stored responses. What is being fetched may take a quarter of that on top.
    pub memory_bytes_max: u64,
    /// Octets of one response's content; larger ones are not stored. At most, and by default at most, an eighth of the
    /// memory; by default at most 16 MiB.
    pub object_bytes_max: Option<u64>,
    /// Whether `Cache-Control` of clients is heeded (RFC 9111, 5.2.1). Off, visitors cannot make this server ask the
    /// origin; reloading then shows what is stored.
    pub client_directives: bool,
    /// Whether an answer that sets a cookie may be stored with it if its origin gives it a lifetime, as RFC 9111, 7.3,
    /// has it. Off, such an answer is stored only if its `Cache-Control` takes the cookie out: an origin that sets a
    /// session's cookie with everything that it sends would else hand one visitor's session to the next.
    pub share_cookies: bool,
    /// How long a request waits for another that has asked the origin for the same, in milliseconds; then it asks for
    /// itself.
    pub wait_ms_max: u64,
    /// Octets of files for what has been asked for more than once; 0 is no disk. It outlives a restart.
    pub disk_bytes_max: u64,
    /// The folder of these files, of this node alone; by default `cache` in the node's data folder.
    pub disk_folder: Option<PathBuf>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            object_bytes_max: None,
            client_directives: true,
            share_cookies: false,
            wait_ms_max: 10_000,
            disk_bytes_max: 0,
            disk_folder: None,
        }
    }
}

impl CacheConfig {
    /// Checks what one value cannot say alone.
    ///
    /// # Errors
    /// Which value, and what it may be.
    pub fn check(&self) -> Result<(), CacheError> {
        if self.memory_bytes_max < MEMORY_BYTES_MIN {
            return Err(CacheError::MemoryTooSmall { given: self.memory_bytes_max, least: MEMORY_BYTES_MIN });
        }
        if (1..DISK_BYTES_MIN).contains(&self.disk_bytes_max) {
            return Err(CacheError::DiskTooSmall { given: self.disk_bytes_max, least: DISK_BYTES_MIN });
        }
        let most = self.memory_bytes_max / OBJECTS_MIN;
        match self.object_bytes_max {
            Some(given) if given > most => Err(CacheError::ObjectTooLarge { given, most }),
            _ => Ok(()),
        }
    }

    /// Octets of one response's content.
    pub fn object_bytes_limit(&self) -> u64 {
        let most = self.memory_bytes_max / OBJECTS_MIN;
        self.object_bytes_max.unwrap_or(OBJECT_BYTES_DEFAULT).min(most)
    }

    /// The folder of the disk, if there is one. `data` is the node's, against which a relative one counts.
    pub fn disk_folder(&self, data: &Path) -> Option<PathBuf> {
        let folder = self.disk_folder.as_deref().unwrap_or(Path::new("cache"));
        (self.disk_bytes_max > 0).then(|| data.join(folder))
    }

    /// Octets of all that is being fetched.
    pub const fn fill_bytes_max(&self) -> u64 {
        self.memory_bytes_max / FILL_DIVISOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_do_not_fit_together_are_refused() {
        assert!(CacheConfig::default().check().is_ok());
        let small = CacheConfig { memory_bytes_max: 1, ..CacheConfig::default() };
        assert!(matches!(small.check(), Err(CacheError::MemoryTooSmall { .. })));
        let disk = CacheConfig { disk_bytes_max: 1 << 20, ..CacheConfig::default() };
        assert!(matches!(disk.check(), Err(CacheError::DiskTooSmall { .. })));
        let large = CacheConfig { object_bytes_max: Some(1 << 30), ..CacheConfig::default() };
        assert!(matches!(large.check(), Err(CacheError::ObjectTooLarge { .. })));
    }

    #[test]
    fn an_object_takes_an_eighth_of_a_small_memory() {
        let config = CacheConfig { memory_bytes_max: 8 << 20, ..CacheConfig::default() };
        assert_eq!(config.object_bytes_limit(), 1 << 20);
        assert_eq!(CacheConfig::default().object_bytes_limit(), 8 << 20);
    }
}
