//! The server over real sockets, and over memory where time is simulated.

mod balancers;
mod counted;
mod early_data;
mod glance;
mod http1;
mod http2;
mod http2_bodies;
mod http2_frames;
mod http2_glance;
mod http2_wire;
mod http3;
mod http3_attacks;
mod lifecycle;
mod peers;
mod quic;
mod timeouts;
mod tunnels;
mod uploads;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use prometheus_client::registry::Registry;
use proxima_chassis::SystemClock;
use proxima_http1::{BodyDecoder, Decoded, Limits, ResponseHead, parse_response_head};
use proxima_model::PopCode;
use proxima_pipeline::{
    Body, BodyError, Decision, Exchange, Fault, Flow, Glance, Interim, Pipeline, Response, Sight, Stage,
    Upgraded,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Peer, ServerContext, Timeouts};
use crate::Observer;
use crate::listen::{Ending, Listener};
use crate::metrics::EdgeMetrics;
use crate::observe::ZoneTable;
use crate::tls::TlsAcceptor;

/// Longer than anything here takes; what waits this long hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Octets of the largest answer.
const BIG_BYTES: usize = 8 * 1024 * 1024;

/// Octets of a large one that is there at once.
const FULL_BYTES: usize = 256 * 1024;

/// What a test sees of its stage.
#[derive(Default)]
struct Seen {
    cancelled: AtomicUsize,
    changed: Notify,
    body_failed: std::sync::Mutex<Option<BodyError>>,
    /// Octets that came out of a tunnel up to its end.
    taken: AtomicUsize,
    /// Lets a tunnel's origin go on.
    goes_on: Notify,
}

impl Seen {
    /// Waits until this many exchanges were dropped while they waited.
    async fn cancelled(&self, times: usize) {
        self.until(|| self.cancelled.load(Ordering::SeqCst) >= times).await;
    }

    /// Waits until a tunnel has ended out of which exactly so many octets came.
    async fn taken(&self, octets: usize) {
        self.until(|| self.taken.load(Ordering::SeqCst) == octets).await;
    }

    async fn until(&self, so: impl Fn() -> bool) {
        within(async {
            loop {
                let changed = self.changed.notified();
                if so() {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }
}

struct Dropped(Arc<Seen>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.cancelled.fetch_add(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
        self.0.changed.notify_one();
    }
}

/// Answers by path.
struct Script(Arc<Seen>);

impl Stage for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let seen = Arc::clone(&self.0);
        match exchange.request.target.path() {
            "/now" => Decision::Now(Flow::Respond(ok("now"))),
            "/panic" => panic!("a stage has a fault"),
            "/full" => Decision::Now(Flow::Respond(ok(vec![b'x'; FULL_BYTES]))),
            "/early" => {
                let early = exchange.request.headers.get("early-data").is_some_and(|value| value == "1");
                Decision::Now(Flow::Respond(ok(if early { "it is early" } else { "not any more" })))
            }
            "/fail" => Decision::Now(Flow::Fail(Fault::HostUnknown)),
            _ => Decision::Later(Box::pin(later(seen, exchange))),
        }
    }

    fn glance(&self, glance: &mut Glance<'_>) -> Sight {
        glance::sight(glance)
    }

    fn heeds(&self) -> &'static [&'static str] {
        &["heeded"]
    }
}

async fn later(seen: Arc<Seen>, exchange: &mut Exchange) -> Flow {
    let mut body = std::mem::take(&mut exchange.request_body);
    let path = exchange.request.target.path().to_owned();
    match path.as_str() {
        "/hang" => {
            let _dropped = Dropped(seen);
            std::future::pending::<()>().await;
        }
        // Holds the body and lets a little of it in.
        "/sip" => {
            let _dropped = Dropped(seen);
            body.next_frame().await;
            std::future::pending::<()>().await;
        }
        "/count" => {
            let mut length = 0;
            while let Some(frame) = body.next_frame().await {
                match frame {
                    Ok(frame) => length += frame.into_data().map_or(0, |data| data.len()),
                    Err(error) => {
                        *seen.body_failed.lock().unwrap() = Some(error);
                        return Flow::Fail(Fault::BadRequest("its body failed"));
                    }
                }
            }
            return Flow::Respond(ok(format!("{length}")));
        }
        "/hints" => {
            let hint = |status| Interim { status, headers: HeaderMap::new() };
            let interims = exchange.interims.clone();
            let put = |status| interims.iter().for_each(|interims| interims.put(hint(status)));
            put(StatusCode::PROCESSING);
            tokio::task::yield_now().await;
            // Together with the answer.
            put(StatusCode::EARLY_HINTS);
            return Flow::Respond(ok("hinted"));
        }
        "/echo" => return Flow::Respond(Response { body, ..ok("") }),
        "/big" => return Flow::Respond(Response { body: big(Some(BIG_BYTES as u64)), ..ok("") }),
        "/big-chunked" => return Flow::Respond(Response { body: big(None), ..ok("") }),
        "/endless" => return Flow::Respond(Response { body: endless(seen), ..ok("") }),
        "/cut" => return Flow::Respond(Response { body: cut(Some(10)), ..ok("") }),
        "/cut-chunked" => return Flow::Respond(Response { body: cut(None), ..ok("") }),
        "/trailers" => return Flow::Respond(Response { body: with_trailers(), ..ok("") }),
        "/empty-stream" => {
            let (sender, body) = Body::channel(1, None);
            sender.finish().await;
            return Flow::Respond(Response { body, ..ok("") });
        }
        "/headers" => {
            let fields = exchange.request.headers.iter();
            let text = fields
                .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
                .collect::<String>();
            let facts = format!(
                "{} {} {:?}\n",
                exchange.request.host, exchange.request.target, exchange.request.port
            );
            return Flow::Respond(ok(facts + &text));
        }
        "/who" => {
            let client = &exchange.client;
            return Flow::Respond(ok(format!("{} at {}", client.address, client.local)));
        }
        "/declared" => {
            let mut response = ok("");
            response.headers.insert("content-length", HeaderValue::from_static("1234"));
            return Flow::Respond(response);
        }
        "/204" => return Flow::Respond(Response { status: StatusCode::NO_CONTENT, ..Response::default() }),
        "/304" => return Flow::Respond(Response { status: StatusCode::NOT_MODIFIED, ..Response::default() }),
        path if path.starts_with("/upgrade") => {
            return Flow::Respond(upgraded(exchange, &seen));
        }
        "/ignore" => {
            // As a stage would that decides without the body.
            tokio::task::yield_now().await;
        }
        _ => {}
    }
    Flow::Respond(ok(format!("{} {path}", exchange.request.method)))
}

fn ok(body: impl Into<Bytes>) -> Response {
    Response { body: Body::full(body), ..Response::default() }
}

fn big(length: Option<u64>) -> Body {
    let (mut sender, body) = Body::channel(2, length);
    tokio::spawn(async move {
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        for _ in 0..BIG_BYTES / piece.len() {
            if sender.send(piece.clone()).await.is_err() {
                return;
            }
        }
        sender.finish().await;
    });
    body
}

fn endless(seen: Arc<Seen>) -> Body {
    let (mut sender, body) = Body::channel(1, None);
    tokio::spawn(async move {
        let _dropped = Dropped(seen);
        while sender.send(Bytes::from_static(&[b'x'; 1024])).await.is_ok() {}
    });
    body
}

fn cut(length: Option<u64>) -> Body {
    let (mut sender, body) = Body::channel(1, length);
    tokio::spawn(async move {
        sender.send(Bytes::from_static(b"half")).await.ok();
        sender.fail(BodyError::Aborted).await;
    });
    body
}

fn with_trailers() -> Body {
    let (mut sender, body) = Body::channel(1, None);
    tokio::spawn(async move {
        sender.send(Bytes::from_static(b"data")).await.ok();
        let mut trailers = HeaderMap::new();
        trailers.insert("digest", HeaderValue::from_static("abc"));
        sender.send_trailers(trailers).await.ok();
        sender.finish().await;
    });
    body
}

/// A switch of protocols to an echo that, at the end, says `bye`; or what its path says.
fn upgraded(exchange: &Exchange, seen: &Arc<Seen>) -> Response {
    let path = exchange.request.target.path();
    let mut headers = HeaderMap::new();
    if let Some(key) = exchange.request.headers.get("sec-websocket-key") {
        let key = if path == "/upgrade-unproven" { b"another" } else { key.as_bytes() };
        headers.insert("sec-websocket-accept", super::tunnel::proof(key).parse().unwrap());
    }
    let (ours, theirs) = tokio::io::duplex(1024);
    let (seen_by, sinks) = (Arc::clone(seen), path.ends_with("sink"));
    let slow = path == "/upgrade-slow-sink";
    let waits = (path == "/upgrade-seen").then(|| Dropped(Arc::clone(seen)));
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(ours);
        if sinks {
            write.shutdown().await.ok();
            if slow {
                seen_by.goes_on.notified().await;
            }
            let taken = tokio::io::copy(&mut read, &mut tokio::io::sink()).await.unwrap();
            seen_by.taken.store(taken.try_into().unwrap(), Ordering::SeqCst);
            return seen_by.changed.notify_one();
        }
        tokio::io::copy(&mut read, &mut write).await.ok();
        if waits.is_some() {
            // Until the other side is gone altogether.
            while write.write_all(&[0; 1024]).await.is_ok() {
                tokio::task::yield_now().await;
            }
            return;
        }
        write.write_all(b"bye").await.ok();
        write.shutdown().await.ok();
    });
    let upgraded: Upgraded = match path {
        "/upgrade-failing" => Box::new(tunnels::Failing(b"half")),
        "/upgrade-held" => Box::new(tokio::io::BufStream::new(theirs)),
        _ => Box::new(theirs),
    };
    let status = StatusCode::SWITCHING_PROTOCOLS;
    Response { status, headers, upgraded: Some(upgraded), ..Response::default() }
}

/// Fails the test if `future` takes longer than anything should.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}

fn context(seen: &Arc<Seen>, timeouts: Timeouts) -> Arc<ServerContext> {
    Arc::new(context_of(seen, timeouts))
}

fn context_of(seen: &Arc<Seen>, timeouts: Timeouts) -> ServerContext {
    ServerContext {
        pipeline: Pipeline::new(vec![Box::new(Script(Arc::clone(seen)))]),
        limits: Limits { target_bytes_max: 1024, ..Limits::DEFAULT },
        request_body_bytes_max: 16 * 1024 * 1024,
        timeouts,
        pop: PopCode::parse("TST").unwrap(),
        clock: Arc::new(SystemClock),
        metrics: EdgeMetrics::register(&mut Registry::default()),
        observer: Arc::new(Observer::new(ZoneTable::new(PopCode::parse("TST").unwrap(), 10), None)),
    }
}

/// A listener in clear with the script behind it.
struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    ending: Ending,
    context: Arc<ServerContext>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::with(1_000, None).await
    }

    async fn with(connections_max: usize, tls: Option<Arc<TlsAcceptor>>) -> Self {
        Self::behind(&[], connections_max, tls).await
    }

    /// With load balancers of these networks in front of it.
    async fn behind(balancers: &[IpNet], connections_max: usize, tls: Option<Arc<TlsAcceptor>>) -> Self {
        let seen = Arc::new(Seen::default());
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let ending = Ending::default();
        let context = context(&seen, Timeouts::DEFAULT);
        let balancers = balancers.into();
        let listener = Listener {
            socket,
            tls,
            balancers,
            connections_max,
            context: Arc::clone(&context),
            ending: ending.clone(),
        };
        Self { address, seen, ending, context, accepting: tokio::spawn(listener.run()) }
    }

    async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.stop.cancel();
        self.accepting.abort();
    }
}

/// A client that sends octets and reads answers.
struct Client<T> {
    io: T,
    buffer: BytesMut,
}

/// An answer as it came.
#[derive(Debug)]
struct Answer {
    head: ResponseHead,
    body: Bytes,
    trailers: Option<HeaderMap>,
    /// Whether the body came to its end.
    whole: bool,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    fn field(&self, name: &str) -> &str {
        self.head.headers[name].to_str().unwrap()
    }

    fn says_close(&self) -> bool {
        self.head.headers.get("connection").is_some_and(|value| value == "close")
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    fn new(io: T) -> Self {
        Self { io, buffer: BytesMut::new() }
    }

    async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.io.write_all(octets.as_ref()).await.unwrap();
    }

    /// A request without body, in full.
    async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n")).await;
        self.answer().await
    }

    async fn answer(&mut self) -> Answer {
        self.answer_to(&Method::GET).await
    }

    async fn answer_to(&mut self, method: &Method) -> Answer {
        within(async {
            let head = self.head(method).await;
            let mut decoder = BodyDecoder::new(head.framing, &Limits::DEFAULT);
            let (mut body, mut trailers) = (BytesMut::new(), None);
            let whole = loop {
                match decoder.decode(&mut self.buffer).unwrap() {
                    Decoded::Data(data) => body.extend_from_slice(&data),
                    Decoded::Trailers(map) => trailers = Some(map),
                    Decoded::End => break true,
                    Decoded::NeedMore => match self.io.read_buf(&mut self.buffer).await {
                        Ok(0) => break decoder.end_of_input().is_ok(),
                        Ok(_) => {}
                        Err(_) => break false,
                    },
                }
            };
            Answer { head, body: body.freeze(), trailers, whole }
        })
        .await
    }

    async fn head(&mut self, method: &Method) -> ResponseHead {
        within(async {
            loop {
                if let Some(head) = parse_response_head(&mut self.buffer, method, &Limits::DEFAULT).unwrap() {
                    return head;
                }
                let read = self.io.read_buf(&mut self.buffer).await.unwrap();
                assert_ne!(read, 0, "the server closed without an answer; it had sent {:?}", self.buffer);
            }
        })
        .await
    }

    /// Waits for the end of the connection; whatever came before it.
    async fn rest(&mut self) -> Bytes {
        within(async { while self.io.read_buf(&mut self.buffer).await.is_ok_and(|read| read > 0) {} }).await;
        self.buffer.split().freeze()
    }
}

/// HTTP/2 in memory, which holds so many octets: the client's end, what begins the end, and the server.
fn http2_in_memory(bytes: usize) -> (DuplexStream, CancellationToken, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = tokio::io::duplex(bytes);
    let (drain, context) = (CancellationToken::new(), context(&Arc::default(), Timeouts::DEFAULT));
    let serving = super::serve_http2(theirs, BytesMut::new(), peer(), context, drain.clone());
    (ours, drain, tokio::spawn(serving))
}

fn peer() -> Peer {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    Peer { address, local: address, tls: None }
}
