//! Bodies that no endpoint has read to their end: the answer reaches whoever sends them.
//!
//! ```text
//!  request's body ─▶ Lent ─▶ the endpoint, which reads it, or drops it and refuses
//!                      └─ what is left of it ─▶ a little and soon: read before the answer; the connection goes on
//!                                             └▶ else `connection: close`, read beside the answer, then Lingering
//! ```
//!
//! Closing a connection on which octets lie unread, or come yet, resets it, and the client may lose with it the answer that it has
//! not read; many read none before they have sent everything. So what comes is read and thrown away, within bounds, as nginx
//! (`lingering_close`) and our own edge do. HTTP/2 has its own way to say that a body is not wanted.

use std::{
    future::Future as _,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    http::{HeaderValue, Request, Version, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::future::poll_fn;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::Sleep,
};

use crate::limits;

/// Octets of one read while lingering.
const READ_OCTETS: usize = 8 << 10;

/// Whether the client of a connection may still be sending what nobody reads.
pub(crate) type Unread = Arc<AtomicBool>;

/// A request's body, which comes back to the connection if it is dropped before its end.
pub(crate) struct Lent<B> {
    /// Until it has ended.
    body: Option<B>,
    /// Whether its client sends it only when it is asked for, by its being read, or waits a moment for that at least.
    is_waiting: bool,
    back: Option<oneshot::Sender<Left<B>>>,
}

/// What is left of a body.
struct Left<B> {
    body: B,
    is_waiting: bool,
}

/// Where what is left of a body comes back.
pub(crate) struct Lender<B>(oneshot::Receiver<Left<B>>);

/// A request with its body lent to whoever answers it, and where that comes back.
pub(crate) fn lend<B: Body>(request: Request<B>) -> (Request<Lent<B>>, Option<Lender<B>>) {
    let (head, body) = request.into_parts();
    let (back, lender) = match head.version < Version::HTTP_2 && !body.is_end_stream() {
        true => Some(oneshot::channel()).unzip(),
        false => (None, None),
    };
    let is_waiting = head.headers.contains_key(header::EXPECT);
    (Request::from_parts(head, Lent { body: Some(body), is_waiting, back }), lender.map(Lender))
}

impl<B: Body + Unpin> Body for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.is_waiting = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // Nobody waits for it where the connection is over.
            back.send(Left { body, is_waiting: self.is_waiting }).ok();
        }
    }
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Lender<B> {
    /// Sees to what the endpoint has left of the body, before its answer is sent.
    pub(crate) async fn settle(mut self, response: &mut Response, unread: &Unread) {
        let Left { mut body, is_waiting } = match self.0.try_recv() {
            Ok(left) => left,
            Err(oneshot::error::TryRecvError::Closed) => return,
            // Somebody reads it beside the answer, and may yet leave something.
            Err(oneshot::error::TryRecvError::Empty) => {
                let unread = Arc::clone(unread);
                tokio::spawn(async move {
                    match self.0.await {
                        // To read it is to ask for it.
                        Ok(left) if left.is_waiting => unread.store(true, Ordering::Release),
                        Ok(left) => discard_beside(left.body, &unread).await,
                        Err(_) => {}
                    }
                });
                return;
            }
        };
        let is_small = body.size_hint().lower() <= limits::UNREAD_KEPT_OCTETS_MAX as u64;
        if is_small && !is_waiting {
            let little = discard(&mut body, limits::UNREAD_KEPT_OCTETS_MAX);
            if let Ok(true) = tokio::time::timeout(limits::UNREAD_KEPT_WITHIN, little).await {
                return;
            }
        }
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        if is_waiting {
            // To read it is to ask for it.
            unread.store(true, Ordering::Release);
            return;
        }
        // Until it is: a server that ends meanwhile closes the connection when the answer is out.
        unread.store(true, Ordering::Release);
        let unread = Arc::clone(unread);
        tokio::spawn(async move { discard_beside(body, &unread).await });
    }
}

/// Reads a body away while its answer goes out. The connection is not over before.
async fn discard_beside<B: Body<Data = Bytes> + Unpin>(mut body: B, unread: &AtomicBool) {
    let all = discard(&mut body, limits::UNREAD_DISCARDED_OCTETS_MAX);
    let is_read = matches!(tokio::time::timeout(limits::DISCARDED_WITHIN, all).await, Ok(true));
    // Said before the body is dropped, which ends the connection.
    unread.store(!is_read, Ordering::Release);
}

/// Reads a body and throws it away; whether it has ended, or its sender has gone, before it had more octets than these.
async fn discard<B: Body<Data = Bytes> + Unpin>(body: &mut B, octets_max: usize) -> bool {
    let mut octets = 0;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        octets += frame.data_ref().map_or(0, Bytes::len);
        if octets > octets_max {
            return false;
        }
    }
    true
}

/// A stream whose end, if its client may still be sending, is one that lets the client read the last answer: the sending half is shut
/// down, and what comes is read away until the client closes too, or a bound.
pub(crate) struct Lingering<S> {
    stream: S,
    unread: Unread,
    /// Since the sending half is shut down.
    until: Option<Pin<Box<Sleep>>>,
    octets_left: usize,
}

impl<S> Lingering<S> {
    pub(crate) const fn new(stream: S, unread: Unread) -> Self {
        Self { stream, unread, until: None, octets_left: limits::LINGER_OCTETS_MAX }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.until.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.unread.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
        }
        let sleep = || Box::pin(tokio::time::sleep(limits::LINGER));
        let until: &mut Pin<Box<Sleep>> = this.until.get_or_insert_with(sleep);
        while this.octets_left > 0 && until.as_mut().poll(cx).is_pending() {
            let mut room = [0; READ_OCTETS];
            let mut buffer = ReadBuf::new(&mut room);
            match ready!(pin!(&mut this.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    this.octets_left = this.octets_left.saturating_sub(buffer.filled().len());
                }
                // The client has closed, or is gone.
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
