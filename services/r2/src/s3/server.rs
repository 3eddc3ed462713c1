//! The shell: accepts connections, bounds them, and hands requests to `s3s`.
//!
//! ```text
//!  accept ─▶ a place of all, and of this client? ─no─▶ closed at once, counted
//!              │ yes
//!              └─ https: handshake ─▶ request ─▶ preflight? refused by its head? ─▶ a place among requests ─▶ s3s
//! ```

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use proxima_chassis::{Accepting, GaugeGuard, Place, Places, Shutdown};
use proxima_model::PopCode;
use s3s::{
    Body, S3Error, S3ErrorCode,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::MissedTickBehavior,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::{
    Front, admit,
    again::Again,
    answers::{Asked, Lines},
    attributes,
    chunks::{Chunked, Chunks},
    cors::Told,
    hosts::{Hosts, Level},
    noted::noted,
    pacing::{Answering, End, HEAD_DEADLINE, Paced, Streams, TAKEN_WITHIN, Talk, Verdict},
    xml,
};
use crate::metrics::Metrics;

/// How often it is looked at whether a connection gets on: each deadline is kept to so much.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(3);
/// Octets of a request's head: 8 KiB of metadata, a key of which each octet takes three, a signed query, and room.
const HEAD_OCTETS_MAX: usize = 64 << 10;
/// The field that says whether a body comes in chunks.
const PAYLOAD_HASH: &str = "x-amz-content-sha256";
/// Octets of XML: a thousand keys to delete, of the longest, each octet written with six, or ten thousand parts.
const XML_OCTETS_MAX: usize = 8 << 20;
/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// How long accepting pauses after the system refused a connection (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether a `PUT` is of a bucket, and not of rules of one that there is.
fn makes_bucket(request: &Request<Body>, hosts: &Hosts) -> bool {
    let query = admit::Query::of(request.uri().query().unwrap_or_default());
    let sets_rules = query.has("cors") || query.has("lifecycle");
    !sets_rules && hosts.level(request).is_ok_and(|level| level == Level::Bucket)
}

/// The service behind the listeners.
#[derive(Clone)]
pub(crate) struct Door {
    s3: S3Service,
    front: Front,
    hosts: Hosts,
    requests: Arc<Places>,
    metrics: Metrics,
    pop: PopCode,
    lines: Lines,
}

impl Door {
    /// At this PoP, with the names under which it is asked, and places for requests that are under way.
    pub(crate) fn new(
        front: Front,
        (hosts, pop): (Hosts, PopCode),
        requests: Arc<Places>,
        metrics: Metrics,
    ) -> Self {
        let mut builder = S3ServiceBuilder::new(front.clone());
        builder.set_auth(front.clone());
        builder.set_access(front.clone());
        builder.set_host(hosts.clone());
        let mut config = s3s::config::S3Config::default();
        config.xml_max_body_size = XML_OCTETS_MAX;
        // Forms are refused by their heads; if one got through, nothing of it would be gathered.
        config.post_object_max_file_size = 0;
        config.form_max_field_size = 0;
        config.form_max_fields_size = 0;
        config.form_max_parts = 0;
        builder.set_config(Arc::new(s3s::config::StaticConfigProvider::new(Arc::new(config))));
        builder.set_route(Again::new(front.clone(), hosts.clone()));
        let s3 = builder.build();
        Self { s3, front, hosts, requests, metrics, pop, lines: Lines::default() }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        (talk, client): (&Talk, IpAddr),
    ) -> io::Result<Response<Answer>> {
        let handled = talk.begin();
        let (method, version) = (request.method().clone(), request.version());
        let asked = Asked::of(&request, client, &self.pop);
        let waits_in_vain = version < Version::HTTP_2 && waits_in_vain(&request);
        let (mut request, end) = paced(request);
        let under_way = GaugeGuard::new(&self.metrics.under_way);
        // No place is taken by what is refused by its head.
        let admitted = admit::check(&request, &self.hosts).map(|hoisted| {
            request.headers_mut().extend(hoisted);
            self.requests.take(client)
        });
        let (mut response, place) = match admitted {
            Err(refusal) => (refused(refusal)?, None),
            Ok(None) => {
                let busy = S3Error::with_message(S3ErrorCode::SlowDown, "too many requests at a time");
                (refused(busy)?, None)
            }
            Ok(Some(place)) if method == Method::OPTIONS => (self.preflight(&request).await?, Some(place)),
            Ok(Some(place)) => (self.carry_out(request).await?, Some(place)),
        };
        response = asked.complete(response, &self.lines);
        let place = place.and_then(|place| kept(place, response.status()));
        // What is left of the body would be taken for the next request, so the connection ends; and its client has to know.
        if waits_in_vain || version < Version::HTTP_2 && !end.is_here() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.metrics.answered(&method, response.status().as_u16());
        // Its body is part of it.
        let held = Held { answering: handled.answer(), _place: place, _under_way: under_way };
        Ok(response.map(|body| Answer { body, held }))
    }

    async fn preflight(&self, request: &Request<Body>) -> io::Result<Response<Body>> {
        match self.front.preflight(&self.hosts, request).await {
            Ok(fields) => {
                let mut response = Response::new(Body::empty());
                *response.headers_mut() = fields;
                Ok(response)
            }
            Err(refusal) => refused(refusal),
        }
    }

    async fn carry_out(&self, mut request: Request<Body>) -> io::Result<Response<Body>> {
        let told = request.headers().contains_key(header::ORIGIN).then(Told::default);
        if let Some(told) = &told {
            request.extensions_mut().insert(told.clone());
        }
        if request.method() == Method::PUT && makes_bucket(&request, &self.hosts) {
            request = noted(request);
        }
        let response = xml::call(&self.s3, request).await;
        let mut response = response.map_err(|error| io::Error::other(s3s::StdError::from(error)))?;
        let fields = told.map_or_else(HeaderMap::new, |told| told.take());
        response.headers_mut().extend(fields);
        Ok(attributes::with_bare_tag(response))
    }
}

/// Whether a client waits to be told to send a body (RFC 9110, 10.1.1) of which there is nothing: `hyper` tells it only when the body
/// is read. An answer then surprises some clients (botocore of awscli) so that they misread the next one of the connection.
fn waits_in_vain(request: &Request<impl http_body::Body>) -> bool {
    let expected = request.headers().get(header::EXPECT).map(HeaderValue::as_bytes);
    request.body().is_end_stream()
        && expected.is_some_and(|expected| expected.eq_ignore_ascii_case(b"100-continue"))
}

/// A request whose body must come at some pace, and where its end is told.
fn paced(request: Request<Incoming>) -> (Request<Body>, End) {
    let (parts, body) = request.into_parts();
    let (body, end) = Paced::new(body);
    let mut hashes = parts.headers.get_all(PAYLOAD_HASH).iter();
    let chunks = hashes.any(|hash| hash.as_bytes().starts_with(b"STREAMING-")).then(Chunks::new);
    let body = Chunked { body, chunks };
    (Request::from_parts(parts, Body::http_body_unsync(body)), end)
}

/// The place of a request while its answer is sent: an error's is given back, however long its client takes to read it.
fn kept(place: Place, status: StatusCode) -> Option<Place> {
    (!status.is_client_error() && !status.is_server_error()).then_some(place)
}

fn refused(refusal: S3Error) -> io::Result<Response<Body>> {
    refusal.to_http_response().map_err(io::Error::other)
}

/// The body of an answer, and its place among those that are under way.
struct Answer {
    body: Body,
    held: Held,
}

struct Held {
    answering: Answering,
    _place: Option<Place>,
    _under_way: GaugeGuard,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        // Who asks for more has taken what there was.
        self.held.answering.taken();
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where S3 is spoken: in clear, or by TLS.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
}

/// Accepts until the node drains, then ends what was begun within the deadline.
pub(crate) async fn serve(listener: Listener, door: Door, places: Arc<Places>, shutdown: Shutdown) {
    let conversations = TaskTracker::new();
    let mut accepting = Accepting::until_drained(&listener.socket, &shutdown);
    while let Some(accepted) = accepting.next().await {
        let (stream, client) = match accepted {
            Ok((stream, client)) => (stream, client.ip()),
            Err(error) => {
                tracing::warn!(target: "proxima_r2", %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.take(client) else {
            door.metrics.connections_refused.inc();
            continue;
        };
        stream.set_nodelay(true).ok();
        let (door, tls, shutdown) = (door.clone(), listener.tls.clone(), shutdown.clone());
        conversations.spawn(async move {
            let counted = GaugeGuard::new(&door.metrics.connections);
            begin((stream, client), tls, door, &shutdown).await;
            drop((place, counted));
        });
    }
    drop(listener);
    conversations.close();
    tokio::time::timeout(shutdown.drain_within(), conversations.wait()).await.ok();
}

async fn begin(
    (stream, client): (TcpStream, IpAddr),
    tls: Option<TlsAcceptor>,
    door: Door,
    shutdown: &Shutdown,
) {
    let Some(tls) = tls else { return converse(stream, client, door, shutdown).await };
    match tokio::time::timeout(HEAD_DEADLINE, tls.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, client, door, shutdown).await,
        Ok(Err(error)) => tracing::debug!(target: "proxima_r2", %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(target: "proxima_r2", "a TLS handshake took too long"),
    }
}

/// Serves one connection to its end.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    client: IpAddr,
    door: Door,
    shutdown: &Shutdown,
) {
    let talk = Talk::new();
    let mut builder = auto::Builder::new(Streams::new(door.metrics.clone()));
    // It also runs while the last octets of an answer are taken, and cuts them off when it has passed.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(TAKEN_WITHIN).max_buf_size(HEAD_OCTETS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_OCTETS_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(HEAD_DEADLINE);
    let service = service_fn(|request| {
        let (door, talk) = (door.clone(), talk.clone());
        async move { door.answer(request, (&talk, client)).await }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut look = tokio::time::interval(LOOKED_AT_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_ending = false;
    let served = loop {
        let ends = tokio::select! {
            // First, so that what is here has been read: a connection that has read nothing would be closed.
            biased;
            served = connection.as_mut() => break served,
            () = shutdown.draining(), if !is_ending => true,
            _ = look.tick() => match talk.verdict() {
                Verdict::GoOn => false,
                Verdict::End => true,
                Verdict::Close => {
                    door.metrics.connections_stalled.inc();
                    return;
                }
            },
        };
        if ends && !is_ending {
            is_ending = true;
            connection.as_mut().graceful_shutdown();
        }
    };
    if let Err(error) = served {
        tracing::debug!(target: "proxima_r2", %error, "a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioExecutor;
    use prometheus_client::registry::Registry;
    use tokio::time::{advance, sleep};

    use super::*;

    const CHUNK: usize = 64 << 10;

    /// An answer of so many chunks.
    fn answer(talk: &Talk, metrics: &Metrics, chunks: usize) -> Response<Answer> {
        let (mut sender, body) = proxima_pipeline::Body::channel(1, None);
        tokio::spawn(async move {
            for _ in 0..chunks {
                if sender.send(Bytes::from(vec![b'x'; CHUNK])).await.is_err() {
                    return;
                }
            }
            sender.finish().await;
        });
        let under_way = GaugeGuard::new(&metrics.under_way);
        let held = Held { answering: talk.begin().answer(), _place: None, _under_way: under_way };
        Response::new(Answer { body: Body::http_body_unsync(body), held })
    }

    /// Reads a body to its end.
    async fn read(mut body: Incoming) -> Result<usize, hyper::Error> {
        let mut octets = 0;
        loop {
            let next = |context: &mut Context<'_>| http_body::Body::poll_frame(Pin::new(&mut body), context);
            match std::future::poll_fn(next).await {
                None => return Ok(octets),
                Some(frame) => octets += frame?.into_data().map_or(0, |data| data.len()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_not_read_is_reset_and_others_of_its_connection_go_on() {
        let metrics = Metrics::register(&mut Registry::default());
        let (talk, streams) = (Talk::new(), Streams::new(metrics.clone()));
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let of_service = talk.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let chunks = if request.uri().path() == "/long" { usize::MAX } else { 1 };
                let (talk, metrics) = (of_service.clone(), metrics.clone());
                async move { Ok::<_, io::Error>(answer(&talk, &metrics, chunks)) }
            });
            auto::Builder::new(streams).serve_connection(TokioIo::new(ours), service).await.ok();
        });
        let client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut client, connection) = client.handshake(TokioIo::new(theirs)).await.unwrap();
        tokio::spawn(connection);
        let ask = |path| Request::builder().uri(format!("http://a{path}")).body(String::new()).unwrap();
        let unread = client.send_request(ask("/long")).await.unwrap().into_body();
        // Time passes by itself once nobody does anything any more: all has come that the client has room for.
        sleep(Duration::from_millis(1)).await;
        advance(TAKEN_WITHIN).await;
        let other = client.send_request(ask("/short")).await.unwrap().into_body();
        assert_eq!(talk.verdict(), Verdict::GoOn);
        assert_eq!(read(other).await.unwrap(), CHUNK);
        assert!(read(unread).await.is_err());
        let later = client.send_request(ask("/short")).await.unwrap().into_body();
        assert_eq!(read(later).await.unwrap(), CHUNK);
    }

    #[test]
    fn an_error_that_nobody_reads_takes_no_place() {
        let (places, client) = (Places::new(1, 1), "192.0.2.1".parse().unwrap());
        for (status, is_kept) in [(200, true), (206, true), (304, true), (403, false), (503, false)] {
            let held = kept(places.take(client).unwrap(), StatusCode::from_u16(status).unwrap());
            assert_eq!(places.take(client).is_none(), is_kept, "{status}");
            drop(held);
        }
    }
}
