//! Origins that do what a test says, and the client under test.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use proxima_chassis::Metrics;
use proxima_model::{Rule, Zone};
use proxima_pipeline::{BodyError, Exchange, Fault, Response, Site};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    origin::{OriginConfig, OriginTimeouts, Origins},
    stages::tests::fixtures::{FixedSites, exchange, site_of, zone},
};

/// Whatever a test waits for comes within this, or never.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// An origin that runs a script for each connection.
pub(super) struct FakeOrigin {
    pub(super) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl FakeOrigin {
    /// `script` gets each connection and how many there were before it.
    pub(super) async fn start<F>(script: impl Fn(TcpStream, usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = accepted.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let before = counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(socket, before));
            }
        });
        Self { address, accepted, task }
    }

    /// One that answers the first request of each connection with these octets, then closes.
    pub(super) async fn answering(answer: impl Into<Bytes>) -> Self {
        let answer = answer.into();
        Self::start(move |mut socket, _| {
            let answer = answer.clone();
            async move {
                read_head(&mut socket).await;
                socket.write_all(&answer).await.ok();
            }
        })
        .await
    }

    /// One that answers every request of each connection with these octets.
    pub(super) async fn persistent(answer: &'static str) -> Self {
        Self::start(move |mut socket, _| async move {
            while !read_head(&mut socket).await.is_empty() {
                socket.write_all(answer.as_bytes()).await.ok();
            }
        })
        .await
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for FakeOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads up to the empty line, octet by octet, so that nothing behind it is taken. Empty at the connection's end.
pub(super) async fn read_head(socket: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(octet) => head.push(octet),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}

/// Closes with a reset instead of an end.
pub(super) fn reset(socket: TcpStream) {
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
}

/// Timeouts that a test can wait for.
pub(super) fn short() -> OriginTimeouts {
    let short = Duration::from_millis(200);
    OriginTimeouts {
        resolve: short,
        connect: short,
        handshake: short,
        first_byte: short,
        between_reads: short,
        call_idle: short * 3,
        queue: short,
        idle: Duration::from_secs(60),
    }
}

/// Timeouts that only what hangs for ever meets: a busy machine may take 200 ms for anything.
pub(super) fn patient() -> OriginTimeouts {
    OriginTimeouts {
        resolve: PATIENCE,
        connect: PATIENCE,
        handshake: PATIENCE,
        first_byte: PATIENCE,
        between_reads: PATIENCE,
        call_idle: PATIENCE,
        queue: PATIENCE,
        idle: Duration::from_secs(60),
    }
}

/// The client under test, with one zone whose `www` lies at the loopback address.
pub(super) struct Edge {
    pub(super) origins: Origins,
    pub(super) site: Arc<Site>,
}

impl Edge {
    pub(super) fn new() -> Self {
        Self::with(OriginConfig::default(), |_| {})
    }

    /// As on a node that says nothing about private addresses.
    pub(super) fn public() -> Self {
        let site = site_of(zone("example.com"), &[("www.example.com", "127.0.0.1")], Vec::new());
        let sites = Arc::new(FixedSites(vec![site.clone()]));
        let origins = Origins::new(&OriginConfig::default(), sites, &Metrics::default()).unwrap();
        Self { origins, site }
    }

    pub(super) fn with(config: OriginConfig, change: impl FnOnce(&mut Zone)) -> Self {
        Self::at(config, change, &[("www.example.com", "127.0.0.1")], Vec::new())
    }

    pub(super) fn at(
        config: OriginConfig,
        change: impl FnOnce(&mut Zone),
        records: &[(&str, &str)],
        others: Vec<Arc<Site>>,
    ) -> Self {
        let mut zone = zone("example.com");
        change(&mut zone);
        let site = site_of(zone, records, Vec::<Rule>::new());
        let mut sites = others;
        sites.push(site.clone());
        let config = OriginConfig { allow_private: true, ..config };
        let origins = Origins::new(&config, Arc::new(FixedSites(sites)), &Metrics::default()).unwrap();
        Self { origins, site }
    }

    /// A request for `path` of `http://www.example.com`, to be sent to the port of `to`.
    pub(super) fn request(&self, to: SocketAddr, path: &str) -> Exchange {
        self.request_by("http", to, path)
    }

    pub(super) fn request_by(&self, scheme: &str, to: SocketAddr, path: &str) -> Exchange {
        let mut exchange = exchange(&format!("{scheme}://www.example.com{path}"));
        exchange.site = Some(self.site.clone());
        exchange.origin.port = Some(to.port());
        exchange
    }

    pub(super) async fn fetch(&self, exchange: &mut Exchange) -> Result<Response, Fault> {
        tokio::time::timeout(PATIENCE, self.origins.fetch(exchange))
            .await
            .expect("an answer or a fault comes in time")
    }

    /// `GET /` of an origin.
    pub(super) async fn get(&self, origin: &FakeOrigin) -> Result<Response, Fault> {
        self.fetch(&mut self.request(origin.address, "/")).await
    }
}

/// The whole body, or what ended it.
pub(super) async fn text(response: Response) -> Result<String, BodyError> {
    let read = tokio::time::timeout(PATIENCE, response.body.collect(1 << 20)).await;
    read.expect("a body ends in time").map(|octets| String::from_utf8(octets.to_vec()).unwrap())
}

/// Waits until `holds`, looking again whenever other tasks have run.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::task::yield_now().await;
    }
}
