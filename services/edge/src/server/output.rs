//! The octets of a connection on their way out, by HTTP/1.1 and HTTP/2: gathered, and written at once.
//!
//! Heads and small pieces are copied behind each other, so that what a dozen streams say in one turn is one TLS record and
//! one system call. Long pieces are not copied: they go out as they are, in their place.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// Pieces that are written with one call.
const SLICES_MAX: usize = 32;

/// The queue: `pieces`, then `staged`.
#[derive(Default)]
pub(super) struct Output {
    pieces: VecDeque<Bytes>,
    pieces_bytes: usize,
    /// Frames' heads, and all that is small.
    pub(super) staged: BytesMut,
}

impl Output {
    pub(super) fn bytes(&self) -> usize {
        self.pieces_bytes + self.staged.len()
    }

    /// Adds a piece of content, copied if it has at most `copied_max` octets.
    pub(super) fn push(&mut self, data: Bytes, copied_max: usize) {
        if data.len() <= copied_max {
            self.staged.extend_from_slice(&data);
            return;
        }
        if !self.staged.is_empty() {
            let before = self.staged.split().freeze();
            self.put(before);
        }
        self.put(data);
    }

    fn put(&mut self, piece: Bytes) {
        self.pieces_bytes += piece.len();
        self.pieces.push_back(piece);
    }

    /// Lets go of the buffer; there must be nothing in it.
    pub(super) fn release(&mut self) {
        debug_assert!(self.bytes() == 0, "what is let go has been written");
        self.staged = BytesMut::new();
    }

    /// Writes until nothing is left.
    pub(super) fn poll_write<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.bytes() > 0 {
            let written = if self.pieces.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(context, &self.staged))?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let staged: &[u8] = &self.staged;
                let pieces = self.pieces.iter().map(|piece| &piece[..]).chain([staged]);
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
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

    fn advance(&mut self, mut written: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            let part = written.min(piece.len());
            piece.advance(part);
            self.pieces_bytes -= part;
            written -= part;
            if !piece.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
        self.staged.advance(written);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;

    use super::*;

    const COPIED_MAX: usize = 4 * 1024;

    #[tokio::test]
    async fn pieces_keep_their_order_whatever_their_size_and_however_little_is_taken_at_once() {
        for room in [1, 100, 1 << 20] {
            let (mut ours, mut theirs) = tokio::io::duplex(room);
            let mut output = Output::default();
            let mut expected = Vec::new();
            for (number, length) in [3, COPIED_MAX, COPIED_MAX + 1, 20_000, 1].into_iter().enumerate() {
                let piece = vec![u8::try_from(number).unwrap(); length];
                expected.extend_from_slice(&piece);
                output.push(piece.into(), COPIED_MAX);
            }
            assert_eq!(output.bytes(), expected.len());
            let reading = async {
                let mut heard = vec![0; expected.len()];
                theirs.read_exact(&mut heard).await.unwrap();
                heard
            };
            let writing = poll_fn(|context| output.poll_write(&mut ours, context));
            let (written, heard) = tokio::join!(writing, reading);
            written.unwrap();
            assert!(heard == expected && output.bytes() == 0, "{room}");
        }
    }
}
