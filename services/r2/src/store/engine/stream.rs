//! A blob of the engine while it is read: one question for each piece, of which no more is taken than is passed on.

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use opendal::{BufferStream, Error};
use proxima_pipeline::ObjectError;

use super::{
    Engine, PATIENCE,
    attempts::Attempts,
    frames::{self, Frame},
};
use crate::store::{rows::BlobId, sums::BLOCK_OCTETS};

/// Octets of a blob, in their order.
pub(in crate::store) struct Stream {
    engine: Engine,
    id: BlobId,
    /// Octets of the whole blob.
    all: u64,
    /// Which of them are still to be passed on.
    left: Range<u64>,
    /// The answer that is being read, and of which piece it is.
    answer: Option<(u64, BufferStream)>,
    /// What has come of it, of a block that is passed on next.
    come: BytesMut,
    /// The first octets, where they were waited for and nobody has them yet.
    first: Option<Bytes>,
}

impl Stream {
    /// These octets of a blob that has `all`. The engine is not asked before the first is waited for.
    pub(in crate::store) fn new(engine: Engine, id: BlobId, all: u64, left: Range<u64>) -> Self {
        debug_assert!(left.end <= all, "who reads knows how much there is");
        Self { engine, id, all, left, answer: None, come: BytesMut::new(), first: None }
    }

    /// Waits until the first block has come, and is as it was written.
    pub(in crate::store) async fn begin(&mut self) -> Result<(), ObjectError> {
        self.first = Some(self.next().await?);
        Ok(())
    }

    /// The next octets, to the end of a block or of what is asked for; as they were written.
    pub(in crate::store) async fn next(&mut self) -> Result<Bytes, ObjectError> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let frame = self.fill().await?;
        let length = usize::try_from(frame.octets).expect("a block fits into memory");
        let block = frames::unframe(self.come.split_to(length).freeze())?;
        let begin = self.left.start - self.left.start % BLOCK_OCTETS;
        let end = self.left.end.min(begin + BLOCK_OCTETS);
        let index = |at: u64| usize::try_from(at - begin).expect("it is within a block");
        let octets = block.slice(index(self.left.start)..index(end));
        self.left.start = end;
        Ok(octets)
    }

    /// Waits until all of the next block has come, where it lies.
    async fn fill(&mut self) -> Result<Frame, ObjectError> {
        let frame = frames::frame(self.all, self.left.start / BLOCK_OCTETS);
        let length = usize::try_from(frame.octets).expect("a block fits into memory");
        if self.come.len() >= length && self.answer.as_ref().is_some_and(|(piece, _)| *piece == frame.piece) {
            return Ok(frame);
        }
        if self.answer.as_ref().is_none_or(|(piece, _)| *piece != frame.piece) {
            // An answer that comes goes on, whatever else has failed meanwhile.
            self.engine.admit()?;
        }
        let mut attempts = Attempts::default();
        let taken = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.take(frame, length).await {
                    // The block is begun anew.
                    Err(error) if attempts.again(&error).await => self.answer = None,
                    taken => return taken,
                }
            }
        });
        let taken = taken.await;
        let id = self.id;
        match self.engine.conclude("reading octets", taken)? {
            Some(true) => Ok(frame),
            Some(false) => Err(ObjectError::Broken(format!("{id} is shorter in the engine than it was"))),
            None => Err(ObjectError::Broken(format!("{id} is not in the engine any more"))),
        }
    }

    /// Whether so many octets have come.
    async fn take(&mut self, frame: Frame, length: usize) -> Result<bool, Error> {
        if self.answer.as_ref().is_none_or(|(piece, _)| *piece != frame.piece) {
            self.come.clear();
            let last = frames::frame(self.all, (self.left.end - 1) / BLOCK_OCTETS);
            let end = if last.piece == frame.piece {
                last.start + last.octets
            } else {
                frames::piece_octets(self.all, frame.piece)
            };
            let name = super::name(self.id, frame.piece);
            let reader = self.engine.0.operator.reader(&name).await?;
            self.answer = Some((frame.piece, reader.into_stream(frame.start..end).await?));
        }
        while self.come.len() < length {
            let (_, answer) = self.answer.as_mut().expect("it was asked for");
            match answer.next().await {
                Some(Ok(octets)) => self.come.put(octets),
                // Either the engine fails, or the piece is not what it was.
                Some(Err(error)) if !error.is_temporary() => {
                    let there = self.engine.0.operator.stat(&super::name(self.id, frame.piece)).await?;
                    let is_whole = there.content_length() == frames::piece_octets(self.all, frame.piece);
                    return if is_whole { Err(error) } else { Ok(false) };
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}
