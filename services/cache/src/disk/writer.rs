//! The thread that writes.
//!
//! ```text
//!   wait for the folder's lock, for how the process began, and for the log ─▶ open ─▶ orders, one after the other ─▶ seal, marks, unlock
//! ```
//!
//! Everything that changes the log goes through here, in one order; so a record that forgets lies behind what it forgets.
//! A write that fails is told once, costs its object, and has the disk left alone for a while; what is to be forgotten
//! waits until it can be written, and if too much does, the disk starts anew.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::{
    Beginning, CLOSED, LogSeen, OPEN, Offer, Order, Shared,
    checkpoint::Checkpoint,
    open,
    record::{Footer, Head, Place},
    segment::Segment,
};
use crate::policy::vary::Vary;

/// How often a folder that another process has is tried again.
const LOCK_EVERY: Duration = Duration::from_millis(100);
/// How often it is looked whether this process has come as far in the log as the one before it: some seconds' worth.
const BEHIND_MAX: u32 = 100;
/// After so long without knowing what the log has it is said that the disk waits for that.
const WAIT_TOLD: Duration = Duration::from_secs(10);
/// How often the marks are written. What was purged since is found in the log's state after a crash.
const MARKS_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked for what is due, when there are no orders.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Octets after which the disk is waited for, so that the kernel has never much to write at once.
const SYNC_OCTETS: u64 = 32 << 20;
/// After a failed write the disk is left alone for so long, and twice as long each time, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Records that forget and could not be written.
const UNWRITTEN_MAX: usize = 65_536;
/// Of a segment that goes, at most this part is written again.
const KEPT_DIVISOR: u64 = 2;

pub(super) struct Writer {
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    log_seen: LogSeen,
    /// Where the log was when it was first heard.
    log_was: Option<u64>,
    /// Taken before the disk was open.
    waiting: VecDeque<Order>,
    lock: Option<File>,
    /// Whether it was said that the folder cannot be locked.
    told: bool,
    active: Option<Active>,
    /// The next segment's number.
    next: u32,
    unwritten: Vec<(u64, Option<u64>)>,
    paused: Option<(Instant, Duration)>,
    marked: Instant,
}

/// The segment that is being written.
struct Active {
    segment: Arc<Segment>,
    footer: Footer,
    /// The index's numbers of the sets of names, and the footer's.
    varies: HashMap<u16, u16>,
    unsynced: u64,
}

/// The marks that lay in the folder, or why what lies there does not count.
type Kept = Result<Checkpoint, open::Empty>;

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    Away,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, orders: Receiver<Order>, log_seen: LogSeen) -> Self {
        Self {
            shared,
            orders,
            log_seen,
            log_was: None,
            waiting: VecDeque::new(),
            lock: None,
            told: false,
            active: None,
            next: 0,
            unwritten: Vec::new(),
            paused: None,
            marked: Instant::now(),
        }
    }

    pub(super) fn run(mut self) {
        let Some((beginning, kept)) = self.wait_to_begin() else { return };
        if let Err(error) = self.open(beginning, kept) {
            let folder = self.shared.folder.display();
            tracing::error!(target: "proxima_cache", %folder, %error, "the disk cannot be opened: serving from memory alone until the next start");
            return;
        }
        while self.turn() == Go::On {}
    }

    /// Waits until the folder is this process's, and it is known how it began and that it has come as far in the log as that
    /// is, and as the process before; `None` if it ends before.
    fn wait_to_begin(&mut self) -> Option<(Beginning, Kept)> {
        let (mut beginning, mut kept, mut waited, mut told) = (None, None, 0, false);
        let begun = Instant::now();
        loop {
            if self.lock.is_none() {
                self.lock();
                kept = self.lock.is_some().then(|| open::kept(&self.shared));
            }
            // Of what does not count nothing can have been purged.
            let knows_the_log = matches!(kept, Some(Err(_))) || self.knows_the_log();
            if !knows_the_log && !told && begun.elapsed() >= WAIT_TOLD {
                let (folder, heard) = (self.shared.folder.display(), self.log_was.is_some());
                tracing::warn!(target: "proxima_cache", %folder, heard, "this server does not know yet what the log has had since the start, purges among it: serving without the disk until it does");
                told = true;
            }
            let behind = matches!(&kept, Some(Ok(kept)) if open::is_behind(&self.shared, kept));
            if knows_the_log && (!behind || waited >= BEHIND_MAX) {
                match (beginning.take(), kept.take()) {
                    (Some(beginning), Some(kept)) => return Some((beginning, kept)),
                    waiting => (beginning, kept) = waiting,
                }
            }
            waited += u32::from(knows_the_log && behind);
            match self.orders.recv_timeout(LOCK_EVERY) {
                Ok(Order::Begin(given)) => beginning = Some(given),
                Ok(Order::Close(_done)) => return None,
                #[cfg(test)]
                Ok(Order::Die(_done)) => return None,
                // They are written when it opens.
                Ok(Order::Mark) => {}
                Ok(order) => self.waiting.push_back(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Whether this process has carried out every purge that was acknowledged before it started.
    fn knows_the_log(&mut self) -> bool {
        self.log_was = self.log_was.or((self.log_seen)());
        self.log_was.is_some_and(|seq| self.shared.applied.load(Ordering::Acquire) >= seq)
    }

    /// Takes the folder, unless another process has it.
    fn lock(&mut self) {
        match open::lock(&self.shared.folder) {
            Ok(lock) => self.lock = lock,
            Err(error) if !self.told => {
                let folder = self.shared.folder.display();
                tracing::error!(target: "proxima_cache", %folder, %error, "the disk cannot be locked: trying again");
                self.told = true;
            }
            Err(_) => {}
        }
    }

    fn open(&mut self, beginning: Beginning, kept: Kept) -> io::Result<()> {
        open::open(&self.shared, beginning, kept)?;
        self.next = self.shared.segments().last_key_value().map_or(0, |(last, _)| last.wrapping_add(1));
        self.note_oldest();
        // The marks count from now on; before that, nothing may be found here.
        self.checkpoint()?;
        let early = {
            let mut early = self.shared.early();
            let early = std::mem::take(&mut *early);
            if early.too_many {
                self.shared.index.clear();
            }
            for url in &early.urls {
                self.shared.index.forget(*url, None);
            }
            self.shared.state.store(OPEN, Ordering::Release);
            early
        };
        if early.too_many {
            self.start_anew();
        }
        early.urls.into_iter().for_each(|url| self.forget(url, None));
        Ok(())
    }

    /// Carries out one order, and what is due beside.
    fn turn(&mut self) -> Go {
        if self.marked.elapsed() >= MARKS_EVERY
            && let Err(error) = self.checkpoint()
        {
            self.failed(&error);
        }
        if !self.unwritten.is_empty()
            && !self.is_paused()
            && let Err(error) = self.write_forgotten()
        {
            self.failed(&error);
        }
        let order = match self.waiting.pop_front() {
            Some(order) => order,
            None => match self.orders.recv_timeout(LOOK_EVERY) {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => return Go::On,
                Err(RecvTimeoutError::Disconnected) => return Go::Away,
            },
        };
        match order {
            Order::Write(offer) => self.write(&offer),
            Order::Forget(url, variant) => self.forget(url, variant),
            Order::Mark => {
                if let Err(error) = self.checkpoint() {
                    self.failed(&error);
                }
            }
            Order::Begin(_) => {}
            #[cfg(test)]
            Order::Settle(done) => {
                done.send(()).ok();
            }
            Order::Close(done) => {
                self.close();
                done.send(()).ok();
                return Go::Away;
            }
            #[cfg(test)]
            Order::Die(done) => {
                self.lock = None;
                done.send(()).ok();
                return Go::Away;
            }
        }
        Go::On
    }

    fn close(&mut self) {
        self.shared.state.store(CLOSED, Ordering::Release);
        if let Err(error) = self.write_forgotten() {
            tracing::warn!(target: "proxima_cache", %error, "what is to be forgotten cannot be written");
            self.start_anew();
        }
        if let Err(error) = self.seal().and_then(|()| self.checkpoint()) {
            tracing::warn!(target: "proxima_cache", %error, "the disk was not closed in order: the next start walks its last segment");
        }
        self.lock = None;
    }

    fn write(&mut self, offer: &Offer) {
        self.shared.queued.fetch_sub(offer.octets, Ordering::AcqRel);
        let shared = self.shared.clone();
        let variant = offer.object.variant.hash();
        let wanted = || shared.forgets.of_variant(&offer.key, variant) == offer.forgets;
        if self.is_paused() || !wanted() {
            return;
        }
        let Some(vary) = shared.index.number(&offer.object.vary) else { return };
        let (primary, object) = (offer.key.hash(), &offer.object);
        let (head, before) = Head::object(&offer.key, object, &offer.pieces);
        let octets = head.octets();
        if octets > shared.record_octets_max() {
            return;
        }
        let mut parts = vec![&before[..]];
        parts.extend(offer.pieces.iter().map(|piece| &piece[..]));
        let place = Place { vary, ..Place::of(&head) };
        match self.append(&parts, place) {
            Ok((segment, place)) => {
                shared.metrics.writes.inc();
                shared.metrics.written.inc_by(octets);
                if shared.index.put(segment, &place, wanted) {
                    object.on_disk.store(segment.saturating_add(1), Ordering::Relaxed);
                } else {
                    // It was forgotten meanwhile, and lies in the log now.
                    self.forget(primary, Some(variant));
                }
            }
            Err(error) => {
                self.failed(&error);
                // It may lie there whole.
                self.forget(primary, Some(variant));
            }
        }
    }

    fn forget(&mut self, url: u64, variant: Option<u64>) {
        self.unwritten.push((url, variant));
        if self.unwritten.len() > UNWRITTEN_MAX {
            self.start_anew();
        }
        if !self.is_paused()
            && let Err(error) = self.write_forgotten()
        {
            self.failed(&error);
        }
    }

    /// Writes what is to be forgotten.
    fn write_forgotten(&mut self) -> io::Result<()> {
        while let Some((url, variant)) = self.unwritten.last().copied() {
            let (head, octets) = Head::forgetting(url, variant);
            self.append(&[&octets], Place::of(&head))?;
            self.unwritten.pop();
        }
        Ok(())
    }

    /// Appends a record; the place, with the index's number of its names.
    fn append(&mut self, parts: &[&[u8]], place: Place) -> io::Result<(u32, Place)> {
        let octets = u64::from(place.octets);
        let full = |active: &Active| active.segment.octets() + octets > self.shared.segment_octets();
        if self.active.as_ref().is_some_and(full) {
            self.seal()?;
        }
        if self.active.is_none() {
            self.begin_segment()?;
        }
        let shared = self.shared.clone();
        let Some(active) = &mut self.active else { return Err(io::ErrorKind::NotFound.into()) };
        let appended = active.append(&shared, parts, place)?;
        self.paused = None;
        Ok(appended)
    }

    fn seal(&mut self) -> io::Result<()> {
        let Some(active) = self.active.take() else { return Ok(()) };
        // What a failed write left behind must not come after the footer.
        active.segment.truncate(active.segment.octets())?;
        active.segment.append(&[&active.footer.write()])?;
        active.segment.sync()
    }

    /// Begins a segment. The oldest give way to it, and what is in use of them comes into it.
    fn begin_segment(&mut self) -> io::Result<()> {
        let segment_octets = self.shared.segment_octets();
        let segment = Segment::create(&self.shared.folder, self.next)?;
        self.next = self.next.wrapping_add(1);
        let mut oldest = Vec::new();
        while self.shared.octets() + segment_octets > self.shared.octets_max {
            let Some(segment) = self.take_oldest() else { break };
            oldest.push(segment);
        }
        self.shared.segments_mut().insert(segment.number(), segment.clone());
        let mut active = Active { segment, footer: Footer::default(), varies: HashMap::new(), unsynced: 0 };
        let mut outcome = Ok(());
        for segment in oldest {
            if outcome.is_ok() {
                outcome = self.keep_used(&segment, &mut active);
            }
            // Whatever fails, each of them goes.
            outcome = outcome.and(self.let_go(&segment));
        }
        self.active = Some(active);
        self.note_oldest();
        outcome
    }

    /// Says which segment is the oldest: what memory has of older ones lies nowhere any more.
    fn note_oldest(&self) {
        let oldest = self.shared.segments().first_key_value().map_or(self.next, |(oldest, _)| *oldest);
        self.shared.oldest.store(oldest, Ordering::Relaxed);
    }

    fn take_oldest(&self) -> Option<Arc<Segment>> {
        // Numbers rise for as long as a disk lives: 2³² segments are petabytes.
        self.shared.segments_mut().pop_first().map(|(_, oldest)| oldest)
    }

    /// Writes again what was read since it was written.
    fn keep_used(&self, old: &Segment, active: &mut Active) -> io::Result<()> {
        let Some(footer) = open::footer(old)? else { return Ok(()) };
        let mut room = self.shared.segment_octets() / KEPT_DIVISOR;
        for (primary, from, place) in open::objects(old.number(), &footer) {
            let octets = u64::from(place.octets);
            if octets > room || self.shared.index.was_used(primary, from) != Some(true) {
                continue;
            }
            let names = footer.varies.get(usize::from(place.vary)).map(Vec::as_slice).unwrap_or_default();
            let Some(vary) = Vary::of_names(names).and_then(|vary| self.shared.index.number(&vary)) else {
                continue;
            };
            let record = old.read(u64::from(place.offset), place.octets as usize)?;
            let (segment, place) =
                active.append(&self.shared, &[&record], Place { vary, ..place.clone() })?;
            self.shared.index.moved(primary, from, segment, &place);
            self.shared.metrics.kept.inc();
            room -= octets;
        }
        Ok(())
    }

    /// Forgets what lies in a segment, and removes its file.
    fn let_go(&self, segment: &Segment) -> io::Result<()> {
        match open::footer(segment) {
            Ok(Some(footer)) => {
                for (primary, location, _) in open::objects(segment.number(), &footer) {
                    self.shared.index.forget_at(primary, location);
                }
            }
            // It could not be sealed, or not be read.
            _ => self.shared.index.forget_segment(segment.number()),
        }
        self.shared.metrics.evictions.inc();
        segment.remove()
    }

    /// Forgets everything, since the disk cannot be told what to forget.
    fn start_anew(&mut self) {
        tracing::warn!(target: "proxima_cache", "the disk starts anew: too much that is to be forgotten could not be written");
        self.unwritten.clear();
        self.active = None;
        self.shared.index.clear();
        self.shared.oldest.store(self.next, Ordering::Relaxed);
        for segment in std::mem::take(&mut *self.shared.segments_mut()).into_values() {
            if let Err(error) = segment.remove() {
                tracing::error!(target: "proxima_cache", segment = segment.number(), %error, "a segment cannot be removed: empty the folder before the next start");
            }
        }
    }

    /// Writes the marks. Everything that was forgotten up to their state lies in the log before they do.
    fn checkpoint(&mut self) -> io::Result<()> {
        self.marked = Instant::now();
        let seq = self.shared.applied.load(Ordering::Acquire);
        if let Some(active) = &mut self.active {
            active.sync()?;
        }
        let at = self.shared.clock.now().as_millis();
        Checkpoint { at, seq, marks: self.shared.marks.keep() }.write(&self.shared.folder)
    }

    /// Others have filled the disk: something of ours goes, so that the next write has a chance.
    fn make_room(&mut self) {
        if self.shared.segments().len() > usize::from(self.active.is_some())
            && let Some(oldest) = self.take_oldest()
        {
            if let Err(error) = self.let_go(&oldest) {
                tracing::warn!(target: "proxima_cache", segment = oldest.number(), %error, "a segment cannot be removed");
            }
            self.note_oldest();
        }
    }

    fn is_paused(&self) -> bool {
        self.paused.is_some_and(|(since, pause)| since.elapsed() < pause)
    }

    fn failed(&mut self, error: &io::Error) {
        let pause = self.paused.map_or(PAUSE_MIN, |(_, pause)| (pause * 2).min(PAUSE_MAX));
        self.paused = Some((Instant::now(), pause));
        if error.kind() == io::ErrorKind::StorageFull {
            self.make_room();
        }
        let (folder, seconds) = (self.shared.folder.display(), pause.as_secs());
        tracing::warn!(target: "proxima_cache", %folder, %error, "the disk cannot be written: no more is written for {seconds} s; what lies there is served");
        self.shared.metrics.failures.inc(); // Last: who sees it finds the room made and the line in the log.
    }
}

impl Active {
    fn append(&mut self, shared: &Shared, parts: &[&[u8]], place: Place) -> io::Result<(u32, Place)> {
        let offset = self.segment.append(parts)?;
        let place = Place { offset: u32::try_from(offset).unwrap_or(u32::MAX), ..place };
        let vary = if place.is_object { self.vary(shared, place.vary) } else { 0 };
        self.footer.places.push(Place { vary, ..place.clone() });
        self.unsynced += u64::from(place.octets);
        if self.unsynced >= SYNC_OCTETS {
            self.sync()?;
        }
        Ok((self.segment.number(), place))
    }

    /// The footer's number of what the index numbers so.
    fn vary(&mut self, shared: &Shared, number: u16) -> u16 {
        let varies = &mut self.footer.varies;
        *self.varies.entry(number).or_insert_with(|| {
            let names = shared.index.vary(number).names().map(str::to_owned).collect();
            open::number_of(varies, names)
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.unsynced = 0;
        self.segment.sync()
    }
}
