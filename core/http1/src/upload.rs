//! Sending a request: its head, then its body as it comes, in as few writes as can be. It goes into whatever takes octets.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;
use proxima_pipeline::{Body, BodyError};
use tokio::io::AsyncWrite;

use crate::{CHUNK_END, CHUNKED_END, Framing, encode_chunk_start, encode_trailers};

/// Why a request could not be sent whole.
#[derive(Debug)]
pub enum UploadError {
    /// The other side does not take it. It may have answered all the same.
    Peer(io::Error),
    /// The body that was to be sent ended early.
    Body(BodyError),
}

/// A request on its way. Pulls the body only as fast as the other side takes it.
pub struct Upload {
    /// What goes out next, in this order: octets of our own, octets of the body, octets of our own.
    head: BytesMut,
    data: Bytes,
    tail: &'static [u8],
    body: Body,
    framing: Left,
    state: State,
    /// Whether the kernel has taken any octet of the request.
    pub begun: bool,
    /// Whether any of the body has been taken from it, so that it cannot be sent again.
    pub consumed: bool,
    /// Whether anything went out since it was last asked.
    progressed: bool,
    with_trailers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Octets(u64),
    Chunks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sending,
    /// Nothing more is taken from the body; what is left goes out.
    Ending,
    Sent,
    /// The other side takes no more.
    Broken,
}

impl Upload {
    /// Sends `head`, then `body` framed as the head says.
    pub fn new(head: BytesMut, body: Body, framing: Framing) -> Self {
        let left = match framing {
            Framing::Chunked => Left::Chunks,
            Framing::Length(octets) => Left::Octets(octets),
            Framing::None | Framing::UntilClose => Left::Octets(0),
        };
        let state = match left {
            Left::Octets(0) => State::Ending,
            _ => State::Sending,
        };
        Self {
            head,
            data: Bytes::new(),
            tail: &[],
            body,
            framing: left,
            state,
            begun: false,
            consumed: false,
            progressed: false,
            with_trailers: true,
        }
    }

    /// Leaves trailers out: whoever cannot read them takes them for the next request.
    pub fn without_trailers(mut self) -> Self {
        self.with_trailers = false;
        self
    }

    /// Whether all of it has been sent.
    pub fn is_sent(&self) -> bool {
        self.state == State::Sent
    }

    /// Whether there is nothing more to do, for better or worse.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Sent | State::Broken)
    }

    /// The other side takes no more: what is left is not sent.
    pub fn give_up(&mut self) {
        self.state = State::Broken;
    }

    /// Whether anything went out since this was last asked.
    pub fn take_progressed(&mut self) -> bool {
        std::mem::take(&mut self.progressed)
    }

    /// The body, to be sent anew, if none of it is gone.
    pub fn into_unsent_body(self) -> Option<Body> {
        (!self.consumed).then_some(self.body)
    }

    /// Sends as much as can be sent now. Ready when it is sent.
    pub fn poll_send<T: AsyncWrite + Unpin>(
        &mut self,
        transport: &mut T,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            if self.state == State::Sending && self.data.is_empty() && self.tail.is_empty() {
                match self.poll_fill(context) {
                    Poll::Ready(filled) => filled.map_err(UploadError::Body)?,
                    // The head does not wait for a body that is not here yet.
                    Poll::Pending if !self.head.is_empty() => {}
                    Poll::Pending => {
                        // TLS may hold octets back.
                        let flushed = Pin::new(&mut *transport).poll_flush(context);
                        return match flushed {
                            Poll::Ready(Err(error)) => Poll::Ready(Err(UploadError::Peer(error))),
                            _ => Poll::Pending,
                        };
                    }
                }
            }
            if self.head.is_empty() && self.data.is_empty() && self.tail.is_empty() {
                if self.state == State::Sending {
                    continue;
                }
                ready!(Pin::new(&mut *transport).poll_flush(context)).map_err(UploadError::Peer)?;
                self.state = State::Sent;
                return Poll::Ready(Ok(()));
            }
            let slices = [IoSlice::new(&self.head), IoSlice::new(&self.data), IoSlice::new(self.tail)];
            let written = ready!(Pin::new(&mut *transport).poll_write_vectored(context, &slices));
            let written = written.map_err(UploadError::Peer)?;
            if written == 0 {
                return Poll::Ready(Err(UploadError::Peer(io::ErrorKind::WriteZero.into())));
            }
            self.advance(written);
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.begun = true;
        self.progressed = true;
        let of_head = written.min(self.head.len());
        self.head.advance(of_head);
        written -= of_head;
        let of_data = written.min(self.data.len());
        self.data.advance(of_data);
        written -= of_data;
        self.tail = &self.tail[written..];
    }

    /// Takes the next piece of the body and frames it.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.consumed = true;
        let Some(frame) = frame else { return Poll::Ready(self.end(None)) };
        match frame?.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                let octets = data.len() as u64;
                match &mut self.framing {
                    Left::Octets(left) => {
                        *left = left.checked_sub(octets).ok_or(BodyError::WrongLength)?;
                        if *left == 0 {
                            self.state = State::Ending;
                        }
                    }
                    Left::Chunks => {
                        encode_chunk_start(octets, &mut self.head);
                        self.tail = CHUNK_END;
                    }
                }
                self.data = data;
            }
            Err(frame) => return Poll::Ready(self.end(frame.into_trailers().ok())),
        }
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, trailers: Option<http::HeaderMap>) -> Result<(), BodyError> {
        match (self.framing, trailers) {
            (Left::Octets(left), _) if left > 0 => return Err(BodyError::WrongLength),
            (Left::Octets(_), _) => {}
            (Left::Chunks, Some(trailers)) if self.with_trailers => {
                encode_trailers(&trailers, &mut self.head)
            }
            (Left::Chunks, _) => self.tail = CHUNKED_END,
        }
        self.state = State::Ending;
        Ok(())
    }
}
