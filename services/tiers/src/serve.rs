//! The other side: other servers' caches are answered by this one's, and their services' questions by its services.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proxima_chassis::{Clock, Shutdown};
use proxima_ledger::certificate_name;
use proxima_model::PopCode;
use proxima_pipeline::{AnswersNeighbours, Body, Fault, Invalidations, Pipeline};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::{
    metrics::Metrics,
    neighbours,
    others::{self, Answering},
    peers::Peers,
    wire::{self, Asked},
};

/// Requests at once on a connection: of one server.
pub const STREAMS_MAX: u32 = 2_048;
/// Connections at once: each other server has one, and a second one for a moment after it was lost.
const CONNECTIONS_MAX: usize = 8_192;
/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(3);
/// How often a peer that says nothing is pinged, and how long it may take to answer.
const PING: Duration = Duration::from_secs(10);
/// Fields of a request: those of a client, and ours.
const HEADERS_OCTETS_MAX: u32 = 256 << 10;
/// What one answer may have under way.
const SEND_BUFFER_OCTETS: usize = 256 << 10;
/// After a failure to accept, which is ours (no file descriptors), for so long nothing is accepted.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Answers other servers.
pub(crate) struct Server {
    pub(crate) tls: TlsAcceptor,
    pub(crate) peers: Arc<Peers>,
    pub(crate) connections: TaskTracker,
    pub(crate) pipeline: Pipeline,
    pub(crate) cache: Arc<dyn Invalidations>,
    /// Who answers the questions of servers in this PoP.
    pub(crate) neighbours: Option<Arc<dyn AnswersNeighbours>>,
    /// Who answers the services of other servers.
    pub(crate) services: Answering,
    pub(crate) pop: PopCode,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
}

impl Server {
    /// Takes connections until the node drains; those that are open end when their requests have.
    pub(crate) async fn listen(self: Arc<Self>, listener: TcpListener, shutdown: Shutdown) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.draining() => return,
            };
            match accepted {
                Ok((stream, from)) => {
                    let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
                    let (server, shutdown) = (self.clone(), shutdown.clone());
                    self.connections.spawn(async move {
                        server.serve(stream, from, &shutdown).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(target: "proxima_tiers", %error, "a connection of another server cannot be taken");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, from: SocketAddr, shutdown: &Shutdown) {
        stream.set_nodelay(true).ok();
        let Ok(local) = stream.local_addr() else { return };
        let stream = match timeout(HANDSHAKE_WITHIN, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.metrics.refused.inc();
                tracing::warn!(target: "proxima_tiers", %from, %error, "a handshake failed");
                return;
            }
            Err(_) => return,
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let name = certificates.and_then(|chain| certificate_name(chain.first()?)).unwrap_or_default();
        let known = self.peers.map.servers().iter().position(|server| server.name.as_str() == name);
        let Some(asker) = known else {
            self.metrics.refused.inc();
            tracing::warn!(target: "proxima_tiers", %from, name, "refused: not one of [[tiers.servers]]");
            return;
        };
        let service = service_fn(|request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(asker, request, local).await) }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS_MAX)
            // Whoever asks again elsewhere resets what it asked for here, all at once where this server was late: that is no
            // attack by a server of this network, and other exchanges are on the same connection.
            .max_pending_accept_reset_streams(usize::try_from(STREAMS_MAX).ok())
            .max_header_list_size(HEADERS_OCTETS_MAX)
            .max_send_buf_size(SEND_BUFFER_OCTETS)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = shutdown.draining() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(target: "proxima_tiers", name, %error, "a connection of another server ended");
        }
    }

    async fn answer(
        &self,
        asker: usize,
        request: http::Request<Incoming>,
        local: SocketAddr,
    ) -> http::Response<Body> {
        if others::is_for_service(&request) {
            let Some(about) = self.peers.map.servers().get(asker) else { return declined("unreadable") };
            return others::answer(&self.services, &about.name, request).await;
        }
        if neighbours::is_question(&request) {
            return neighbours::answer(self.neighbours.as_ref(), &self.peers, asker, request).await;
        }
        let (parts, _) = request.into_parts();
        let mut exchange = match wire::read(parts, &self.pop, local, self.clock.now()) {
            Ok(Asked::Answer(exchange)) => exchange,
            Ok(Asked::Forget(zone, url)) => {
                self.cache.invalidated(zone, &url.to_string());
                return empty(StatusCode::NO_CONTENT);
            }
            Err(why) => {
                tracing::warn!(target: "proxima_tiers", why, "a request of another server cannot be read: run the same version everywhere");
                return declined("unreadable");
            }
        };
        self.metrics.served.inc();
        self.pipeline.run(&mut exchange).await;
        let fault = exchange.extensions.get::<Fault>();
        if let Some(fault) = fault.filter(|fault| Fault::met_by_another(fault.name()).is_none()) {
            return declined(fault.name());
        }
        let fault = fault.map(|fault| HeaderValue::from_static(fault.name()));
        let mut response = exchange.response.take().unwrap_or_default();
        // Nobody says these but this server.
        for name in [wire::DECLINED, wire::FAULT] {
            response.headers.remove(name);
        }
        if let Some(fault) = fault {
            response.headers.insert(wire::FAULT, fault);
        }
        response.into()
    }
}

pub(crate) fn empty(status: StatusCode) -> http::Response<Body> {
    let mut response = http::Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(crate) fn declined(why: &'static str) -> http::Response<Body> {
    let mut response = empty(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(wire::DECLINED, HeaderValue::from_static(why));
    response
}
