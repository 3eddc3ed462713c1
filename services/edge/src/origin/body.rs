//! The body of an answer, read straight from the connection by whoever wants it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use proxima_http1::{BodyDecoder, Decoded, Upload, UploadError};
use proxima_pipeline::BodyError;
use tokio::time::Instant;

use super::connection::Connection;

/// Reads from the origin only when it is polled: a client that reads slowly makes the origin wait. Read to its end, it
/// gives the connection back; dropped before, or broken, it closes it.
pub(super) struct OriginBody {
    connection: Option<Connection>,
    decoder: BodyDecoder,
    /// A request that was answered before all of it was sent.
    upload: Option<Upload>,
    /// Whether another request may follow on the connection.
    keep_alive: bool,
    between_reads: Duration,
}

impl OriginBody {
    pub(super) fn new(
        mut connection: Connection,
        decoder: BodyDecoder,
        upload: Option<Upload>,
        keep_alive: bool,
        between_reads: Duration,
    ) -> Self {
        connection.deadline.clear();
        Self { connection: Some(connection), decoder, upload, keep_alive, between_reads }
    }

    /// The answer is complete.
    fn end(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.keep_alive
            && self.upload.is_none()
        {
            connection.release();
        }
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.connection = None;
        Poll::Ready(Some(Err(error)))
    }

    /// Goes on sending. An origin that takes no more may still be answering; a client that breaks its request off
    /// gets no answer to the half of it.
    fn drive_upload(&mut self, context: &mut Context<'_>) -> Result<(), BodyError> {
        let (Some(upload), Some(connection)) = (&mut self.upload, &mut self.connection) else {
            return Ok(());
        };
        if upload.is_over() {
            return Ok(());
        }
        match upload.poll_send(&mut connection.transport, context) {
            Poll::Ready(Ok(())) => self.upload = None,
            Poll::Ready(Err(UploadError::Peer(_))) => upload.give_up(),
            Poll::Ready(Err(UploadError::Body(_))) => return Err(BodyError::Aborted),
            Poll::Pending => {}
        }
        Ok(())
    }

    /// Reads more; the error is the body's end before its end.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Err(BodyError::Aborted)) };
        match connection.poll_read(context, self.decoder.remaining()) {
            Poll::Ready(Ok(0)) => {
                let announced = self.decoder.remaining().is_some();
                let short = if announced { BodyError::WrongLength } else { BodyError::Aborted };
                Poll::Ready(self.decoder.end_of_input().map_err(|_| short))
            }
            Poll::Ready(Ok(_)) => {
                connection.deadline.clear();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(read_error(&error))),
            Poll::Pending => {
                // The origin may let us wait only so long.
                if !connection.deadline.is_set() {
                    connection.transport.acknowledge();
                    connection.deadline.set(Instant::now() + self.between_reads);
                }
                ready!(connection.deadline.poll(context));
                Poll::Ready(Err(BodyError::TimedOut))
            }
        }
    }
}

/// An answer over TLS that ends without a closure alert may have been cut off by anyone (RFC 9112, 9.8).
fn read_error(error: &io::Error) -> BodyError {
    match error.kind() {
        io::ErrorKind::TimedOut => BodyError::TimedOut,
        _ => BodyError::Aborted,
    }
}

impl HttpBody for OriginBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        if let Err(error) = body.drive_upload(context) {
            return body.fail(error);
        }
        loop {
            let Some(connection) = &mut body.connection else { return Poll::Ready(None) };
            match body.decoder.decode(&mut connection.buffer) {
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
