//! A Worker's answer on its way out of the engine.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use proxima_http1::{BodyDecoder, Decoded, Framing, ResponseHead, Upload};
use proxima_pipeline::{Body, BodyError};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{
    connection::{Connection, LIMITS},
    process::AtWork,
};

/// How long an answer may go on without anything coming: then its Worker is cut off. Longer than those are silent who send something
/// now and then so as to be kept (server-sent events).
const SILENT_MAX: Duration = Duration::from_secs(300);

/// For how long nothing has come.
#[derive(Default)]
struct Silence {
    timer: Option<Pin<Box<Sleep>>>,
    goes_on: bool,
}

impl Silence {
    /// Something came.
    const fn broken(&mut self) {
        self.goes_on = false;
    }

    /// Still nothing: ready once that is too long.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(SILENT_MAX)));
        if !self.goes_on {
            self.goes_on = true;
            timer.as_mut().reset(Instant::now() + SILENT_MAX);
        }
        timer.as_mut().poll(context)
    }
}

/// The body: while it comes, its Worker is at work; read to its end, it gives the connection back.
pub(crate) struct AnswerBody {
    working: Option<(AtWork, Connection)>,
    decoder: BodyDecoder,
    /// A request that was answered before all of it was sent.
    upload: Option<Upload>,
    /// Whether another request may follow on the connection.
    keep_alive: bool,
    silence: Silence,
}

/// The body of an answer whose head has come over this connection.
pub(super) fn body(head: &ResponseHead, at_work: AtWork, mut connection: Connection, upload: Upload) -> Body {
    let (framing, keep_alive) = (head.framing, head.keep_alive);
    let is_here = framing.is_empty() || framing == Framing::Length(connection.buffer.len() as u64);
    if is_here && upload.is_sent() {
        let whole = (!framing.is_empty()).then(|| connection.buffer.split().freeze());
        at_work.done(keep_alive.then_some(connection));
        return whole.map_or_else(Body::empty, Body::full);
    }
    if framing.is_empty() {
        // What else there is of the request nobody wants to have.
        at_work.done(None);
        return Body::empty();
    }
    let upload = (!upload.is_sent()).then_some(upload);
    let decoder = BodyDecoder::new(framing, &LIMITS);
    let working = Some((at_work, connection));
    Body::stream(AnswerBody { working, decoder, upload, keep_alive, silence: Silence::default() })
}

impl AnswerBody {
    /// All of the answer has come.
    fn done(&mut self) {
        if let Some((at_work, connection)) = self.working.take() {
            let is_kept = self.keep_alive && self.upload.as_ref().is_none_or(Upload::is_sent);
            at_work.done(is_kept.then_some(connection));
        }
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.working = None;
        Poll::Ready(Some(Err(error)))
    }

    /// Reads more; the error is the body's end before its end.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some((at_work, connection)) = &mut self.working else {
            return Poll::Ready(Err(BodyError::Aborted));
        };
        match connection.poll_more(context, self.decoder.remaining()) {
            Poll::Ready(Ok(0)) => Poll::Ready(self.decoder.end_of_input().map_err(|_| BodyError::Aborted)),
            Poll::Ready(Ok(_)) => {
                self.silence.broken();
                at_work.progressed();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(BodyError::Aborted)),
            Poll::Pending => {
                ready!(self.silence.poll(context));
                Poll::Ready(Err(BodyError::TimedOut))
            }
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
        if let (Some(upload), Some((_, connection))) = (&mut body.upload, &mut body.working)
            && let Err(error) = connection.poll_send(upload, context)
        {
            return body.fail(error);
        }
        loop {
            let Some((_, connection)) = &mut body.working else { return Poll::Ready(None) };
            match body.decoder.decode(&mut connection.buffer) {
                Ok(Decoded::Data(data)) => {
                    // Its reader may never ask again.
                    if body.decoder.is_done() {
                        body.done();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Decoded::Trailers(trailers)) => {
                    body.done();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::End) => {
                    body.done();
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
        self.working.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A connection that has left HTTP: a WebSocket whose other end is a Worker.
pub(crate) struct UpgradedWorker {
    io: Connection,
    at_work: AtWork,
    /// Whether it was told something of which nothing has come yet.
    is_told: bool,
}

impl UpgradedWorker {
    pub(crate) fn new(io: Connection, at_work: AtWork) -> Self {
        at_work.has_to_do(false);
        Self { io, at_work, is_told: false }
    }

    fn is_told(&mut self, is_told: bool) {
        if std::mem::replace(&mut self.is_told, is_told) != is_told {
            self.at_work.has_to_do(is_told);
        }
    }
}

impl Drop for UpgradedWorker {
    fn drop(&mut self) {
        if !self.is_told {
            self.at_work.rested();
        }
    }
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
        worker.is_told(false);
        Poll::Ready(read)
    }
}

impl AsyncWrite for UpgradedWorker {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let worker = self.get_mut();
        let written = ready!(Pin::new(&mut worker.io).poll_write(context, octets));
        worker.at_work.told();
        worker.is_told(true);
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_ends_an_answer_and_whatever_comes_begins_it_anew() {
        let mut silence = Silence::default();
        for _ in 0..2 {
            let begun = Instant::now();
            let most = tokio::time::timeout(SILENT_MAX / 2, poll_fn(|context| silence.poll(context)));
            assert!(most.await.is_err());
            poll_fn(|context| silence.poll(context)).await;
            assert_eq!(begun.elapsed().as_secs(), SILENT_MAX.as_secs());
            silence.broken();
        }
        let most = tokio::time::timeout(SILENT_MAX / 2, poll_fn(|context| silence.poll(context)));
        assert!(most.await.is_err());
        silence.broken();
        let begun = Instant::now();
        poll_fn(|context| silence.poll(context)).await;
        assert_eq!(begun.elapsed().as_secs(), SILENT_MAX.as_secs());
    }
}
