//! The sockets of a role: all bound before the first is answered on, so that a server answers on all of its addresses or on
//! none.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use proxima_chassis::{NodeContext, Places, Shutdown};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    DnsError,
    answerer::Answerer,
    config::DnsConfig,
    quic::QuicListener,
    service::{DnsAddresses, NAME},
    tcp,
    tls::{Secure, StreamTls},
    udp,
};

/// Octets of datagrams that may wait at a socket: a tenth of a second of what a core can answer.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Where a role is to answer.
pub(crate) struct Listen<'a> {
    /// What its threads are called.
    pub(crate) threads: &'static str,
    pub(crate) clear: &'a [SocketAddr],
    pub(crate) tls: &'a [SocketAddr],
    pub(crate) quic: &'a [SocketAddr],
}

impl Listen<'_> {
    pub(crate) fn is_encrypted(&self) -> bool {
        !self.tls.is_empty() || !self.quic.is_empty()
    }
}

/// What is bound and not yet answered on.
pub(crate) struct Bound {
    threads: &'static str,
    clear: Vec<TcpListener>,
    /// Of each address, for each thread.
    datagrams: Vec<Vec<UdpSocket>>,
    tls: Vec<(TcpListener, Arc<StreamTls>)>,
    quic: Vec<QuicListener>,
    /// Where: port 0 of the configuration is here what the kernel chose.
    pub(crate) addresses: DnsAddresses,
}

impl Bound {
    /// Binds every address.
    ///
    /// # Errors
    /// One cannot be had.
    pub(crate) fn new(
        node: &NodeContext,
        config: &DnsConfig,
        listen: &Listen<'_>,
        secure: Option<&Secure>,
    ) -> Result<Self, DnsError> {
        let mut bound = Self {
            threads: listen.threads,
            clear: Vec::new(),
            datagrams: Vec::new(),
            tls: Vec::new(),
            quic: Vec::new(),
            addresses: DnsAddresses::default(),
        };
        bound.datagrams.resize_with(config.udp_threads, Vec::new);
        for address in listen.clear.iter().copied() {
            let broken = |protocol| move |source| DnsError::Socket { protocol, address, source };
            let udp = node.listeners.udp_group(NAME, address, config.udp_threads)?;
            // Clients come to one port, whichever the kernel chose.
            let address = udp[0].local_addr().map_err(broken("udp"))?;
            let tcp = TcpListener::from_std(node.listeners.tcp(NAME, address)?).map_err(broken("tcp"))?;
            bound.addresses.clear.push(address);
            for thread in 0..config.udp_threads {
                // A group may be smaller than wished for.
                let socket = udp[thread % udp.len()].try_clone().map_err(broken("udp"))?;
                // Bursts wait there; what the kernel does not give is not needed for anything else.
                socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES).ok();
                bound.datagrams[thread].push(socket);
            }
            bound.clear.push(tcp);
        }
        let Some(secure) = secure else { return Ok(bound) };
        for address in listen.tls.iter().copied() {
            let broken = |source| DnsError::Socket { protocol: "tcp", address, source };
            let tcp = TcpListener::from_std(node.listeners.tcp(NAME, address)?).map_err(broken)?;
            bound.addresses.tls.push(tcp.local_addr().map_err(broken)?);
            bound.tls.push((tcp, secure.stream.clone()));
        }
        for address in listen.quic.iter().copied() {
            let broken = |source| DnsError::Socket { protocol: "quic", address, source };
            let socket = QuicListener::bind(&node.listeners, address)?;
            let listener = QuicListener::new(socket, secure, config.tcp_idle()).map_err(broken)?;
            bound.addresses.quic.push(listener.address().map_err(broken)?);
            bound.quic.push(listener);
        }
        Ok(bound)
    }

    /// Begins to answer.
    pub(crate) fn serve<A: Answerer>(
        self,
        answerer: &Arc<A>,
        places: &Arc<Places>,
        shutdown: &Shutdown,
        tasks: &mut JoinSet<Result<(), DnsError>>,
    ) {
        let (answerer, places) = (|| answerer.clone(), || places.clone());
        for (number, sockets) in self.datagrams.into_iter().enumerate() {
            if !sockets.is_empty() {
                let name = format!("{}-{number}", self.threads);
                tasks.spawn(udp::serve(name, sockets, answerer(), shutdown.clone()));
            }
        }
        for streams in self.clear {
            tasks.spawn(tcp::serve(streams, None, answerer(), places(), shutdown.clone()));
        }
        for (streams, tls) in self.tls {
            tasks.spawn(tcp::serve(streams, Some(tls), answerer(), places(), shutdown.clone()));
        }
        for listener in self.quic {
            tasks.spawn(listener.serve(answerer(), places(), shutdown.clone()));
        }
    }
}
