//! The body of an answer, read straight from its connection by whoever wants it: what the clients of origins and of the engine that runs
//! Workers have in common.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use proxima_pipeline::{Body, BodyError};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::{BodyDecoder, Decoded, Framing, Limits, Upload};

/// Octets that a read asks for where no more are announced: a head and a small body.
const READ_OCTETS: usize = 16 * 1024;
/// Octets that a read asks for within a long body.
const READ_LONG_OCTETS: usize = 64 * 1024;

/// What was read of a connection and not consumed yet.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    /// The octets.
    pub octets: BytesMut,
    /// Whether it is one of a long body's or head's, too large to be kept.
    is_long: bool,
}

impl ReadBuffer {
    /// Reads what is there, at least one octet; 0 at the end. `announced`: how much is still to come, if known.
    pub fn poll_more<T: AsyncRead + Unpin>(
        &mut self,
        transport: &mut T,
        context: &mut Context<'_>,
        announced: Option<u64>,
    ) -> Poll<io::Result<usize>> {
        let is_long = announced.is_some_and(|octets| octets > READ_OCTETS as u64);
        // A long head makes it grow, too.
        self.is_long |= is_long || self.octets.len() > READ_OCTETS;
        self.octets.reserve(if is_long { READ_LONG_OCTETS } else { READ_OCTETS });
        poll_read_buf(Pin::new(transport), context, &mut self.octets)
    }

    /// Reads for who has left HTTP: what came right behind the head first. Then it keeps no memory, since that may go on for days.
    pub fn poll_left<T: AsyncRead + Unpin>(
        &mut self,
        transport: &mut T,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.octets.is_empty() {
            self.octets = BytesMut::new();
            return Pin::new(transport).poll_read(context, into);
        }
        let octets = self.octets.len().min(into.remaining());
        into.put_slice(&self.octets.split_to(octets));
        Poll::Ready(Ok(()))
    }

    /// The same for the next answer; `None` if anything came behind the last one's end, which belongs to nothing.
    pub fn ended(self) -> Option<Self> {
        match self {
            Self { octets, .. } if !octets.is_empty() => None,
            Self { is_long: true, .. } => Some(Self::default()),
            kept => Some(kept),
        }
    }
}

/// A connection over which an answer comes.
pub trait Answering: Send + Unpin + 'static {
    /// What was read of it.
    fn buffer(&mut self) -> &mut BytesMut;

    /// Goes on sending what is left of the request.
    ///
    /// # Errors
    /// The request was cut off: nobody gets an answer to the half of it.
    fn poll_send(&mut self, upload: &mut Upload, context: &mut Context<'_>) -> Result<(), BodyError>;

    /// Reads what is there into the buffer, at least one octet; 0 at the end. `announced`: how much is still to come, if known.
    fn poll_more(&mut self, context: &mut Context<'_>, announced: Option<u64>) -> Poll<io::Result<usize>>;

    /// Ready when nothing has come for too long. Asked while nothing comes.
    fn poll_silent(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// The answer has come whole; whether another request may follow.
    fn ended(self, is_kept: bool);
}

/// Reads only when it is polled: a client that reads slowly makes the other side wait. Read to its end, it gives the connection back;
/// dropped before, or broken, it closes it. An upload that was answered early goes on only while this is polled.
pub struct PulledBody<A> {
    connection: Option<A>,
    decoder: BodyDecoder,
    /// A request that was answered before all of it was sent.
    upload: Option<Upload>,
    /// Whether the answer lets another request follow on the connection.
    keep_alive: bool,
}

impl<A: Answering> PulledBody<A> {
    /// The body of an answer whose head has come over this connection. One that is here already, whole, gives the connection back at
    /// once. Who gets an answer without a body sends no more.
    pub fn of(
        mut connection: A,
        framing: Framing,
        limits: &Limits,
        upload: Upload,
        keep_alive: bool,
    ) -> Body {
        let is_here = framing.is_empty() || framing == Framing::Length(connection.buffer().len() as u64);
        if is_here && (upload.is_sent() || framing.is_empty()) {
            let whole = (!framing.is_empty()).then(|| connection.buffer().split().freeze());
            connection.ended(keep_alive && upload.is_sent());
            return whole.map_or_else(Body::empty, Body::full);
        }
        let (connection, decoder) = (Some(connection), BodyDecoder::new(framing, limits));
        let upload = (!upload.is_sent()).then_some(upload);
        Body::stream(Self { connection, decoder, upload, keep_alive })
    }

    /// The answer is complete.
    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.ended(self.keep_alive && self.upload.as_ref().is_none_or(Upload::is_sent));
        }
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.connection = None;
        Poll::Ready(Some(Err(error)))
    }

    /// Reads more; the error is the body's end before its end.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Err(BodyError::Aborted)) };
        let announced = self.decoder.remaining();
        match connection.poll_more(context, announced) {
            Poll::Ready(Ok(0)) => {
                let short = if announced.is_some() { BodyError::WrongLength } else { BodyError::Aborted };
                Poll::Ready(self.decoder.end_of_input().map_err(|_| short))
            }
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            // An answer over TLS that ends without a closure alert may have been cut off by anyone (RFC 9112, 9.8).
            Poll::Ready(Err(error)) => Poll::Ready(Err(match error.kind() {
                io::ErrorKind::TimedOut => BodyError::TimedOut,
                _ => BodyError::Aborted,
            })),
            Poll::Pending => {
                ready!(connection.poll_silent(context));
                Poll::Ready(Err(BodyError::TimedOut))
            }
        }
    }
}

impl<A: Answering> HttpBody for PulledBody<A> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        if let (Some(upload), Some(connection)) = (&mut body.upload, &mut body.connection)
            && let Err(error) = connection.poll_send(upload, context)
        {
            return body.fail(error);
        }
        loop {
            let Some(connection) = &mut body.connection else { return Poll::Ready(None) };
            match body.decoder.decode(connection.buffer()) {
                Ok(Decoded::Data(data)) => {
                    // The last piece gives the connection back at once: its reader may never ask again.
                    if body.decoder.is_done() {
                        body.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Decoded::Trailers(trailers)) => {
                    body.end();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::End) => {
                    body.end();
                    return Poll::Ready(None);
                }
                Ok(Decoded::NeedMore) => {
                    if let Err(error) = ready!(body.poll_more(context)) {
                        return body.fail(error);
                    }
                }
                Err(_) => return body.fail(BodyError::Malformed),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
