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

/// What an asker shows beside its address, by the name or the URL that it came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// Nothing: its address tells who it is.
    #[default]
    Nothing,
    /// A token of one of the resolver's locations, by the number that it has there.
    Token(u16),
    /// A token that none of them has.
    UnknownToken,
}

/// Who asks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// From where the query came.
    pub address: IpAddr,
    /// How it came.
    pub transport: Transport,
    /// What it shows.
    pub shown: Shown,
}

impl Asker {
    /// One that shows nothing but its address.
    pub const fn new(address: IpAddr, transport: Transport) -> Self {
        Self { address, transport, shown: Shown::Nothing }
    }
}
