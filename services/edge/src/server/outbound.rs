//! What waits to be written to a connection: a head, some pieces of a body and what frames them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use proxima_http1::{CHUNK_END, CHUNKED_END, encode_chunk_start, encode_trailers};
use tokio::io::AsyncWrite;

use super::BODY_PROGRESS_BYTES_MIN;
use super::output::Output;

/// A body up to this size is copied behind its head, so that both leave in one piece; above, they leave as two pieces
/// in one call, and nothing is copied.
const COPIED_BYTES_MAX: usize = 8 * 1024;
/// Octets that are gathered from small pieces of a body before they are written.
const STAGED_BYTES_MAX: usize = 16 * 1024;
/// Octets that wait, beyond which no more are put in. A write that takes several pieces at once wakes the client less
/// often: of an answer of 1 MiB that is passed on, a fifth of the work.
const WAITING_BYTES_MAX: usize = 128 * 1024;

/// How the pieces of a body are framed on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// As they are.
    Plain,
    /// Each as a chunk.
    Chunked,
}

/// The queue.
#[derive(Default)]
pub(super) struct Outbound {
    output: Output,
    /// Octets that were written altogether, shared with whoever counts them.
    pub(super) written: Arc<AtomicU64>,
    /// Octets written since the last that counted as progress.
    fresh: usize,
}

impl Outbound {
    /// What goes out behind all that was put in before: heads, and what frames a body.
    pub(super) fn staged(&mut self) -> &mut BytesMut {
        &mut self.output.staged
    }

    /// Whether everything has been written.
    pub(super) fn is_empty(&self) -> bool {
        self.output.bytes() == 0
    }

    /// Whether another piece can be put in.
    pub(super) fn has_room(&self) -> bool {
        self.output.bytes() < WAITING_BYTES_MAX && self.output.staged.len() < STAGED_BYTES_MAX
    }

    /// Puts in a piece of a body.
    pub(super) fn push(&mut self, data: Bytes, pieces: Pieces) {
        if data.is_empty() {
            return;
        }
        if pieces == Pieces::Plain {
            return self.output.push(data, COPIED_BYTES_MAX);
        }
        encode_chunk_start(data.len() as u64, self.staged());
        self.output.push(data, COPIED_BYTES_MAX);
        self.staged().extend_from_slice(CHUNK_END);
    }

    /// Puts in what ends a chunked body.
    pub(super) fn push_end(&mut self, trailers: Option<&http::HeaderMap>) {
        match trailers {
            Some(trailers) => encode_trailers(trailers, self.staged()),
            None => self.staged().extend_from_slice(CHUNKED_END),
        }
    }

    /// Writes until nothing is left.
    pub(super) fn poll_write<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let before = self.output.bytes();
        let polled = self.output.poll_write(io, context);
        let written = before - self.output.bytes();
        self.fresh = self.fresh.saturating_add(written);
        self.written.fetch_add(written as u64, Ordering::Relaxed);
        polled
    }

    /// Whether enough was written since the last time to give the client more time.
    pub(super) fn progressed(&mut self) -> bool {
        let enough = self.fresh >= BODY_PROGRESS_BYTES_MIN;
        if enough {
            self.fresh = 0;
        }
        enough
    }
}
