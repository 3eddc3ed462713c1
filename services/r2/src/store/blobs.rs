//! Octets in files; or in the [engine], for which the same is kept here: which blobs are pending, and which are read.
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
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
};

use proxima_pipeline::ObjectError;
use proxima_store::Space;

use super::{
    engine::{self, Engine},
    folders,
    index::meant,
    opened::Opened,
    processes::{Living, PROCESS_OCTETS, Processes},
    rows::{Blob, BlobId, ID_OCTETS},
    sums::{self, Sums},
};

const INCOMING: &str = "incoming";
const PROCESSES: &str = "processes";
/// Octets that are copied at once.
const COPIED_OCTETS: usize = 256 << 10;

/// All blobs of this store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Blobs(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    processes: Processes,
    space: Space,
    engine: Option<Engine>,
    known: Mutex<Known>,
    /// What the thread that removes files is to do. As many wait as requests have files under way.
    discards: mpsc::Sender<Discard>,
}

type Discard = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Known {
    /// Blobs that no row names yet.
    pending: HashSet<BlobId>,
    /// How often each is being read.
    reading: HashMap<BlobId, usize>,
}

/// What looking for strays came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strays {
    /// Blobs that were removed.
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
    /// The files in this folder, which is made if it is not there; and the engine in which new blobs lie, if there is one.
    pub(crate) fn open(folder: &Path, space: Space, engine: Option<Engine>) -> io::Result<Self> {
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
            Shared { folder: folder.to_owned(), processes, space, engine, known: Mutex::default(), discards };
        Ok(Self(Arc::new(shared)))
    }

    /// Room on the disk.
    pub(crate) fn space(&self) -> &Space {
        &self.0.space
    }

    /// The engine in which new blobs lie, if there is one.
    pub(super) fn engine(&self) -> Option<&Engine> {
        self.0.engine.as_ref()
    }

    /// The engine in which a blob lies by what its row says.
    pub(super) fn engine_of(&self, blob: BlobId) -> Result<&Engine, ObjectError> {
        let none = || ObjectError::Broken(format!("{blob} lies in an engine, and [r2.blobs] names none"));
        self.engine().ok_or_else(none)
    }

    /// A file to be written.
    pub(crate) fn create(&self) -> Result<Writing, ObjectError> {
        let pending = self.pending(Blob::File);
        let file = File::options().write(true).create_new(true).open(self.incoming(pending.id()));
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
            folders.insert(self.folder_of(copy.id()));
            copies.push(copy);
        }
        // Each folder once, however many lie there.
        folders.iter().try_for_each(|folder| sync(folder)).map_err(|error| failed(&error))?;
        Ok(copies)
    }

    fn link(&self, from: BlobId) -> Result<Option<Pending>, ObjectError> {
        let pending = self.pending(Blob::File);
        match fs::hard_link(self.path(from), self.path(pending.id())) {
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

    /// A blob to be read. It stays as long as this is held.
    pub(crate) fn reading(&self, blob: Blob) -> Reading {
        *self.0.known().reading.entry(blob.id()).or_default() += 1;
        Reading { blobs: self.clone(), blob }
    }

    /// Whether a blob is being read.
    pub(super) fn is_read(&self, id: BlobId) -> bool {
        self.0.known().reading.contains_key(&id)
    }

    /// Whether any blob is being read.
    #[cfg(test)]
    pub(crate) fn is_any_read(&self) -> bool {
        !self.0.known().reading.is_empty()
    }

    /// Removes a file; `false` if it is being read.
    pub(crate) fn remove(&self, id: BlobId) -> io::Result<bool> {
        if self.is_read(id) {
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
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(id_of) else { return Ok(false) };
        // In this order: what is not pending any more has its row by then.
        if self.is_at_work(id, living)? || is_named(id)? {
            return Ok(false);
        }
        remove(&entry.path()).map(|()| true).map_err(|error| failed(&error))
    }

    /// Which processes live.
    pub(super) fn living(&self) -> Living<'_> {
        self.0.processes.living()
    }

    /// Whether somebody may be about to name a blob: another process that lives, or this one.
    pub(super) fn is_at_work(&self, id: BlobId, living: &mut Living<'_>) -> Result<bool, ObjectError> {
        let process = *id.0.first_chunk().expect("an id is longer");
        let lives = living.lives(process).map_err(|error| failed(&error))?;
        Ok(lives && (process != self.0.processes.me || self.0.known().pending.contains(&id)))
    }

    /// A blob under a new name, in the place that `at` says.
    pub(super) fn pending(&self, at: fn(BlobId) -> Blob) -> Pending {
        let mut id: [u8; ID_OCTETS] = rand::random();
        id[..PROCESS_OCTETS].copy_from_slice(&self.0.processes.me);
        let id = BlobId(id);
        self.0.known().pending.insert(id);
        Pending { blobs: self.clone(), blob: at(id), named: false }
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
        while self.engine().is_some_and(|engine| engine.discarding() > 0) {
            std::thread::yield_now();
        }
    }
}

/// The id that is written so.
pub(super) fn id_of(name: &str) -> Option<BlobId> {
    let mut id = [0; ID_OCTETS];
    hex::decode_to_slice(name, &mut id).ok()?;
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

/// A blob that no row names yet. It is removed with this, unless a row may name it.
pub(crate) struct Pending {
    blobs: Blobs,
    blob: Blob,
    named: bool,
}

impl Pending {
    /// Its id, and where it lies.
    pub(crate) const fn blob(&self) -> Blob {
        self.blob
    }

    pub(super) const fn id(&self) -> BlobId {
        self.blob.id()
    }

    /// A row names it, or may do so: it is not removed.
    pub(crate) const fn named(&mut self) {
        self.named = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.blobs.0.known().pending.remove(&self.id());
        if self.named {
            return;
        }
        // What stays is a stray, and goes as one.
        match (self.blob, self.blobs.engine()) {
            (Blob::Engine(id), Some(engine)) => engine.discard(id),
            (Blob::Engine(_), None) => {}
            (Blob::File(id), _) => {
                let paths = [self.blobs.incoming(id), self.blobs.path(id)];
                let discard = move || paths.iter().for_each(|path| drop(remove(path)));
                self.blobs.0.discards.send(Box::new(discard)).ok();
            }
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
        let _taken = self.pending.blobs.space().take(octets.len() as u64).map_err(meant)?;
        self.sums.update(octets);
        self.file.write_all(octets).map_err(|error| failed(&error))
    }

    /// All is written: when this is ready, it outlives a crash.
    pub(crate) fn finish(self) -> Result<Pending, ObjectError> {
        let pending = self.rename()?;
        sync(&pending.blobs.folder_of(pending.id())).map_err(|error| failed(&error))?;
        Ok(pending)
    }

    /// All is written, and outlives a crash under the name that it has when its folder is synced.
    fn rename(self) -> Result<Pending, ObjectError> {
        let Self { mut file, sums, pending } = self;
        let blobs = &pending.blobs;
        file.write_all(&sums.finish())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(blobs.incoming(pending.id()), blobs.path(pending.id())))
            .map_err(|error| failed(&error))?;
        Ok(pending)
    }
}

/// A blob that is being read: it is not removed before this is.
pub(crate) struct Reading {
    blobs: Blobs,
    blob: Blob,
}

impl Reading {
    /// Opens it, of so many octets, to read some of them from one to another. In the engine that is when the first is read.
    pub(super) fn open(&self, octets: u64, span: Range<u64>) -> Result<Opened, ObjectError> {
        let id = match self.blob {
            Blob::File(id) => id,
            Blob::Engine(id) => {
                let engine = self.blobs.engine_of(id)?.clone();
                return Ok(Opened::Engine(Box::new(engine::Stream::new(engine, id, octets, span))));
            }
        };
        let file = File::open(self.blobs.path(id)).map_err(|error| failed(&error))?;
        let length = file.metadata().map_err(|error| failed(&error))?.len();
        if length != sums::file_octets(octets) {
            return Err(ObjectError::Broken("a file is not as long as it was".to_owned()));
        }
        Ok(Opened::File(file))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut known = self.blobs.0.known();
        let id = self.blob.id();
        if let Some(count) = known.reading.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                known.reading.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(folder: &tempfile::TempDir) -> Blobs {
        Blobs::open(folder.path(), Space::with(Arc::new(|| Ok(u64::MAX / 2)), 0), None).unwrap()
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
        let copy = blobs.duplicate(original.id(), 300_000).unwrap().finish().unwrap();
        let read = |id| fs::read(blobs.path(id)).unwrap();
        assert_eq!(read(copy.id()), read(original.id()));
        let links = blobs.copy([(original.id(), 300_000), (copy.id(), 300_000)]).unwrap();
        assert!(links.iter().all(|link| read(link.id()) == read(original.id())));
    }

    #[test]
    fn what_cannot_be_removed_is_passed_over_and_the_rest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = blobs(&folder);
        let strays: Vec<_> = (0..20)
            .map(|_| {
                let mut stray = write(&blobs, b"x");
                stray.named();
                stray.id()
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
