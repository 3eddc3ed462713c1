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
    /// A socket stopped working; the node ends, and its supervisor starts it anew.
    #[error("the {protocol} socket at {address} fails again and again: {source}")]
    Socket {
        /// `udp` or `tcp`.
        protocol: &'static str,
        /// Where it listens.
        address: SocketAddr,
        /// The last failure.
        source: std::io::Error,
    },
}
