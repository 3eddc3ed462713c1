//! A Worker's answer on its way out of the engine.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http1::SendRequest, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use proxima_pipeline::{Body, BodyError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::process::AtWork;

/// The body: while it comes, its Worker is at work; read to its end, it gives the connection back.
pub(crate) struct AnswerBody {
    incoming: Incoming,
    working: Option<(AtWork, SendRequest<Body>)>,
}

impl AnswerBody {
    pub(crate) fn new(incoming: Incoming, at_work: AtWork, connection: SendRequest<Body>) -> Self {
        let mut body = Self { incoming, working: Some((at_work, connection)) };
        if body.incoming.is_end_stream() {
            body.done();
        }
        body
    }

    fn done(&mut self) {
        if let Some((at_work, connection)) = self.working.take() {
            at_work.done(connection);
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        let frame = ready!(Pin::new(&mut body.incoming).poll_frame(context));
        if let Some((at_work, _)) = &body.working {
            at_work.progressed();
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                // Its reader may never ask again.
                if body.incoming.is_end_stream() {
                    body.done();
                }
                Some(Ok(frame))
            }
            Some(Err(_)) => {
                body.working = None;
                Some(Err(BodyError::Aborted))
            }
            None => {
                body.done();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A connection that has left HTTP: a WebSocket whose other end is a Worker.
pub(crate) struct UpgradedWorker {
    pub(crate) io: TokioIo<Upgraded>,
    pub(crate) at_work: AtWork,
}

impl AsyncRead for UpgradedWorker {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let worker = self.get_mut();
        let read = ready!(Pin::new(&mut worker.io).poll_read(context, buffer));
        worker.at_work.progressed();
        Poll::Ready(read)
    }
}

impl AsyncWrite for UpgradedWorker {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}
