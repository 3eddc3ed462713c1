//! Reads octets as what clients send: what fuzz targets call. Nothing here may panic but by what it asserts.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, uri::PathAndQuery};
use prometheus_client::registry::Registry;
use proxima_chassis::{NetworkConfig, SimulatedClock};
use proxima_http1::{Host, Limits, parse_response_head};
use proxima_model::{PopCode, Timestamp};
use proxima_pipeline::{
    Body, Client, Decision, Exchange, ExplainRequest, Fault, Flow, Pipeline, Protocol, RayId, Request,
    Response, Scheme, Stage,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;

use crate::{
    Observer, explain,
    fields::{take_prefixed, take_string, write_prefixed, write_string},
    http2::{FRAME_HEAD_BYTES, FrameHead, PREFACE, frame_type},
    metrics::EdgeMetrics,
    observe::ZoneTable,
    origin, proxy_protocol,
    server::{Peer, ServerContext, Timeouts, serve_http1, serve_http2, serve_http3},
    stages::LoopGuard,
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Octets that lie between the two sides of a connection at the most.
const PIPE_BYTES: usize = 8 * 1024;
/// Nothing happens for so long, by simulated time: then all that was to be said has been.
const QUIET: Duration = Duration::from_secs(1);
/// Octets that come out for nothing, and for each that went in: an error page for each of the shortest requests.
const OUT_BYTES_MIN: usize = 16 * 1024;
const OUT_BYTES_EACH: usize = 256;

fn pop() -> PopCode {
    PopCode::parse("FRA").expect("it is a code")
}

/// An octet that says as what, then what is read.
pub fn exercise_fields(octets: &[u8]) {
    let Some((&which, octets)) = octets.split_first() else { return };
    match which % 5 {
        0 => proxied(octets),
        1 => looped(octets),
        2 => host(octets),
        3 => explained(octets),
        _ => strings(octets),
    }
}

/// An octet that says where the header is cut, then one.
fn proxied(octets: &[u8]) {
    let Some((&cut, octets)) = octets.split_first() else { return };
    let read = |cut: usize| {
        let (before, after) = octets.split_at(cut.min(octets.len()));
        let mut io = before.chain(after);
        let read = proxy_protocol::read(&mut io).now_or_never().expect("octets in memory are there");
        let (before, after) = io.into_inner();
        (read.map_err(|error| error.to_string()), before.len() + after.len())
    };
    let whole = read(octets.len());
    assert_eq!(read(cut.into()), whole);
    if let (Ok(Some((client, reached))), _) = whole {
        assert_eq!(client.is_ipv4(), reached.is_ipv4());
    }
}

fn exchange(headers: HeaderMap) -> Exchange {
    let address = SocketAddr::from(([192, 0, 2, 1], 1));
    let client = Client { address, local: address, protocol: Protocol::Http11, tls: None };
    let request = Request {
        method: Method::GET,
        scheme: Scheme::Http,
        host: "a.test".into(),
        port: None,
        target: PathAndQuery::from_static("/"),
        headers,
        upgrade: None,
    };
    Exchange::new(RayId::new(pop()), client, request, Body::empty(), NOW)
}

/// Lines of `CDN-Loop`.
fn looped(octets: &[u8]) {
    let name = HeaderName::from_static("cdn-loop");
    let lines = octets.split(|octet| *octet == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let mut exchange = exchange(lines.map(|line| (name.clone(), line)).collect());
    let guard = LoopGuard::new(&NetworkConfig::default());
    let Decision::Now(flow) = guard.on_request(&mut exchange) else { panic!("it waits for nothing") };
    if matches!(flow, Flow::Continue) {
        assert_eq!(exchange.request.headers.get_all(&name).iter().count(), 1);
        let Decision::Now(flow) = guard.on_request(&mut exchange) else { panic!("it waits for nothing") };
        assert!(matches!(flow, Flow::Fail(Fault::Loop)));
    }
}

fn host(octets: &[u8]) {
    let Ok(host) = Host::parse(&Bytes::copy_from_slice(octets)) else { return };
    assert!(!host.name().bytes().any(|octet| octet.is_ascii_uppercase()));
    let written =
        host.port().map_or_else(|| host.name().to_owned(), |port| format!("{}:{port}", host.name()));
    assert_eq!(Host::parse(&written.into()).as_ref(), Ok(&host));
    assert!(host.same_place(&host, 80));
}

/// A method and a URL on the first line, fields on those after it.
fn explained(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let mut lines = text.split('\n');
    let Some((method, url)) = lines.next().and_then(|line| line.split_once(' ')) else { return };
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let asked = ExplainRequest { url: url.to_owned(), method: method.to_owned(), headers };
    let Ok((client, request)) = explain::parse(&asked) else { return };
    assert_eq!(client.tls.is_some(), request.scheme == Scheme::Https);
    assert!(request.headers.contains_key(http::header::HOST) && request.method != Method::CONNECT);
    assert!(!request.headers.contains_key(http::header::CONNECTION));
    let again = ExplainRequest { url: request.url(), ..asked };
    let (_, again) = explain::parse(&again).expect("it was written by us");
    assert_eq!((&again.host, again.url()), (&request.host, request.url()));
}

/// Integers and strings of HPACK and QPACK.
fn strings(octets: &[u8]) {
    for bits in 3..=7 {
        let (mut rest, mut out, mut space) = (octets, BytesMut::new(), Vec::new());
        if let Ok(number) = take_prefixed(&mut rest, bits) {
            write_prefixed(number, bits, 0, &mut out);
            assert_eq!(take_prefixed(&mut &out[..], bits), Ok(number));
        }
        let (mut rest, mut out) = (octets, BytesMut::new());
        let Ok(string) = take_string(&mut rest, bits, &mut space) else { continue };
        assert!(string.len() <= octets.len() * 8 / 5);
        write_string(string, bits, 0, &mut out);
        assert_eq!(take_string(&mut &out[..], bits, &mut Vec::new()), Ok(string));
    }
}

/// Answers by the first letter of a path.
struct Letters;

impl Stage for Letters {
    fn name(&self) -> &'static str {
        "letters"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let respond = |body: Body| Flow::Respond(Response { body, ..Response::default() });
        match exchange.request.target.path().as_bytes().get(1) {
            // The body as it comes.
            Some(b'e') => Decision::Now(respond(std::mem::take(&mut exchange.request_body))),
            // When all of it has come.
            Some(b'c') => Decision::Later(Box::pin(async move {
                let body = std::mem::take(&mut exchange.request_body).collect(PIPE_BYTES).await;
                body.map_or(Flow::Fail(Fault::BodyTooLarge), |body| respond(Body::full(body)))
            })),
            Some(b'f') => Decision::Now(Flow::Fail(Fault::HostUnknown)),
            Some(b'p') => Decision::Later(Box::pin(std::future::pending())),
            _ => Decision::Now(respond(Body::full("a body"))),
        }
    }
}

static CONTEXT: LazyLock<Arc<ServerContext>> = LazyLock::new(|| {
    Arc::new(ServerContext {
        pipeline: Pipeline::new(vec![Box::new(Letters)]),
        limits: Limits { head_bytes_max: 4_096, ..Limits::DEFAULT },
        request_body_bytes_max: 8_192,
        timeouts: Timeouts::DEFAULT,
        pop: pop(),
        clock: Arc::new(SimulatedClock::new(NOW)),
        metrics: EdgeMetrics::register(&mut Registry::default()),
        observer: Arc::new(Observer::new(ZoneTable::new(pop(), 10), None)),
    })
});

/// Serves a connection on which a client says this, in pieces of so many octets, and goes when nothing more comes; what it
/// heard.
fn converse<F>(said: &[u8], piece: usize, serve: impl FnOnce(DuplexStream, Peer) -> F) -> Vec<u8>
where
    F: Future<Output = ()> + Send + 'static,
{
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime is built");
    }
    let address = SocketAddr::from(([192, 0, 2, 1], 1));
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (client, server) = tokio::io::duplex(PIPE_BYTES);
            let serving = tokio::spawn(serve(server, Peer { address, local: address, tls: None }));
            let (mut read, mut write) = tokio::io::split(client);
            let mut heard = Vec::new();
            let speaking = async {
                for piece in said.chunks(piece) {
                    // Who does not listen any more is still heard to the end.
                    if write.write_all(piece).await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                std::future::pending::<()>().await;
            };
            let listening = async {
                while let Ok(Ok(1..)) = tokio::time::timeout(QUIET, read.read_buf(&mut heard)).await {}
            };
            tokio::select! {
                () = speaking => {}
                () = listening => {}
            }
            write.shutdown().await.ok();
            read.read_to_end(&mut heard).await.ok();
            serving.await.expect("a connection ends without a panic");
            assert!(heard.len() <= OUT_BYTES_MIN + said.len() * OUT_BYTES_EACH, "{} octets", heard.len());
            heard
        })
    })
}

/// An octet that says how large the pieces are, then what a client says.
pub fn exercise_http1(octets: &[u8]) {
    let Some((&piece, said)) = octets.split_first() else { return };
    let heard = converse(said, usize::from(piece).max(1), |io, peer| {
        serve_http1(io, BytesMut::new(), peer, Arc::clone(&CONTEXT), CancellationToken::new())
    });
    if !heard.is_empty() {
        let head = parse_response_head(&mut BytesMut::from(&heard[..]), &Method::GET, &Limits::DEFAULT);
        assert!(matches!(head, Ok(Some(_))), "{head:?}");
    }
}

/// An octet that says how large the pieces are, then what a client says after the preface.
pub fn exercise_http2(octets: &[u8]) {
    let Some((&piece, said)) = octets.split_first() else { return };
    let said = [PREFACE, said].concat();
    let heard = converse(&said, usize::from(piece).max(1), |io, peer| {
        serve_http2(io, BytesMut::new(), peer, Arc::clone(&CONTEXT), CancellationToken::new())
    });
    let (mut rest, mut number, mut ended) = (&heard[..], 0, BTreeMap::new());
    while let Ok(Some(head)) = FrameHead::read(rest) {
        let Some(after) = rest.get(FRAME_HEAD_BYTES + head.length..) else { break };
        assert!(number > 0 || head.kind == frame_type::SETTINGS);
        if matches!(head.kind, frame_type::DATA | frame_type::HEADERS) {
            assert_eq!(head.stream % 2, 1, "a stream is a client's");
            let end = ended.entry(head.stream).or_insert(false);
            assert!(!*end, "nothing comes after a stream's end");
            *end = head.flags & 1 != 0;
        }
        number += 1;
        rest = after;
    }
}

/// Serves a connection of QUIC, on which a client says what it likes, until it ends.
pub async fn exercise_http3(connection: quinn::Connection) {
    let address = connection.remote_address();
    let peer = Peer { address, local: address, tls: None };
    serve_http3(connection, peer, None, Arc::clone(&CONTEXT), CancellationToken::new()).await;
}

/// An octet of choices, one that says how large the pieces are, then what an origin says by HTTP/1.1 to each request.
pub fn exercise_origin_http1(octets: &[u8]) {
    origin::http1_answers(octets);
}

/// An octet of choices, one that says how large the pieces are, then what an origin says by HTTP/2.
pub fn exercise_origin_http2(octets: &[u8]) {
    origin::http2_answers(octets);
}
