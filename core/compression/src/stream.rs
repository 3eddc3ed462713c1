//! A body that is encoded while it passes.
//!
//! What comes is encoded in slices, each a short while on the thread that serves. When the source pauses, what went in is
//! flushed out: a slow body reaches its reader as it comes. Trailers follow the encoded content.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use proxima_pipeline::{Body, BodyError};
use tokio::sync::OwnedSemaphorePermit;

use crate::{encoder::Encoder, metrics::Counted};

/// Octets that are encoded without a look at whether others wait for the thread: a fraction of a millisecond's work.
const SLICE_OCTETS: usize = 16 * 1024;

/// See the module.
pub(crate) struct Encoded {
    source: Body,
    /// `None` once it is finished.
    encoder: Option<Encoder>,
    /// What came and is not encoded yet.
    input: Bytes,
    /// Whether something went in that may not have come out.
    dirty: bool,
    trailers: Option<http::HeaderMap>,
    ended: bool,
    counted: Arc<Counted>,
    _permit: OwnedSemaphorePermit,
}

impl Encoded {
    pub(crate) fn new(
        source: Body,
        encoder: Encoder,
        counted: Arc<Counted>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            source,
            encoder: Some(encoder),
            input: Bytes::new(),
            dirty: false,
            trailers: None,
            ended: false,
            counted,
            _permit: permit,
        }
    }

    /// Encodes a slice of what is here.
    fn encode(&mut self) -> Result<Bytes, BodyError> {
        let Some(encoder) = &mut self.encoder else { return Err(BodyError::Aborted) };
        let octets = self.input.len().min(SLICE_OCTETS);
        encoder.push(&self.input[..octets]).map_err(|_| BodyError::Aborted)?;
        self.input.advance(octets);
        self.dirty = true;
        self.counted.read.inc_by(octets as u64);
        Ok(encoder.take().into())
    }

    fn flush(&mut self) -> Result<Bytes, BodyError> {
        let Some(encoder) = &mut self.encoder else { return Err(BodyError::Aborted) };
        encoder.flush().map_err(|_| BodyError::Aborted)?;
        self.dirty = false;
        Ok(encoder.take().into())
    }

    fn finish(&mut self) -> Result<Bytes, BodyError> {
        let Some(encoder) = self.encoder.take() else { return Err(BodyError::Aborted) };
        encoder.finish().map(Bytes::from).map_err(|_| BodyError::Aborted)
    }

    /// The next encoded octets, or none at the end.
    fn poll_octets(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, BodyError>> {
        let mut encoded = false;
        loop {
            if !self.input.is_empty() {
                if encoded {
                    // An encoder that has swallowed a slice: others first.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                encoded = true;
                let octets = self.encode()?;
                if !octets.is_empty() {
                    return Poll::Ready(Ok(octets));
                }
                continue;
            }
            match Pin::new(&mut self.source).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.input = data,
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        return Poll::Ready(self.finish());
                    }
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(self.finish()),
                Poll::Pending if self.dirty => {
                    let octets = self.flush()?;
                    if !octets.is_empty() {
                        return Poll::Ready(Ok(octets));
                    }
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl HttpBody for Encoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.encoder.is_none() {
            self.ended = true;
            return Poll::Ready(self.trailers.take().map(Frame::trailers).map(Ok));
        }
        let polled = ready!(self.poll_octets(context));
        self.ended = polled.is_err();
        if let Ok(octets) = &polled {
            self.counted.written.inc_by(octets.len() as u64);
        }
        Poll::Ready(Some(polled.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.encoder.is_none() && self.trailers.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
