//! What can go wrong with this service. What goes wrong with one query is its answer's rcode.

use std::net::SocketAddr;

use proxima_chassis::{ConfigError, ListenError};

/// Why DNS cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// The table `[dns]` cannot be read.
    #[error(transparent)]
    Section(#[from] ConfigError),
    /// The table `[dns]` says something that cannot be.
    #[error("in the configuration, [dns] {field}: {problem}")]
    Config {
        /// The key.
        field: &'static str,
        /// What is wrong with it, and what to give instead.
        problem: String,
    },
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up for DNS: {0}")]
    Tls(#[from] rustls::Error),
    /// The certificate of a server without one of its own cannot be made.
    #[error("a certificate for DNS over TLS cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// QUIC cannot be set up.
    #[error("QUIC cannot be set up for DNS: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// A socket stopped working; the node ends, and its supervisor starts it anew.
    #[error("the {protocol} socket at {address} fails again and again: {source}")]
    Socket {
        /// `udp`, `tcp` or `quic`.
        protocol: &'static str,
        /// Where it listens.
        address: SocketAddr,
        /// The last failure.
        source: std::io::Error,
    },
}
