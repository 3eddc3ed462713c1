//! Which process is at work: each holds a lock on a file of its own as long as it lives, in whatever way it ends.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock, fstat},
    io::Errno,
};

/// Octets of the name of a process, drawn at random.
pub(super) const PROCESS_OCTETS: usize = 4;

/// What a process is called.
pub(super) type Process = [u8; PROCESS_OCTETS];

/// This process, among others.
pub(super) struct Processes {
    folder: PathBuf,
    pub(super) me: Process,
    /// Held as long as this process lives.
    _alive: File,
}

impl Processes {
    /// Says in this folder that this process lives.
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        loop {
            let me: Process = rand::random();
            let path = folder.join(hex::encode(me));
            let alive = match File::create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                alive => alive?,
            };
            // Who looks whether it lives may have the lock for a moment, and have removed it.
            flock(&alive, FlockOperation::LockExclusive)?;
            if fstat(&alive)?.st_nlink > 0 {
                return Ok(Self { folder: folder.to_owned(), me, _alive: alive });
            }
        }
    }

    /// Says of processes whether they live; each is asked for once.
    pub(super) fn living(&self) -> Living<'_> {
        Living { processes: self, known: HashMap::from([(self.me, true)]) }
    }

    /// Forgets those that are gone.
    pub(super) fn forget_gone(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if let Some(lock) = lock_of_gone(&path)? {
                fs::remove_file(&path)?;
                drop(lock);
            }
        }
        Ok(())
    }
}

/// See [`Processes::living`].
pub(super) struct Living<'a> {
    processes: &'a Processes,
    known: HashMap<Process, bool>,
}

impl Living<'_> {
    /// Whether this one lives.
    pub(super) fn lives(&mut self, process: Process) -> io::Result<bool> {
        if let Some(lives) = self.known.get(&process) {
            return Ok(*lives);
        }
        let path = self.processes.folder.join(hex::encode(process));
        let lives = path.exists() && lock_of_gone(&path)?.is_none();
        self.known.insert(process, lives);
        Ok(lives)
    }
}

/// The lock of a process that is gone; nothing if it lives, or there is no such file any more.
fn lock_of_gone(path: &Path) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_lives_until_it_ends_and_is_forgotten_then() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = [(); 2].map(|()| Processes::begin(folder.path()).unwrap());
        let gone = second.me;
        assert!(first.living().lives(gone).unwrap() && first.living().lives(first.me).unwrap());
        first.forget_gone().unwrap();
        assert!(first.living().lives(gone).unwrap(), "it lives, and is not forgotten");
        drop(second);
        assert!(!first.living().lives(gone).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        first.forget_gone().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(!first.living().lives([0; 4]).unwrap());
    }
}
