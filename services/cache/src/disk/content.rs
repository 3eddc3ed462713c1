//! Content that stays on the disk, read block by block as its reader takes it.
//!
//! What the kernel has in memory is read where it is asked for; what it has not, by a thread that may wait. Each block is
//! compared with its checksum before anybody gets an octet of it. One that differs ends the answer visibly, and the
//! object is forgotten: the next request is a miss.

use std::{
    io,
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use proxima_pipeline::{Body, BodyError};
use tokio::task::JoinHandle;

use super::{
    metrics::{DiskMetrics, Read},
    record::{BLOCK_OCTETS, checksum},
    segment::{AtOnce, Segment},
};

/// How much is read at a time: enough for a disk to be quick, and little beside what a connection buffers anyway.
const READ_OCTETS: u64 = 4 * BLOCK_OCTETS as u64;

/// Content on the disk.
#[derive(Debug)]
pub(crate) struct OnDisk {
    pub(super) segment: Arc<Segment>,
    /// Where it begins in the segment.
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) sums: Arc<[u32]>,
    pub(super) metrics: DiskMetrics,
    pub(super) spoiled: AtomicBool,
}

impl OnDisk {
    /// Its octets.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Whether it could not be read once, or its segment has gone: nobody else gets it, or the file of a removed segment would
    /// keep its room on the disk.
    pub(crate) fn is_spoiled(&self) -> bool {
        self.spoiled.load(Ordering::Relaxed) || self.segment.is_gone()
    }

    /// A body that reads `first..end`, to the end of all if `None`.
    pub(crate) fn body(self: &Arc<Self>, first: u64, end: Option<u64>) -> Body {
        let end = end.unwrap_or(self.length).min(self.length);
        Body::stream(Reader { content: self.clone(), position: first.min(end), end, reading: None })
    }

    /// The blocks in which lies what begins at `position`, as octets of the content.
    fn blocks_at(&self, position: u64, end: u64) -> Range<u64> {
        let first = position - position % BLOCK_OCTETS as u64;
        let blocks = (end - first).min(READ_OCTETS).div_ceil(BLOCK_OCTETS as u64);
        first..(first + blocks * BLOCK_OCTETS as u64).min(self.length)
    }

    fn read(&self, blocks: &Range<u64>) -> Result<Bytes, BodyError> {
        self.checked(blocks, self.segment.read(self.start + blocks.start, octets(blocks)))
    }

    fn read_at_once(&self, blocks: &Range<u64>) -> Result<Option<Bytes>, BodyError> {
        match self.segment.read_at_once(self.start + blocks.start, octets(blocks)) {
            Ok(AtOnce::WouldWait) => Ok(None),
            Ok(AtOnce::Read(read)) => self.checked(blocks, Ok(read)).map(Some),
            Err(error) => self.checked(blocks, Err(error)).map(Some),
        }
    }

    fn checked(&self, blocks: &Range<u64>, read: io::Result<Bytes>) -> Result<Bytes, BodyError> {
        let failed = match &read {
            Ok(octets) if are_whole(octets, block(blocks.start), &self.sums) => None,
            Ok(_) => Some(Read::Corrupt),
            Err(_) => Some(Read::Failed),
        };
        let Some(why) = failed else { return read.map_err(|_| BodyError::Aborted) };
        self.spoiled.store(true, Ordering::Relaxed);
        self.metrics.count(why);
        tracing::warn!(
            target: "proxima_cache",
            segment = self.segment.number(),
            at = self.start + blocks.start,
            error = read.err().map(tracing::field::display),
            "an object on the disk cannot be read: its answer was broken off, and it is forgotten",
        );
        Err(BodyError::Aborted)
    }
}

fn octets(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}

fn block(position: u64) -> usize {
    usize::try_from(position / BLOCK_OCTETS as u64).unwrap_or(usize::MAX)
}

/// Whether octets that begin with the block `first` are what was written.
pub(super) fn are_whole(octets: &[u8], first: usize, sums: &[u32]) -> bool {
    let mut sums = sums.get(first..).unwrap_or_default().iter();
    octets.chunks(BLOCK_OCTETS).all(|block| sums.next() == Some(&checksum(&[block])))
}

/// A body over content on the disk.
struct Reader {
    content: Arc<OnDisk>,
    position: u64,
    end: u64,
    reading: Option<Reading>,
}

/// Which octets a thread reads, and its work.
type Reading = (Range<u64>, JoinHandle<Result<Bytes, BodyError>>);

impl Reader {
    fn poll_blocks(&mut self, context: &mut Context<'_>) -> Poll<Result<(Range<u64>, Bytes), BodyError>> {
        loop {
            if let Some((blocks, reading)) = &mut self.reading {
                let read = ready!(Pin::new(reading).poll(context));
                let blocks = blocks.clone();
                self.reading = None;
                // The thread ended with the runtime, if not with an answer.
                return Poll::Ready(read.unwrap_or(Err(BodyError::Aborted)).map(|read| (blocks, read)));
            }
            let blocks = self.content.blocks_at(self.position, self.end);
            if let Some(read) = self.content.read_at_once(&blocks)? {
                return Poll::Ready(Ok((blocks, read)));
            }
            let (content, wanted) = (self.content.clone(), blocks.clone());
            self.reading = Some((blocks, tokio::task::spawn_blocking(move || content.read(&wanted))));
        }
    }
}

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let (blocks, read) = match ready!(self.poll_blocks(context)) {
            Ok(read) => read,
            Err(error) => {
                self.position = self.end;
                return Poll::Ready(Some(Err(error)));
            }
        };
        let (first, end) = (self.position - blocks.start, self.end.min(blocks.end) - blocks.start);
        let piece = read.slice(octets(&(0..first))..octets(&(0..end)));
        self.position += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.position >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.position)
    }
}
