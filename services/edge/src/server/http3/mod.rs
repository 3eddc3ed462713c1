//! A connection that speaks HTTP/3 (RFC 9114): one task for the connection, one for each request, one for each of the
//! client's streams that carry none.
//!
//! ```text
//!  quinn ─ accept_bi ──▶ stream: head ─▶ Exchange ─▶ answer ─▶ until the client has it
//!        └ accept_uni ─▶ unidirectional: control, QPACK
//!  control stream of ours: SETTINGS, and GOAWAY once it ends
//! ```

mod incoming;
mod outgoing;
mod stream;
mod tunnel;
mod unidirectional;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use proxima_chassis::Deadline;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::stream::Ended;
use self::unidirectional::Unidirectional;
use super::{Peer, REQUESTS_PER_CONNECTION_MAX, ServerContext};
use crate::http3::{Code, write_goaway, write_settings};
use crate::quic::Handshake;

/// Requests of one connection at once; as for HTTP/2. Each may gather a head: 8 MiB together, for as long as heads may
/// take.
pub(crate) const STREAMS_MAX: u32 = 128;
/// Unidirectional streams that a client may have open at once. It needs three, and opens one or two more to see whether
/// we bear unknown ones.
pub(crate) const UNIDIRECTIONAL_MAX: u32 = 8;
/// Unidirectional streams of a connection in all: those above cannot be closed, and others carry nothing.
const UNIDIRECTIONAL_TOTAL_MAX: u32 = 64;
/// Requests that a client may cancel before they are answered, whatever it does otherwise. Who leaves a page cancels
/// what is under way, so beyond this only a client that cancels most of what it asks is stopped: it makes us work for
/// nothing (CVE-2023-44487).
const CANCELLED_MIN: u32 = 256;
/// How long a connection that has nothing more to do may take to end.
const CLOSE: Duration = Duration::from_secs(5);
/// What the numbers of a client's request streams differ by (RFC 9000, 2.1).
const STREAM_ID_STEP: u64 = 4;

pub(super) async fn serve(
    connection: quinn::Connection,
    peer: Peer,
    handshake: Option<Handshake>,
    context: Arc<ServerContext>,
    drain: CancellationToken,
) {
    let opening = tokio::time::timeout(context.timeouts.head, open_control(&connection, &context));
    let Ok(Some(control)) = opening.await else {
        connection.close(varint(Code::INTERNAL_ERROR), b"");
        return;
    };
    let closing = Closing { connection: connection.clone(), begun: Arc::default() };
    let code = Session {
        unidirectional: Arc::new(Unidirectional::default()),
        readers: JoinSet::new(),
        readers_begun: 0,
        streams: JoinSet::new(),
        served: 0,
        cancelled: 0,
        next_stream_id: 0,
        ending: false,
        quiet: Deadline::default(),
        connection,
        closing: closing.clone(),
        control,
        peer,
        handshake,
        context: Arc::clone(&context),
    }
    .run(drain)
    .await;
    closing.close(code, &context);
}

pub(super) fn varint(code: Code) -> VarInt {
    VarInt::from_u32(code.0)
}

/// What closes a connection: its session, or one of the streams that broke it. The first to do so says with which code, and
/// that is counted, so once for each connection.
#[derive(Clone)]
struct Closing {
    connection: quinn::Connection,
    begun: Arc<AtomicBool>,
}

impl Closing {
    fn close(&self, code: Code, context: &ServerContext) {
        if self.begun.swap(true, Ordering::Relaxed) {
            return;
        }
        // Before the client sees it.
        if code != Code::NO_ERROR {
            context.metrics.http3_broken(code);
        }
        self.connection.close(varint(code), b"");
    }
}

/// Opens our control stream and says on it what we take. QPACK's streams are not needed without a dynamic table
/// (RFC 9204, 4.2).
async fn open_control(connection: &quinn::Connection, context: &ServerContext) -> Option<SendStream> {
    let mut control = connection.open_uni().await.ok()?;
    let mut out = BytesMut::new();
    write_settings(context.limits.head_bytes_max as u64, &mut out);
    control.write_all(&out).await.ok()?;
    Some(control)
}

struct Session {
    unidirectional: Arc<Unidirectional>,
    readers: JoinSet<Result<(), Code>>,
    readers_begun: u32,
    streams: JoinSet<Ended>,
    served: u32,
    cancelled: u32,
    /// The number of the first request stream that was not looked at.
    next_stream_id: u64,
    /// Whether GOAWAY has been sent.
    ending: bool,
    /// Set while no request is open.
    quiet: Deadline,
    connection: quinn::Connection,
    closing: Closing,
    control: SendStream,
    peer: Peer,
    handshake: Option<Handshake>,
    context: Arc<ServerContext>,
}

/// What happened on a connection.
enum Event {
    Request(SendStream, RecvStream),
    Unidirectional(RecvStream),
    Served(Result<Ended, JoinError>),
    Read(Result<Result<(), Code>, JoinError>),
    Drain,
    Quiet,
    Lost,
}

impl Session {
    /// Takes requests until the connection ends; says with which code. Dropping the session ends all its streams.
    async fn run(mut self, drain: CancellationToken) -> Code {
        let mut draining = pin!(drain.cancelled());
        loop {
            self.watch_quiet();
            // Tasks of streams that were reset may outlive them for a moment; they count too.
            let room = self.streams.len() < STREAMS_MAX as usize;
            let event = tokio::select! {
                biased;
                Some(ended) = self.streams.join_next() => Event::Served(ended),
                Some(ended) = self.readers.join_next() => Event::Read(ended),
                // A client that has just come is not sent away: it has a request on its way to us.
                () = &mut draining, if !self.ending && self.served > 0 => Event::Drain,
                opened = self.connection.accept_uni() => opened.map_or(Event::Lost, Event::Unidirectional),
                opened = self.connection.accept_bi(), if room => {
                    opened.map_or(Event::Lost, |(send, receive)| Event::Request(send, receive))
                }
                () = poll_fn(|context| self.quiet.poll(context)) => Event::Quiet,
            };
            match event {
                Event::Request(send, receive) => self.request(send, receive).await,
                Event::Unidirectional(receive) => {
                    self.readers_begun += 1;
                    if self.readers_begun > UNIDIRECTIONAL_TOTAL_MAX {
                        return Code::EXCESSIVE_LOAD;
                    }
                    self.readers.spawn(unidirectional::read(receive, Arc::clone(&self.unidirectional)));
                }
                Event::Read(Ok(Err(code))) => return code,
                Event::Served(Ok(Ended::Cancelled)) => {
                    self.cancelled += 1;
                    if self.cancelled > CANCELLED_MIN && self.cancelled > self.served / 2 {
                        return Code::EXCESSIVE_LOAD;
                    }
                }
                Event::Drain => self.end().await,
                Event::Quiet if !self.ending => self.end().await,
                // Whose stream broke the connection has closed it, and counted that.
                Event::Served(Ok(Ended::Connection(_))) | Event::Quiet | Event::Lost => {
                    return Code::NO_ERROR;
                }
                Event::Served(_) | Event::Read(_) => {}
            }
        }
    }

    /// Serves a request in a task of its own, if one more may be served.
    async fn request(&mut self, mut send: SendStream, mut receive: RecvStream) {
        if self.ending {
            // It may be asked again, of another connection. Either fails only for a stream that has ended.
            send.reset(varint(Code::REQUEST_REJECTED)).ok();
            receive.stop(varint(Code::REQUEST_REJECTED)).ok();
            return;
        }
        self.served += 1;
        self.unidirectional.served(self.served);
        self.next_stream_id = u64::from(VarInt::from(send.id())) + STREAM_ID_STEP;
        self.quiet.clear();
        // A connection may have moved to another address.
        let peer = Peer { address: self.connection.remote_address(), ..self.peer.clone() };
        // Boxed: a task's future is moved about before it first runs.
        let (closing, context) = (self.closing.clone(), Arc::clone(&self.context));
        self.handshake.take_if(|handshake| handshake.is_over());
        let handshake = self.handshake.clone();
        self.streams.spawn(Box::pin(stream::serve(closing, (send, receive), peer, handshake, context)));
        if self.served == REQUESTS_PER_CONNECTION_MAX {
            self.end().await;
        }
    }

    fn watch_quiet(&mut self) {
        if self.streams.is_empty() && !self.quiet.is_set() {
            let waits = if self.ending { CLOSE } else { self.context.timeouts.until_head(self.served) };
            self.quiet.set(Instant::now() + waits);
        }
    }

    /// Sends GOAWAY; what is open goes on to its end.
    async fn end(&mut self) {
        self.ending = true;
        self.quiet.clear();
        let mut out = BytesMut::new();
        write_goaway(self.next_stream_id, &mut out);
        // A client that does not take a dozen octets is not waited for; it will find out.
        tokio::time::timeout(CLOSE, self.control.write_all(&out)).await.ok();
    }
}
