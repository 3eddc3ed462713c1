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
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use proxima_pipeline::BodyError;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::process::{AtWork, Connection};

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
    incoming: Incoming,
    working: Option<(AtWork, Connection)>,
    silence: Silence,
}

impl AnswerBody {
    pub(crate) fn new(incoming: Incoming, at_work: AtWork, connection: Connection) -> Self {
        let mut body = Self { incoming, working: Some((at_work, connection)), silence: Silence::default() };
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
        let Poll::Ready(frame) = Pin::new(&mut body.incoming).poll_frame(context) else {
            ready!(body.silence.poll(context));
            body.working = None;
            return Poll::Ready(Some(Err(BodyError::TimedOut)));
        };
        body.silence.broken();
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
    io: TokioIo<Upgraded>,
    at_work: AtWork,
    /// Whether it was told something of which nothing has come yet.
    is_told: bool,
}

impl UpgradedWorker {
    pub(crate) fn new(io: Upgraded, at_work: AtWork) -> Self {
        at_work.has_to_do(false);
        Self { io: TokioIo::new(io), at_work, is_told: false }
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
