//! What lies beside the segments: under which key names are hashed, and what was purged.
//!
//! `cache.json` is written once, when the folder is new. `marks` is written now and then and at the end: the marks, the
//! state of the log up to which they count, and when that was. It is written beside the former one and takes its place in
//! one step.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
};

use proxima_model::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::{Corrupt, checksum};
use crate::{
    hashing::{self, Seed},
    marks::{KeptMarks, Marks},
};

/// Raised when what lies on a disk means something else than before: then it starts empty.
const VERSION: u32 = 1;
const ABOUT: &str = "cache.json";
const MARKS: &str = "marks";
const MARKS_NEW: &str = "marks.new";
/// A checksum.
const SUM_OCTETS: usize = 4;
/// Marks of each kind while octets are only exercised.
const EXERCISED_MAX: usize = 16;

/// `cache.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    version: u32,
    seed: Seed,
    /// The hash of a name: a library that hashes in another way is noticed.
    probe: u64,
}

/// `marks`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// When it was written, by the wall clock.
    pub(super) at: i64,
    /// The state of the log up to which purges are among the marks.
    pub(super) seq: u64,
    pub(super) marks: KeptMarks,
}

fn about(folder: &Path) -> Option<About> {
    serde_json::from_slice(&std::fs::read(folder.join(ABOUT)).ok()?).ok()
}

fn of_this_process() -> About {
    let probe = hashing::of((0_u64, "https://example.test/?a", [1_u8; 16]));
    About { version: VERSION, seed: hashing::settle(None), probe }
}

/// The key under which names in this folder are hashed.
pub(super) fn seed(folder: &Path) -> Option<Seed> {
    about(folder).filter(|about| about.version == VERSION).map(|about| about.seed)
}

/// Whether this process understands what lies in the folder.
pub(super) fn is_ours(folder: &Path) -> bool {
    about(folder).is_some_and(|about| about == of_this_process())
}

/// Says that what will lie in the folder is this process's.
pub(super) fn begin(folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(folder.join(MARKS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    replace(folder, ABOUT, &serde_json::to_vec(&of_this_process())?)
}

impl Checkpoint {
    /// Reads the last one; `None` if there is none, or it cannot be read.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        Self::decode(&std::fs::read(folder.join(MARKS)).ok()?).ok()
    }

    fn decode(octets: &[u8]) -> Result<Self, Corrupt> {
        let (kept, sum) = octets.split_last_chunk::<SUM_OCTETS>().ok_or(Corrupt)?;
        if checksum(&[kept]).to_le_bytes() != *sum {
            return Err(Corrupt);
        }
        postcard::from_bytes(kept).map_err(|_| Corrupt)
    }

    /// Takes the place of the last one.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let mut octets = postcard::to_allocvec(self).map_err(io::Error::other)?;
        let sum = checksum(&[&octets]);
        octets.extend_from_slice(&sum.to_le_bytes());
        replace(folder, MARKS, &octets)
    }

    /// When it was written.
    pub(super) const fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.at)
    }
}

/// Reads octets as what lies beside the segments: what fuzz tests call. Nothing in it may panic.
pub(super) fn exercise(octets: &[u8]) {
    let _about = serde_json::from_slice::<About>(octets);
    // With the checksum that it would have: nobody finds those.
    let sealed = [octets, &checksum(&[octets]).to_le_bytes()].concat();
    for octets in [octets, &sealed] {
        let Ok(checkpoint) = Checkpoint::decode(octets) else { continue };
        let marks = Marks::new(EXERCISED_MAX, EXERCISED_MAX).lasting(checkpoint.at());
        marks.take_back(checkpoint.marks);
        marks.next_moment();
        let again = Checkpoint { marks: marks.keep(), ..checkpoint };
        let kept = postcard::to_allocvec(&again).unwrap_or_default();
        let sealed = [&kept[..], &checksum(&[&kept]).to_le_bytes()].concat();
        assert!(Checkpoint::decode(&sealed).is_ok());
    }
}

fn replace(folder: &Path, name: &str, octets: &[u8]) -> io::Result<()> {
    let new = folder.join(MARKS_NEW);
    let mut file = File::create(&new)?;
    file.write_all(octets)?;
    file.sync_all()?;
    std::fs::rename(new, folder.join(name))?;
    File::open(folder)?.sync_all()
}
