//! Asks origins that say whatever octets there are: what fuzz targets call. Nothing here may panic but by what it asserts.

use std::{
    net::Ipv4Addr,
    sync::LazyLock,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use proxima_chassis::Metrics;
use proxima_http1::{INFORMATIONAL_MAX, may_be_trailer};
use proxima_pipeline::{Body, BodyError, Fault, Interims, Response, Trace};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    OriginLimits, OriginTimeouts,
    client::{Call, OriginClient},
    http2,
    metrics::OriginMetrics,
    pool::{Destination, Pool},
    tls::OriginTls,
};

/// Octets that lie between the two sides of a connection at the most.
const PIPE_BYTES: usize = 8 * 1024;
/// Octets of a body that are read.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// By a clock that jumps to whatever is waited for when nothing else happens.
fn run<F: Future>(future: F) -> F::Output {
    let builder = &mut tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().expect("a runtime is built");
    runtime.block_on(future)
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    /// Of the answers before the answer.
    interims: Vec<StatusCode>,
    head: Result<(StatusCode, HeaderMap), Fault>,
    body: Result<(Bytes, Option<HeaderMap>), BodyError>,
    switched: bool,
}

impl Outcome {
    async fn of(answer: Result<Response, Fault>, interims: &Interims) -> Self {
        let interims = std::iter::from_fn(|| interims.take()).map(|interim| interim.status).collect();
        let mut outcome = Self {
            interims,
            head: Err(Fault::OriginClosed),
            body: Ok((Bytes::new(), None)),
            switched: false,
        };
        match answer {
            Err(fault) => outcome.head = Err(fault),
            Ok(response) => {
                outcome.switched = response.upgraded.is_some();
                outcome.head = Ok((response.status, response.headers));
                outcome.body = read(response.body).await;
            }
        }
        outcome.check();
        outcome
    }

    /// What holds of every answer that stages see.
    fn check(&self) {
        assert!(self.interims.len() <= INFORMATIONAL_MAX);
        assert!(self.interims.iter().all(StatusCode::is_informational));
        let Ok((status, headers)) = &self.head else { return };
        assert!(!status.is_informational() || self.switched, "{status}");
        for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
            assert!(!headers.contains_key(&name), "{name} is for one connection");
        }
        if let Ok((_, Some(trailers))) = &self.body {
            assert!(trailers.keys().all(may_be_trailer));
        }
    }

    /// Whether it ended because nothing came any more.
    fn timed_out(&self) -> bool {
        self.head == Err(Fault::OriginTimeout) || self.body == Err(BodyError::TimedOut)
    }
}

async fn read(mut body: Body) -> Result<(Bytes, Option<HeaderMap>), BodyError> {
    let (mut all, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.next_frame().await {
        match frame?.into_data() {
            Ok(data) => all.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        assert!(all.len() <= BODY_BYTES_MAX, "more comes out than went in");
    }
    Ok((all.into(), trailers))
}

/// How an origin answers every request by HTTP/1.1.
#[derive(Clone)]
struct Says {
    octets: Vec<u8>,
    /// In pieces of so many octets.
    piece: usize,
    /// Whether it closes the connection behind them.
    closes: bool,
}

impl Says {
    async fn serve(self, mut socket: TcpStream) {
        let mut head = Vec::new();
        loop {
            while !head.ends_with(b"\r\n\r\n") {
                match socket.read_u8().await {
                    Ok(octet) => head.push(octet),
                    Err(_) => return,
                }
            }
            head.clear();
            for piece in self.octets.chunks(self.piece) {
                if socket.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            if self.closes {
                return;
            }
        }
    }
}

static TLS: LazyLock<OriginTls> = LazyLock::new(|| OriginTls::new(None).expect("TLS can be set up"));

/// Asks one origin `times` times, one after the other.
fn ask(method: &Method, upgrade: Option<&'static str>, says: Says, times: usize) -> Vec<Outcome> {
    run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let destination = Destination { address: listener.local_addr().expect("it is bound"), tls: None };
        let origin = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(says.clone().serve(socket));
            }
        });
        let (timeouts, metrics) = (OriginTimeouts::default(), OriginMetrics::new(&Metrics::default()));
        let pool = Pool::new(OriginLimits::default(), timeouts.idle, metrics.clone());
        let client = OriginClient::new(pool, TLS.clone(), timeouts, metrics);
        let (target, headers) = (PathAndQuery::from_static("/"), host());
        let mut outcomes = Vec::new();
        for _ in 0..times {
            let interims = Interims::default();
            let call =
                Call { method, target: &target, headers: &headers, upgrade, interims: Some(&interims) };
            let body = if *method == Method::POST { Body::full("a body") } else { Body::empty() };
            let (mut trace, mut asked) = (Trace::default(), None);
            let destinations = std::slice::from_ref(&destination);
            let answer = client.send(destinations, call, body, &mut trace, &mut asked).await;
            outcomes.push(Outcome::of(answer, &interims).await);
        }
        origin.abort();
        outcomes
    })
}

fn host() -> HeaderMap {
    HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("a.test"))])
}

/// An octet of choices, one that says how large the pieces are, then what an origin says by HTTP/1.1 to each request.
/// However it is cut, it is the same answer; and nothing that came before a request is its answer.
pub(crate) fn http1_answers(octets: &[u8]) {
    let Some((&[choice, piece], said)) = octets.split_first_chunk::<2>() else { return };
    let method = [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS][usize::from(choice % 4)].clone();
    let upgrade = (choice & 8 != 0 && method == Method::GET).then_some("websocket");
    let whole = Says { octets: said.to_vec(), piece: said.len().max(1), closes: choice & 4 != 0 };
    let cut = Says { piece: usize::from(piece).max(1), ..whole.clone() };
    let outcomes = ask(&method, upgrade, whole, 2);
    assert_eq!(ask(&method, upgrade, cut, 1)[0], outcomes[0]);
    if !outcomes[0].timed_out() && !outcomes[0].switched {
        assert_eq!(outcomes[1], outcomes[0]);
    }
}

/// An octet of choices, one that says how large the pieces are, then what an origin says by HTTP/2 after its settings.
pub(crate) fn http2_answers(octets: &[u8]) {
    let Some((&[choice, piece], said)) = octets.split_first_chunk::<2>() else { return };
    let closes = choice & 1 != 0;
    let is_large = choice & 2 != 0;
    ask_http2(said, said.len().max(1), closes, is_large);
    ask_http2(said, usize::from(piece).max(1), closes, is_large);
}

fn ask_http2(said: &[u8], piece: usize, closes: bool, is_large: bool) -> Outcome {
    // SETTINGS without any (RFC 9113, 3.4).
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    run(async {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let said = [SETTINGS, said].concat();
        let origin = tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(theirs);
            let listening = tokio::spawn(async move {
                let mut heard = Vec::new();
                while let Ok(1..) = read.read_buf(&mut heard).await {
                    heard.clear();
                }
            });
            for piece in said.chunks(piece) {
                if write.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            if closes {
                write.shutdown().await.ok();
            }
            listening.await.ok();
            drop(write);
        });
        let (target, interims) = (PathAndQuery::from_static("/a.Service/Call"), Interims::default());
        let mut headers = host();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let call = Call {
            method: &Method::POST,
            target: &target,
            headers: &headers,
            upgrade: None,
            interims: Some(&interims),
        };
        let began = Instant::now();
        // More than an origin takes unasked.
        let body = Body::full(vec![7; if is_large { 100_000 } else { 5 }]);
        let answer = match http2::over(ours, OriginTimeouts::default()).await {
            Ok(connection) => connection.ask(call, body).await,
            Err(fault) => Err(fault),
        };
        let outcome = Outcome::of(answer, &interims).await;
        assert!(began.elapsed() < Duration::from_secs(60), "it takes long");
        origin.abort();
        outcome
    })
}
