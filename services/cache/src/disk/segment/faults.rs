//! What a disk may do to its files, for tests: it fills, and it cannot be read.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rustix::io::Errno;

static OF_FOLDERS: LazyLock<Mutex<HashMap<PathBuf, Arc<Faults>>>> = LazyLock::new(Mutex::default);

/// The faults of the disk on which a folder lies.
#[derive(Debug)]
pub(in crate::disk) struct Faults {
    /// Octets that can still be written.
    room: AtomicU64,
    unreadable: AtomicBool,
}

impl Faults {
    pub(in crate::disk) fn of(folder: &Path) -> Arc<Self> {
        let new = || Arc::new(Self { room: u64::MAX.into(), unreadable: false.into() });
        let mut folders = OF_FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        folders.entry(folder.to_owned()).or_insert_with(new).clone()
    }

    pub(in crate::disk) fn leave_room(&self, octets: u64) {
        self.room.store(octets, Ordering::SeqCst);
    }

    pub(in crate::disk) fn be_unreadable(&self, unreadable: bool) {
        self.unreadable.store(unreadable, Ordering::SeqCst);
    }

    /// Takes the room for a write. Without enough, what there is room for is written, as by a file system.
    pub(super) fn write(&self, file: &File, part: &[u8], at: u64) -> io::Result<()> {
        let take = |room: u64| match room {
            u64::MAX => Some(room),
            _ => room.checked_sub(part.len() as u64),
        };
        let Err(room) = self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) else {
            return Ok(());
        };
        let fits = part.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        file.write_all_at(&part[..fits], at)?;
        Err(Errno::NOSPC.into())
    }

    /// A file of so many octets was removed.
    pub(super) fn removed(&self, octets: u64) {
        let give = |room: u64| Some(room.saturating_add(octets));
        self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, give).ok();
    }

    pub(super) fn read(&self) -> io::Result<()> {
        if self.unreadable.load(Ordering::SeqCst) { Err(Errno::IO.into()) } else { Ok(()) }
    }
}
