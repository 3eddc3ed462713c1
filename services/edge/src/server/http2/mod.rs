//! A connection that speaks HTTP/2 (RFC 9113), over the `h2` crate: one task for the connection, one for each stream.

mod gather;
mod stream;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::gather::{Gathered, Gatherer, gather};
use super::{Peer, REQUESTS_PER_CONNECTION_MAX, ServerContext, Transport};
use crate::deadline::Deadline;

/// Streams of one connection at once. Browsers open some dozens; RFC 9113 (5.1.2) advises at least 100.
const STREAMS_MAX: u32 = 128;
/// Octets of one stream's body that the client may send ahead.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Octets of all bodies of a connection that the client may send ahead: what bounds a connection's memory.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Octets of answers that wait in memory for one stream's turn.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Octets of a DATA frame: the least that must be allowed (RFC 9113, 4.2), so that streams take short turns.
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Streams that a client has reset and that we remember: late frames for them are no error.
const RESET_STREAMS_MAX: usize = 64;
/// Streams that a client may have reset before we looked at them; beyond that it is an attack (CVE-2023-44487) and ends
/// the connection.
const UNSEEN_RESETS_MAX: usize = 32;
/// Errors of streams that a client may provoke before the connection ends (CVE-2025-8671).
const PROVOKED_RESETS_MAX: usize = 128;
/// How long we remember a reset stream.
const RESET_REMEMBERED: Duration = Duration::from_secs(10);
/// How long a connection that has nothing more to do may take to end.
const CLOSE: Duration = Duration::from_secs(5);

pub(super) async fn serve<T: Transport>(
    io: super::transport::Rewound<T>,
    peer: Peer,
    context: Arc<ServerContext>,
    drain: CancellationToken,
) {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(u32::try_from(context.limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .max_pending_accept_reset_streams(UNSEEN_RESETS_MAX)
        .max_local_error_reset_streams(Some(PROVOKED_RESETS_MAX))
        .reset_stream_duration(RESET_REMEMBERED);
    let (io, out) = gather(io);
    let handshake = tokio::time::timeout(context.timeouts.head, builder.handshake::<_, Bytes>(io));
    // What fails here has sent no request: there is nobody to answer.
    if let Ok(Ok(connection)) = handshake.await {
        out.put_off();
        Session {
            connection,
            out,
            streams: JoinSet::new(),
            served: 0,
            gave_way: false,
            ending: false,
            quiet: Deadline::default(),
            peer,
            context,
        }
        .run(drain)
        .await;
    }
}

struct Session<T> {
    connection: Connection<Gathered<T>, Bytes>,
    out: Gatherer<T>,
    streams: JoinSet<()>,
    served: u32,
    /// Whether the other tasks were let pass before what waits is written.
    gave_way: bool,
    /// Whether GOAWAY has been sent.
    ending: bool,
    /// Set while no stream is open.
    quiet: Deadline,
    peer: Peer,
    context: Arc<ServerContext>,
}

/// What happened on a connection.
enum Event {
    Stream(Box<(http::Request<h2::RecvStream>, h2::server::SendResponse<Bytes>)>),
    StreamEnded,
    Drain,
    Quiet,
    Ended,
}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Session<T> {
    /// Takes streams until the connection ends. Dropping the session ends all its streams.
    async fn run(mut self, drain: CancellationToken) {
        let mut draining = pin!(drain.cancelled());
        loop {
            self.watch_quiet();
            let ending = self.ending;
            let event = poll_fn(|context| {
                if !self.streams.is_empty() && self.streams.poll_join_next(context).is_ready() {
                    return Poll::Ready(Event::StreamEnded);
                }
                // A client that has just come is not sent away: it has a request on its way to us.
                if !ending && self.served > 0 && draining.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Event::Drain);
                }
                if let Poll::Ready(event) = self.poll_connection(context) {
                    return Poll::Ready(event);
                }
                // The streams that became ready in this turn have theirs first; then all goes out at once.
                if self.out.waits() && !std::mem::replace(&mut self.gave_way, true) {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                self.gave_way = false;
                if let Poll::Ready(Err(_)) = self.out.poll_flush(context) {
                    return Poll::Ready(Event::Ended);
                }
                self.quiet.poll(context).map(|()| Event::Quiet)
            })
            .await;
            match event {
                Event::Stream(stream) => {
                    let (request, respond) = *stream;
                    self.served += 1;
                    self.quiet.clear();
                    let exchange =
                        stream::serve(request, respond, self.peer.clone(), Arc::clone(&self.context));
                    // Boxed: a task's future is moved about before it first runs.
                    self.streams.spawn(Box::pin(exchange));
                    if self.served == REQUESTS_PER_CONNECTION_MAX {
                        self.end();
                    }
                }
                Event::StreamEnded => {}
                Event::Drain => self.end(),
                Event::Quiet if !self.ending => self.end(),
                Event::Quiet | Event::Ended => return,
            }
        }
    }

    /// Drives the connection; takes a stream only if one more may run.
    fn poll_connection(&mut self, context: &mut std::task::Context<'_>) -> Poll<Event> {
        // Tasks of streams that were reset may outlive them for a moment; they count too.
        if self.streams.len() >= STREAMS_MAX as usize {
            return self.connection.poll_closed(context).map(|_| Event::Ended);
        }
        self.connection.poll_accept(context).map(|accepted| match accepted {
            Some(Ok(stream)) => Event::Stream(Box::new(stream)),
            Some(Err(_)) | None => Event::Ended,
        })
    }

    fn watch_quiet(&mut self) {
        if self.streams.is_empty() && !self.quiet.is_set() {
            let waits = if self.ending { CLOSE } else { self.context.timeouts.until_head(self.served) };
            self.quiet.set(Instant::now() + waits);
        }
    }

    /// Sends GOAWAY; what is open goes on to its end.
    fn end(&mut self) {
        self.ending = true;
        self.quiet.clear();
        self.connection.graceful_shutdown();
    }
}
