//! Streams (RFC 7766), in clear or within TLS (RFC 7858): many queries on a connection, answered in the order in which
//! they came.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use proxima_chassis::{Accepting, Shutdown};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tracing::{debug, warn};

use crate::{
    DnsError,
    asker::{Asker, Transport},
    places::{Place, Places},
    query::QUERY_OCTETS_MAX,
    server::Server,
    tls::StreamTls,
    transfer,
    wire::LENGTH_OCTETS,
};

/// Octets that are read at a time: dozens of usual queries.
const READ_OCTETS: usize = 4_096;
/// Octets of answers that wait to be written before more queries of the connection are answered; one more answer may
/// come on top. With that, a connection has 90 KiB of messages at most, in buffers that grow by doubling; TLS has what it
/// encrypted and did not send yet, 64 KiB at most, and the record that is coming on top.
const UNWRITTEN_OCTETS: usize = 16 << 10;
/// When the server drains, how long a connection without a query waits for one that is on its way.
pub(crate) const ON_ITS_WAY: Duration = Duration::from_millis(200);
/// How long a client may take to take the answers that wait for it.
pub(crate) const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// Failures to accept in a row after which the listener is taken for broken: ten seconds without a connection.
const FAILURES_MAX: u32 = 100;
/// What is waited after a failure to accept: the process is short of file descriptors or memory.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Accepts connections at one listener until the server drains, and then those that wait, since closing the socket would
/// reset them; then waits for those that are open.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<StreamTls>>,
    server: Arc<Server>,
    places: Arc<Places>,
    shutdown: Shutdown,
) -> Result<(), DnsError> {
    let transport = if tls.is_some() { Transport::Tls } else { Transport::Tcp };
    let mut connections = JoinSet::new();
    let mut accepting = Accepting::until_drained(&listener, &shutdown);
    let mut failures = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = accepting.next() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Some(accepted) = accepted else { break };
        // Also while there is always another one to accept.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, client)) => {
                failures = 0;
                match places.take(client.ip()) {
                    Some(place) => {
                        let (tls, server) = (tls.clone(), server.clone());
                        connections.spawn(connection(stream, client, tls, server, place, shutdown.clone()));
                    }
                    None => server.metrics.connection_refused(transport),
                }
            }
            Err(source) => {
                failures += 1;
                report(&listener, source, failures)?;
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

fn report(listener: &TcpListener, source: io::Error, failures: u32) -> Result<(), DnsError> {
    let unknown = || SocketAddr::from(([0, 0, 0, 0], 0));
    let address = listener.local_addr().unwrap_or_else(|_| unknown());
    if failures == 1 {
        warn!(%address, error = %source, "accepting a connection failed: trying again");
    }
    if failures < FAILURES_MAX { Ok(()) } else { Err(DnsError::Socket { protocol: "tcp", address, source }) }
}

async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    tls: Option<Arc<StreamTls>>,
    server: Arc<Server>,
    place: Place,
    shutdown: Shutdown,
) {
    let transport = if tls.is_some() { Transport::Tls } else { Transport::Tcp };
    let _open = server.metrics.open(transport);
    let asker = Asker { address: client.ip(), transport };
    let conversation = async {
        stream.set_nodelay(true)?;
        match tls {
            None => converse(stream, asker, &server, &shutdown).await,
            Some(tls) => {
                let accepted = tls.accept(stream).await;
                let stream = accepted.inspect_err(|_| server.metrics.handshake_failed(transport))?;
                converse(stream, asker, &server, &shutdown).await
            }
        }
    };
    if let Err(error) = conversation.await {
        debug!(%client, %error, "the connection ended early");
    }
    drop(place);
}

/// Answers one connection's queries to its end: closed or silent for too long by the client, or, once the server
/// drains, when what was begun is answered.
async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    asker: Asker,
    server: &Server,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let (mut unread, mut unwritten) = (Vec::with_capacity(READ_OCTETS), Vec::new());
    let mut queries_left = server.config.tcp_queries_max;
    let mut deadline = Instant::now() + server.config.tcp_idle();
    let mut draining = false;
    loop {
        let taken = match transfer::waiting(&unread) {
            None => answer_whole(server, asker, &unread, &mut unwritten, &mut queries_left),
            Some(octets) => {
                transfer::serve(&mut stream, server, &unread[LENGTH_OCTETS..octets], asker).await?;
                queries_left = queries_left.saturating_sub(1);
                (queries_left > 0).then_some(octets)
            }
        };
        if !unwritten.is_empty() {
            timeout(WRITE_WITHIN, async {
                stream.write_all(&unwritten).await?;
                stream.flush().await
            })
            .await??;
            unwritten.clear();
            unwritten.shrink_to(UNWRITTEN_OCTETS);
        }
        match taken {
            None => break,
            Some(0) => {}
            Some(taken) => {
                unread.drain(..taken);
                if draining && unread.is_empty() {
                    break;
                }
                deadline = Instant::now() + server.config.tcp_idle();
                // Whole queries may have been left, so that what waits to be written stays bounded.
                continue;
            }
        }
        unread.reserve(READ_OCTETS);
        let is_idle = unread.is_empty();
        tokio::select! {
            biased;
            read = timeout_at(deadline, stream.read_buf(&mut unread)) => match read {
                Ok(Ok(0)) | Err(_) => break,
                // It was on its way, and has come: it has as long as any other for the rest of it.
                Ok(Ok(_)) if draining && is_idle => deadline = Instant::now() + server.config.tcp_idle(),
                Ok(read) => { read?; }
            },
            () = shutdown.draining(), if !draining => {
                draining = true;
                if is_idle {
                    deadline = deadline.min(Instant::now() + ON_ITS_WAY);
                }
            }
        }
    }
    timeout(WRITE_WITHIN, stream.shutdown()).await?
}

/// Answers the whole messages at the beginning of `unread`, until `unwritten` is full: how many octets they take.
/// `None` if the connection is to be closed: its queries are used up, or what it sends are not queries.
fn answer_whole(
    server: &Server,
    asker: Asker,
    unread: &[u8],
    unwritten: &mut Vec<u8>,
    queries_left: &mut u32,
) -> Option<usize> {
    let mut taken = 0;
    while unwritten.len() < UNWRITTEN_OCTETS {
        let Some((length, rest)) = unread[taken..].split_first_chunk::<LENGTH_OCTETS>() else { break };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > QUERY_OCTETS_MAX {
            return None;
        }
        let Some(message) = rest.get(..length) else { break };
        if transfer::is_asked_for(message) {
            break;
        }
        *queries_left = queries_left.checked_sub(1)?;
        let answered = server.answer_framed(message, asker, unwritten)?;
        taken += LENGTH_OCTETS + message.len();
        if answered.signatures > 0 {
            // It took as long as many others: they wait for their turn.
            break;
        }
    }
    Some(taken)
}
