//! A connection that speaks HTTP/2 (RFC 9113): one task, in which all frames are read and written; exchanges that have to
//! wait for something go on in tasks of their own.
//!
//! ```text
//!  read ─▶ frames (reading.rs) ─▶ request ─▶ exchange: polled once, here ─ answered at once ─┐
//!            │                                 └─ has to wait ─▶ a task ─ tells the Hub ──────┤
//!            └─ body ─▶ Stream.arrived                                                        ▼
//!  write ◀─ Output ◀─ whose turn it is (streams.rs) ◀──────────────────────────── Stream.outgoing
//! ```
//!
//! What one read has brought is heeded before anything is written, so that the answers to it leave together. Invariants:
//! * **Memory is bounded**: streams at once, what a client may send ahead, what waits to be written; while a client does
//!   not take what is written, nothing more of it is read.
//! * **Work for nothing ends the connection**: requests that are cancelled ([`CANCELLED_MIN`], CVE-2023-44487), faults
//!   that make us reset streams ([`FAULTS_MAX`], CVE-2025-8671), frames that ask or say nothing, or open windows
//!   for nothing ([`idle`]), sections in endless pieces ([`reading`], CVE-2024-27316).
//! * **Who waits knows how long**: heads, bodies, answers that are not taken, and silence have their times
//!   ([`Timeouts`](super::Timeouts)).

mod ending;
mod exchange;
mod glance;
mod hub;
mod idle;
mod reading;
mod stream;
mod streams;
mod tunnel;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use proxima_chassis::Deadline;
use proxima_pipeline::{Client, Protocol, RayId};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::hub::Hub;
use self::idle::IdleFrames;
use self::reading::Gathering;
use self::stream::{Left, Stream};
use self::streams::{ReceiveWindow, Streams, Turn};
use super::output::Output;
use super::transport::Rewound;
use super::{Peer, REQUESTS_PER_CONNECTION_MAX, ServerContext, Transport};
use crate::fields::FieldList;
use crate::http2::{Code, Decoder, Priority, WINDOW_BYTES, write_reset, write_settings, write_window_update};

/// Streams of one connection at once. Browsers open some dozens; RFC 9113 (5.1.2) advises at least 100.
const STREAMS_MAX: u32 = 128;
/// Exchanges of one connection at once: those of streams that were reset may outlive them for a moment.
const TASKS_MAX: usize = 2 * STREAMS_MAX as usize;
/// Octets of one stream's body that the client may send ahead.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Octets of all bodies of a connection that the client may send ahead: what bounds a connection's memory.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Streams that we have ended and that we remember: late frames for them are no fault. Twice as many as there may be at
/// once: all of them may be ended in one turn.
const ENDED_STREAMS_MAX: usize = 2 * STREAMS_MAX as usize;
/// Streams that are refused because there are too many, before the connection ends: a client knows how many there may be.
const REFUSED_MAX: u32 = 1024;
/// Requests that a client may cancel before they are answered, whatever it does otherwise; as for HTTP/3.
const CANCELLED_MIN: u32 = 256;
/// Faults of streams that a client may commit before the connection ends.
const FAULTS_MAX: u32 = 128;
/// Octets that wait to be written, beyond which nothing is added: four TLS records, so that what becomes urgent now does
/// not wait for long.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// How long a connection that has nothing more to do may take to end.
const CLOSE: Duration = Duration::from_secs(5);
/// Octets that are read and thrown away in that time.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What the PING carries whose answer shows that the client has heard of the end.
const END_PING: [u8; 8] = *b"the-end.";

pub(super) async fn serve<T: Transport>(
    io: Rewound<T>,
    peer: Peer,
    context: Arc<ServerContext>,
    drain: CancellationToken,
) {
    let mut session = Session::new(io, peer, context);
    let code = session.run(drain).await;
    session.close(code).await;
}

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// GOAWAY has been sent, and streams that were on their way meanwhile are still taken.
    Said,
    /// No streams are taken any more.
    Heard,
}

struct Session<T> {
    io: Rewound<T>,
    /// Read, but not used yet.
    inbound: BytesMut,
    output: Output,
    /// Whether what was written may still lie in TLS.
    unflushed: bool,
    decoder: Decoder,
    /// Of the latest request's head.
    fields: FieldList,
    /// A field section of which more must come.
    gathering: Option<Gathering>,
    /// Whether the preface, and then the first frame, have come.
    greeted: bool,
    settled: bool,
    streams: Streams,
    tasks: JoinSet<()>,
    hub: Arc<Hub>,
    /// Kept between turns.
    told: Vec<u32>,
    /// The highest stream that has begun, and the one that was said to be the last.
    last_id: u32,
    last_said: Option<u32>,
    ended_ids: VecDeque<u32>,
    /// Of all streams.
    window: ReceiveWindow,
    served: u32,
    cancelled: u32,
    faults: u32,
    refused: u32,
    idle: IdleFrames,
    /// Of streams that have not begun.
    priorities: Vec<(u32, Priority)>,
    /// Whether the client says how urgent its requests are.
    has_priorities: bool,
    ending: Ending,
    /// Set while no stream is open.
    quiet: Deadline,
    /// Until a head is whole.
    head: Deadline,
    /// Until answers whose exchanges are over have been taken.
    left: Deadline,
    /// Octets that had moved when that was set.
    left_moved: u64,
    /// Until the first stream leaves whose answer is written, and whose request is not whole.
    leaves: Deadline,
    /// Until the client has heard of the end.
    hears: Deadline,
    /// The name of the latest request that was looked at.
    ray: RayId,
    peer: Peer,
    client: Client,
    context: Arc<ServerContext>,
}

impl<T: Transport> Session<T> {
    fn new(io: Rewound<T>, peer: Peer, context: Arc<ServerContext>) -> Self {
        let mut output = Output::default();
        let head_bytes_max = u32::try_from(context.limits.head_bytes_max).unwrap_or(u32::MAX);
        write_settings(STREAMS_MAX, STREAM_WINDOW_BYTES, head_bytes_max, &mut output.staged);
        write_window_update(0, CONNECTION_WINDOW_BYTES - WINDOW_BYTES, &mut output.staged);
        let mut head = Deadline::default();
        head.set(Instant::now() + context.timeouts.head);
        Self {
            io,
            inbound: BytesMut::new(),
            output,
            unflushed: false,
            decoder: Decoder::default(),
            fields: FieldList::default(),
            gathering: None,
            greeted: false,
            settled: false,
            streams: Streams::default(),
            tasks: JoinSet::new(),
            hub: Arc::default(),
            told: Vec::new(),
            last_id: 0,
            last_said: None,
            ended_ids: VecDeque::new(),
            window: ReceiveWindow::new(CONNECTION_WINDOW_BYTES),
            served: 0,
            cancelled: 0,
            faults: 0,
            refused: 0,
            idle: IdleFrames::new(),
            priorities: Vec::new(),
            has_priorities: false,
            ending: Ending::No,
            quiet: Deadline::default(),
            head,
            left: Deadline::default(),
            left_moved: 0,
            leaves: Deadline::default(),
            hears: Deadline::default(),
            ray: context.new_ray(),
            client: peer.client(Protocol::Http2),
            peer,
            context,
        }
    }

    /// Serves until the connection ends; says with which code, if there is anybody to tell.
    async fn run(&mut self, drain: CancellationToken) -> Option<Code> {
        let mut draining = pin!(drain.cancelled());
        poll_fn(|context| {
            loop {
                while let Poll::Ready(Some(_)) = self.tasks.poll_join_next(context) {}
                // A client that has just come is not sent away: it has a request on its way to us.
                if self.ending == Ending::No && self.served > 0 && draining.as_mut().poll(context).is_ready()
                {
                    self.end();
                }
                self.look();
                let mut moved = match self.poll_read(context) {
                    Poll::Ready(Ok(())) => true,
                    Poll::Ready(Err(end)) => return Poll::Ready(end),
                    Poll::Pending => false,
                };
                self.look();
                self.write_streams();
                let full = self.output.bytes() >= OUTPUT_BYTES_MAX;
                match self.poll_write(context) {
                    Poll::Ready(Ok(())) => moved |= full,
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => {}
                }
                if moved {
                    continue;
                }
                if let Poll::Ready(code) = self.poll_deadlines(context) {
                    return Poll::Ready(Some(code));
                }
                if self.hub.listen(context) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Writes all that there is, to the end: TLS takes more than it gets rid of.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let before = self.output.bytes();
        if before > 0 {
            self.unflushed = true;
            let written = self.output.poll_write(&mut self.io, context);
            let moved = (before - self.output.bytes()) as u64;
            self.hub.moved.fetch_add(moved, Ordering::Relaxed);
            ready!(written)?;
            // An idle connection holds no buffer.
            self.output.release();
        }
        if self.unflushed {
            ready!(tokio::io::AsyncWrite::poll_flush(Pin::new(&mut self.io), context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Sees to what exchanges have told: what they have to write, and what they have taken.
    fn look(&mut self) {
        let mut told = std::mem::take(&mut self.told);
        self.hub.take(&mut told);
        for id in told.drain(..) {
            let Some(entry) = self.streams.get(id) else { continue };
            let mut state = entry.stream.look();
            let (credit, over) = (state.take_credit(), state.is_tunnel_over());
            drop(state);
            self.streams.wake(id);
            if credit > 0 {
                self.give(id, credit);
            }
            if over {
                self.streams.remove(id);
            }
        }
        self.told = told;
        let released = self.streams.take_released();
        self.give_on_connection(released);
    }

    /// Lets the client send as much again on the connection.
    fn give_on_connection(&mut self, bytes: usize) {
        if let Some(credit) = self.window.give(bytes) {
            write_window_update(0, credit, &mut self.output.staged);
        }
    }

    /// Lets the client send as much again, on the stream if it has more to send.
    fn give(&mut self, id: u32, bytes: usize) {
        self.give_on_connection(bytes);
        let Some(entry) = self.streams.get(id) else { return };
        entry.held = entry.held.saturating_sub(bytes);
        if !entry.received
            && let Some(credit) = entry.window.give(bytes)
        {
            write_window_update(id, credit, &mut self.output.staged);
        }
    }

    /// Lets streams write, and sees those off that have come to their ends.
    fn write_streams(&mut self) {
        let mut over = Vec::new();
        let deadline = &mut self.leaves;
        let before = self.output.bytes();
        self.streams.write(&mut self.output, |streams, output, id, turn| {
            let code = match turn {
                Turn::Answered(true) => None,
                // What is still on its way is not needed (RFC 9113, 8.1), and thrown away if it is little.
                Turn::Answered(false) => match streams.discard_rest(id) {
                    Some(_) if deadline.is_set() => return,
                    Some(leaves) => return deadline.set(leaves),
                    None => Some(Code::NO_ERROR),
                },
                Turn::Reset(code) => Some(code),
                Turn::Goes => return,
            };
            if let Some(code) = code {
                write_reset(id, code, &mut output.staged);
                over.push(id);
            }
            if let Some(entry) = streams.remove(id) {
                entry.stream.leave();
            }
        });
        over.into_iter().for_each(|id| self.remember(id));
        self.idle.wrote(self.output.bytes() - before);
    }

    /// Late frames of this stream are no fault.
    fn remember(&mut self, id: u32) {
        if self.ended_ids.contains(&id) {
            return;
        }
        if self.ended_ids.len() >= ENDED_STREAMS_MAX {
            self.ended_ids.pop_front();
        }
        self.ended_ids.push_back(id);
    }

    /// Ends a stream.
    fn reset(&mut self, id: u32, code: Code) {
        if let Some(entry) = self.streams.remove(id) {
            self.count(entry.stream.leave());
        }
        self.remember(id);
        write_reset(id, code, &mut self.output.staged);
    }

    /// Counts an answer that nobody will see whole; an exchange that goes on does so itself.
    fn count(&self, left: Option<Left>) {
        if left == Some(Left::Behind) {
            self.context.metrics.answer_cut();
        }
    }

    /// One more fault of the client's.
    fn fault(&mut self) -> Result<(), Code> {
        self.faults += 1;
        if self.faults > FAULTS_MAX { Err(Code::ENHANCE_YOUR_CALM) } else { Ok(()) }
    }

    /// Begins an exchange: what can be answered at once is, here.
    fn begin(&mut self, exchange: impl Future<Output = ()> + Send + 'static, context: &mut Context<'_>) {
        // Boxed: it may go on in a task of its own.
        let mut exchange: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(exchange);
        // What a stage does wrong is its stream's end, which its answer's drop sees to, and not that of the others.
        match catch_unwind(AssertUnwindSafe(|| exchange.as_mut().poll(context))) {
            Ok(Poll::Pending) => drop(self.tasks.spawn(exchange)),
            Ok(Poll::Ready(())) | Err(_) => {}
        }
        self.took_one();
    }

    /// One more request was taken, of whose fields nothing is kept here.
    fn took_one(&mut self) {
        self.served += 1;
        self.fields.clear();
        // It may be over before anybody looks whether there is one.
        self.quiet.clear();
        self.idle.moved();
        if self.served >= REQUESTS_PER_CONNECTION_MAX && self.ending == Ending::No {
            self.end();
        }
    }

    fn stream(&self, id: u32) -> Arc<Stream> {
        Stream::new(id, Arc::clone(&self.hub))
    }
}
