//! The service: made, bound, run, drained.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use proxima_chassis::{Health, NodeContext, PrepareError, Prepared, Service, ServiceError, Shutdown};
use proxima_ledger::{ChangeSet, Snapshot};
use proxima_model::{Kind, TicketKeys};
use proxima_pipeline::ZoneNotices;
use tokio::{net::TcpListener, task::JoinSet};
use tracing::info;

use crate::{
    DnsError,
    config::DnsConfig,
    https::DnsOverHttps,
    metrics::DnsMetrics,
    places::Places,
    quic::QuicListener,
    respond::Responder,
    server::Server,
    tcp,
    tls::{Secure, StreamTls},
    udp,
};

/// Its name: configuration table, metric prefix, owner of its listeners.
pub(crate) const NAME: &str = "dns";

/// Octets of datagrams that may wait at a socket: a tenth of a second of what a core can answer.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Authoritative DNS.
pub struct DnsService {
    server: Arc<Server>,
    /// Where queries come encrypted.
    secure: Option<Arc<Secure>>,
    name_servers: Vec<String>,
    health: Mutex<Health>,
    addresses: Mutex<DnsAddresses>,
}

/// Where DNS is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsAddresses {
    /// Over UDP and TCP.
    pub clear: Vec<SocketAddr>,
    /// Over TLS.
    pub tls: Vec<SocketAddr>,
    /// Over QUIC.
    pub quic: Vec<SocketAddr>,
}

/// What is bound and not yet answered on.
#[derive(Default)]
struct Bound {
    clear: Vec<TcpListener>,
    /// Of each address, for each thread.
    datagrams: Vec<Vec<UdpSocket>>,
    tls: Vec<(TcpListener, Arc<StreamTls>)>,
    quic: Vec<QuicListener>,
}

impl DnsService {
    /// Reads `[dns]` and makes the service; nothing is bound yet.
    ///
    /// # Errors
    /// What is wrong in the configuration.
    pub fn new(node: &NodeContext) -> Result<Arc<Self>, DnsError> {
        let config = DnsConfig::of(&node.config)?;
        let network = &node.config.network;
        let responder = Responder::new(
            &network.anycast_addresses,
            network.http3,
            node.name().as_str(),
            config.udp_payload_bytes_max,
            node.clock.clone(),
        )
        .with_keepalive(config.tcp_idle())
        .with_cookies_required(config.udp_cookies_required)
        .with_rate_limit(
            config.rate_limit_per_second,
            config.rate_limit_slip,
            &config.rate_limit_exempt,
        );
        let is_secure = !config.listen_tls.is_empty() || !config.listen_quic.is_empty();
        let secure = is_secure.then(|| Secure::new(node).map(Arc::new)).transpose()?;
        let metrics = node.metrics.register(NAME, DnsMetrics::register);
        let server = Arc::new(Server::new(config, metrics, responder, node.replica.clone()));
        let health = Mutex::new(Health::Starting);
        let name_servers = network.name_servers.iter().map(ToString::to_string).collect();
        Ok(Arc::new(Self { server, secure, name_servers, health, addresses: Mutex::default() }))
    }

    /// Where it answers, once it does; port 0 of the configuration is here what the kernel chose.
    pub fn addresses(&self) -> DnsAddresses {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The stage by which the edge answers queries within HTTP; it passes everything on if that is switched off.
    pub fn over_https(&self) -> DnsOverHttps {
        let hosts = if self.server.config.https { self.name_servers.clone() } else { Vec::new() };
        DnsOverHttps::new(self.server.clone(), hosts)
    }

    /// Tells who sees to zones that come from elsewhere when they have changed there. Once.
    pub fn tell_notices(&self, notices: Arc<dyn ZoneNotices>) {
        self.server.notices.set(notices).ok();
    }

    fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Binds every address. All are bound before the first is answered on: a server answers on all of its addresses or
    /// on none.
    fn bind(&self, node: &NodeContext) -> Result<Bound, DnsError> {
        let config = &self.server.config;
        let (mut bound, mut addresses) = (Bound::default(), DnsAddresses::default());
        bound.datagrams.resize_with(config.udp_threads, Vec::new);
        for address in config.listen.iter().copied() {
            let broken = |protocol| move |source| DnsError::Socket { protocol, address, source };
            let udp = node.listeners.udp_group(NAME, address, config.udp_threads)?;
            // Clients come to one port, whichever the kernel chose.
            let address = udp[0].local_addr().map_err(broken("udp"))?;
            let tcp = TcpListener::from_std(node.listeners.tcp(NAME, address)?).map_err(broken("tcp"))?;
            addresses.clear.push(address);
            for thread in 0..config.udp_threads {
                // A group may be smaller than wished for.
                let socket = udp[thread % udp.len()].try_clone().map_err(broken("udp"))?;
                // Bursts wait there; what the kernel does not give is not needed for anything else.
                socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES).ok();
                bound.datagrams[thread].push(socket);
            }
            bound.clear.push(tcp);
        }
        let Some(secure) = &self.secure else {
            self.set_addresses(addresses);
            return Ok(bound);
        };
        for address in config.listen_tls.iter().copied() {
            let broken = |source| DnsError::Socket { protocol: "tcp", address, source };
            let tcp = TcpListener::from_std(node.listeners.tcp(NAME, address)?).map_err(broken)?;
            addresses.tls.push(tcp.local_addr().map_err(broken)?);
            bound.tls.push((tcp, secure.stream.clone()));
        }
        for address in config.listen_quic.iter().copied() {
            let broken = |source| DnsError::Socket { protocol: "quic", address, source };
            let socket = QuicListener::bind(&node.listeners, address)?;
            let listener = QuicListener::new(socket, secure, config.tcp_idle()).map_err(broken)?;
            addresses.quic.push(listener.address().map_err(broken)?);
            bound.quic.push(listener);
        }
        self.set_addresses(addresses);
        Ok(bound)
    }

    /// Binds every address, and begins to answer.
    fn begin(
        &self,
        node: &NodeContext,
        shutdown: &Shutdown,
    ) -> Result<JoinSet<Result<(), DnsError>>, DnsError> {
        let config = &self.server.config;
        let places = Places::new(config.tcp_connections_max, config.tcp_connections_per_client_max);
        let bound = self.bind(node)?;
        let mut tasks = JoinSet::new();
        for (number, sockets) in bound.datagrams.into_iter().enumerate() {
            if !sockets.is_empty() {
                let name = format!("dns-udp-{number}");
                tasks.spawn(udp::serve(name, sockets, self.server.clone(), shutdown.clone()));
            }
        }
        for streams in bound.clear {
            tasks.spawn(tcp::serve(streams, None, self.server.clone(), places.clone(), shutdown.clone()));
        }
        for (streams, tls) in bound.tls {
            tasks.spawn(tcp::serve(
                streams,
                Some(tls),
                self.server.clone(),
                places.clone(),
                shutdown.clone(),
            ));
        }
        for listener in bound.quic {
            tasks.spawn(listener.serve(self.server.clone(), places.clone(), shutdown.clone()));
        }
        Ok(tasks)
    }

    fn set_addresses(&self, addresses: DnsAddresses) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }
}

#[async_trait]
impl Service for DnsService {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> Result<Prepared, PrepareError> {
        let keys = match changed.touches(Kind::TicketKeys) {
            true => {
                let keys = snapshot.get::<TicketKeys>(&())?.unwrap_or(TicketKeys { keys: Vec::new() });
                let tls = self.secure.as_ref().map(|secure| secure.prepare_keys(&keys));
                Some((self.server.responder.prepare_cookies(&keys), tls))
            }
            false => None,
        };
        let (zones, secure, changed) = (self.server.zones.clone(), self.secure.clone(), changed.clone());
        Ok(Prepared::new(move || {
            zones.invalidate(&changed);
            if let Some(secure) = secure {
                secure.invalidate(&changed);
            }
            if let Some((cookies, tls)) = keys {
                cookies();
                tls.into_iter().for_each(|put_in_force| put_in_force());
            }
        }))
    }

    async fn run(self: Arc<Self>, node: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
        let mut tasks = self.begin(&node, &shutdown).map_err(ServiceError::new)?;
        info!(addresses = ?self.addresses(), "answering DNS");
        self.set_health(Health::Ready);
        let serve = async {
            while let Some(ended) = tasks.join_next().await {
                let ended = ended.map_err(ServiceError::new)?;
                if let Err(error) = ended {
                    self.set_health(Health::Failed(error.to_string()));
                    return Err(ServiceError::new(error));
                }
            }
            Ok(())
        };
        tokio::select! {
            outcome = serve => outcome?,
            () = shutdown.stopping() => return Ok(()),
        }
        // With nothing to listen on there is nothing to drain, and nothing ends before it is told to.
        shutdown.draining().await;
        Ok(())
    }

    fn health(&self) -> Health {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if health.can_serve() && !self.server.can_read() {
            return Health::Failed("the replica cannot be read".to_owned());
        }
        health
    }
}
