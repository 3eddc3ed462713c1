//! The edge as a service: binds, serves, drains.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use proxima_chassis::{Health, NodeContext, PrepareError, Prepared, Service, ServiceError, Shutdown};
use proxima_ledger::{ChangeSet, CompiledZones, Snapshot, Unserved};
use proxima_model::{Kind, TicketKeys};
use proxima_pipeline::{Pipeline, Prewarm, Site, TrafficReader};
use proxima_tls::{Certificates, QuicKeys, Tickets};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::listen::{Ending, Listener};
use crate::observe::{self, RequestLog, SWEPT_EVERY, ZoneTable};
use crate::quic::QuicListener;
use crate::server::{Entry, ServerContext};
use crate::tls::{QuicTls, TlsAcceptor};
use crate::{EdgeConfig, EdgeError, EdgeMetrics, Observer, SERVICE};

/// How long writing the last lines of the request log may take.
const LOG_CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// Where the edge listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeAddresses {
    /// In clear.
    pub http: Vec<SocketAddr>,
    /// By TLS.
    pub https: Vec<SocketAddr>,
    /// By QUIC: the UDP side of each of `https`, unless HTTP/3 is off.
    pub http3: Vec<SocketAddr>,
}

/// The edge.
pub struct EdgeService {
    config: EdgeConfig,
    context: Arc<ServerContext>,
    sites: CompiledZones<Site>,
    certificates: Arc<Certificates>,
    tickets: Arc<Tickets>,
    acceptor: Arc<TlsAcceptor>,
    quic_tls: Arc<QuicTls>,
    quic_keys: Arc<QuicKeys>,
    /// Set once all listeners are bound.
    addresses: Mutex<Option<EdgeAddresses>>,
}

impl EdgeService {
    /// The edge of this node, in front of `pipeline`. `sites` and `certificates` are those which the pipeline's
    /// stages look up: they are kept in step with the replica here.
    ///
    /// # Errors
    /// What is wrong in `[edge]`, or with TLS.
    pub fn new(
        node: &NodeContext,
        pipeline: Pipeline,
        sites: CompiledZones<Site>,
        certificates: Arc<Certificates>,
    ) -> Result<Arc<Self>, EdgeError> {
        let config: EdgeConfig = node.config.service(SERVICE)?;
        config.check()?;
        let tickets = Arc::new(Tickets::default());
        let acceptor = Arc::new(TlsAcceptor::new(Arc::clone(&certificates), Arc::clone(&tickets))?);
        let quic_tls = Arc::new(QuicTls::new(Arc::clone(&certificates), Arc::clone(&tickets)));
        let quic_keys = QuicKeys::new();
        let metrics = node.metrics.register(SERVICE, EdgeMetrics::register);
        let zones = ZoneTable::new(node.pop().clone(), config.metrics_zones_max);
        node.metrics.register(SERVICE, |registry| observe::register(registry, &zones));
        let log = config.request_log.clone().map(|log| {
            let path = node.config.path(&log.path);
            RequestLog::start(log, path, Arc::clone(&metrics))
        });
        let observer = Arc::new(Observer::new(zones, log.transpose()?));
        let context = Arc::new(ServerContext {
            pipeline,
            limits: config.http1_limits(),
            request_body_bytes_max: config.limits.request_body_bytes_max,
            timeouts: config.server_timeouts(),
            pop: node.pop().clone(),
            clock: Arc::clone(&node.clock),
            metrics,
            observer,
        });
        let addresses = Mutex::default();
        Ok(Arc::new(Self {
            config,
            context,
            sites,
            certificates,
            tickets,
            acceptor,
            quic_tls,
            quic_keys,
            addresses,
        }))
    }

    /// Who is told for which hosts clients come, while they shake hands. Given once, before the service runs.
    pub fn prewarm_by(&self, prewarm: Arc<dyn Prewarm>) {
        self.acceptor.greeting.by(Arc::clone(&prewarm));
        self.quic_tls.greeting.by(prewarm);
    }

    /// The way in for what Workers ask of sites of other accounts.
    pub fn entry(&self) -> Entry {
        Entry::new(Arc::clone(&self.context))
    }

    /// What is counted of zones' traffic here.
    pub fn traffic(&self) -> Arc<dyn TrafficReader> {
        Arc::clone(&self.context.observer.zones) as _
    }

    /// Where it listens, once it does; ports that were left to the kernel are filled in.
    pub fn addresses(&self) -> Option<EdgeAddresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn bind(&self, node: &NodeContext, ending: &Ending) -> Result<(Vec<Listener>, EdgeAddresses), EdgeError> {
        let mut bound = EdgeAddresses::default();
        let mut listeners = Vec::with_capacity(self.config.http.len() + self.config.https.len());
        for (addresses, bound, tls) in [
            (&self.config.http, &mut bound.http, None),
            (&self.config.https, &mut bound.https, Some(&self.acceptor)),
        ] {
            for &address in addresses {
                let socket = TcpListener::from_std(node.listeners.tcp(SERVICE, address)?)?;
                bound.push(socket.local_addr()?);
                listeners.push(Listener {
                    socket,
                    tls: tls.cloned(),
                    balancers: self.config.proxy_protocol_from.as_slice().into(),
                    connections_max: self.config.connections_max,
                    context: Arc::clone(&self.context),
                    ending: ending.clone(),
                });
            }
        }
        Ok((listeners, bound))
    }

    /// What is to be done beside serving, for as long as the edge serves.
    fn chores(&self) -> Result<JoinSet<()>, EdgeError> {
        let mut chores = JoinSet::new();
        let observer = Arc::clone(&self.context.observer);
        chores.spawn(async move {
            let mut due = tokio::time::interval(SWEPT_EVERY);
            loop {
                due.tick().await;
                observer.zones.sweep();
            }
        });
        if self.context.observer.log.is_some() {
            // Only then: without a request log, the signal ends the process as it always does.
            let mut hangup = signal(SignalKind::hangup())?;
            let observer = Arc::clone(&self.context.observer);
            chores.spawn(async move {
                while hangup.recv().await.is_some() {
                    observer.log.iter().for_each(RequestLog::reopen);
                }
            });
        }
        Ok(chores)
    }

    /// Has the request log written to its end, unless the disk takes too long.
    async fn close_log(&self) {
        let observer = Arc::clone(&self.context.observer);
        let closing = tokio::task::spawn_blocking(move || observer.log.iter().for_each(RequestLog::close));
        if tokio::time::timeout(LOG_CLOSED_WITHIN, closing).await.is_err() {
            tracing::warn!("the request log does not end: its last lines are lost");
        }
    }

    /// Binds the UDP side of each address of `https`, once its TCP side is bound.
    fn bind_quic(
        &self,
        node: &NodeContext,
        ending: &Ending,
        bound: &mut EdgeAddresses,
    ) -> Result<Vec<QuicListener>, EdgeError> {
        let addresses = if node.config.network.http3 { bound.https.clone() } else { Vec::new() };
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let listener = QuicListener::new(
                QuicListener::bind(&node.listeners, address)?,
                Arc::clone(&self.quic_tls),
                &self.quic_keys,
                self.config.connections_max,
                Arc::clone(&self.context),
                ending.clone(),
            )?;
            bound.http3.push(listener.endpoint.local_addr()?);
            listeners.push(listener);
        }
        Ok(listeners)
    }
}

#[async_trait]
impl Service for EdgeService {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> Result<Prepared, PrepareError> {
        let tickets = match changed.touches(Kind::TicketKeys) {
            true => {
                let keys = snapshot.get::<TicketKeys>(&())?.unwrap_or(TicketKeys { keys: Vec::new() });
                Some((Tickets::prepare(&keys), QuicKeys::prepare(&keys)))
            }
            false => None,
        };
        let (own, quic) = (Arc::clone(&self.tickets), Arc::clone(&self.quic_keys));
        let sites = self.sites.prepare(snapshot, changed);
        let certificates = self.certificates.prepare(snapshot, changed);
        Ok(Prepared::new(move || {
            sites();
            certificates();
            if let Some((tickets, keys)) = tickets {
                own.swap(tickets);
                quic.swap(keys);
            }
        }))
    }

    fn unserved(&self) -> Vec<Unserved> {
        vec![self.sites.unserved(), self.certificates.unserved()]
    }

    async fn run(self: Arc<Self>, node: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
        let ending = Ending { arrivals: shutdown.arrivals().clone(), ..Ending::default() };
        let (listeners, mut bound) = self.bind(&node, &ending).map_err(ServiceError::new)?;
        let quic = self.bind_quic(&node, &ending, &mut bound).map_err(ServiceError::new)?;
        tracing::info!(http = ?bound.http, https = ?bound.https, http3 = ?bound.http3, "the edge listens");
        let mut accepting: JoinSet<()> = listeners.into_iter().map(Listener::run).collect();
        for listener in quic {
            accepting.spawn(listener.run());
        }
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = Some(bound);
        let mut chores = self.chores().map_err(ServiceError::new)?;

        tokio::select! {
            () = shutdown.draining() => {}
            () = shutdown.stopping() => {}
            Some(Err(panicked)) = accepting.join_next() => return Err(ServiceError::new(panicked)),
            Some(Err(panicked)) = chores.join_next() => return Err(ServiceError::new(panicked)),
        }
        ending.drain.cancel();
        accepting.join_all().await;
        ending.connections.close();
        tokio::select! {
            () = ending.connections.wait() => {}
            () = shutdown.stopping() => {}
            () = tokio::time::sleep(shutdown.drain_within()) => {
                tracing::warn!(left = ending.connections.len(), "connections did not end in time");
            }
        }
        ending.stop.cancel();
        ending.connections.wait().await;
        self.close_log().await;
        Ok(())
    }

    fn health(&self) -> Health {
        if self.addresses().is_some() { Health::Ready } else { Health::Starting }
    }
}
