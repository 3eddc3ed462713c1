//! What can go wrong between a node, its watchdog and BIRD.

use std::path::PathBuf;

/// An error of this service.
#[derive(Debug, thiserror::Error)]
pub enum AnycastError {
    /// `[anycast]` is wrong.
    #[error("[anycast] {0}")]
    Config(String),
    /// BIRD is not installed.
    #[error("BIRD 2 is not installed: install Debian's package bird2, or give [anycast] bird = PATH")]
    NoBird,
    /// A file or a process cannot be had.
    #[error("{doing} {path}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// BIRD gave no answer.
    #[error(transparent)]
    Bird(#[from] proxima_bird::BirdError),
}

impl AnycastError {
    pub(crate) fn system(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::System { doing, path, source }
    }
}
