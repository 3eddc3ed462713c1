//! What a stream's exchange and its connection share: what comes in, and what goes out.
//!
//! ```text
//!  connection ─ DATA, trailers ─▶ [ incoming ] ─▶ Incoming (the request's body)
//!             ◀─ credit ─────────┘
//!  connection ◀─ head, data, trailers ─ [ outgoing ] ◀─ Answering (the exchange)
//! ```
//!
//! Either side changes the state under the stream's lock, and then tells the other: the exchange by its wakers, the
//! connection by [`Hub::tell`]. Invariants: the queue of what goes out is bounded by [`OUTGOING_BYTES_MAX`] and a piece, that
//! of what comes in by the stream's window; the exchange's guards are held until its answer is written or given up; an
//! exchange that ends before its answer is whole resets its stream.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use proxima_chassis::Deadline;
use proxima_pipeline::{BodyError, Interim};
use tokio::time::Instant;

use super::hub::Hub;
use crate::http2::Code;
use crate::server::{BODY_PROGRESS_BYTES_MIN, ServerContext};

/// Octets of an answer that wait for their turn, beyond which its stage has to wait.
const OUTGOING_BYTES_MAX: usize = 128 * 1024;
/// Octets of all answers of a connection that wait, beyond which each may have [`OUTGOING_BYTES_MIN`] only.
const CONNECTION_BYTES_MAX: usize = 1024 * 1024;
/// Octets that every answer may have waiting: a frame.
const OUTGOING_BYTES_MIN: usize = 16 * 1024;
/// Small pieces of a request's body are put together up to so many octets: each for itself would cost more than it brings.
const GATHERED_BYTES_MAX: usize = 16 * 1024;

/// What counts an exchange when it is dropped.
pub(super) type Traces = Box<dyn Send>;

/// An answer's head. `ends`: nothing follows.
pub(super) enum Head {
    Fields {
        status: StatusCode,
        headers: HeaderMap,
        ends: bool,
    },
    /// One that is encoded already.
    Ready {
        section: Bytes,
        ends: bool,
    },
}

/// What waits to be written.
#[derive(Default)]
pub(super) struct Outgoing {
    /// The client has shut the stream's window: it is not for us to go on.
    pub(super) blocked: bool,
    pub(super) interims: VecDeque<Interim>,
    pub(super) head: Option<Head>,
    pub(super) data: VecDeque<Bytes>,
    pub(super) data_bytes: usize,
    /// Behind the data.
    pub(super) trailers: Option<HeaderMap>,
    /// Nothing will be added.
    pub(super) whole: bool,
    /// The client may go on when that is written.
    pub(super) tunnel: bool,
    /// The exchange gave up.
    pub(super) reset: Option<Code>,
}

impl Outgoing {
    /// Whether there is anything to be written but data.
    pub(super) fn has_fields(&self) -> bool {
        self.head.is_some() || !self.interims.is_empty()
    }
}

/// What has come and was not taken.
#[derive(Default)]
pub(super) struct Arrived {
    data: VecDeque<Bytes>,
    /// Behind those, small pieces.
    gathered: BytesMut,
    /// How it ended, behind the data: with trailers, if there are any.
    pub(super) end: Option<Result<Option<HeaderMap>, BodyError>>,
    /// Octets that were taken, or will not be, since the connection was told.
    credit: usize,
    /// Nobody will take any more.
    pub(super) abandoned: bool,
}

impl Arrived {
    /// Whether there is nothing more to take.
    fn is_over(&self) -> bool {
        self.end.is_some() && self.data.is_empty() && self.gathered.is_empty()
    }

    fn next(&mut self) -> Option<Bytes> {
        let gathered = &mut self.gathered;
        let last = || (!gathered.is_empty()).then(|| std::mem::take(gathered).freeze());
        self.data.pop_front().or_else(last)
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) outgoing: Outgoing,
    pub(super) arrived: Arrived,
    /// The client wants no answer, or there is no connection any more.
    gone: bool,
    /// Something of the answer has been written.
    begun: bool,
    /// All of it has.
    written: bool,
    /// Whether the connection knows that there is something to look at.
    told: bool,
    /// Octets that were written since a writer last looked.
    fresh: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Dropped when the answer is written.
    recorded: Option<Traces>,
}

/// One stream.
pub(super) struct Stream {
    pub(super) id: u32,
    state: Mutex<State>,
    hub: Arc<Hub>,
    /// Octets of the answer that were written.
    pub(super) sent: Arc<AtomicU64>,
}

impl Stream {
    pub(super) fn new(id: u32, hub: Arc<Hub>) -> Arc<Self> {
        Arc::new(Self { id, state: Mutex::default(), hub, sent: Arc::default() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the lock and tells the connection, once until it looks.
    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let told = std::mem::replace(&mut state.told, true);
        drop(state);
        if !told {
            self.hub.tell(self.id);
        }
    }

    /// For the connection, which looks now.
    pub(super) fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.told = false;
        state
    }

    /// Ready once the client wants no answer any more, and does not have it. For the task that writes it, which is woken.
    pub(super) fn poll_gone(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.gone && !state.written {
            return Poll::Ready(());
        }
        keep(&mut state.writer, context);
        Poll::Pending
    }

    /// Puts in what came.
    pub(super) fn arrive(&self, data: Bytes) {
        let mut state = self.lock();
        let arrived = &mut state.arrived;
        if arrived.abandoned {
            arrived.credit += data.len();
            return self.tell(state);
        }
        if arrived.gathered.len() + data.len() > GATHERED_BYTES_MAX && !arrived.gathered.is_empty() {
            let gathered = std::mem::take(&mut arrived.gathered);
            arrived.data.push_back(gathered.freeze());
        }
        if data.len() < GATHERED_BYTES_MAX {
            // A copy, too: what it is a slice of may be far larger.
            arrived.gathered.extend_from_slice(&data);
        } else {
            arrived.data.push_back(data);
        }
        wake(state, |state| &mut state.reader);
    }

    /// Says how the request's body ended.
    pub(super) fn arrived(&self, how: Result<Option<HeaderMap>, BodyError>) {
        let mut state = self.lock();
        state.arrived.end.get_or_insert(how);
        wake(state, |state| &mut state.reader);
    }

    /// The stream is over for the client, or the connection is. What became of its answer, if it was not written.
    pub(super) fn leave(&self) -> Option<Left> {
        let mut state = self.lock();
        let left = match &*state {
            State { written: true, .. } => None,
            State { recorded: Some(_), .. } => Some(Left::Behind),
            State { begun: true, .. } => Some(Left::Begun),
            _ => Some(Left::Unanswered),
        };
        state.gone = true;
        self.clear(&mut state);
        state.arrived.end.get_or_insert(Err(BodyError::Aborted));
        let wakers = [state.reader.take(), state.writer.take()];
        let recorded = self.take_recorded(&mut state);
        drop(state);
        drop(recorded);
        wakers.into_iter().flatten().for_each(Waker::wake);
        left
    }

    /// What an exchange that is over has left, now that nothing more becomes of its answer.
    fn take_recorded(&self, state: &mut State) -> Option<Traces> {
        let recorded = state.recorded.take();
        self.hub.left.fetch_sub(usize::from(recorded.is_some()), Ordering::Relaxed);
        recorded
    }

    /// Nothing of what waits will be written.
    fn clear(&self, state: &mut State) {
        let outgoing = std::mem::take(&mut state.outgoing);
        self.hub.queued.fetch_sub(outgoing.data_bytes, Ordering::Relaxed);
    }

    /// Content has gone to the connection.
    pub(super) fn unqueue(&self, bytes: usize) {
        self.hub.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts what was written, and lets the exchange go on.
    pub(super) fn written(&self, mut state: MutexGuard<'_, State>, bytes: usize, ended: bool) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        state.fresh += bytes;
        state.begun = true;
        state.written |= ended;
        let recorded = if ended { self.take_recorded(&mut state) } else { None };
        wake(state, |state| &mut state.writer);
        drop(recorded);
    }
}

/// How a stream's answer was left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing of it was written, and its exchange goes on.
    Unanswered,
    /// A part of it was written, and its exchange goes on.
    Begun,
    /// Its exchange is over, and it was left to the connection.
    Behind,
}

/// Lets go of the lock, then wakes: whoever is woken wants the lock first.
fn wake(mut state: MutexGuard<'_, State>, who: impl FnOnce(&mut State) -> &mut Option<Waker>) {
    let waker = who(&mut state).take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn keep(slot: &mut Option<Waker>, context: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(context.waker()),
        none => *none = Some(context.waker().clone()),
    }
}

impl State {
    /// Whether a tunnel has ended in both directions, and what came was taken.
    pub(super) fn is_tunnel_over(&self) -> bool {
        self.outgoing.tunnel && self.written && self.arrived.is_over()
    }

    /// Whether the exchange is over, and its answer not yet written.
    pub(super) fn is_left(&self) -> bool {
        self.recorded.is_some()
    }

    /// Octets for which the client may send others.
    pub(super) fn take_credit(&mut self) -> usize {
        std::mem::take(&mut self.arrived.credit)
    }
}

/// What comes next of a request's body.
pub(super) enum Next {
    Data(Bytes),
    End(Result<Option<HeaderMap>, BodyError>),
}

/// The end of a stream that reads.
pub(super) struct Reading(pub(super) Arc<Stream>);

impl Reading {
    pub(super) fn poll_next(&self, context: &Context<'_>) -> Poll<Next> {
        let mut state = self.0.lock();
        if let Some(data) = state.arrived.next() {
            state.arrived.credit += data.len();
            self.0.tell(state);
            return Poll::Ready(Next::Data(data));
        }
        if let Some(end) = &state.arrived.end {
            return Poll::Ready(Next::End(end.clone()));
        }
        keep(&mut state.reader, context);
        Poll::Pending
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        while let Some(data) = state.arrived.next() {
            state.arrived.credit += data.len();
        }
        state.arrived.abandoned = true;
        self.0.tell(state);
    }
}

/// The stream cannot be written to any more, or its answer's body failed.
#[derive(Debug)]
pub(super) struct Ended;

/// The end of a stream that answers.
pub(super) struct Answering {
    stream: Arc<Stream>,
    whole: bool,
}

impl Answering {
    pub(super) fn new(stream: Arc<Stream>) -> Self {
        Self { stream, whole: false }
    }

    /// Octets that were written.
    pub(super) fn sent(&self) -> &Arc<AtomicU64> {
        &self.stream.sent
    }

    /// Ready once the client wants no answer any more.
    pub(super) fn poll_gone(&self, context: &Context<'_>) -> Poll<()> {
        self.stream.poll_gone(context)
    }

    pub(super) fn interim(&self, interim: Interim) {
        let mut state = self.stream.lock();
        state.outgoing.interims.push_back(interim);
        self.stream.tell(state);
    }

    /// The head, and what of the body is there already. `whole`: nothing follows.
    pub(super) fn head(&mut self, status: StatusCode, headers: HeaderMap, data: Option<Bytes>, whole: bool) {
        let mut state = self.stream.lock();
        if state.gone {
            return;
        }
        let ends = whole && data.is_none();
        state.outgoing.head = Some(Head::Fields { status, headers, ends });
        self.put(state, data, whole);
    }

    /// All of an answer, whose head is encoded; its exchange is over.
    pub(super) fn ready(self, section: Bytes, data: Bytes, recorded: Traces) {
        let mut state = self.stream.lock();
        let ends = data.is_empty();
        state.outgoing.head = Some(Head::Ready { section, ends });
        self.put(state, (!ends).then_some(data), true);
        self.finish(recorded);
    }

    /// The head that opens a tunnel.
    pub(super) fn open(&mut self, status: StatusCode, headers: HeaderMap) {
        self.stream.lock().outgoing.tunnel = true;
        self.head(status, headers, None, false);
    }

    /// The next piece.
    pub(super) fn data(&mut self, data: Bytes, whole: bool) {
        let state = self.stream.lock();
        if !state.gone {
            self.put(state, Some(data), whole);
        }
    }

    /// The trailers, which end the answer.
    pub(super) fn trailers(&mut self, trailers: HeaderMap) {
        let mut state = self.stream.lock();
        if !state.gone {
            state.outgoing.trailers = Some(trailers);
            self.put(state, None, true);
        }
    }

    fn put(&self, mut state: MutexGuard<'_, State>, data: Option<Bytes>, whole: bool) {
        if let Some(data) = data {
            state.outgoing.data_bytes += data.len();
            self.stream.hub.queued.fetch_add(data.len(), Ordering::Relaxed);
            state.outgoing.data.push_back(data);
        }
        state.outgoing.whole = whole;
        self.stream.tell(state);
    }

    /// Waits until there is room for another piece, or (`all`) until everything has been written, within the time that
    /// the client has for taking it: one that opens its windows by single octets gets no more.
    pub(super) async fn room(&self, all: bool, server: &ServerContext) -> Result<(), Ended> {
        let mut deadline = Deadline::default();
        let mut moved_before = 0;
        let hub = &self.stream.hub;
        poll_fn(|context| {
            let mut state = self.stream.lock();
            if state.written {
                return Poll::Ready(Ok(()));
            }
            if state.gone {
                return Poll::Ready(Err(Ended));
            }
            let crowded = hub.queued.load(Ordering::Relaxed) >= CONNECTION_BYTES_MAX;
            let waits = match (all, crowded) {
                (true, _) => 1,
                (false, true) => OUTGOING_BYTES_MIN,
                (false, false) => OUTGOING_BYTES_MAX,
            };
            if state.outgoing.data_bytes < waits {
                return Poll::Ready(Ok(()));
            }
            if state.fresh >= BODY_PROGRESS_BYTES_MIN || !deadline.is_set() {
                state.fresh = 0;
                moved_before = hub.moved.load(Ordering::Relaxed);
                deadline.set(Instant::now() + server.timeouts.write_idle);
            }
            keep(&mut state.writer, context);
            let blocked = state.outgoing.blocked;
            drop(state);
            while deadline.poll(context).is_ready() {
                // Who waits for his turn only, while others are written, is not one whose client takes nothing.
                let moved = hub.moved.load(Ordering::Relaxed);
                if blocked || moved - moved_before < BODY_PROGRESS_BYTES_MIN as u64 {
                    return Poll::Ready(Err(Ended));
                }
                moved_before = moved;
                deadline.set(Instant::now() + server.timeouts.write_idle);
            }
            Poll::Pending
        })
        .await
    }

    /// Ends the exchange, and resets the stream.
    pub(super) fn give_up(mut self, code: Code) {
        self.whole = true;
        self.reset(code);
    }

    /// The client must not take for whole what is not.
    fn reset(&self, code: Code) {
        let mut state = self.stream.lock();
        if !state.gone {
            self.stream.clear(&mut state);
            state.outgoing.reset = Some(code);
            self.stream.tell(state);
        }
    }

    /// Ends the exchange, whose answer may still have to be written; until it is, `recorded` is kept.
    pub(super) fn finish(mut self, recorded: Traces) {
        self.whole = true;
        let mut state = self.stream.lock();
        if !state.written && !state.gone {
            state.recorded = Some(recorded);
            self.stream.hub.left.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.whole {
            self.reset(Code::INTERNAL_ERROR);
        }
    }
}
