//! The content of an object: appended by one writer while it is being fetched, read by any number of readers at
//! their own pace, packed once it is whole. Or it lies on the disk, and is read from there, by each reader for itself.
//!
//! ```text
//!   origin ──push──▶ pieces ──▶ reader (first octet while the last is not here yet)
//!                      │   └──▶ reader at another place
//!                      └─finish─▶ segments of one size: readers need no lock any more
//! ```
//!
//! The writer normally never waits for readers: content that will be stored is kept whole anyway. Content that turns
//! out too large to be kept (no length was announced, and it grew beyond what an object may have, or beyond what all
//! fetches together may have) becomes *passing*: it takes no new readers, what all readers have read is let go, and
//! the writer waits for the slowest of them. A reader that does not move while others wait for it is cut off.

mod reader;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use proxima_pipeline::{Body, BodyError};
use tokio::sync::Notify;

use self::reader::Reader;
use crate::disk::OnDisk;

/// Whole content lies in segments of this size, the last one shorter: large enough that a hit of a usual page or
/// script is one piece, small enough that packing one holds up a thread for microseconds only.
pub const SEGMENT_OCTETS: usize = 256 * 1024;
/// How much of passing content lies between its writer and its slowest reader.
const WINDOW_OCTETS: u64 = 256 * 1024;
/// Smaller pieces are copied: they are slices of connections' buffers, of which one octet keeps all alive.
const COPIED_OCTETS_BELOW: usize = 4 * 1024;
/// What a piece takes beside its octets, about, so that content in pieces of one octet is counted as what it takes.
const PIECE_OVERHEAD_OCTETS: u64 = 64;
/// A reader of passing content that has not moved for so long is cut off, if others wait behind it.
const STALL_MAX: Duration = Duration::from_secs(30);

/// The memory that content may take while it is being fetched, shared by all fetches of a cache.
#[derive(Debug)]
pub struct Budget {
    octets: AtomicU64,
    octets_max: u64,
}

impl Budget {
    /// A budget of so many octets.
    pub const fn new(octets_max: u64) -> Self {
        Self { octets: AtomicU64::new(0), octets_max }
    }

    /// Octets that are taken now.
    pub fn taken(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }

    fn take(&self, octets: u64) -> bool {
        let within = |taken: u64| taken.checked_add(octets).filter(|sum| *sum <= self.octets_max);
        self.octets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    fn give_back(&self, octets: u64) {
        self.octets.fetch_sub(octets, Ordering::Relaxed);
    }
}

/// Why a push was not taken: nobody will ever read it.
#[derive(Debug, PartialEq, Eq)]
pub struct NobodyReads;

/// The content of one object.
#[derive(Debug)]
pub struct Content {
    /// Octets that the head announced.
    announced: Option<u64>,
    octets_max: u64,
    budget: Arc<Budget>,
    growing: Mutex<Growing>,
    /// Set once, when it is whole.
    whole: OnceLock<Whole>,
    /// It is whole, and lies there.
    elsewhere: Option<Elsewhere>,
    /// A reader of passing content moved or left.
    moved: Notify,
}

/// Where content lies that is not in memory.
#[derive(Debug)]
enum Elsewhere {
    Disk(Arc<OnDisk>),
    /// In slices, which are objects of their own: the stage reads them.
    Slices,
}

#[derive(Debug)]
struct Whole {
    segments: Box<[Bytes]>,
    length: u64,
}

#[derive(Debug, Default)]
struct Growing {
    /// Pieces and where they begin.
    pieces: VecDeque<(u64, Bytes)>,
    length: u64,
    reserved: u64,
    passing: bool,
    end: Option<Result<(), BodyError>>,
    readers: HashMap<u64, Waiting>,
    next_reader: u64,
}

/// A reader as the writer sees it.
#[derive(Debug, Default)]
struct Waiting {
    position: u64,
    waker: Option<Waker>,
    cut_off: bool,
}

impl Content {
    /// Content of which nothing is here yet. It is kept whole up to `octets_max`, as far as `budget` allows.
    pub fn new(announced: Option<u64>, octets_max: u64, budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            announced,
            octets_max,
            budget,
            growing: Mutex::default(),
            whole: OnceLock::new(),
            elsewhere: None,
            moved: Notify::new(),
        })
    }

    /// Content that is whole from the start.
    pub fn of(octets: &Bytes, budget: Arc<Budget>) -> Arc<Self> {
        let length = octets.len() as u64;
        let starts = (0..octets.len()).step_by(SEGMENT_OCTETS);
        let segments =
            starts.map(|start| octets.slice(start..octets.len().min(start + SEGMENT_OCTETS))).collect();
        let content = Self::new(Some(length), length, budget);
        content.whole.set(Whole { segments, length }).ok();
        content
    }

    /// Content that lies on the disk, and stays there.
    pub(crate) fn on_disk(on_disk: Arc<OnDisk>, budget: Arc<Budget>) -> Arc<Self> {
        let length = on_disk.length();
        Self::elsewhere(length, budget, Elsewhere::Disk(on_disk))
    }

    /// Content of so many octets that lies in slices.
    pub(crate) fn sliced(length: u64, budget: Arc<Budget>) -> Arc<Self> {
        Self::elsewhere(length, budget, Elsewhere::Slices)
    }

    fn elsewhere(length: u64, budget: Arc<Budget>, place: Elsewhere) -> Arc<Self> {
        Arc::new(Self {
            announced: Some(length),
            octets_max: 0,
            budget,
            growing: Mutex::default(),
            whole: OnceLock::new(),
            elsewhere: Some(place),
            moved: Notify::new(),
        })
    }

    /// Whether it lies in slices.
    pub const fn is_sliced(&self) -> bool {
        matches!(self.elsewhere, Some(Elsewhere::Slices))
    }

    /// Whether it is whole and in memory.
    pub fn is_in_memory(&self) -> bool {
        self.whole.get().is_some()
    }

    /// Octets of the whole, if known: announced, or counted at the end.
    pub fn length(&self) -> Option<u64> {
        self.whole.get().map(|whole| whole.length).or(self.announced)
    }

    /// Octets of memory that it takes, or is going to take.
    pub fn octets_in_memory(&self) -> u64 {
        if self.elsewhere.is_some() { 0 } else { self.length().unwrap_or(0) }
    }

    /// Whether all of it is here.
    pub fn is_whole(&self) -> bool {
        self.elsewhere.is_some() || self.whole.get().is_some()
    }

    /// Whether it cannot be read any more: the disk failed, or what lies there is not what was written.
    pub fn is_spoiled(&self) -> bool {
        matches!(&self.elsewhere, Some(Elsewhere::Disk(on_disk)) if on_disk.is_spoiled())
    }

    /// All of it, if it is whole and in memory.
    pub fn pieces(&self) -> Option<Vec<Bytes>> {
        self.whole.get().map(|whole| whole.segments.to_vec())
    }

    /// All of it, if it is whole, in memory and one piece, as that of a usual page or script is.
    pub fn in_one_piece(&self) -> Option<&Bytes> {
        static NOTHING: Bytes = Bytes::new();
        match &*self.whole.get()?.segments {
            [] => Some(&NOTHING),
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether a new reader can still be given all of it: it is whole, or kept whole so far.
    pub fn is_shareable(&self) -> bool {
        if self.is_whole() {
            return true;
        }
        let growing = self.lock();
        !growing.passing && !matches!(growing.end, Some(Err(_)))
    }

    /// Whether somebody reads what is still growing.
    pub fn has_readers(&self) -> bool {
        !self.lock().readers.is_empty()
    }

    /// Appends a piece; wakes readers; waits for them if the content is passing.
    ///
    /// # Errors
    /// [`NobodyReads`] if it is passing and the last reader has gone: there is no use in fetching on.
    pub async fn push(&self, piece: Bytes) -> Result<(), NobodyReads> {
        if piece.is_empty() {
            return Ok(());
        }
        let piece = if piece.len() < COPIED_OCTETS_BELOW { Bytes::copy_from_slice(&piece) } else { piece };
        let wakers = {
            let mut growing = self.lock();
            let octets = piece.len() as u64;
            let taken = octets + PIECE_OVERHEAD_OCTETS;
            if !growing.passing {
                let kept = growing.length + octets <= self.octets_max && self.budget.take(taken);
                growing.reserved += if kept { taken } else { 0 };
                growing.passing = !kept;
            }
            let start = growing.length;
            growing.pieces.push_back((start, piece));
            growing.length += octets;
            growing.wakers()
        };
        wakers.into_iter().for_each(Waker::wake);
        self.room().await
    }

    /// Waits until passing content has room for more.
    async fn room(&self) -> Result<(), NobodyReads> {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            {
                let mut growing = self.lock();
                if !growing.passing {
                    return Ok(());
                }
                let Some(slowest) = growing.slowest() else { return Err(NobodyReads) };
                self.let_go(&mut growing, slowest);
                let overhead = growing.pieces.len() as u64 * PIECE_OVERHEAD_OCTETS;
                if growing.length - slowest + overhead <= WINDOW_OCTETS || growing.length == slowest {
                    return Ok(());
                }
            }
            if tokio::time::timeout(STALL_MAX, moved).await.is_err() {
                let wakers = self.lock().cut_off_slowest();
                wakers.into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Lets go of what lies before `position`.
    fn let_go(&self, growing: &mut Growing, position: u64) {
        while let Some((start, piece)) = growing.pieces.front()
            && start + piece.len() as u64 <= position
        {
            let octets = (piece.len() as u64 + PIECE_OVERHEAD_OCTETS).min(growing.reserved);
            growing.pieces.pop_front();
            growing.reserved -= octets;
            self.budget.give_back(octets);
        }
    }

    /// Ends it. `Ok(true)`: it is whole and may be stored. `Ok(false)`: it was passed on to its readers and is gone.
    ///
    /// # Errors
    /// [`BodyError::WrongLength`] if it is not as long as was announced; readers are told the same.
    pub async fn finish(&self) -> Result<bool, BodyError> {
        let pieces = {
            let mut growing = self.lock();
            if self.announced.is_some_and(|announced| announced != growing.length) {
                drop(growing);
                self.fail(BodyError::WrongLength);
                return Err(BodyError::WrongLength);
            }
            growing.end = Some(Ok(()));
            if growing.passing {
                let wakers = growing.wakers();
                drop(growing);
                wakers.into_iter().for_each(Waker::wake);
                return Ok(false);
            }
            // Those who wait learn of the end now; the pieces stay readable until the packed form is there.
            let wakers = growing.wakers();
            let pieces: Vec<Bytes> = growing.pieces.iter().map(|(_, piece)| piece.clone()).collect();
            drop(growing);
            wakers.into_iter().for_each(Waker::wake);
            pieces
        };
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        let segments = pack(pieces).await;
        self.whole.set(Whole { segments, length }).ok();
        let mut growing = self.lock();
        growing.pieces = VecDeque::new();
        self.budget.give_back(std::mem::take(&mut growing.reserved));
        Ok(true)
    }

    /// Ends it early: readers get what is here, and then the error.
    pub fn fail(&self, error: BodyError) {
        let mut growing = self.lock();
        if growing.end.is_none() {
            growing.end = Some(Err(error));
        }
        let wakers = growing.wakers();
        drop(growing);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A body that reads `first..end` (to the end of all if `None`). `None` if the content is passing: its beginning
    /// may be gone; or if it lies in slices.
    pub fn body(self: &Arc<Self>, first: u64, end: Option<u64>) -> Option<Body> {
        match &self.elsewhere {
            Some(Elsewhere::Disk(on_disk)) => return Some(on_disk.body(first, end)),
            Some(Elsewhere::Slices) => return None,
            None => {}
        }
        if let Some(whole) = self.whole.get() {
            let end = end.unwrap_or(whole.length).min(whole.length);
            if let [only] = &*whole.segments
                && let (Ok(first), Ok(end)) = (usize::try_from(first), usize::try_from(end))
                && first <= end
            {
                return Some(Body::full(only.slice(first..end)));
            }
            return Some(Body::stream(Reader {
                content: self.clone(),
                position: first,
                end: Some(end),
                id: None,
                failed: false,
            }));
        }
        let mut growing = self.lock();
        if growing.passing {
            return None;
        }
        let id = growing.next_reader;
        growing.next_reader += 1;
        growing.readers.insert(id, Waiting { position: first, ..Waiting::default() });
        drop(growing);
        let end = end.or(self.announced);
        Some(Body::stream(Reader {
            content: self.clone(),
            position: first,
            end,
            id: Some(id),
            failed: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Growing> {
        self.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let reserved = self.lock().reserved;
        self.budget.give_back(reserved);
    }
}

impl Growing {
    fn wakers(&mut self) -> Vec<Waker> {
        self.readers.values_mut().filter_map(|reader| reader.waker.take()).collect()
    }

    fn slowest(&self) -> Option<u64> {
        self.readers.values().filter(|reader| !reader.cut_off).map(|reader| reader.position).min()
    }

    /// Cuts off the readers that hold up the others; the last one is left to its own connection's patience.
    fn cut_off_slowest(&mut self) -> Vec<Waker> {
        let following = self.readers.values().filter(|reader| !reader.cut_off).count();
        let Some(slowest) = self.slowest().filter(|_| following > 1) else { return Vec::new() };
        let slow = self.readers.values_mut().filter(|reader| reader.position == slowest).take(following - 1);
        slow.filter_map(|reader| {
            reader.cut_off = true;
            reader.waker.take()
        })
        .collect()
    }

    /// What lies at `position`, if it is here.
    fn at(&self, position: u64) -> Option<Bytes> {
        let index = self.pieces.partition_point(|(start, piece)| start + piece.len() as u64 <= position);
        let (start, piece) = self.pieces.get(index)?;
        let offset = usize::try_from(position.checked_sub(*start)?).ok()?;
        Some(piece.slice(offset..))
    }
}

/// Copies pieces into segments of one size. Pieces are slices of connections' buffers and keep those alive; what is
/// stored must take the memory that it says it takes.
async fn pack(pieces: Vec<Bytes>) -> Box<[Bytes]> {
    let mut left: usize = pieces.iter().map(Bytes::len).sum();
    let mut segments = Vec::with_capacity(left.div_ceil(SEGMENT_OCTETS));
    let mut segment = BytesMut::with_capacity(left.min(SEGMENT_OCTETS));
    for mut piece in pieces {
        while !piece.is_empty() {
            let room = SEGMENT_OCTETS - segment.len();
            let part = piece.split_to(room.min(piece.len()));
            left -= part.len();
            segment.extend_from_slice(&part);
            if segment.len() == SEGMENT_OCTETS {
                let next = BytesMut::with_capacity(left.min(SEGMENT_OCTETS));
                segments.push(std::mem::replace(&mut segment, next).freeze());
                tokio::task::yield_now().await;
            }
        }
    }
    if !segment.is_empty() {
        segments.push(segment.freeze());
    }
    segments.into()
}

impl Whole {
    fn at(&self, position: u64) -> Option<Bytes> {
        let position = usize::try_from(position).ok()?;
        let segment = self.segments.get(position / SEGMENT_OCTETS)?;
        let offset = position % SEGMENT_OCTETS;
        (offset < segment.len()).then(|| segment.slice(offset..))
    }
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
