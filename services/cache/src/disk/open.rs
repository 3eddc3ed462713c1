//! Opening a folder: whose it is, what was purged while nobody had it, and where everything lies.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use proxima_model::{Timestamp, limits::PURGE_KEPT_SECONDS};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{
    Beginning, Missed, Shared, checkpoint,
    checkpoint::Checkpoint,
    index::{Index, location},
    record::{self, Footer, HEAD_OCTETS, Head, Place, TRAILER_OCTETS},
    segment::{self, Segment},
};
use crate::{marks::Marks, policy::vary::Vary};

/// Marks that were written longer ago do not count: purges since then may be gone from the log's state. Half of the time
/// for which that keeps them, since clocks differ.
const MARKS_COUNT_SECONDS: i64 = PURGE_KEPT_SECONDS / 2;
const LOCK: &str = "lock";
/// A footer is read into memory as a whole: some 32 octets for each record of a segment.
const FOOTER_OCTETS_MAX: u64 = 64 << 20;

/// Takes the folder for this process, for as long as the file is held; `None` while another has it.
pub(super) fn lock(folder: &Path) -> io::Result<Option<File>> {
    let file = File::create(folder.join(LOCK))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Why a disk starts empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Empty {
    #[error("it is new, or another version's")]
    NotOurs,
    #[error("its marks of purges are missing or damaged")]
    NoMarks,
    #[error("nobody had it for so long that purges may be unknown")]
    TooOld,
    #[error("the log's state is older than it is")]
    Behind,
    #[error("there are too many purges to compare")]
    TooMany,
}

/// The marks that lie in a folder. Read once, when the folder is this process's: nobody else writes them then.
pub(super) fn kept(shared: &Shared) -> Result<Checkpoint, Empty> {
    if !checkpoint::is_ours(&shared.folder) {
        return Err(Empty::NotOurs);
    }
    Checkpoint::read(&shared.folder).ok_or(Empty::NoMarks)
}

/// Whether the process that had the folder before had come further in the log than this one has: changes come to both, and
/// this one may only have to wait.
pub(super) fn is_behind(shared: &Shared, kept: &Checkpoint) -> bool {
    shared.applied.load(Ordering::Acquire) < kept.seq
}

/// Makes what lies in the folder count, as far as it does: marks first, then the index.
pub(super) fn open(shared: &Shared, beginning: Beginning, kept: Result<Checkpoint, Empty>) -> io::Result<()> {
    match kept.and_then(|kept| missed(shared, beginning, &kept).map(|missed| (kept, missed))) {
        Ok((kept, missed)) => {
            shared.marks.take_back(kept.marks);
            missed.iter().for_each(|missed| mark(&shared.marks, missed));
            survey(shared)
        }
        Err(why) => {
            tracing::info!(target: "proxima_cache", folder = %shared.folder.display(), %why, "the disk starts empty");
            clear(&shared.folder)?;
            checkpoint::begin(&shared.folder)
        }
    }
}

/// The purges that are not among the marks.
fn missed(shared: &Shared, beginning: Beginning, kept: &Checkpoint) -> Result<Vec<Missed>, Empty> {
    if is_too_old(kept.at(), shared.clock.now()) {
        return Err(Empty::TooOld);
    }
    if is_behind(shared, kept) {
        return Err(Empty::Behind);
    }
    let purges = beginning.purges.ok_or(Empty::TooMany)?;
    Ok(purges.into_iter().filter(|purge| purge.made_by > kept.seq).collect())
}

/// A clock that was put back tells nothing either.
fn is_too_old(at: Timestamp, now: Timestamp) -> bool {
    let seconds = (now.as_millis() - at.as_millis()) / 1_000;
    !(-MARKS_COUNT_SECONDS..=MARKS_COUNT_SECONDS).contains(&seconds)
}

fn mark(marks: &Marks, missed: &Missed) {
    match &missed.names {
        None => marks.purge_zone(missed.zone),
        Some(names) => marks.purge_names(missed.zone, names),
    }
}

/// Removes all segments.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    for number in segment::numbers(folder)? {
        Segment::open(folder, number)?.remove()?;
    }
    Ok(())
}

/// Reads where everything lies, the oldest first.
fn survey(shared: &Shared) -> io::Result<()> {
    for number in segment::numbers(&shared.folder)? {
        let segment = Segment::open(&shared.folder, number)?;
        let footer = match footer(&segment)? {
            Some(footer) => footer,
            None => walk(&segment)?,
        };
        shared.segments_mut().insert(number, segment);
        apply(&shared.index, number, &footer);
    }
    let (objects, octets) = (shared.index.len(), shared.octets());
    tracing::info!(target: "proxima_cache", folder = %shared.folder.display(), objects, octets, "the disk is open");
    Ok(())
}

/// The footer of a sealed segment; `None` if it has none that can be read.
pub(super) fn footer(segment: &Segment) -> io::Result<Option<Footer>> {
    let octets = segment.octets();
    let Some(before) = octets.checked_sub(TRAILER_OCTETS as u64) else { return Ok(None) };
    let trailer = segment.read(before, TRAILER_OCTETS)?;
    let Ok(trailer) = <&[u8; TRAILER_OCTETS]>::try_from(&trailer[..]) else { return Ok(None) };
    let Some(length) = Footer::length(trailer).ok().filter(|length| *length <= FOOTER_OCTETS_MAX) else {
        return Ok(None);
    };
    let Some(start) = before.checked_sub(length) else { return Ok(None) };
    let read = segment.read(start, usize::try_from(octets - start).unwrap_or(usize::MAX))?;
    Ok(Footer::read(&read, start).ok())
}

/// Walks a segment that was not sealed, record by record, up to what was not wholly written; seals it.
fn walk(segment: &Arc<Segment>) -> io::Result<Footer> {
    let mut footer = Footer::default();
    let mut at = 0;
    while let Some(place) = place_at(segment, at, &mut footer)? {
        at += u64::from(place.octets);
        footer.places.push(place);
    }
    let lost = segment.octets() - at;
    tracing::info!(target: "proxima_cache", segment = segment.number(), records = footer.places.len(), lost, "walked a segment that was not sealed");
    segment.truncate(at)?;
    segment.append(&[&footer.write()])?;
    Ok(footer)
}

fn place_at(segment: &Segment, at: u64, footer: &mut Footer) -> io::Result<Option<Place>> {
    let left = segment.octets() - at;
    if left < HEAD_OCTETS as u64 {
        return Ok(None);
    }
    let Ok(head) = Head::read(&segment.read(at, HEAD_OCTETS)?) else { return Ok(None) };
    if head.octets() > left {
        return Ok(None);
    }
    let octets = segment.read(at, head.before())?;
    if head.verify(&octets).is_err() {
        return Ok(None);
    }
    let vary = if head.is_object {
        let Ok(described) = record::read_object(&octets) else { return Ok(None) };
        let names: Vec<String> = described.vary.names().map(str::to_owned).collect();
        number_of(&mut footer.varies, names)
    } else {
        0
    };
    let offset = u32::try_from(at).unwrap_or(u32::MAX);
    Ok(Some(Place { vary, offset, ..Place::of(&head) }))
}

/// The place of a set of names in a footer's list.
pub(super) fn number_of(varies: &mut Vec<Vec<String>>, names: Vec<String>) -> u16 {
    let known = varies.iter().position(|known| *known == names);
    let number = known.unwrap_or_else(|| {
        varies.push(names);
        varies.len() - 1
    });
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Puts a segment's records into the index.
fn apply(index: &Index, segment: u32, footer: &Footer) {
    let numbers: Vec<Option<u16>> =
        footer.varies.iter().map(|names| index.number(&Vary::of_names(names)?)).collect();
    for place in &footer.places {
        let variant = (place.variant != 0).then_some(place.variant);
        if !place.is_object {
            index.forget(place.primary, variant);
        } else if let Some(vary) = numbers.get(usize::from(place.vary)).copied().flatten() {
            index.put(segment, &Place { vary, ..place.clone() }, || true);
        }
    }
}

/// Where the objects of a sealed segment lie.
pub(super) fn objects(segment: u32, footer: &Footer) -> impl Iterator<Item = (u64, super::Location, &Place)> {
    let objects = footer.places.iter().filter(|place| place.is_object);
    objects.map(move |place| (place.primary, location(segment, place), place))
}
