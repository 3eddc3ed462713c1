//! HTTP/2 towards origins, for what HTTP/1.1 cannot carry: gRPC, which ends in trailers and talks both ways at once.
//!
//! ```text
//!  gRPC request ─▶ connection(destinations) ─▶ the one connection to a place, opened by TLS with ALPN h2
//!                      │ the origin chose HTTP/1.1        │ a stream of its own for each request
//!                      ▼ (remembered for a while)         ▼
//!                  the HTTP/1.1 client              Answer: pulled by the listener, and sends what is left
//! ```
//!
//! Invariants: nothing is sent twice; a stream that is not read to its end is reset, and the others go on; how many
//! streams a connection carries is for the origin to say. A connection counts among those that its place may have, and is
//! closed when nobody has used it for the pool's idle time.

mod answer;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, header};
use proxima_pipeline::{Fault, Trace};
use tokio::{
    net::TcpStream,
    sync::{Mutex as AsyncMutex, MutexGuard},
    time::timeout,
};

use super::{
    OriginTimeouts,
    connection::connect_fault,
    pool::{Destination, Lease, Pool},
    tls::OriginTls,
};

/// For how long an origin that chose HTTP/1.1 is not asked again.
const UNSPOKEN_FOR: std::time::Duration = std::time::Duration::from_secs(60);
/// For how long one that could not be reached is not tried again: those who waited for that one attempt hear of it at once.
const UNREACHABLE_FOR: std::time::Duration = std::time::Duration::from_secs(1);
/// What opening a connection may take beyond the times for its steps.
const LOCK_SLACK: std::time::Duration = std::time::Duration::from_secs(1);
/// Places that are remembered, in use or not. Beyond, those without a connection are forgotten first.
const PLACES_MAX: usize = 4096;
/// Octets that an origin may send ahead of who reads, on each stream: as the listener's own window.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// The same for all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Octets of an answer's head, as by HTTP/1.1.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Connections by HTTP/2, at most one to each place.
pub(super) struct Http2Client {
    places: Mutex<HashMap<Destination, Arc<Place>>>,
    pool: Arc<Pool>,
    tls: OriginTls,
    timeouts: OriginTimeouts,
}

/// One destination. Who opens its connection holds the lock: the others wait for that one.
type Place = AsyncMutex<State>;

#[derive(Default)]
enum State {
    #[default]
    Unknown,
    Live(Connection),
    /// It chose HTTP/1.1, then.
    Unspoken(Instant),
    /// It could not be reached, then, and why.
    Failed(Instant, Fault),
}

/// A connection that carries any number of requests.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    /// Held by whoever uses it; the connection's task counts them.
    used: Arc<Mutex<Instant>>,
    timeouts: OriginTimeouts,
}

/// Whether a request is one of gRPC proper; gRPC-Web is made for HTTP/1.1.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some(value) = headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes) else {
        return false;
    };
    let named = value.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC));
    named && matches!(value.get(GRPC.len()), None | Some(b'+' | b';' | b' '))
}

impl Http2Client {
    pub(super) fn new(pool: Arc<Pool>, tls: OriginTls, timeouts: OriginTimeouts) -> Self {
        Self { places: Mutex::default(), pool, tls, timeouts }
    }

    /// A connection to the first of `destinations` that can be reached; `None` if it speaks no HTTP/2.
    pub(super) async fn connection(
        &self,
        destinations: &[Destination],
        trace: &mut Trace,
    ) -> Result<Option<Connection>, Fault> {
        let mut last = Fault::OriginUnreachable;
        for destination in destinations {
            let place = self.place(destination);
            let mut state = match self.lock(&place).await {
                Ok(state) => state,
                Err(fault) => {
                    last = fault;
                    continue;
                }
            };
            if let State::Live(connection) = &*state {
                let connection = connection.clone();
                // Others need not wait until this one is ready.
                drop(state);
                // Fails at once if it has ended or takes no further streams.
                match timeout(self.timeouts.queue, connection.sender.clone().ready()).await {
                    Err(_) => return Err(Fault::Overloaded),
                    Ok(Ok(_)) => return Ok(Some(connection)),
                    Ok(Err(_)) => {}
                }
                state = self.lock(&place).await?;
                if let State::Live(other) = &*state
                    && !Arc::ptr_eq(&other.used, &connection.used)
                {
                    return Ok(Some(other.clone()));
                }
            }
            match &*state {
                State::Unspoken(at) if at.elapsed() < UNSPOKEN_FOR => return Ok(None),
                State::Failed(at, fault) if at.elapsed() < UNREACHABLE_FOR => {
                    last = fault.clone();
                    continue;
                }
                State::Unspoken(_) | State::Failed(..) | State::Live(_) | State::Unknown => {}
            }
            match self.open(destination).await {
                Ok(Some(connection)) => {
                    trace
                        .note("origin", || format!("opened an HTTP/2 connection to {}", destination.address));
                    *state = State::Live(connection.clone());
                    return Ok(Some(connection));
                }
                Ok(None) => {
                    trace.note("origin", || format!("{} speaks no HTTP/2", destination.address));
                    *state = State::Unspoken(Instant::now());
                    return Ok(None);
                }
                Err(fault) => {
                    trace.note("origin", || format!("{}: {fault}", destination.address));
                    // That we have no place for it says nothing about the origin.
                    if fault != Fault::Overloaded {
                        *state = State::Failed(Instant::now(), fault.clone());
                    }
                    last = fault;
                }
            }
        }
        Err(last)
    }

    /// Waits for whoever opens a connection to this place, as long as that may take. What it tries fails by then, at
    /// the latest, and those who waited hear of it.
    async fn lock<'p>(&self, place: &'p Place) -> Result<MutexGuard<'p, State>, Fault> {
        let OriginTimeouts { queue, connect, handshake, .. } = self.timeouts;
        timeout(queue + connect + handshake + LOCK_SLACK, place.lock()).await.map_err(|_| Fault::Overloaded)
    }

    fn place(&self, destination: &Destination) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= PLACES_MAX && !places.contains_key(destination) {
            places.retain(|_, place| {
                place.try_lock().map_or(true, |state| matches!(&*state, State::Live(live) if live.is_used()))
            });
        }
        Arc::clone(places.entry(destination.clone()).or_default())
    }

    async fn open(&self, destination: &Destination) -> Result<Option<Connection>, Fault> {
        let Some(name) = &destination.tls else { return Ok(None) };
        let lease = self.pool.lease(destination, self.timeouts.queue).await?;
        let connected = timeout(self.timeouts.connect, TcpStream::connect(destination.address)).await;
        let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        lease.note_connect(connected.is_ok());
        let tcp = connected.map_err(|error| connect_fault(&error))?;
        tcp.set_nodelay(true).map_err(|error| connect_fault(&error))?;
        let handshake = self.tls.connect_http2(tcp, &name.name, name.verify);
        let tls = timeout(self.timeouts.handshake, handshake).await.unwrap_or(Err(Fault::OriginTls))?;
        if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Ok(None);
        }
        let (sender, driver) = begin(tls).await?;
        let used = Arc::new(Mutex::new(Instant::now()));
        tokio::spawn(drive(driver, lease, Arc::clone(&used), self.timeouts.idle));
        Ok(Some(Connection { sender, used, timeouts: self.timeouts }))
    }
}

/// Begins a connection over what was connected.
async fn begin<T>(io: T) -> Result<(SendRequest<Bytes>, h2::client::Connection<T, Bytes>), Fault>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX);
    builder.handshake(io).await.map_err(|_| Fault::OriginClosed)
}

/// A connection over anything, for one request: what fuzz targets ask.
pub(super) async fn over<T>(io: T, timeouts: OriginTimeouts) -> Result<Connection, Fault>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, driver) = begin(io).await?;
    tokio::spawn(driver);
    Ok(Connection { sender, used: Arc::new(Mutex::new(Instant::now())), timeouts })
}

/// Keeps a connection going until it ends, or nobody has used it for so long.
async fn drive<T>(
    driver: h2::client::Connection<T, Bytes>,
    _lease: Lease,
    used: Arc<Mutex<Instant>>,
    idle: std::time::Duration,
) where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut driver = std::pin::pin!(driver);
    loop {
        if timeout(idle, driver.as_mut()).await.is_ok() {
            return;
        }
        // The place and this task hold one each; a stream holds another.
        let since = used.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        if Arc::strong_count(&used) <= 2 && since >= idle {
            return;
        }
    }
}

impl Connection {
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.used) > 2
    }
}
