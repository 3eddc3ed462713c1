//! What a request stream takes back: interim answers, the answer, and nothing that looks whole and is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};
use proxima_pipeline::Body;
use quinn::SendStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::varint;
use crate::http3::{Code, write_data_head, write_head, write_trailers};
use crate::server::BODY_PROGRESS_BYTES_MIN;

/// Room for an answer's head.
const HEAD_BYTES: usize = 1024;
/// Room for the head of a frame.
const FRAME_HEAD_BYTES: usize = 16;
/// How long a client may take for what was written and lies in its connection's buffer
/// ([`SEND_WINDOW_BYTES`](crate::quic)): slower than 7 KiB a second, it is not waited for.
const DELIVERY: Duration = Duration::from_secs(300);

/// The stream cannot be written to any more, or the answer's body failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut;

/// The sending half of a request stream. Dropped before its answer is whole, it is reset: a stream that only ends would
/// look whole.
pub(super) struct Outgoing {
    send: SendStream,
    write_idle: Duration,
    whole: bool,
    /// Octets that the stream took.
    sent: Arc<AtomicU64>,
}

impl Outgoing {
    pub(super) fn new(send: SendStream, write_idle: Duration) -> Self {
        Self { send, write_idle, whole: false, sent: Arc::default() }
    }

    /// Octets that the stream took so far.
    pub(super) const fn sent(&self) -> &Arc<AtomicU64> {
        &self.sent
    }

    /// Waits until the client wants no answer any more; never, if it has all of it.
    pub(super) fn unwanted(&self) -> impl Future<Output = ()> + use<> {
        let stopped = self.send.stopped();
        async move {
            if stopped.await == Ok(None) {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) fn reset(&mut self, code: Code) {
        self.whole = true;
        // Fails only for a stream that has ended.
        self.send.reset(varint(code)).ok();
    }

    pub(super) async fn interim(&mut self, status: StatusCode, headers: &HeaderMap) -> Result<(), Cut> {
        let mut out = BytesMut::with_capacity(HEAD_BYTES);
        write_head(status, headers, &mut out);
        self.write(&mut [out.freeze()]).await
    }

    /// Writes the answer.
    pub(super) async fn answer(&mut self, head: &Response<()>, mut body: Body) -> Result<(), Cut> {
        let mut out = BytesMut::with_capacity(HEAD_BYTES);
        write_head(head.status(), head.headers(), &mut out);
        // Of known length, a body is one frame, whatever pieces it comes in.
        let mut left = body.length().filter(|_| !body.is_empty());
        if let Some(length) = left {
            write_data_head(length, &mut out);
        }
        if let Some(data) = body.as_full().cloned() {
            self.write(&mut [out.freeze(), data]).await?;
            return self.finish();
        }
        self.write(&mut [out.freeze()]).await?;
        if body.is_empty() {
            return self.finish();
        }
        while let Some(frame) = body.next_frame().await {
            match frame.map_err(|_| Cut)?.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => match &mut left {
                    Some(left) => {
                        *left = left.checked_sub(data.len() as u64).ok_or(Cut)?;
                        self.write(&mut [data]).await?;
                    }
                    None => self.piece(data).await?,
                },
                Err(frame) => {
                    let trailers = frame.into_trailers().map_err(|_| Cut)?;
                    if left.is_some_and(|left| left > 0) {
                        return Err(Cut);
                    }
                    let mut out = BytesMut::with_capacity(HEAD_BYTES);
                    write_trailers(&trailers, &mut out);
                    self.write(&mut [out.freeze()]).await?;
                    return self.finish();
                }
            }
        }
        if left.is_some_and(|left| left > 0) {
            return Err(Cut);
        }
        self.finish()
    }

    /// Writes a piece as a frame of its own.
    pub(super) async fn piece(&mut self, data: Bytes) -> Result<(), Cut> {
        let mut head = BytesMut::with_capacity(FRAME_HEAD_BYTES);
        write_data_head(data.len() as u64, &mut head);
        self.write(&mut [head.freeze(), data]).await
    }

    /// Waits until the client has all of an answer that was written, as long as it may take.
    pub(super) async fn delivered(&mut self) -> Result<(), Cut> {
        match timeout(DELIVERY, self.send.stopped()).await {
            Ok(Ok(None)) => Ok(()),
            Ok(_) => Err(Cut),
            Err(_) => {
                self.reset(Code::REQUEST_CANCELLED);
                Err(Cut)
            }
        }
    }

    /// Nothing follows.
    pub(super) fn finish(&mut self) -> Result<(), Cut> {
        self.send.finish().map_err(|_| Cut)?;
        self.whole = true;
        Ok(())
    }

    /// Writes pieces as the client's windows allow, within the time that it has for opening them: a client that opens
    /// them by single octets gets no more.
    async fn write(&mut self, mut pieces: &mut [Bytes]) -> Result<(), Cut> {
        let mut fresh = 0;
        let mut deadline = None;
        while !pieces.is_empty() {
            let until = *deadline.get_or_insert_with(|| Instant::now() + self.write_idle);
            let writing = timeout_at(until, self.send.write_chunks(pieces));
            let written = writing.await.map_err(|_| Cut)?.map_err(|_| Cut)?;
            pieces = &mut pieces[written.chunks..];
            fresh += written.bytes;
            self.sent.fetch_add(written.bytes as u64, Ordering::Relaxed);
            if fresh >= BODY_PROGRESS_BYTES_MIN {
                fresh = 0;
                deadline = None;
            }
        }
        Ok(())
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.whole {
            self.reset(Code::REQUEST_CANCELLED);
        }
    }
}
