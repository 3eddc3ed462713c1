//! Why the edge cannot be set up.

use proxima_chassis::{ConfigError, ListenError};

/// Why the edge cannot be set up. What fails on a request's way is a [`Fault`](proxima_pipeline::Fault) instead.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// Its table in the configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A value in its table cannot be.
    #[error("in the configuration, [edge]: {field}: {problem}")]
    Setting {
        /// Which.
        field: &'static str,
        /// Why not.
        problem: String,
    },
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// TLS cannot be set up.
    #[error("setting TLS up: {0}")]
    Tls(#[from] rustls::Error),
    /// QUIC cannot be set up.
    #[error("setting QUIC up: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The request log cannot be opened.
    #[error("in the configuration, [edge.request_log]: path: {}: {source}", path.display())]
    RequestLog {
        /// Where.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Something of the operating system's.
    #[error("the edge's listeners: {0}")]
    System(#[from] std::io::Error),
}
