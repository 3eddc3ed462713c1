//! Why the service cannot be made.

use std::path::PathBuf;

use proxima_chassis::ConfigError;
use proxima_pipeline::ObjectError;

/// Why the service cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum R2Error {
    /// Its configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What lies on the disk cannot be opened.
    #[error("opening the objects in {}: {error}", folder.display())]
    Open {
        /// Where.
        folder: PathBuf,
        /// Why not.
        error: ObjectError,
    },
}
