//! The octets of a connection on their way out: gathered, and written at once.
//!
//! ```text
//!  h2 ── a write and a flush for each DATA frame ──▶ Gathered ─┐
//!                                                              ├─ one buffer ──▶ TLS or TCP
//!  the session, when there is nothing more to do ──▶ Gatherer ─┘
//! ```
//!
//! `h2` flushes after every DATA frame. Over TLS that makes a record and a system call of each small answer, even where
//! a dozen streams were answered in one turn. Here its flushes are put off until the session has no more to do in this
//! turn, or until enough has come together. Long pieces are not copied: they go out as they are, behind what waits.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Octets that are gathered at most: one TLS record (RFC 8446, 5.1).
const GATHERED_BYTES_MAX: usize = 16 * 1024;
/// Pieces from this length on are written as they are: a copy would cost more than a write of their own.
const COPIED_BYTES_MAX: usize = 4 * 1024;

struct Wire<T> {
    io: T,
    waiting: BytesMut,
    /// Whether flushes wait for the session's.
    put_off: bool,
}

/// What `h2` writes to.
pub(super) struct Gathered<T>(Arc<Mutex<Wire<T>>>);

/// What the session flushes with.
pub(super) struct Gatherer<T>(Arc<Mutex<Wire<T>>>);

/// Both ends of `io`. Until [`Gatherer::put_off`] is called every flush is one.
pub(super) fn gather<T>(io: T) -> (Gathered<T>, Gatherer<T>) {
    let wire = Arc::new(Mutex::new(Wire { io, waiting: BytesMut::new(), put_off: false }));
    (Gathered(Arc::clone(&wire)), Gatherer(wire))
}

/// Both ends belong to one task: nobody ever waits here.
fn lock<T>(wire: &Mutex<Wire<T>>) -> MutexGuard<'_, Wire<T>> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: AsyncWrite + Unpin> Gatherer<T> {
    /// From now on only this end flushes.
    pub(super) fn put_off(&self) {
        lock(&self.0).put_off = true;
    }

    /// Whether anything waits.
    pub(super) fn waits(&self) -> bool {
        !lock(&self.0).waiting.is_empty()
    }

    /// Writes all that waits.
    pub(super) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_flush(context)
    }
}

impl<T: AsyncWrite + Unpin> Wire<T> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(context, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        // An idle connection holds no buffer.
        self.waiting = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let octets: usize = pieces.iter().map(|piece| piece.len()).sum();
        let copied = octets <= COPIED_BYTES_MAX;
        if !copied || self.waiting.len() + octets > GATHERED_BYTES_MAX {
            ready!(self.poll_drain(context))?;
        }
        if !copied {
            return Pin::new(&mut self.io).poll_write_vectored(context, pieces);
        }
        if self.waiting.is_empty() {
            self.waiting.reserve(COPIED_BYTES_MAX);
        }
        for piece in pieces {
            self.waiting.extend_from_slice(piece);
        }
        Poll::Ready(Ok(octets))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).io).poll_read(context, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(context, &[IoSlice::new(octets)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = lock(&self.0);
        if wire.put_off { Poll::Ready(Ok(())) } else { wire.poll_flush(context) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = lock(&self.0);
        ready!(wire.poll_flush(context))?;
        Pin::new(&mut wire.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn small_pieces_go_out_together_when_the_session_flushes() {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let (mut gathered, gatherer) = gather(ours);
        gatherer.put_off();
        for piece in [b"one ", b"two "] {
            gathered.write_all(piece).await.expect("there is room");
            gathered.flush().await.expect("nothing is wrong");
        }
        let mut heard = [0; 8];
        assert!(futures_util::poll!(std::pin::pin!(theirs.read(&mut heard))).is_pending(), "put off");
        poll_fn(|context| gatherer.poll_flush(context)).await.expect("there is room");
        assert_eq!(theirs.read(&mut heard).await.expect("nothing is wrong"), 8, "in one piece");
        assert_eq!(&heard, b"one two ");
    }

    #[tokio::test]
    async fn long_pieces_keep_their_place_behind_what_waits() {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let (mut gathered, gatherer) = gather(ours);
        gatherer.put_off();
        let long = vec![b'x'; COPIED_BYTES_MAX + 1];
        gathered.write_all(b"first").await.expect("there is room");
        gathered.write_all(&long).await.expect("there is room");
        gathered.write_all(b"last").await.expect("there is room");
        gathered.shutdown().await.expect("nothing is wrong");
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.expect("nothing is wrong");
        assert_eq!(heard, [b"first", &long[..], b"last"].concat());
    }

    #[tokio::test]
    async fn no_more_is_gathered_than_the_bound() {
        let (ours, _theirs) = tokio::io::duplex(1);
        let (gathered, gatherer) = gather(ours);
        gatherer.put_off();
        let mut gathered = gathered;
        let taken = async { while gathered.write_all(&[0; 1000]).await.is_ok() {} };
        assert!(futures_util::poll!(std::pin::pin!(taken)).is_pending(), "nobody reads");
        assert!(lock(&gatherer.0).waiting.len() <= GATHERED_BYTES_MAX);
    }
}
