//! The body of a request on its way from the connection that reads it to the stage that sends it on.
//!
//! ```text
//!  connection ──push──▶ [ at most BODY_WINDOW_BYTES ] ──poll_frame──▶ Body of the exchange
//!      ▲ poll_room: waits while the window is full        │ first poll: the body is wanted (100 Continue)
//!      └──────────────── dropped: nobody reads it ────────┘
//! ```

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use proxima_pipeline::{Body, BodyError};

/// Octets of a request's body that may lie between the client and whoever reads it; then the client has to wait. Enough
/// for one round trip of a fast client to a near origin, small enough for thousands of uploads at once.
pub(super) const BODY_WINDOW_BYTES: usize = 128 * 1024;

/// Smaller pieces are copied: they are slices of the connection's buffer, of which one octet keeps all alive.
const COPIED_BYTES_BELOW: usize = 4 * 1024;

/// What a frame costs beside its octets, so that a body in chunks of one octet fills the window too.
const FRAME_OVERHEAD_BYTES: usize = 128;

#[derive(Default)]
struct State {
    frames: VecDeque<Frame<Bytes>>,
    queued_bytes: usize,
    /// How it ended, once all frames are there.
    end: Option<Result<(), BodyError>>,
    /// Whether somebody has asked for it.
    wanted: bool,
    /// Whether nobody will ask for more.
    abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the reader of a body lets its writer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Go on.
    Open,
    /// Nobody reads it any more.
    Abandoned,
}

/// The end into which a connection writes what it reads. Dropping it early aborts the body.
pub(super) struct BodyFeed {
    shared: Arc<Shared>,
    window_bytes: usize,
}

/// A body and the end that feeds it. `length` is what was announced.
pub(super) fn body_feed(length: Option<u64>) -> (BodyFeed, Body) {
    body_feed_of(BODY_WINDOW_BYTES, length)
}

/// As [`body_feed`], with another window: for connections that have one of their own before it.
pub(super) fn body_feed_of(window_bytes: usize, length: Option<u64>) -> (BodyFeed, Body) {
    let shared = Arc::new(Shared::default());
    let reader = FedBody { shared: Arc::clone(&shared), left: length, ended: false };
    (BodyFeed { shared, window_bytes }, Body::stream(reader))
}

impl BodyFeed {
    /// Waits until the window has room.
    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<Room> {
        let mut state = self.shared.lock();
        if state.abandoned {
            return Poll::Ready(Room::Abandoned);
        }
        // Also kept while there is room: the reader's first wish and its end wake the connection.
        match &mut state.writer {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        if state.queued_bytes < self.window_bytes { Poll::Ready(Room::Open) } else { Poll::Pending }
    }

    /// Whether somebody has asked for the body.
    pub(super) fn is_wanted(&self) -> bool {
        self.shared.lock().wanted
    }

    /// Whether nobody will ask for more of it.
    pub(super) fn is_abandoned(&self) -> bool {
        self.shared.lock().abandoned
    }

    /// The next piece.
    pub(super) fn push(&self, data: Bytes) {
        let data = if data.len() < COPIED_BYTES_BELOW { Bytes::copy_from_slice(&data) } else { data };
        let mut state = self.shared.lock();
        state.queued_bytes += data.len() + FRAME_OVERHEAD_BYTES;
        self.put(state, Frame::data(data));
    }

    /// The trailers, after the last piece.
    pub(super) fn push_trailers(&self, trailers: HeaderMap) {
        self.put(self.shared.lock(), Frame::trailers(trailers));
    }

    /// The end, and whether it is the one that was to be expected.
    pub(super) fn end(&self, how: Result<(), BodyError>) {
        let mut state = self.shared.lock();
        state.end.get_or_insert(how);
        wake(state, |state| &mut state.reader);
    }

    fn put(&self, mut state: MutexGuard<'_, State>, frame: Frame<Bytes>) {
        if !state.abandoned {
            state.frames.push_back(frame);
        }
        wake(state, |state| &mut state.reader);
    }
}

impl Drop for BodyFeed {
    fn drop(&mut self) {
        self.end(Err(BodyError::Aborted));
    }
}

/// Lets go of the lock, then wakes: whoever is woken wants the lock first.
fn wake(mut state: MutexGuard<'_, State>, who: impl FnOnce(&mut State) -> &mut Option<Waker>) {
    let waker = who(&mut state).take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

struct FedBody {
    shared: Arc<Shared>,
    left: Option<u64>,
    ended: bool,
}

impl HttpBody for FedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut state = self.shared.lock();
        let first_wish = !std::mem::replace(&mut state.wanted, true);
        if let Some(frame) = state.frames.pop_front() {
            let length = frame.data_ref().map_or(0, Bytes::len);
            state.queued_bytes -= frame.data_ref().map_or(0, |data| data.len() + FRAME_OVERHEAD_BYTES);
            wake(state, |state| &mut state.writer);
            self.left = self.left.map(|left| left.saturating_sub(length as u64));
            return Poll::Ready(Some(Ok(frame)));
        }
        match state.end {
            Some(how) => {
                drop(state);
                self.ended = true;
                Poll::Ready(how.err().map(Err))
            }
            None => {
                state.reader = Some(context.waker().clone());
                if first_wish {
                    wake(state, |state| &mut state.writer);
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for FedBody {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.abandoned = true;
        state.frames.clear();
        wake(state, |state| &mut state.writer);
    }
}

#[cfg(test)]
mod tests {
    use waker::{Counted, counted};

    use super::*;

    /// A waker that counts.
    mod waker {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        use std::task::{Wake, Waker};

        #[derive(Default)]
        pub(super) struct Counted(AtomicUsize);

        impl Counted {
            pub(super) fn times(&self) -> usize {
                self.0.load(Ordering::Relaxed)
            }
        }

        impl Wake for Counted {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        pub(super) fn counted() -> (Arc<Counted>, Waker) {
            let counted = Arc::new(Counted::default());
            (Arc::clone(&counted), counted.into())
        }
    }

    fn poll(body: &mut Body, waker: &Waker) -> Poll<Option<Result<Bytes, BodyError>>> {
        let polled = Pin::new(body).poll_frame(&mut Context::from_waker(waker));
        polled.map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())))
    }

    /// A waker, and how often it was used.
    type Watched = (Arc<Counted>, Waker);

    fn pair() -> (BodyFeed, Body, Watched, Watched) {
        let (feed, body) = body_feed(None);
        (feed, body, counted(), counted())
    }

    #[test]
    fn the_writer_waits_while_the_window_is_full_and_is_woken_by_the_reader() {
        let (feed, mut body, (woken, writer), (_, reader)) = pair();
        let mut context = Context::from_waker(&writer);
        assert_eq!(feed.poll_room(&mut context), Poll::Ready(Room::Open));
        feed.push(Bytes::from(vec![0; BODY_WINDOW_BYTES]));
        assert_eq!(feed.poll_room(&mut context), Poll::Pending);
        assert!(poll(&mut body, &reader).is_ready());
        assert_eq!(woken.times(), 1);
        assert_eq!(feed.poll_room(&mut context), Poll::Ready(Room::Open));
    }

    #[test]
    fn a_small_piece_does_not_keep_the_buffer_alive_of_which_it_is_a_slice() {
        let (feed, _body, ..) = pair();
        let buffer = Bytes::from(vec![0; 64 * 1024]);
        feed.push(buffer.slice(..1));
        assert!(buffer.is_unique());
    }

    #[test]
    fn the_first_poll_says_that_the_body_is_wanted() {
        let (feed, mut body, (woken, writer), (_, reader)) = pair();
        assert!(feed.poll_room(&mut Context::from_waker(&writer)).is_ready() && !feed.is_wanted());
        assert!(poll(&mut body, &reader).is_pending());
        assert_eq!((feed.is_wanted(), woken.times()), (true, 1));
    }

    #[test]
    fn a_dropped_reader_tells_the_writer_and_a_dropped_writer_aborts_the_body() {
        let (feed, body, (woken, writer), _) = pair();
        assert!(feed.poll_room(&mut Context::from_waker(&writer)).is_ready());
        drop(body);
        assert_eq!(woken.times(), 1);
        assert_eq!(feed.poll_room(&mut Context::from_waker(&writer)), Poll::Ready(Room::Abandoned));
        let (feed, mut body, _, (woken, reader)) = pair();
        assert!(poll(&mut body, &reader).is_pending());
        feed.push(Bytes::from_static(b"x"));
        drop(feed);
        assert_eq!(woken.times(), 1);
        assert_eq!(poll(&mut body, &reader), Poll::Ready(Some(Ok(Bytes::from_static(b"x")))));
        assert_eq!(poll(&mut body, &reader), Poll::Ready(Some(Err(BodyError::Aborted))));
        assert_eq!(poll(&mut body, &reader), Poll::Ready(None));
    }
}
