//! Octets in files.
//!
//! ```text
//! blobs/incoming/ID ── written, with [checksums](super::sums) ── synced ── rename ──▶ blobs/XX/ID, its folder synced ──▶ a row
//! ```
//!
//! A file's name is drawn at random and never made of a key. The first octets of it are those of the [process](super::processes)
//! that wrote it: so the files that a crash left are told from those of another process that is at work, in a graceful restart.
//! Files that no row will name are removed by a thread of their own, and by nobody who answers or writes the index.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::{self, DirEntry, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
};

use proxima_pipeline::ObjectError;

use super::{
    folders,
    processes::{Living, PROCESS_OCTETS, Processes},
    rows::{BlobId, ID_OCTETS},
    space::Space,
    sums::{self, Sums},
};

const INCOMING: &str = "incoming";
const PROCESSES: &str = "processes";
/// Octets that are copied at once.
const COPIED_OCTETS: usize = 256 << 10;

/// All files of this store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Blobs(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    processes: Processes,
    space: Space,
    known: Mutex<Known>,
    /// What the thread that removes files is to do. As many wait as requests have files under way.
    discards: mpsc::Sender<Discard>,
}

type Discard = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Known {
    /// Files that no row names yet.
    pending: HashSet<BlobId>,
    /// How often each is being read.
    reading: HashMap<BlobId, usize>,
}

/// What looking for strays came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strays {
    /// Files that were removed.
    pub(crate) removed: u64,
    /// What could not be looked at or removed, and was passed over.
    pub(crate) obstacles: u64,
}

/// What an operation on a file comes to for who asked.
pub(crate) fn failed(error: &io::Error) -> ObjectError {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => ObjectError::Full(error.to_string()),
        _ => ObjectError::Broken(error.to_string()),
    }
}

impl Blobs {
    /// The files in this folder, which is made if it is not there.
    pub(crate) fn open(folder: &Path, space: Space) -> io::Result<Self> {
        folders::make(folder)?;
        let first = (0..=u8::MAX).map(|first| format!("{first:02x}"));
        for name in first.chain([INCOMING.to_owned(), PROCESSES.to_owned()]) {
            match fs::create_dir(folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        // One for all of them; also for those that a process made that was killed before it came here.
        File::open(folder)?.sync_all()?;
        let processes = Processes::begin(&folder.join(PROCESSES))?;
        let (discards, waiting) = mpsc::channel::<Discard>();
        // It ends when the last clone is gone and all of them are removed.
        let remove = move || waiting.into_iter().for_each(|discard| discard());
        std::thread::Builder::new().name("r2-discard".to_owned()).spawn(remove)?;
        let shared =
            Shared { folder: folder.to_owned(), processes, space, known: Mutex::default(), discards };
        Ok(Self(Arc::new(shared)))
    }

    /// Room on the disk.
    pub(crate) fn space(&self) -> &Space {
        &self.0.space
    }

    /// A file to be written.
    pub(crate) fn create(&self) -> Result<Writing, ObjectError> {
        let pending = self.pending();
        let file = File::options().write(true).create_new(true).open(self.incoming(pending.id));
        Ok(Writing { file: file.map_err(|error| failed(&error))?, sums: Sums::default(), pending })
    }

    /// The same octets under other names: copies that take no room; where the disk has no more names for one, it is written anew.
    /// When this is ready, all of them outlive a crash.
    pub(crate) fn copy(
        &self,
        from: impl IntoIterator<Item = (BlobId, u64)>,
    ) -> Result<Vec<Pending>, ObjectError> {
        let (mut copies, mut folders) = (Vec::new(), BTreeSet::new());
        for (id, octets) in from {
            let copy = match self.link(id)? {
                Some(link) => link,
                None => self.duplicate(id, octets)?.rename()?,
            };
            folders.insert(self.folder_of(copy.id));
            copies.push(copy);
        }
        // Each folder once, however many lie there.
        folders.iter().try_for_each(|folder| sync(folder)).map_err(|error| failed(&error))?;
        Ok(copies)
    }

    fn link(&self, from: BlobId) -> Result<Option<Pending>, ObjectError> {
        let pending = self.pending();
        match fs::hard_link(self.path(from), self.path(pending.id)) {
            Ok(()) => Ok(Some(pending)),
            Err(error) if error.kind() == io::ErrorKind::TooManyLinks => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// The same octets in another file.
    fn duplicate(&self, from: BlobId, octets: u64) -> Result<Writing, ObjectError> {
        let mut writing = self.create()?;
        let original = File::open(self.path(from)).map_err(|error| failed(&error))?;
        // What is behind them is made anew.
        let mut original = original.take(octets);
        let mut buffer = vec![0; COPIED_OCTETS];
        loop {
            match original.read(&mut buffer).map_err(|error| failed(&error))? {
                0 => return Ok(writing),
                read => writing.write(&buffer[..read])?,
            }
        }
    }

    /// A file to be read. It stays as long as this is held.
    pub(crate) fn reading(&self, id: BlobId) -> Reading {
        *self.0.known().reading.entry(id).or_default() += 1;
        Reading { blobs: self.clone(), id }
    }

    /// Whether any file is being read.
    #[cfg(test)]
    pub(crate) fn is_any_read(&self) -> bool {
        !self.0.known().reading.is_empty()
    }

    /// Removes a file; `false` if it is being read.
    pub(crate) fn remove(&self, id: BlobId) -> io::Result<bool> {
        if self.0.known().reading.contains_key(&id) {
            return Ok(false);
        }
        remove(&self.path(id)).map(|()| true)
    }

    /// Removes files of processes that are gone, and of this one if it is not about to name them, among which are those that no
    /// row will ever name. What `is_named` says of is kept.
    pub(crate) fn remove_strays(
        &self,
        mut is_named: impl FnMut(BlobId) -> Result<bool, ObjectError>,
    ) -> Strays {
        let mut strays = Strays::default();
        let mut living = self.0.processes.living();
        let folders = (0..=u8::MAX).map(|first| format!("{first:02x}")).chain([INCOMING.to_owned()]);
        for folder in folders {
            let Ok(entries) = fs::read_dir(self.0.folder.join(folder)) else {
                strays.obstacles += 1;
                continue;
            };
            for entry in entries {
                let removed = entry.map_err(|error| failed(&error));
                match removed.and_then(|entry| self.remove_stray(&entry, &mut living, &mut is_named)) {
                    Ok(removed) => strays.removed += u64::from(removed),
                    Err(_) => strays.obstacles += 1,
                }
            }
        }
        // After the files: a process that is not known any more is gone.
        strays.obstacles += u64::from(self.0.processes.forget_gone().is_err());
        strays
    }

    fn remove_stray(
        &self,
        entry: &DirEntry,
        living: &mut Living<'_>,
        is_named: &mut impl FnMut(BlobId) -> Result<bool, ObjectError>,
    ) -> Result<bool, ObjectError> {
        let Some(id) = id_of(&entry.file_name()) else { return Ok(false) };
        let process = *id.0.first_chunk().expect("an id is longer");
        let lives = living.lives(process).map_err(|error| failed(&error))?;
        let is_at_work = lives && (process != self.0.processes.me || self.0.known().pending.contains(&id));
        // In this order: what is not pending any more has its row by then.
        if is_at_work || is_named(id)? {
            return Ok(false);
        }
        remove(&entry.path()).map(|()| true).map_err(|error| failed(&error))
    }

    fn pending(&self) -> Pending {
        let mut id: [u8; ID_OCTETS] = rand::random();
        id[..PROCESS_OCTETS].copy_from_slice(&self.0.processes.me);
        let id = BlobId(id);
        self.0.known().pending.insert(id);
        Pending { blobs: self.clone(), id, named: false }
    }

    fn path(&self, id: BlobId) -> PathBuf {
        self.folder_of(id).join(id.to_string())
    }

    /// By the last octet, which is drawn for each.
    fn folder_of(&self, id: BlobId) -> PathBuf {
        self.0.folder.join(format!("{:02x}", id.0[ID_OCTETS - 1]))
    }

    fn incoming(&self, id: BlobId) -> PathBuf {
        self.0.folder.join(INCOMING).join(id.to_string())
    }

    /// Where a blob lies, to damage it.
    #[cfg(test)]
    pub(crate) fn path_of(&self, id: BlobId) -> PathBuf {
        self.path(id)
    }

    /// Waits until what was thrown away so far is removed.
    #[cfg(test)]
    pub(crate) fn settle(&self) {
        let (told, done) = mpsc::channel();
        self.0.discards.send(Box::new(move || told.send(()).unwrap())).unwrap();
        done.recv().unwrap();
    }
}

fn id_of(name: &std::ffi::OsStr) -> Option<BlobId> {
    let mut id = [0; ID_OCTETS];
    hex::decode_to_slice(name.to_str()?, &mut id).ok()?;
    Some(BlobId(id))
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that no row names yet. It is removed with this, unless a row may name it.
pub(crate) struct Pending {
    blobs: Blobs,
    id: BlobId,
    named: bool,
}

impl Pending {
    /// Its id.
    pub(crate) const fn id(&self) -> BlobId {
        self.id
    }

    /// A row names it, or may do so: it is not removed.
    pub(crate) const fn named(&mut self) {
        self.named = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.blobs.0.known().pending.remove(&self.id);
        if !self.named {
            let paths = [self.blobs.incoming(self.id), self.blobs.path(self.id)];
            // What stays is a stray, and goes as one.
            let discard = move || paths.iter().for_each(|path| drop(remove(path)));
            self.blobs.0.discards.send(Box::new(discard)).ok();
        }
    }
}

/// A file while it is written.
pub(crate) struct Writing {
    file: File,
    sums: Sums,
    pending: Pending,
}

impl Writing {
    /// Writes more, if the disk has room. Waits for the disk.
    pub(crate) fn write(&mut self, octets: &[u8]) -> Result<(), ObjectError> {
        let _taken = self.pending.blobs.space().take(octets.len() as u64)?;
        self.sums.update(octets);
        self.file.write_all(octets).map_err(|error| failed(&error))
    }

    /// All is written: when this is ready, it outlives a crash.
    pub(crate) fn finish(self) -> Result<Pending, ObjectError> {
        let pending = self.rename()?;
        sync(&pending.blobs.folder_of(pending.id)).map_err(|error| failed(&error))?;
        Ok(pending)
    }

    /// All is written, and outlives a crash under the name that it has when its folder is synced.
    fn rename(self) -> Result<Pending, ObjectError> {
        let Self { mut file, sums, pending } = self;
        let blobs = &pending.blobs;
        file.write_all(&sums.finish())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(blobs.incoming(pending.id), blobs.path(pending.id)))
            .map_err(|error| failed(&error))?;
        Ok(pending)
    }
}

/// A file that is being read: it is not removed before this is.
pub(crate) struct Reading {
    blobs: Blobs,
    id: BlobId,
}

impl Reading {
    /// Opens it. It is as long as a file of so many octets is.
    pub(crate) fn open(&self, octets: u64) -> Result<File, ObjectError> {
        let file = File::open(self.blobs.path(self.id)).map_err(|error| failed(&error))?;
        let length = file.metadata().map_err(|error| failed(&error))?.len();
        if length != sums::file_octets(octets) {
            return Err(ObjectError::Broken("a file is not as long as it was".to_owned()));
        }
        Ok(file)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut known = self.blobs.0.known();
        if let Some(count) = known.reading.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                known.reading.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(folder: &tempfile::TempDir) -> Blobs {
        Blobs::open(folder.path(), Space::with(Arc::new(|| Ok(u64::MAX / 2)), 0)).unwrap()
    }

    fn write(blobs: &Blobs, octets: &[u8]) -> Pending {
        let mut writing = blobs.create().unwrap();
        writing.write(octets).unwrap();
        writing.finish().unwrap()
    }

    #[test]
    fn a_copy_that_is_written_anew_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = blobs(&folder);
        let octets = vec![7; 300_000];
        let original = write(&blobs, &octets);
        let copy = blobs.duplicate(original.id, 300_000).unwrap().finish().unwrap();
        let read = |id| fs::read(blobs.path(id)).unwrap();
        assert_eq!(read(copy.id), read(original.id));
        let links = blobs.copy([(original.id, 300_000), (copy.id, 300_000)]).unwrap();
        assert!(links.iter().all(|link| read(link.id) == read(original.id)));
    }

    #[test]
    fn what_cannot_be_removed_is_passed_over_and_the_rest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = blobs(&folder);
        let strays: Vec<_> = (0..20)
            .map(|_| {
                let mut stray = write(&blobs, b"x");
                stray.named();
                stray.id
            })
            .collect();
        // A folder in the place of a file is not removed as one, whoever tries.
        fs::remove_file(blobs.path(strays[0])).unwrap();
        fs::create_dir(blobs.path(strays[0])).unwrap();
        let found =
            blobs.remove_strays(|id| if id == strays[1] { Err(ObjectError::Busy) } else { Ok(false) });
        assert_eq!(found, Strays { removed: 18, obstacles: 2 });
        assert!(blobs.remove(strays[0]).is_err());
    }
}
