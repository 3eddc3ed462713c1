//! The tier on disk: a log of segments, an index in memory, one thread that writes.
//!
//! ```text
//!   stored or hit a second time ──offer──▶ queue ──▶ writer ──append──▶ segment … segment   (sealed: footer, fsync)
//!                                                      └──▶ index: URL, variant ──▶ place
//!   miss in memory ──index──▶ place ──read, verify──▶ object in memory; large content stays on the disk
//!   full ──▶ the oldest segment goes; what was read since it was written is written again
//!   start ◀── marks of purges, footers of segments; only the last segment is walked, record by record
//! ```
//!
//! Invariants:
//! * **What cannot be verified is a miss.** Every octet that is served was compared with its checksum first; an object is
//!   compared with the URL and the variant that were asked for, since the index knows hashes only.
//! * **What was purged stays purged**, over a restart too. Objects carry the moment of their birth, marks that hide them
//!   are kept beside them ([`KeptMarks`](crate::marks::KeptMarks)) with the state of the log up to which they count, and
//!   purges since then are in the state that this server starts with, or come before the disk is opened: nothing is found in
//!   it before this server is where the log was at some moment since the start ([`LogSeen`]), however long that takes. If
//!   they might not be there, the disk starts empty.
//! * **What was replaced or made invalid** is forgotten in the index at once and by a record behind it in the log.
//! * **Writing is never waited for.** What the queue has no room for is not written. A disk that fails costs misses.
//! * **One process has the folder.** In a graceful restart the next one waits for the lock, and serves without disk until
//!   it has it.
//!
//! Objects asked for once only are not written ([`seen`]). Parts (206) are not, but slices; nor what could not be used for
//! long.
//!
//! Limits: octets of all files (`disk_bytes_max`), of one object (a quarter of a segment), of the queue
//! ([`QUEUE_OCTETS_MAX`]), reads that wait ([`READS_MAX`]), sets of names in `Vary` ([`index::VARIES_MAX`]).

mod checkpoint;
mod content;
mod index;
mod load;
pub(crate) mod metrics;
mod open;
mod record;
mod seen;
mod segment;
mod writer;

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
        mpsc::{self, Sender},
    },
};

use bytes::Bytes;
use http::HeaderMap;
use proxima_chassis::Clock;
use proxima_model::ZoneId;
use tokio::sync::{Semaphore, oneshot};

pub(crate) use self::{content::OnDisk, index::Location, load::Loaded};
use self::{index::Index, metrics::DiskMetrics, seen::Seen, segment::Segment, writer::Writer};
use crate::{
    content::Budget,
    forgets::Forgets,
    hashing,
    key::PrimaryKey,
    marks::{Mark, Marks},
    store::{NOT_FOR_DISK, NOT_OFFERED, Object},
};

/// Least octets of a disk: some segments of the least size.
pub const DISK_BYTES_MIN: u64 = 64 << 20;
/// A disk has so many segments, if these are neither too small nor too large: the part of it that goes at once.
const SEGMENTS: u64 = 16;
/// Smaller segments would have to be sealed too often.
const SEGMENT_OCTETS_MIN: u64 = 16 << 20;
/// Larger segments would take too long to walk after a crash.
const SEGMENT_OCTETS_MAX: u64 = 256 << 20;
/// An object may take at most this fraction of a segment.
const OBJECTS_PER_SEGMENT_MIN: u64 = 4;
/// Octets of objects that wait to be written.
const QUEUE_OCTETS_MAX: u64 = 32 << 20;
/// Reads that wait for the disk at once; beyond that, looking there would be slower than the origin.
const READS_MAX: usize = 64;
/// URLs that are remembered as forgotten, or stored anew, while the disk is not open yet, which takes as long as the log is not
/// heard: some 20 MiB. Beyond that it starts empty.
const EARLY_MAX: usize = 1 << 20;
/// What is useful for a shorter time and cannot be confirmed is not written.
const LIFETIME_SECONDS_MIN: u64 = 30;

/// How far the log was at some moment since this process started; `None` while it was not heard.
pub(crate) type LogSeen = Box<dyn Fn() -> Option<u64> + Send>;

const OPENING: u8 = 0;
const OPEN: u8 = 1;
const CLOSED: u8 = 2;

/// A purge that may have been missed while no process had the disk.
#[derive(Debug)]
pub(crate) struct Missed {
    /// The entry of the log that made it.
    pub(crate) made_by: u64,
    pub(crate) zone: ZoneId,
    /// `None`: everything.
    pub(crate) names: Option<Vec<Mark>>,
}

/// The state of the log with which this process began.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) seq: u64,
    /// Purges that are in it; `None` if there are too many to tell.
    pub(crate) purges: Option<Vec<Missed>>,
}

/// What the writer is told.
enum Order {
    /// Write an object.
    Write(Offer),
    /// Write that a URL, or one variant of it, is forgotten.
    Forget(u64, Option<u64>),
    /// Write the marks now.
    Mark,
    /// The state with which this process began.
    Begin(Beginning),
    /// Answer when everything before this was done.
    #[cfg(test)]
    Settle(oneshot::Sender<()>),
    /// Seal, write the marks, let go of the folder.
    Close(oneshot::Sender<()>),
    /// End as if the power had gone.
    #[cfg(test)]
    Die(oneshot::Sender<()>),
}

struct Offer {
    key: PrimaryKey,
    object: Arc<Object>,
    pieces: Vec<Bytes>,
    octets: u64,
    /// How often it had been forgotten.
    forgets: u64,
}

/// The disk. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Shared>);

/// By their numbers, which rise: the first is the oldest.
type Segments = BTreeMap<u32, Arc<Segment>>;

struct Shared {
    folder: PathBuf,
    octets_max: u64,
    index: Index,
    segments: RwLock<Segments>,
    orders: Sender<Order>,
    queued: AtomicU64,
    state: AtomicU8,
    early: Mutex<Early>,
    seen: Seen,
    forgets: Forgets,
    marks: Arc<Marks>,
    budget: Arc<Budget>,
    clock: Arc<dyn Clock>,
    metrics: DiskMetrics,
    /// The state of the log whose purges are carried out.
    applied: AtomicU64,
    /// Whether the writer has heard how this process began.
    begun: AtomicBool,
    reads: Arc<Semaphore>,
    /// The number of the oldest segment.
    oldest: AtomicU32,
}

/// What was forgotten before the disk was open.
#[derive(Default)]
struct Early {
    urls: HashSet<u64>,
    too_many: bool,
}

/// What a disk needs.
pub(crate) struct DiskParts {
    pub(crate) folder: PathBuf,
    pub(crate) octets_max: u64,
    pub(crate) marks: Arc<Marks>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: DiskMetrics,
    pub(crate) log_seen: LogSeen,
}

impl Disk {
    /// Begins to open the disk in a folder, which is made if it is not there. Nothing is found in it before its thread has
    /// the lock and knows how this process began ([`Self::begin`]), and that no purge was missed.
    pub(crate) fn start(parts: DiskParts) -> std::io::Result<Self> {
        std::fs::create_dir_all(&parts.folder)?;
        // Before anything is hashed.
        hashing::settle(checkpoint::seed(&parts.folder));
        let (orders, received) = mpsc::channel();
        let shared = Arc::new(Shared {
            folder: parts.folder,
            octets_max: parts.octets_max,
            index: Index::default(),
            segments: RwLock::default(),
            orders,
            queued: AtomicU64::new(0),
            state: AtomicU8::new(OPENING),
            early: Mutex::default(),
            seen: Seen::default(),
            forgets: Forgets::default(),
            marks: parts.marks,
            budget: parts.budget,
            clock: parts.clock,
            metrics: parts.metrics,
            applied: AtomicU64::new(0),
            begun: AtomicBool::new(false),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            oldest: AtomicU32::new(0),
        });
        let writer = Writer::new(shared.clone(), received, parts.log_seen);
        std::thread::Builder::new().name("cache-disk".to_owned()).spawn(move || writer.run())?;
        Ok(Self(shared))
    }

    /// Whether [`Self::begin`] was called.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Tells with which state of the log this process began.
    pub(crate) fn begin(&self, beginning: Beginning) {
        self.0.begun.store(true, Ordering::Release);
        self.applied(beginning.seq);
        self.order(Order::Begin(beginning));
    }

    /// Tells up to which state of the log purges are carried out.
    pub(crate) fn applied(&self, seq: u64) {
        self.0.applied.fetch_max(seq, Ordering::AcqRel);
    }

    /// Where an object lies that would answer a request.
    pub(crate) fn look_up(&self, key: &PrimaryKey, request: &HeaderMap) -> Option<Location> {
        if self.state() == OPENING {
            return None;
        }
        self.0.index.find(key.hash(), request)
    }

    /// Whether that object still counts.
    pub(crate) fn holds(&self, key: &PrimaryKey, location: Location) -> bool {
        self.0.index.holds(key.hash(), location)
    }

    /// An object was stored in memory: what lay here in its place is forgotten, and it is written if it replaces that or
    /// was asked for before.
    pub(crate) fn stored(&self, key: &PrimaryKey, object: &Arc<Object>) {
        let replaced = self.forget_some(key, Some(object.variant.hash()));
        if self.0.seen.again(key.hash()) || replaced {
            self.used(key, object);
        }
    }

    /// Whether an object that is used lies nowhere, and would be written: it was not offered, or its segment has gone.
    #[inline]
    pub(crate) fn is_wanted(&self, object: &Object) -> bool {
        let at = object.on_disk.load(Ordering::Relaxed);
        self.state() == OPEN && (at == NOT_OFFERED || at <= self.0.oldest.load(Ordering::Relaxed))
    }

    /// An object in memory was used again: it is written, if that was not tried yet.
    pub(crate) fn used(&self, key: &PrimaryKey, object: &Arc<Object>) {
        if self.state() != OPEN || object.on_disk.swap(NOT_FOR_DISK, Ordering::Relaxed) == NOT_FOR_DISK {
            return;
        }
        let is_part = object.is_part() && !key.is_of_slices();
        let Some(pieces) = object.content.pieces().filter(|_| !is_part) else { return };
        let octets = pieces.iter().map(|piece| piece.len() as u64).sum();
        if !is_worth_it(object) || octets > self.0.record_octets_max() {
            return;
        }
        let queued = self.0.queued.fetch_add(octets, Ordering::AcqRel);
        if queued > 0 && queued + octets > QUEUE_OCTETS_MAX {
            self.0.queued.fetch_sub(octets, Ordering::AcqRel);
            self.0.metrics.dropped.inc();
            // Its next use may find the disk less busy.
            object.on_disk.store(NOT_OFFERED, Ordering::Relaxed);
            return;
        }
        let forgets = self.0.forgets.of_variant(key, object.variant.hash());
        let (key, object) = (key.clone(), object.clone());
        self.order(Order::Write(Offer { key, object, pieces, octets, forgets }));
    }

    /// Forgets a URL in all its variants.
    pub(crate) fn forget(&self, key: &PrimaryKey) {
        self.forget_some(key, None);
    }

    /// Forgets one object.
    pub(crate) fn forget_object(&self, key: &PrimaryKey, object: &Object) {
        self.forget_some(key, Some(object.variant.hash()));
    }

    /// Whether there was something to forget.
    fn forget_some(&self, key: &PrimaryKey, variant: Option<u64>) -> bool {
        // First, so that what is in the queue does not come into the index afterwards.
        match variant {
            None => self.0.forgets.note(key),
            Some(variant) => self.0.forgets.note_variant(key, variant),
        }
        if self.state() == OPENING {
            let mut early = self.0.early();
            // Looked at again under the lock: it may have opened.
            if self.state() == OPENING {
                early.too_many |= early.urls.len() >= EARLY_MAX;
                if !early.too_many {
                    early.urls.insert(key.hash());
                }
                return false;
            }
        }
        let known = self.0.index.forget(key.hash(), variant);
        if known {
            self.order(Order::Forget(key.hash(), variant));
        }
        known
    }

    /// Has the marks written before what is offered from now on.
    pub(crate) fn write_marks(&self) {
        self.order(Order::Mark);
    }

    /// Whether it is known what lies here.
    pub(crate) fn is_open(&self) -> bool {
        self.state() != OPENING
    }

    /// Sets the gauges.
    pub(crate) fn count(&self) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        // Before it is open, nothing is found.
        let objects = if self.state() == OPENING { 0 } else { self.0.index.len() };
        self.0.metrics.objects.set(gauge(objects as u64));
        self.0.metrics.bytes.set(gauge(self.0.octets()));
    }

    /// Writes what is to be kept and lets go of the folder. What lies there can still be read.
    pub(crate) async fn close(&self) {
        self.wait_for(Order::Close).await;
    }

    async fn wait_for(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, wait) = oneshot::channel();
        self.order(order(done));
        // The thread may have ended: then there is nothing to wait for.
        wait.await.ok();
    }

    /// Waits until everything that was offered is written.
    #[cfg(test)]
    pub(crate) async fn settle(&self) {
        self.wait_for(Order::Settle).await;
    }

    /// Ends as if the power had gone.
    #[cfg(test)]
    pub(crate) async fn die(&self) {
        self.wait_for(Order::Die).await;
    }

    fn state(&self) -> u8 {
        self.0.state.load(Ordering::Acquire)
    }

    fn order(&self, order: Order) {
        // A thread that ended writes nothing any more.
        self.0.orders.send(order).ok();
    }
}

/// Whether an object is of use for long enough.
fn is_worth_it(object: &Object) -> bool {
    let confirmable = [http::header::ETAG, http::header::LAST_MODIFIED];
    object.freshness.lifetime_seconds >= LIFETIME_SECONDS_MIN
        || confirmable.iter().any(|name| object.headers.contains_key(name))
}

impl Shared {
    fn segment_octets(&self) -> u64 {
        (self.octets_max / SEGMENTS).clamp(SEGMENT_OCTETS_MIN, SEGMENT_OCTETS_MAX)
    }

    fn record_octets_max(&self) -> u64 {
        self.segment_octets() / OBJECTS_PER_SEGMENT_MIN
    }

    fn early(&self) -> MutexGuard<'_, Early> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn segments(&self) -> RwLockReadGuard<'_, Segments> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn segments_mut(&self) -> RwLockWriteGuard<'_, Segments> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        self.segments().get(&number).cloned()
    }

    /// Octets of all files.
    fn octets(&self) -> u64 {
        self.segments().values().map(|segment| segment.octets()).sum()
    }
}

/// Reads octets as what lies on a disk, in segments and beside them: what property and fuzz tests call. Nothing in it may
/// panic.
pub(crate) fn exercise(octets: &[u8]) {
    record::exercise(octets);
    checkpoint::exercise(octets);
}

#[cfg(test)]
mod tests;
