//! One request and its response, on their way through the stages.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use http::{Extensions, HeaderMap, Method, StatusCode, uri::PathAndQuery};
use proxima_model::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Body, ClientCertificate, Interims, RayId, Rest, Site, Trace};

/// The protocol that the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 (RFC 1945).
    Http10,
    /// HTTP/1.1 (RFC 9112).
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
    /// HTTP/3 (RFC 9114).
    Http3,
}

impl Protocol {
    /// As `/cdn-cgi/trace` and logs write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::Http2 => "http/2",
            Self::Http3 => "http/3",
        }
    }
}

/// Whether the client came in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In clear.
    Http,
    /// By TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// 80 or 443.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What the TLS handshake with the client settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name that the client asked for (RFC 6066, 3), lower case.
    pub server_name: Option<Arc<str>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The certificate that the client presented, in this handshake or in that of the session that was resumed.
    pub client_certificate: Option<Arc<ClientCertificate>>,
}

/// Who asks, and how.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address.
    pub address: SocketAddr,
    /// Ours, at which it came.
    pub local: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// TLS, if it came by it; shared by all requests of a connection.
    pub tls: Option<Arc<TlsFacts>>,
}

/// The head of a request. Hop-by-hop fields (RFC 9110, 7.6.1) have been taken off by the listener.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Clear or TLS.
    pub scheme: Scheme,
    /// The host asked for: lower case, without port and last dot. IP literals as they are.
    pub host: Arc<str>,
    /// The port asked for, where one was named.
    pub port: Option<u16>,
    /// Path and query.
    pub target: PathAndQuery,
    /// The fields, `host` included.
    pub headers: HeaderMap,
    /// The protocol to which the client asks to switch (`Upgrade`, RFC 9110, 7.8), lower case: `websocket`.
    pub upgrade: Option<Arc<str>>,
}

impl Request {
    /// The URL as the client asked for it.
    pub fn url(&self) -> String {
        let port = self.port.filter(|port| *port != self.scheme.default_port());
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        // Every request that a cache may answer has it made: without the machinery of formatting.
        let target = self.target.as_str();
        let slash = if target.starts_with(['/', '*']) { "" } else { "/" };
        [self.scheme.name(), "://", &self.host, &port, slash, target].concat()
    }
}

/// A connection that has left HTTP after a 101.
pub trait UpgradedIo: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> UpgradedIo for T {}

/// The origin's side of a connection that was switched to another protocol; the listener joins the client's to it.
pub type Upgraded = Box<dyn UpgradedIo>;

/// A response. Hop-by-hop fields are the listener's to write.
#[derive(Default)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// With status 101: the other side.
    pub upgraded: Option<Upgraded>,
    /// Whether a stage has decided already which content coding its client gets; nobody decides again.
    pub coding_settled: bool,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &self.body)
            .field("upgraded", &self.upgraded.is_some())
            .field("coding_settled", &self.coding_settled)
            .finish()
    }
}

/// The other side of a connection that was switched goes with it: whoever joins two takes it out before.
impl From<Response> for http::Response<Body> {
    fn from(response: Response) -> Self {
        let mut written = Self::new(response.body);
        (*written.status_mut(), *written.headers_mut()) = (response.status, response.headers);
        written
    }
}

/// What the stages before the origin decided about where to go; empty means what the records say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginChoice {
    /// Connect to this host, a name or an IP address, instead of what the records say.
    pub host: Option<Arc<str>>,
    /// Connect to this port instead of the scheme's.
    pub port: Option<u16>,
    /// Send this `Host` instead of the one asked for.
    pub host_header: Option<Arc<str>>,
}

/// One request and its response.
pub struct Exchange {
    /// Its name.
    pub ray: RayId,
    /// Who asks.
    pub client: Client,
    /// What is asked.
    pub request: Request,
    /// The request's body; taken by the stage that sends it on.
    pub request_body: Body,
    /// When the head had been read: a monotonic clock, for measuring.
    pub received: Instant,
    /// The same by the wall clock, for freshness and logs.
    pub received_at: Timestamp,
    /// Whether the client presented a certificate that holds for the host asked for.
    pub client_verified: bool,
    /// Where the cache stood in the order of purges before anything of the zone was looked up; set at its entrance.
    pub purges_seen: Option<u64>,
    /// The zone asked for, compiled; set by the zone stage.
    pub site: Option<Arc<Site>>,
    /// Where to go, as far as rules decided.
    pub origin: OriginChoice,
    /// Where interim answers go, if the client can be told; a request of our own has none until it is given one.
    pub interims: Option<Interims>,
    /// The response, once there is one.
    pub response: Option<Response>,
    /// What was decided and why.
    pub trace: Trace,
    /// What stages keep from `on_request` to `on_response`, each under a type of its own.
    pub extensions: Extensions,
    pub(crate) rest: Option<Rest>,
}

impl Exchange {
    /// A request that has just been read.
    pub fn new(
        ray: RayId,
        client: Client,
        request: Request,
        request_body: Body,
        received_at: Timestamp,
    ) -> Self {
        Self {
            ray,
            client,
            request,
            request_body,
            received: Instant::now(),
            received_at,
            client_verified: false,
            purges_seen: None,
            site: None,
            origin: OriginChoice::default(),
            interims: None,
            response: None,
            trace: Trace::default(),
            extensions: Extensions::new(),
            rest: None,
        }
    }

    /// The stages after the one that runs now, to be run for a sub-request (a revalidation in the background, a fetch
    /// that outlives its client). `None` outside of a pipeline.
    pub fn rest(&self) -> Option<Rest> {
        self.rest.clone()
    }

    /// A request of our own for the same thing, without body: what a revalidation starts from.
    pub fn sub_request(&self) -> Self {
        let mut exchange = Self::new(
            self.ray.clone(),
            self.client.clone(),
            self.request.clone(),
            Body::empty(),
            self.received_at,
        );
        exchange.client_verified = self.client_verified;
        exchange.purges_seen = self.purges_seen;
        exchange.site.clone_from(&self.site);
        exchange.origin = self.origin.clone();
        exchange
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("ray", &self.ray)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
