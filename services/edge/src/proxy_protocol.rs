//! Who a connection is from, as a load balancer in front of us tells it: the PROXY protocol, version 2 (HAProxy's
//! specification, 2.2).
//!
//! ```text
//!  ┌ 12: signature ┬ 1: version, command ┬ 1: family ┬ 2: length ┬ addresses, TLVs ┐ then what the client says
//! ```
//!
//! Invariants:
//! * **Only from those that may.** A peer of the configured networks must begin with a header, since one that may leave it
//!   out lets its clients write it; from everybody else a header is what it is in HTTP and TLS: nonsense.
//! * **Nothing is read beyond the header**: its length comes first.
//! * `LOCAL` and families that are not TCP over IP say nothing of a client: the peer's own address stays (2.2).
//!
//! Version 1 is not taken: its end is only found by reading on.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use ppp::v2::{Addresses, Command, Header, Protocol};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Octets before the part whose length they tell.
const FIXED_BYTES: usize = 16;
/// Octets of addresses and TLVs. Addresses take 36 at most, and what balancers add is some hundred; a certificate's names
/// may be longer.
const REST_BYTES_MAX: usize = 4 * 1024;

/// Why a connection's header is no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyProtocolError {
    /// The connection ended or failed.
    #[error("the connection ended before the header did: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is no header of version 2: {0}")]
    Malformed(#[from] ppp::v2::ParseError),
    /// More than [`REST_BYTES_MAX`].
    #[error("it has {0} octets of addresses and extensions; {REST_BYTES_MAX} are taken")]
    TooLong(usize),
    /// Datagrams do not come by a stream.
    #[error("it is about UDP")]
    NotTcp,
}

/// A client's address and the address that it reached, as its header says; `None` if that leaves it open.
pub(crate) async fn read(
    io: &mut (impl AsyncRead + Unpin),
) -> Result<Option<(SocketAddr, SocketAddr)>, ProxyProtocolError> {
    let mut header = vec![0; FIXED_BYTES];
    io.read_exact(&mut header).await?;
    let rest = usize::from(u16::from_be_bytes([header[FIXED_BYTES - 2], header[FIXED_BYTES - 1]]));
    // What is no header has no length: that is told first.
    match Header::try_from(&header[..]) {
        Ok(_) | Err(ppp::v2::ParseError::Partial(..) | ppp::v2::ParseError::Incomplete(_)) => {}
        Err(error) => return Err(error.into()),
    }
    if rest > REST_BYTES_MAX {
        return Err(ProxyProtocolError::TooLong(rest));
    }
    header.resize(FIXED_BYTES + rest, 0);
    io.read_exact(&mut header[FIXED_BYTES..]).await?;
    let header = Header::try_from(&header[..])?;
    if header.command == Command::Local {
        return Ok(None);
    }
    let ends = match header.addresses {
        Addresses::IPv4(ends) => (
            (ends.source_address, ends.source_port).into(),
            (ends.destination_address, ends.destination_port).into(),
        ),
        Addresses::IPv6(ends) => (
            (ends.source_address, ends.source_port).into(),
            (ends.destination_address, ends.destination_port).into(),
        ),
        Addresses::Unspecified | Addresses::Unix(_) => return Ok(None),
    };
    match header.protocol {
        Protocol::Datagram => Err(ProxyProtocolError::NotTcp),
        Protocol::Stream | Protocol::Unspecified => Ok(Some(ends)),
    }
}

/// Whether a peer lies in one of these networks; an IPv4 peer of an IPv6 socket is the same peer.
pub(crate) fn is_among(networks: &[IpNet], peer: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&peer.to_canonical()))
}

#[cfg(test)]
mod tests {
    use ppp::v2::{Builder, Version};
    use proptest::prelude::*;

    use super::*;

    async fn read_all(
        mut octets: &[u8],
    ) -> (Result<Option<(SocketAddr, SocketAddr)>, ProxyProtocolError>, usize) {
        let ends = read(&mut octets).await;
        (ends, octets.len())
    }

    fn header(command: Command, addresses: impl Into<Addresses>) -> Vec<u8> {
        let builder = Builder::with_addresses(Version::Two | command, Protocol::Stream, addresses.into());
        builder.build().unwrap()
    }

    #[tokio::test]
    async fn a_header_names_both_ends_and_what_follows_is_left() {
        for [client, reached] in
            [["192.0.2.7:1234", "198.51.100.1:443"], ["[2001:db8::7]:1234", "[2001:db8::1]:443"]]
        {
            let ends: (SocketAddr, SocketAddr) = (client.parse().unwrap(), reached.parse().unwrap());
            let mut octets = header(Command::Proxy, ends);
            octets.extend(b"GET /");
            let (read, left) = read_all(&octets).await;
            assert_eq!((read.unwrap(), left), (Some(ends), 5));
        }
    }

    #[tokio::test]
    async fn a_balancers_own_connection_keeps_its_address() {
        let ends: (SocketAddr, SocketAddr) = ("192.0.2.7:1".parse().unwrap(), "192.0.2.8:2".parse().unwrap());
        assert_eq!(read_all(&header(Command::Local, ends)).await.0.unwrap(), None);
        assert_eq!(read_all(b"\r\n\r\n\0\r\nQUIT\n\x21\x00\0\0").await.0.unwrap(), None, "AF_UNSPEC");
    }

    #[tokio::test]
    async fn what_is_no_header_of_version_2_is_told() {
        let cases: [(&[u8], &str); 8] = [
            (b"", "ended before"),
            (b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "no header"),
            (b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n", "no header"),
            (b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c", "no header"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0", "ended before"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\xc0\0\x02\x07", "no header"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "65535 octets"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xc0\0\x02\x07\xc0\0\x02\x08\0\x01\0\x02", "UDP"),
        ];
        for (octets, told) in cases {
            let error = read_all(octets).await.0.unwrap_err().to_string();
            assert!(error.contains(told), "{}: {error}", octets.escape_ascii());
        }
    }

    #[test]
    fn networks_are_compared_with_the_peers_canonical_address() {
        let networks = ["10.0.0.0/8".parse().unwrap()];
        assert!(is_among(&networks, "10.1.2.3".parse().unwrap()));
        assert!(is_among(&networks, "::ffff:10.1.2.3".parse().unwrap()));
        assert!(!is_among(&networks, "192.0.2.1".parse().unwrap()));
        assert!(!is_among(&[], "10.1.2.3".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_harm(octets in proptest::collection::vec(any::<u8>(), 0..80), signed in any::<bool>()) {
            let mut all = if signed { b"\r\n\r\n\0\r\nQUIT\n".to_vec() } else { Vec::new() };
            all.extend(octets);
            let (ends, left) =
                futures_util::FutureExt::now_or_never(read_all(&all)).expect("octets in memory are there");
            prop_assert!(ends.is_err() || left <= all.len() - FIXED_BYTES);
        }
    }
}
