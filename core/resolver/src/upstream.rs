//! How name servers are asked: the port through which the core meets sockets, and the sockets.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

/// Octets of a server's datagram that are taken: more than it is told that it may send. What is longer is cut, and so cannot
/// be read, and the server is asked by TCP.
const DATAGRAM_OCTETS: usize = 4_096;

/// How one question goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// In a connection of its own.
    Tcp,
}

/// Who carries questions to name servers. It checks nothing but who answers: the core checks what.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// Sends a message to a server, and waits for one from it; the core gives it up after a while.
    async fn exchange(&self, server: IpAddr, query: &[u8], transport: Transport) -> io::Result<Vec<u8>>;
}

#[async_trait]
impl<U: Upstream + ?Sized> Upstream for Arc<U> {
    async fn exchange(&self, server: IpAddr, query: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
        (**self).exchange(server, query, transport).await
    }
}

/// Real sockets: each question has its own, with a port that the kernel chooses at random, and which takes nothing but
/// what comes from the asked address.
#[derive(Clone, Copy, Debug)]
pub struct Sockets {
    /// The port of name servers: 53 but in tests.
    pub port: u16,
}

#[async_trait]
impl Upstream for Sockets {
    async fn exchange(&self, server: IpAddr, query: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
        let server = SocketAddr::new(server, self.port);
        match transport {
            Transport::Udp => {
                let any: IpAddr = match server {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let socket = UdpSocket::bind((any, 0)).await?;
                socket.connect(server).await?;
                socket.send(query).await?;
                let mut response = vec![0; DATAGRAM_OCTETS];
                let length = socket.recv(&mut response).await?;
                response.truncate(length);
                response.shrink_to_fit();
                Ok(response)
            }
            Transport::Tcp => {
                let mut stream = TcpStream::connect(server).await?;
                stream.set_nodelay(true)?;
                let length = u16::try_from(query.len()).map_err(io::Error::other)?;
                stream.write_all(&[&length.to_be_bytes()[..], query].concat()).await?;
                let mut response = vec![0; usize::from(stream.read_u16().await?)];
                stream.read_exact(&mut response).await?;
                Ok(response)
            }
        }
    }
}
