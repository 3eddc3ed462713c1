//! What waits to be written to a connection: at most one head, one piece of a body and what frames it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::BODY_PROGRESS_BYTES_MIN;
use crate::http1::{CHUNK_END, CHUNKED_END, encode_chunk_start, encode_trailers};

/// A body up to this size is copied behind its head, so that both leave in one piece; above, they leave as two pieces
/// in one call, and nothing is copied.
const COPIED_BYTES_MAX: usize = 8 * 1024;

/// How the pieces of a body are framed on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// As they are.
    Plain,
    /// Each as a chunk.
    Chunked,
}

/// The queue. `staged`, then `data`, then `tail` go out.
#[derive(Default)]
pub(super) struct Outbound {
    /// Heads, chunk sizes and small bodies.
    pub(super) staged: BytesMut,
    data: Bytes,
    tail: &'static [u8],
    /// Octets that were written altogether, shared with whoever counts them.
    pub(super) written: Arc<AtomicU64>,
    /// Octets written since the last that counted as progress.
    fresh: usize,
}

impl Outbound {
    /// Whether everything has been written.
    pub(super) fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Whether another piece can be put in.
    pub(super) fn has_room(&self) -> bool {
        self.data.is_empty() && self.tail.is_empty()
    }

    /// Puts in a piece of a body; there must be room.
    pub(super) fn push(&mut self, data: Bytes, pieces: Pieces) {
        debug_assert!(self.has_room(), "one piece at a time");
        if data.is_empty() {
            return;
        }
        if pieces == Pieces::Chunked {
            encode_chunk_start(data.len() as u64, &mut self.staged);
            self.tail = CHUNK_END;
        }
        if data.len() <= COPIED_BYTES_MAX {
            self.staged.extend_from_slice(&data);
            self.staged.extend_from_slice(std::mem::take(&mut self.tail));
        } else {
            self.data = data;
        }
    }

    /// Puts in what ends a chunked body; there must be room, since the last piece goes before it.
    pub(super) fn push_end(&mut self, trailers: Option<&http::HeaderMap>) {
        debug_assert!(self.has_room(), "the end goes behind the last piece");
        match trailers {
            Some(trailers) => encode_trailers(trailers, &mut self.staged),
            None => self.staged.extend_from_slice(CHUNKED_END),
        }
    }

    /// Writes until nothing is left.
    pub(super) fn poll_write<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let written = if self.has_room() {
                ready!(Pin::new(&mut *io).poll_write(context, &self.staged))?
            } else {
                let slices = [IoSlice::new(&self.staged), IoSlice::new(&self.data), IoSlice::new(self.tail)];
                let first = slices.iter().position(|slice| !slice.is_empty()).unwrap_or_default();
                ready!(Pin::new(&mut *io).poll_write_vectored(context, &slices[first..]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether enough was written since the last time to give the client more time.
    pub(super) fn progressed(&mut self) -> bool {
        let enough = self.fresh >= BODY_PROGRESS_BYTES_MIN;
        if enough {
            self.fresh = 0;
        }
        enough
    }

    fn advance(&mut self, mut written: usize) {
        self.fresh = self.fresh.saturating_add(written);
        self.written.fetch_add(written as u64, Ordering::Relaxed);
        let staged = written.min(self.staged.len());
        self.staged.advance(staged);
        written -= staged;
        let data = written.min(self.data.len());
        self.data.advance(data);
        written -= data;
        self.tail = &self.tail[written..];
        if self.data.is_empty() {
            // Lets go of what the octets were a slice of.
            self.data = Bytes::new();
        }
    }
}
