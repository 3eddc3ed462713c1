//! What waits to be written to a connection: a head, some pieces of a body and what frames them.

use std::collections::VecDeque;
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
/// Octets of pieces that wait, beyond which no more are put in. A write that takes several at once wakes the client less
/// often: of an answer of 1 MiB that is passed on, a fifth of the work.
const DATA_BYTES_MAX: usize = 128 * 1024;
/// Pieces that are written with one call.
const SLICES_MAX: usize = 16;

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
    data: VecDeque<Bytes>,
    data_bytes: usize,
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
        self.tail.is_empty() && self.data_bytes < DATA_BYTES_MAX
    }

    /// Puts in a piece of a body; there must be room.
    pub(super) fn push(&mut self, data: Bytes, pieces: Pieces) {
        debug_assert!(self.has_room(), "what is framed goes one by one");
        if data.is_empty() {
            return;
        }
        if pieces == Pieces::Chunked {
            encode_chunk_start(data.len() as u64, &mut self.staged);
            self.tail = CHUNK_END;
        }
        if data.len() <= COPIED_BYTES_MAX && self.data.is_empty() {
            self.staged.extend_from_slice(&data);
            self.staged.extend_from_slice(std::mem::take(&mut self.tail));
        } else {
            self.data_bytes += data.len();
            self.data.push_back(data);
        }
    }

    /// Puts in what ends a chunked body; there must be room, since the last piece goes before it.
    pub(super) fn push_end(&mut self, trailers: Option<&http::HeaderMap>) {
        debug_assert!(self.data.is_empty() && self.tail.is_empty(), "the end goes behind the last piece");
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
            let written = if self.data.is_empty() && self.tail.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(context, &self.staged))?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let pieces = [&self.staged[..]].into_iter().chain(self.data.iter().map(|data| &data[..]));
                let pieces = pieces.chain([self.tail]).filter(|piece| !piece.is_empty());
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(pieces) {
                    *slice = IoSlice::new(piece);
                    count += 1;
                }
                ready!(Pin::new(&mut *io).poll_write_vectored(context, &slices[..count]))?
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
        while let Some(data) = self.data.front_mut() {
            let part = written.min(data.len());
            data.advance(part);
            self.data_bytes -= part;
            written -= part;
            if !data.is_empty() {
                return;
            }
            self.data.pop_front();
        }
        self.tail = &self.tail[written..];
    }
}
