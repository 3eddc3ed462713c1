//! Octets in files.
//!
//! ```text
//! blobs/incoming/ID ── written, synced ── rename ──▶ blobs/XX/ID, its folder synced ── a row names it ──▶ there
//! ```
//!
//! A file's name is drawn at random and never made of a key. The first octets of it are those of the process that wrote it, which
//! holds a lock of that name as long as it lives: so the files that a crash left are told from those of another process that
//! is at work, in a graceful restart.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use proxima_pipeline::ObjectError;
use rustix::{
    fs::{FlockOperation, flock, statvfs},
    io::Errno,
};

use super::rows::{BlobId, ID_OCTETS};

/// Octets of a blob's id that tell the process.
const PROCESS_OCTETS: usize = 4;
const INCOMING: &str = "incoming";
const PROCESSES: &str = "processes";

/// All files of this store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Blobs(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    process: [u8; PROCESS_OCTETS],
    /// Held as long as this process lives.
    _alive: File,
    /// Octets of the disk that are left free.
    free_octets_min: u64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Files that no row names yet.
    pending: HashSet<BlobId>,
    /// How often each is being read.
    reading: HashMap<BlobId, usize>,
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
    pub(crate) fn open(folder: &Path, free_octets_min: u64) -> io::Result<Self> {
        for name in [INCOMING, PROCESSES] {
            fs::create_dir_all(folder.join(name))?;
        }
        for first in 0..=u8::MAX {
            fs::create_dir_all(folder.join(format!("{first:02x}")))?;
        }
        File::open(folder)?.sync_all()?;
        let process: [u8; PROCESS_OCTETS] = rand::random();
        let alive = File::create(folder.join(PROCESSES).join(hex::encode(process)))?;
        flock(&alive, FlockOperation::NonBlockingLockExclusive)?;
        let shared = Shared {
            folder: folder.to_owned(),
            process,
            _alive: alive,
            free_octets_min,
            known: Mutex::default(),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// A file to be written.
    pub(crate) fn create(&self) -> Result<Writing, ObjectError> {
        let free = statvfs(&self.0.folder).map_err(|error| failed(&error.into()))?;
        if free.f_bavail.saturating_mul(free.f_frsize) < self.0.free_octets_min {
            return Err(ObjectError::Full("the disk is full".to_owned()));
        }
        let pending = self.pending();
        let file = File::options().write(true).create_new(true).open(self.incoming(pending.id));
        Ok(Writing { file: file.map_err(|error| failed(&error))?, pending })
    }

    /// Another name for what lies in a blob: a copy that takes no room. `None` where the disk has no more names for it.
    pub(crate) fn link(&self, from: BlobId) -> Result<Option<Pending>, ObjectError> {
        let pending = self.pending();
        match fs::hard_link(self.path(from), self.path(pending.id)) {
            Ok(()) => {
                self.sync_folder(pending.id).map_err(|error| failed(&error))?;
                Ok(Some(pending))
            }
            Err(error) if error.kind() == io::ErrorKind::TooManyLinks => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// The same octets in another file.
    pub(crate) fn duplicate(&self, from: BlobId) -> Result<Pending, ObjectError> {
        let mut writing = self.create()?;
        let mut original = File::open(self.path(from)).map_err(|error| failed(&error))?;
        io::copy(&mut original, &mut writing.file).map_err(|error| failed(&error))?;
        writing.finish()
    }

    /// A file to be read. It stays as long as this is held.
    pub(crate) fn reading(&self, id: BlobId) -> Reading {
        *self.0.known().reading.entry(id).or_default() += 1;
        Reading { blobs: self.clone(), id }
    }

    /// Removes a file; `false` if it is being read.
    pub(crate) fn remove(&self, id: BlobId) -> io::Result<bool> {
        if self.0.known().reading.contains_key(&id) {
            return Ok(false);
        }
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }

    /// Files of processes that are gone, and of this one if it is not about to name them, among which are those that no row will
    /// ever name. What `is_named` says of is kept.
    pub(crate) fn remove_strays(
        &self,
        mut is_named: impl FnMut(BlobId) -> Result<bool, ObjectError>,
    ) -> Result<usize, ObjectError> {
        let mut removed = 0;
        let mut alive = HashMap::from([(self.0.process, true)]);
        let io = |error: io::Error| failed(&error);
        let folders = (0..=u8::MAX).map(|first| format!("{first:02x}")).chain([INCOMING.to_owned()]);
        for folder in folders {
            for entry in fs::read_dir(self.0.folder.join(folder)).map_err(io)? {
                let entry = entry.map_err(io)?;
                let Some(id) = id_of(&entry.file_name()) else { continue };
                let process = *id.0.first_chunk().expect("an id is longer");
                let lives = match alive.get(&process) {
                    Some(lives) => *lives,
                    None => {
                        let lives = self.lives(process).map_err(io)?;
                        alive.insert(process, lives);
                        lives
                    }
                };
                let is_at_work = lives && (process != self.0.process || self.0.known().pending.contains(&id));
                // In this order: what is not pending any more has its row by then.
                if !is_at_work && !is_named(id)? {
                    fs::remove_file(entry.path()).map_err(io)?;
                    removed += 1;
                }
            }
        }
        for (process, _) in alive.iter().filter(|(_, lives)| !**lives) {
            fs::remove_file(self.0.folder.join(PROCESSES).join(hex::encode(process))).ok();
        }
        Ok(removed)
    }

    /// Whether a process still is there.
    fn lives(&self, process: [u8; PROCESS_OCTETS]) -> io::Result<bool> {
        let file = match File::open(self.0.folder.join(PROCESSES).join(hex::encode(process))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn pending(&self) -> Pending {
        let mut id: [u8; ID_OCTETS] = rand::random();
        id[..PROCESS_OCTETS].copy_from_slice(&self.0.process);
        let id = BlobId(id);
        self.0.known().pending.insert(id);
        Pending { blobs: self.clone(), id, named: false }
    }

    fn path(&self, id: BlobId) -> PathBuf {
        let name = id.to_string();
        self.folder_of(id).join(name)
    }

    /// By the last octet, which is drawn for each.
    fn folder_of(&self, id: BlobId) -> PathBuf {
        self.0.folder.join(format!("{:02x}", id.0[ID_OCTETS - 1]))
    }

    fn incoming(&self, id: BlobId) -> PathBuf {
        self.0.folder.join(INCOMING).join(id.to_string())
    }

    fn sync_folder(&self, id: BlobId) -> io::Result<()> {
        File::open(self.folder_of(id))?.sync_all()
    }

    /// Where a blob lies, to damage it.
    #[cfg(test)]
    pub(crate) fn path_of(&self, id: BlobId) -> PathBuf {
        self.path(id)
    }
}

fn id_of(name: &std::ffi::OsStr) -> Option<BlobId> {
    let mut id = [0; ID_OCTETS];
    hex::decode_to_slice(name.to_str()?, &mut id).ok()?;
    Some(BlobId(id))
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
        if !self.named {
            fs::remove_file(self.blobs.incoming(self.id)).ok();
            fs::remove_file(self.blobs.path(self.id)).ok();
        }
        self.blobs.0.known().pending.remove(&self.id);
    }
}

/// A file while it is written.
pub(crate) struct Writing {
    file: File,
    pending: Pending,
}

impl Writing {
    /// Writes more. Waits for the disk.
    pub(crate) fn write(&mut self, octets: &[u8]) -> Result<(), ObjectError> {
        self.file.write_all(octets).map_err(|error| failed(&error))
    }

    /// All is written: when this is ready, it outlives a crash.
    pub(crate) fn finish(self) -> Result<Pending, ObjectError> {
        let Self { file, pending } = self;
        let blobs = &pending.blobs;
        file.sync_all()
            .and_then(|()| fs::rename(blobs.incoming(pending.id), blobs.path(pending.id)))
            .and_then(|()| blobs.sync_folder(pending.id))
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
    /// Opens it.
    pub(crate) fn open(&self) -> Result<File, ObjectError> {
        File::open(self.blobs.path(self.id)).map_err(|error| failed(&error))
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

/// Octets of an open file.
pub(crate) fn read_at(file: &File, start: u64, octets: usize) -> Result<Bytes, ObjectError> {
    let mut read = vec![0; octets];
    file.read_exact_at(&mut read, start).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ObjectError::Broken("a file is shorter than it was".to_owned()),
        _ => failed(&error),
    })?;
    Ok(read.into())
}
