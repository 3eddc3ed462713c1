//! What can be wrong when the cache is made. While it runs it has no errors of its own: what it cannot do, it leaves
//! to the origin.

use std::path::PathBuf;

use proxima_chassis::ConfigError;

/// Why a cache cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// `[cache]` is not what it should be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Too little memory.
    #[error("in the configuration, [cache]: memory_bytes_max: {given} is too little; give at least {least}")]
    MemoryTooSmall {
        /// What was given.
        given: u64,
        /// The least.
        least: u64,
    },
    /// Objects that are too large for the memory.
    #[error(
        "in the configuration, [cache]: object_bytes_max: {given} is more than an eighth of memory_bytes_max; give at \
         most {most}, or more memory"
    )]
    ObjectTooLarge {
        /// What was given.
        given: u64,
        /// The most.
        most: u64,
    },
    /// A disk that is none.
    #[error(
        "in the configuration, [cache]: disk_bytes_max: {given} is too little; give at least {least}, or 0 for no disk"
    )]
    DiskTooSmall {
        /// What was given.
        given: u64,
        /// The least.
        least: u64,
    },
    /// The folder of the disk cannot be made.
    #[error("in the configuration, [cache]: the folder {} cannot be made: {error}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
}
