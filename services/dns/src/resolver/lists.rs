//! Files of names (`names.rs`) that are read when the server starts, and again when they have changed.
//!
//! ```text
//!  each WATCH_INTERVAL: as they were when they were read? ─yes─▶ nothing
//!                         │ no
//!                         ▼
//!                        as they were when they could not be used? ─yes─▶ again later: twice as long each time
//!                         │ no                                                        │ it is time
//!                         ▼                                                           ▼
//!                        all are read ─┬▶ in force at once, whole; a warning if half of the names are gone
//!                                      └▶ cannot be used: the former are in force; said once
//! ```
//!
//! Lookups never wait for a list that is being read: they see the former until the new one is whole, and memory holds both for
//! so long. Limits: [`AGAIN_MAX`], and those of `names.rs`.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use proxima_resolver::Name;
use tracing::{info, warn};

use super::names::{NameSet, NameSetBuilder};

/// How often lists are looked at for changes, and after what time one that could not be used is first read again.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_secs(10);
/// The longest that one that cannot be used, and does not change, is left alone.
const AGAIN_MAX: Duration = Duration::from_secs(3_600);
/// A list that has less than a half of the names that it had may be cut off.
const SHRUNK_TO_ONE_IN: usize = 2;

/// Files, and the names in them.
#[derive(Debug)]
pub(crate) struct Lists {
    files: Vec<PathBuf>,
    names: ArcSwap<Read>,
    broken: Mutex<Option<Broken>>,
}

/// What was read, and of which state of the files.
#[derive(Debug, Default)]
struct Read {
    names: NameSet,
    state: Vec<FileState>,
}

/// By what a file is seen to have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    modified: SystemTime,
    octets: u64,
    inode: u64,
}

/// What could not be used.
#[derive(Debug)]
struct Broken {
    /// None, if not even that could be read.
    state: Option<Vec<FileState>>,
    tries: u32,
    again_at: Instant,
}

/// What came of looking at files.
#[derive(Debug)]
pub(crate) enum Refreshed {
    /// They are as they were, or cannot be used, as was said before.
    Same,
    /// They were read.
    Read {
        /// Names before.
        before: usize,
        /// Names now.
        names: usize,
    },
    /// They cannot be used.
    Broken(PathBuf, io::Error),
}

impl Refreshed {
    /// Whether so many names are gone that the list may have been cut off.
    pub(crate) fn has_shrunk(&self) -> bool {
        matches!(self, Self::Read { before, names } if *names < before / SHRUNK_TO_ONE_IN)
    }

    /// Says it in the log.
    pub(crate) fn tell(&self, policy: &str, what: &'static str) {
        match self {
            Self::Same => {}
            Self::Read { before, names } if self.has_shrunk() => warn!(
                policy,
                what,
                before,
                names,
                "lists have less than half of the names that they had, and are in force: see whether they are whole"
            ),
            Self::Read { names, .. } => info!(policy, what, names, "read lists that had changed"),
            Self::Broken(path, error) => warn!(
                policy, what, path = %path.display(), %error,
                "a list cannot be used: the former stays in force, and it is said when it is better"
            ),
        }
    }
}

impl Lists {
    /// Reads them.
    ///
    /// # Errors
    /// Which cannot be used, and why.
    pub(crate) fn new(files: Vec<PathBuf>) -> Result<Self, (PathBuf, io::Error)> {
        let names = ArcSwap::from_pointee(Read::new(&files)?);
        Ok(Self { files, names, broken: Mutex::default() })
    }

    /// Whether there are no files.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether a name is in them.
    pub(crate) fn has(&self, name: &Name) -> bool {
        !self.files.is_empty() && self.names.load().names.has(name.wire())
    }

    /// How many names they have.
    pub(crate) fn len(&self) -> usize {
        self.names.load().names.len()
    }

    /// Reads them again, if they have changed and it is time. Blocks: it reads files.
    pub(crate) fn refresh(&self, now: Instant) -> Refreshed {
        let before = self.names.load().names.len();
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let found = states(&self.files);
        if found.as_ref().is_ok_and(|state| *state == self.names.load().state) {
            let was_broken = broken.take().is_some();
            return if was_broken { Refreshed::Read { before, names: before } } else { Refreshed::Same };
        }
        let state = found.as_ref().ok().cloned();
        let tries = match &*broken {
            Some(former) if former.state == state && now < former.again_at => return Refreshed::Same,
            Some(former) if former.state == state => former.tries.saturating_add(1),
            _ => 0,
        };
        match found.and_then(|_| Read::new(&self.files)) {
            Ok(read) => {
                *broken = None;
                let names = read.names.len();
                self.names.store(Arc::new(read));
                Refreshed::Read { before, names }
            }
            Err((path, error)) => {
                let wait = WATCH_INTERVAL.saturating_mul(2_u32.saturating_pow(tries)).min(AGAIN_MAX);
                *broken = Some(Broken { state, tries, again_at: now + wait });
                if tries == 0 { Refreshed::Broken(path, error) } else { Refreshed::Same }
            }
        }
    }
}

impl Read {
    fn new(files: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        // Before they are read: what changes meanwhile is read once more.
        let state = states(files)?;
        let mut names = NameSetBuilder::default();
        for file in files {
            let before = names.strange;
            names.read(file).map_err(|error| (file.clone(), error))?;
            let strange = names.strange - before;
            if strange > 0 {
                warn!(path = %file.display(), lines = strange, "lines of a list are not understood, and left out");
            }
        }
        Ok(Self { names: names.build(), state })
    }
}

fn states(files: &[PathBuf]) -> Result<Vec<FileState>, (PathBuf, io::Error)> {
    let state = |path: &Path| {
        let metadata = fs::metadata(path)?;
        Ok(FileState { modified: metadata.modified()?, octets: metadata.len(), inode: metadata.ino() })
    };
    files.iter().map(|file| state(file).map_err(|error| (file.clone(), error))).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fmt::Write as _,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;

    fn has(lists: &Lists, name: &str) -> bool {
        lists.has(&name.parse().unwrap())
    }

    fn many(count: usize) -> String {
        (0..count).fold("kept.example\n".to_owned(), |mut text, number| {
            writeln!(text, "n{number}.example").unwrap();
            text
        })
    }

    #[test]
    fn what_cannot_be_used_is_said_once_and_read_again_ever_more_seldom() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        fs::write(&list, "one.example\n").unwrap();
        let lists = Lists::new(vec![list.clone()]).unwrap();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let tries = || lists.broken.lock().unwrap().as_ref().map(|broken| broken.tries);
        assert!(matches!(lists.refresh(at(0)), Refreshed::Same));
        fs::write(&list, "<html> nothing here\n").unwrap();
        assert!(matches!(lists.refresh(at(10)), Refreshed::Broken(path, _) if path == list));
        // Ten, twenty, forty seconds later: whenever it is looked at, it is said no more.
        for (seconds, tried) in [(15, 0), (20, 1), (30, 1), (39, 1), (40, 2), (79, 2), (80, 3)] {
            assert!(matches!(lists.refresh(at(seconds)), Refreshed::Same), "{seconds}");
            assert_eq!(tries(), Some(tried), "{seconds}");
        }
        assert!(has(&lists, "one.example"));
        // What is broken in another way is said; what is good is read at once.
        fs::remove_file(&list).unwrap();
        assert!(matches!(lists.refresh(at(81)), Refreshed::Broken(..)));
        fs::write(&list, "other.example\n").unwrap();
        assert!(matches!(lists.refresh(at(82)), Refreshed::Read { names: 1, .. }));
        assert!(has(&lists, "other.example") && !has(&lists, "one.example") && tries().is_none());
        // However long it lasts, an hour is the longest.
        fs::write(&list, "<html> nothing here\n").unwrap();
        let mut seconds = 100;
        for _ in 0..40 {
            lists.refresh(at(seconds));
            seconds += AGAIN_MAX.as_secs();
        }
        assert_eq!(tries(), Some(39));
    }

    #[test]
    fn a_list_that_loses_most_of_its_names_is_in_force_and_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        fs::write(&list, many(99)).unwrap();
        let lists = Lists::new(vec![list.clone()]).unwrap();
        for (names, has_shrunk) in [(60, false), (31, false), (14, true), (100, false)] {
            fs::write(&list, many(names - 1)).unwrap();
            let refreshed = lists.refresh(Instant::now());
            assert!(
                matches!(refreshed, Refreshed::Read { names: read, .. } if read == names),
                "{refreshed:?}"
            );
            assert_eq!(refreshed.has_shrunk(), has_shrunk, "{names}");
            assert_eq!(lists.len(), names);
        }
    }

    #[test]
    fn a_file_in_the_place_of_another_is_seen_although_it_is_as_long_and_as_old() {
        let folder = tempfile::tempdir().unwrap();
        let (list, next) = (folder.path().join("list"), folder.path().join("next"));
        fs::write(&list, "one.example\n").unwrap();
        fs::write(&next, "two.example\n").unwrap();
        let modified = fs::metadata(&list).unwrap().modified().unwrap();
        fs::File::options().write(true).open(&next).unwrap().set_modified(modified).unwrap();
        let lists = Lists::new(vec![list.clone()]).unwrap();
        fs::rename(&next, &list).unwrap();
        assert!(matches!(lists.refresh(Instant::now()), Refreshed::Read { .. }));
        assert!(has(&lists, "two.example") && !has(&lists, "one.example"));
    }

    #[test]
    fn lookups_go_on_while_a_list_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        fs::write(&list, many(1)).unwrap();
        let lists = Lists::new(vec![list.clone()]).unwrap();
        fs::write(&list, many(200_000)).unwrap();
        let is_read = AtomicBool::new(false);
        let looked = std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let mut looked = 0_u64;
                while !is_read.load(Ordering::Relaxed) {
                    assert!(has(&lists, "kept.example"), "no moment is without the list");
                    looked += 1;
                }
                looked
            });
            let refreshed = lists.refresh(Instant::now());
            assert!(matches!(refreshed, Refreshed::Read { names: 200_001, .. }));
            is_read.store(true, Ordering::Relaxed);
            looking.join().unwrap()
        });
        assert!(looked > 0 && has(&lists, "n199999.example"));
    }
}
