//! Bodies: pulled, never buffered whole.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Whoever sends it went away, or reset it.
    #[error("the sender went away before the body's end")]
    Aborted,
    /// It is shorter or longer than its head said.
    #[error("the body's length is not what its head said")]
    WrongLength,
    /// Its framing is broken.
    #[error("the body's framing is malformed")]
    Malformed,
    /// It is longer than is allowed.
    #[error("the body is longer than is allowed")]
    TooLarge,
    /// Nothing came for too long.
    #[error("the body stalled for too long")]
    TimedOut,
}

type Streamed = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>;

/// The body of a request or a response: nothing, one piece, or a stream with an optional known length.
#[derive(Default)]
pub struct Body(Inner);

#[derive(Default)]
enum Inner {
    #[default]
    Empty,
    Full(Bytes),
    Stream(Streamed),
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self(Inner::Empty)
    }

    /// A body that is here already.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::empty() } else { Self(Inner::Full(bytes)) }
    }

    /// A body that comes piece by piece. Its size hint, where exact, becomes the message's length.
    pub fn stream(body: impl HttpBody<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self(Inner::Stream(Box::pin(body)))
    }

    /// What comes by a connection that a library speaks; whatever ends it early is [`BodyError::Aborted`].
    pub fn received<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    {
        if body.is_end_stream() { Self::empty() } else { Self::stream(Received(body)) }
    }

    /// The same body, which keeps this until it has gone: a place among what is under way, room for its octets.
    #[must_use]
    pub fn holding(self, place: impl Send + Unpin + 'static) -> Self {
        Self::stream(Holding { body: self, _place: place })
    }

    /// A body and the end into which it is written; at most `frames_max` frames lie between them, then the writer
    /// waits. Dropping the sender without [`BodySender::finish`] aborts the body.
    pub fn channel(frames_max: usize, length: Option<u64>) -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(frames_max);
        (
            BodySender { frames: sender },
            Self::stream(ChannelBody { frames: receiver, left: length, ended: false }),
        )
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.is_end_stream()
    }

    /// How many octets are still to come, where that is known.
    pub fn length(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// The whole body if it is here already.
    pub fn as_full(&self) -> Option<&Bytes> {
        match &self.0 {
            Inner::Full(bytes) => Some(bytes),
            Inner::Empty | Inner::Stream(_) => None,
        }
    }

    /// The next frame; `None` at the end.
    pub async fn next_frame(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_frame(context)).await
    }

    /// The whole body, if it has at most `octets_max` octets.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] beyond that; whatever ended the body early.
    pub async fn collect(mut self, octets_max: usize) -> Result<Bytes, BodyError> {
        if let Inner::Full(bytes) = self.0 {
            return if bytes.len() > octets_max { Err(BodyError::TooLarge) } else { Ok(bytes) };
        }
        let mut all = Vec::new();
        while let Some(frame) = self.next_frame().await {
            if let Ok(data) = frame?.into_data() {
                if all.len() + data.len() > octets_max {
                    return Err(BodyError::TooLarge);
                }
                all.extend_from_slice(&data);
            }
        }
        Ok(all.into())
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Inner::Empty => f.write_str("Body(empty)"),
            Inner::Full(bytes) => write!(f, "Body({} octets)", bytes.len()),
            Inner::Stream(stream) => write!(f, "Body(stream, {:?})", stream.size_hint()),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match std::mem::take(&mut self.0) {
            Inner::Empty => Poll::Ready(None),
            Inner::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Inner::Stream(mut stream) => {
                let polled = stream.as_mut().poll_frame(context);
                self.0 = Inner::Stream(stream);
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Empty => true,
            Inner::Full(_) => false,
            Inner::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(stream) => stream.size_hint(),
        }
    }
}

/// The writing end of [`Body::channel`].
#[derive(Debug)]
pub struct BodySender {
    frames: mpsc::Sender<Option<Result<Frame<Bytes>, BodyError>>>,
}

impl BodySender {
    /// Sends a piece; waits while the reader is behind. `Err` when the reader is gone.
    ///
    /// # Errors
    /// [`BodyError::Aborted`] when nobody reads any more.
    pub async fn send(&mut self, data: Bytes) -> Result<(), BodyError> {
        self.frames.send(Some(Ok(Frame::data(data)))).await.map_err(|_| BodyError::Aborted)
    }

    /// Sends the trailers, after all data.
    ///
    /// # Errors
    /// [`BodyError::Aborted`] when nobody reads any more.
    pub async fn send_trailers(&mut self, trailers: http::HeaderMap) -> Result<(), BodyError> {
        self.frames.send(Some(Ok(Frame::trailers(trailers)))).await.map_err(|_| BodyError::Aborted)
    }

    /// Ends the body as it should end.
    pub async fn finish(self) {
        self.frames.send(None).await.ok();
    }

    /// Ends the body early, telling the reader why.
    pub async fn fail(self, error: BodyError) {
        self.frames.send(Some(Err(error))).await.ok();
    }

    /// Waits until nobody reads any more.
    pub async fn closed(&self) {
        self.frames.closed().await;
    }
}

struct Received<B>(B);

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Received<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.0).poll_frame(context).map_err(|_| BodyError::Aborted)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

struct Holding<P> {
    body: Body,
    _place: P,
}

impl<P: Unpin> HttpBody for Holding<P> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct ChannelBody {
    frames: mpsc::Receiver<Option<Result<Frame<Bytes>, BodyError>>>,
    /// Octets still to come, where the length is known.
    left: Option<u64>,
    ended: bool,
}

impl HttpBody for ChannelBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let received = std::task::ready!(self.frames.poll_recv(context));
        let frame = match received {
            Some(Some(Ok(frame))) => match (self.left, frame.data_ref()) {
                (Some(left), Some(data)) => match left.checked_sub(data.len() as u64) {
                    Some(less) => {
                        self.left = Some(less);
                        Some(Ok(frame))
                    }
                    None => Some(Err(BodyError::WrongLength)),
                },
                _ => Some(Ok(frame)),
            },
            Some(Some(Err(error))) => Some(Err(error)),
            Some(None) if self.left.is_some_and(|left| left > 0) => Some(Err(BodyError::WrongLength)),
            Some(None) => None,
            None => Some(Err(BodyError::Aborted)),
        };
        self.ended = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
