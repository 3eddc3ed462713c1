//! Streams (RFC 7766), in clear or within TLS (RFC 7858): many queries on a connection, answered in the order in which
//! they came, but for those whose answers have to be waited for: they hold up none that came behind them (RFC 7766, 6.2.1.1).

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use proxima_chassis::{Accepting, Place, Places, Shutdown};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tracing::{debug, warn};

use crate::{
    DnsError,
    answerer::{Answerer, Found, Reply, answer_framed, frame},
    asker::{Asker, Transport},
    query::QUERY_OCTETS_MAX,
    tls::StreamTls,
    wire::LENGTH_OCTETS,
};

/// Octets that are read at a time: dozens of usual queries.
const READ_OCTETS: usize = 4_096;
/// Octets of answers that wait to be written before more queries of the connection are answered; one more answer may
/// come on top. With that, a connection has 90 KiB of messages at most, in buffers that grow by doubling; TLS has what it
/// encrypted and did not send yet, 64 KiB at most, and the record that is coming on top. Answers that were waited for keep
/// their places until they are in there, of which each client has so many.
const UNWRITTEN_OCTETS: usize = 16 << 10;
/// Answers of a connection that are waited for at once; more queries of it are read when one of them is there.
const LATER_MAX: usize = 100;
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
pub(crate) async fn serve<A: Answerer>(
    listener: TcpListener,
    tls: Option<Arc<StreamTls>>,
    answerer: Arc<A>,
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
                        let (tls, answerer) = (tls.clone(), answerer.clone());
                        connections.spawn(connection(stream, client, tls, answerer, place, shutdown.clone()));
                    }
                    None => answerer.listening().metrics.connection_refused(transport),
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

async fn connection<A: Answerer>(
    stream: TcpStream,
    client: SocketAddr,
    tls: Option<Arc<StreamTls>>,
    answerer: Arc<A>,
    place: Place,
    shutdown: Shutdown,
) {
    let transport = if tls.is_some() { Transport::Tls } else { Transport::Tcp };
    let metrics = &answerer.listening().metrics;
    let _open = metrics.open(transport);
    let asker = Asker::new(client.ip(), transport);
    let conversation = async {
        stream.set_nodelay(true)?;
        match tls {
            None => Conversation::new(stream, asker, &answerer).converse(&shutdown).await,
            Some(tls) => {
                let accepted = tls.accept(stream).await;
                let stream = accepted.inspect_err(|_| metrics.handshake_failed(transport))?;
                let asker = Asker { shown: answerer.shown_by(stream.get_ref().1.server_name()), ..asker };
                Conversation::new(stream, asker, &answerer).converse(&shutdown).await
            }
        }
    };
    if let Err(error) = conversation.await {
        debug!(%client, %error, "the connection ended early");
    }
    drop(place);
}

/// One connection's queries and answers.
struct Conversation<'a, A: Answerer, S> {
    stream: S,
    asker: Asker,
    answerer: &'a Arc<A>,
    unread: Vec<u8>,
    unwritten: Vec<u8>,
    /// Answers that are waited for. Nobody does any more when the connection is gone.
    later: JoinSet<Found>,
    queries_left: u32,
    /// Whether more may come: the client has not ended its side, and its queries are not used up.
    reading: bool,
    /// When it is over, if no whole query comes before.
    deadline: Instant,
}

/// What came of the queries that have come.
enum Taken {
    /// So many octets of them are done with.
    Octets(usize),
    /// No more are answered: they are used up, or what was sent are no queries.
    Enough,
}

impl<'a, A: Answerer, S: AsyncRead + AsyncWrite + Unpin + Send> Conversation<'a, A, S> {
    fn new(stream: S, asker: Asker, answerer: &'a Arc<A>) -> Self {
        let listening = answerer.listening();
        Self {
            stream,
            asker,
            answerer,
            unread: Vec::with_capacity(READ_OCTETS),
            unwritten: Vec::new(),
            later: JoinSet::new(),
            queries_left: listening.queries_max,
            reading: true,
            deadline: Instant::now() + listening.idle,
        }
    }

    /// Answers one connection's queries to its end: closed or silent for too long by the client, or, once the server
    /// drains, when what was begun is answered.
    async fn converse(mut self, shutdown: &Shutdown) -> io::Result<()> {
        let idle = self.answerer.listening().idle;
        let mut draining = false;
        loop {
            let taken = self.take().await?;
            self.write().await?;
            match taken {
                Taken::Enough => {
                    self.reading = false;
                    self.unread.clear();
                }
                Taken::Octets(0) => {}
                Taken::Octets(taken) => {
                    self.unread.drain(..taken);
                    if draining && self.is_idle() {
                        break;
                    }
                    self.deadline = Instant::now() + idle;
                    // Whole queries may have been left, so that what waits to be written stays bounded.
                    continue;
                }
            }
            if !self.reading && self.later.is_empty() {
                break;
            }
            self.unread.reserve(READ_OCTETS);
            let is_idle = self.is_idle();
            tokio::select! {
                biased;
                Some(found) = self.later.join_next() => {
                    self.collect(found.map_err(io::Error::other)?);
                    self.write().await?;
                    if draining && self.is_idle() {
                        break;
                    }
                    self.deadline = Instant::now() + idle;
                }
                read = timeout_at(self.deadline, self.stream.read_buf(&mut self.unread)),
                    if self.reading && self.later.len() < LATER_MAX => match read {
                    // It waits for us.
                    Err(_) if !self.later.is_empty() => self.deadline = Instant::now() + idle,
                    // Who asked and ended its side still gets what was begun.
                    Ok(Ok(0)) | Err(_) => self.reading = false,
                    // It was on its way, and has come: it has as long as any other for the rest of it.
                    Ok(Ok(_)) if draining && is_idle => self.deadline = Instant::now() + idle,
                    Ok(read) => { read?; }
                },
                () = shutdown.draining(), if !draining => {
                    draining = true;
                    if is_idle {
                        self.deadline = self.deadline.min(Instant::now() + ON_ITS_WAY);
                    }
                }
            }
        }
        timeout(WRITE_WITHIN, self.stream.shutdown()).await?
    }

    /// Whether nothing was begun that is not ended.
    fn is_idle(&self) -> bool {
        self.unread.is_empty() && self.later.is_empty()
    }

    async fn take(&mut self) -> io::Result<Taken> {
        let Some(octets) = A::takes_long(&self.unread) else { return Ok(self.answer_whole()) };
        let message = &self.unread[LENGTH_OCTETS..octets];
        self.answerer.answer_at_length(&mut self.stream, message, self.asker).await?;
        self.queries_left = self.queries_left.saturating_sub(1);
        Ok(if self.queries_left > 0 { Taken::Octets(octets) } else { Taken::Enough })
    }

    /// Answers the whole messages at the beginning of `unread`, until `unwritten` is full, or as many are waited for as may.
    fn answer_whole(&mut self) -> Taken {
        let mut taken = 0;
        while self.unwritten.len() < UNWRITTEN_OCTETS && self.later.len() < LATER_MAX {
            let rest = &self.unread[taken..];
            let Some((length, rest)) = rest.split_first_chunk::<LENGTH_OCTETS>() else { break };
            let length = usize::from(u16::from_be_bytes(*length));
            if length > QUERY_OCTETS_MAX {
                return Taken::Enough;
            }
            let Some(message) = rest.get(..length) else { break };
            if A::takes_long(&self.unread[taken..]).is_some() {
                break;
            }
            let Some(left) = self.queries_left.checked_sub(1) else { return Taken::Enough };
            self.queries_left = left;
            let reply = answer_framed(self.answerer, message, self.asker, &mut self.unwritten);
            taken += LENGTH_OCTETS + length;
            match reply {
                // It took as long as many others: they wait for their turn.
                Reply::Now(answered) if answered.signatures > 0 => break,
                Reply::Now(_) => {}
                Reply::Later(later) => {
                    self.later.spawn(later);
                }
                Reply::None => return Taken::Enough,
            }
        }
        Taken::Octets(taken)
    }

    /// Puts an answer that was waited for to what is to be written, and others that are there, too.
    fn collect(&mut self, found: Found) {
        frame(&found, &mut self.unwritten);
        while self.unwritten.len() < UNWRITTEN_OCTETS
            && let Some(Ok(found)) = self.later.try_join_next()
        {
            frame(&found, &mut self.unwritten);
        }
    }

    /// Writes what is to be written.
    async fn write(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        timeout(WRITE_WITHIN, async {
            self.stream.write_all(&self.unwritten).await?;
            self.stream.flush().await
        })
        .await??;
        self.unwritten.clear();
        self.unwritten.shrink_to(UNWRITTEN_OCTETS);
        Ok(())
    }
}
