//! Who asks, and how.

use std::net::IpAddr;

/// How a query came, which bounds its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// In a datagram: the answer has at most the octets that the asker takes.
    Udp,
    /// In a stream.
    Tcp,
    /// In a stream within TLS (RFC 7858).
    Tls,
    /// In a stream of QUIC of its own (RFC 9250).
    Quic,
    /// In a request of HTTP (RFC 8484).
    Https,
}

impl Transport {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Quic, Self::Https];

    /// What it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Https => "https",
        }
    }

    pub(crate) const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Quic | Self::Https)
    }
}

/// Who asks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// From where the query came.
    pub address: IpAddr,
    /// How it came.
    pub transport: Transport,
}
