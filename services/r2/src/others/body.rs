//! Octets on their way between two servers: a head, what follows it, and behind it all a trailer that says that it was all.
//!
//! How HTTP/2 ends a stream is not enough to go by: some of its ends are no errors to who reads, and half an object is not to be
//! taken for one.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use proxima_pipeline::{Body, BodyError};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::wire::{self, Malformed};

/// The trailer.
const WHOLE: HeaderName = HeaderName::from_static("proxima-whole");

/// The trailers behind a body that has come to its end.
pub(super) fn marked(trailers: Option<HeaderMap>) -> HeaderMap {
    let mut trailers = trailers.unwrap_or_default();
    trailers.insert(WHOLE, HeaderValue::from_static("1"));
    trailers
}

/// What is sent: a head and what follows.
pub(super) struct Sent {
    head: Option<Bytes>,
    body: Body,
    /// Why it was not all sent.
    failed: Arc<OnceLock<BodyError>>,
    /// Whoever has the other end waits for what comes of it.
    wanted: oneshot::Receiver<()>,
    ended: bool,
}

/// Who sent something and waits for what comes of it: with this, the rest of the body goes.
pub(super) struct Wanted {
    failed: Arc<OnceLock<BodyError>>,
    _wanted: oneshot::Sender<()>,
}

impl Wanted {
    /// Why what was sent did not come to its end, if it is the fault of who gave it.
    pub(super) fn failed(&self) -> Option<BodyError> {
        self.failed.get().copied()
    }
}

impl Sent {
    pub(super) fn new(head: Bytes, body: Body) -> (Self, Wanted) {
        let (sender, wanted) = oneshot::channel();
        let failed = Arc::new(OnceLock::new());
        let sent = Self { head: Some(head), body, failed: failed.clone(), wanted, ended: false };
        (sent, Wanted { failed, _wanted: sender })
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        if Pin::new(&mut self.wanted).poll(context).is_ready() {
            self.ended = true;
            return Poll::Ready(Some(Err(BodyError::Aborted)));
        }
        let trailers = match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => Some(trailers),
                Err(data) => return Poll::Ready(Some(Ok(data))),
            },
            Some(Err(error)) => {
                self.ended = true;
                self.failed.set(error).ok();
                return Poll::Ready(Some(Err(error)));
            }
            None => None,
        };
        self.ended = true;
        Poll::Ready(Some(Ok(Frame::trailers(marked(trailers)))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// Why no head could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Nothing came for too long, or nothing will.
    Lost,
    /// What came is none.
    Malformed,
}

impl From<Malformed> for Unread {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What comes: a head, and what follows.
pub(super) struct Coming {
    body: Body,
    came: BytesMut,
}

impl Coming {
    pub(super) fn new(body: Body) -> Self {
        Self { body, came: BytesMut::new() }
    }

    /// The head, if no longer than this passes without anything of it, or of waits before it.
    pub(super) async fn head<T: for<'a> Deserialize<'a>>(
        &mut self,
        octets_max: usize,
        silence_max: Duration,
    ) -> Result<T, Unread> {
        loop {
            if let Some(head) = wire::read(&mut self.came, octets_max)? {
                return Ok(head);
            }
            let frame = tokio::time::timeout(silence_max, self.body.next_frame()).await;
            let Ok(Some(Ok(frame))) = frame else { return Err(Unread::Lost) };
            let data = frame.into_data().map_err(|_| Unread::Lost)?;
            self.came.extend_from_slice(&data);
        }
    }

    /// What follows: so many octets, if that is known, and an error if they are not all.
    pub(super) fn rest(self, length: Option<u64>) -> Body {
        Body::stream(Whole { came: self.came.freeze(), body: self.body, left: length, ended: false })
    }
}

/// See [`Coming::rest`].
struct Whole {
    came: Bytes,
    body: Body,
    left: Option<u64>,
    ended: bool,
}

impl Whole {
    fn counted(&mut self, data: Bytes) -> Result<Frame<Bytes>, BodyError> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(BodyError::WrongLength)?;
        }
        Ok(Frame::data(data))
    }

    fn end(&self, mut trailers: HeaderMap) -> Option<Result<Frame<Bytes>, BodyError>> {
        if trailers.remove(WHOLE).is_none() {
            return Some(Err(BodyError::Aborted));
        }
        if self.left.is_some_and(|left| left > 0) {
            return Some(Err(BodyError::WrongLength));
        }
        (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)))
    }
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = if self.came.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(self.counted(data)),
                    Err(frame) => self.end(frame.into_trailers().unwrap_or_default()),
                },
                Some(Err(error)) => Some(Err(error)),
                None => Some(Err(BodyError::Aborted)),
            }
        } else {
            let came = std::mem::take(&mut self.came);
            Some(self.counted(came))
        };
        self.ended = !matches!(&frame, Some(Ok(frame)) if frame.is_data());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
