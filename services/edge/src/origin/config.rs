//! What a node says about origins, and the bounds of everything here.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::tls::OriginTls;

/// How connections to origins are made. [`Default`] is what a node has that says nothing.
#[derive(Clone, Debug, Default)]
pub struct OriginConfig {
    /// Whether origins may lie at private, loopback and link-local addresses: `dev` and the lab.
    pub allow_private: bool,
    /// The network's own anycast addresses, which are never an origin.
    pub anycast_addresses: Vec<IpAddr>,
    /// Resolvers for origins that are given by a name outside of our zones; none: the machine's.
    pub resolvers: Vec<SocketAddr>,
    /// PEM file of further certificate authorities, beside the machine's, that zones with `ssl: strict` trust.
    pub origin_ca: Option<PathBuf>,
    /// How long an origin may take.
    pub timeouts: OriginTimeouts,
    /// How many connections there may be.
    pub limits: OriginLimits,
}

impl OriginConfig {
    /// Reads the file that it names, as [`Origins::new`](super::Origins::new) would.
    ///
    /// # Errors
    /// What of it cannot be used.
    pub fn check(&self) -> Result<(), OriginConfigError> {
        OriginTls::new(self.origin_ca.as_deref()).map(drop)
    }
}

/// How long an origin may take for each step. There is no bound for a whole exchange: a body may stream for days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginTimeouts {
    /// For its name to resolve.
    pub resolve: Duration,
    /// For the connection to be made, over all of its addresses (522).
    pub connect: Duration,
    /// For the TLS handshake (525).
    pub handshake: Duration,
    /// For the whole head of its answer, from when the request was sent (524).
    pub first_byte: Duration,
    /// For each further piece of the body (the answer is cut off).
    pub between_reads: Duration,
    /// In a call of gRPC by HTTP/2, instead of both: for anything to move in either direction. Calls that wait for what
    /// will happen are silent for as long as nothing does.
    pub call_idle: Duration,
    /// For a connection to become free when there are as many as there may be (503).
    pub queue: Duration,
    /// How long a connection that nobody uses is kept. Below the 60 s that origins commonly keep them, so that it is
    /// us who close.
    pub idle: Duration,
}

impl Default for OriginTimeouts {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(5),
            first_byte: Duration::from_secs(100),
            between_reads: Duration::from_secs(100),
            call_idle: Duration::from_secs(300),
            queue: Duration::from_secs(5),
            idle: Duration::from_secs(55),
        }
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginLimits {
    /// In use at once to one address, port and TLS name: what keeps one slow origin from taking all our sockets.
    pub connections_per_origin_max: usize,
    /// Requests that may wait for one of them; more are answered 503 at once.
    pub waiting_per_origin_max: usize,
    /// Unused, kept to one address, port and TLS name: what a burst leaves behind.
    pub idle_per_origin_max: usize,
    /// Unused, kept to all origins together. Each may hold a buffer of 16 KiB: 32 MiB at the most.
    pub idle_total_max: usize,
}

impl Default for OriginLimits {
    fn default() -> Self {
        Self {
            connections_per_origin_max: 1024,
            waiting_per_origin_max: 1024,
            idle_per_origin_max: 128,
            idle_total_max: 2048,
        }
    }
}

/// Why a configuration is not one.
#[derive(Debug, thiserror::Error)]
pub enum OriginConfigError {
    /// The file of authorities cannot be used.
    #[error("origin_ca: {path}: {why}; give a PEM file of certificates")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("TLS towards origins cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The resolvers cannot be used.
    #[error("resolvers: {0}")]
    Resolvers(String),
}
