//! Measuring from a host: echo requests, and a request to the anycast address.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind, socket,
};

use crate::error::{Doing, LabError, Result};
use crate::netns::within;

/// The answer to `/cdn-cgi/trace` has a dozen short lines.
const TRACE_BYTES_MAX: u64 = 16 << 10;
const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_HEADER_BYTES: usize = 8;

/// What a client found at the anycast address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The PoP that answered.
    pub(crate) colo: String,
    /// The server that answered, if it tells.
    pub(crate) node: Option<String>,
    /// From connecting to connected: one round trip.
    pub(crate) connect: Duration,
    /// From the request to the answer's first byte.
    pub(crate) first_byte: Duration,
}

/// One echo request; the round trip, or `None` if nothing came back in time.
pub(crate) fn echo(namespace: &str, target: IpAddr, deadline: Duration) -> Result<Option<Duration>> {
    within(namespace, || {
        let socket = echo_socket(target)?;
        let start = Instant::now();
        // "Network is unreachable" is an answer too: nothing comes back.
        if socket.send_to(&echo_request(target, 0), (target, 0)).is_err() {
            return Ok(None);
        }
        let received = receive_until(&socket, start + deadline);
        Ok(received.then(|| start.elapsed()))
    })
}

/// Sends `count` echo requests at once; how many answers were missing after `deadline`.
pub(crate) fn echo_burst(namespace: &str, target: IpAddr, count: u16, deadline: Duration) -> Result<u16> {
    within(namespace, || {
        let socket = echo_socket(target)?;
        let mut missing = count;
        for sequence in 0..count {
            let _ = socket.send_to(&echo_request(target, sequence), (target, 0));
        }
        let end = Instant::now() + deadline;
        while missing > 0 && receive_until(&socket, end) {
            missing -= 1;
        }
        Ok(missing)
    })
}

/// An unprivileged echo socket: the kernel fills in identifier and checksum, and hands over only our answers.
fn echo_socket(target: IpAddr) -> Result<UdpSocket> {
    let doing = || "opening an echo socket".to_owned();
    let (family, protocol) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let fd: OwnedFd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol).doing(doing)?;
    use std::os::fd::AsRawFd;
    match target {
        IpAddr::V4(_) => {
            bind(fd.as_raw_fd(), &SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)))
        }
        IpAddr::V6(_) => bind(
            fd.as_raw_fd(),
            &SockaddrIn6::from(std::net::SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0)),
        ),
    }
    .doing(doing)?;
    // A datagram socket is one to the standard library too: it gives deadlines and ownership.
    Ok(UdpSocket::from(fd))
}

fn echo_request(target: IpAddr, sequence: u16) -> [u8; ECHO_HEADER_BYTES] {
    let mut packet = [0; ECHO_HEADER_BYTES];
    packet[0] = if target.is_ipv4() { ECHO_REQUEST_V4 } else { ECHO_REQUEST_V6 };
    packet[6..].copy_from_slice(&sequence.to_be_bytes());
    packet
}

fn receive_until(socket: &UdpSocket, end: Instant) -> bool {
    let left = end.saturating_duration_since(Instant::now());
    let mut answer = [0; 64];
    !left.is_zero() && socket.set_read_timeout(Some(left)).is_ok() && socket.recv(&mut answer).is_ok()
}

/// Asks the anycast address who answers there.
pub(crate) fn trace(namespace: &str, target: IpAddr, host: &str, deadline: Duration) -> Result<Trace> {
    within(namespace, || {
        let doing = || format!("asking http://{target}/cdn-cgi/trace");
        let start = Instant::now();
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(target, 80), deadline).doing(doing)?;
        let connect = start.elapsed();
        stream.set_read_timeout(Some(deadline)).doing(doing)?;
        stream.set_write_timeout(Some(deadline)).doing(doing)?;
        let asked = Instant::now();
        write!(stream, "GET /cdn-cgi/trace HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
            .doing(doing)?;
        let mut first = [0; 1];
        stream.read_exact(&mut first).doing(doing)?;
        let first_byte = asked.elapsed();
        let mut answer = first.to_vec();
        stream.take(TRACE_BYTES_MAX).read_to_end(&mut answer).doing(doing)?;
        let answer = String::from_utf8_lossy(&answer);
        let field = |name: &str| {
            answer
                .lines()
                .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
        };
        let colo = field("colo").ok_or_else(|| LabError::Malformed {
            what: format!("the answer of http://{target}/cdn-cgi/trace"),
            why: format!("no line `colo=` in: {}", answer.lines().next().unwrap_or_default()),
        })?;
        Ok(Trace { colo, node: field("node"), connect, first_byte })
    })
}
