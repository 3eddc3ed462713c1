//! One file of the log: written at its end by one thread, read anywhere by all.

#[cfg(test)]
pub(super) mod faults;

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSliceMut},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// What a file of a segment is called: its number in hexadecimal, and this.
const SUFFIX: &str = ".seg";

/// One segment. Its file stays readable after it was removed, for as long as somebody holds this.
#[derive(Debug)]
pub(super) struct Segment {
    number: u32,
    file: File,
    path: PathBuf,
    /// Octets that are written.
    octets: AtomicU64,
    /// Whether the file system reads without waiting, as far as is known.
    reads_at_once: AtomicBool,
    /// Whether its file was removed: whoever reads goes on, nobody begins to.
    gone: AtomicBool,
    #[cfg(test)]
    faults: Arc<faults::Faults>,
}

/// Octets, or that reading them would wait for the disk.
#[derive(Debug)]
pub(super) enum AtOnce {
    Read(Bytes),
    WouldWait,
}

impl Segment {
    /// Begins a new one.
    pub(super) fn create(folder: &Path, number: u32) -> io::Result<Arc<Self>> {
        let path = path_of(folder, number);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Self::of(number, file, path, 0))
    }

    /// Opens one that is there.
    pub(super) fn open(folder: &Path, number: u32) -> io::Result<Arc<Self>> {
        let path = path_of(folder, number);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let octets = file.metadata()?.len();
        Ok(Self::of(number, file, path, octets))
    }

    fn of(number: u32, file: File, path: PathBuf, octets: u64) -> Arc<Self> {
        let (octets, reads_at_once) = (octets.into(), true.into());
        Arc::new(Self {
            number,
            file,
            octets,
            reads_at_once,
            gone: false.into(),
            #[cfg(test)]
            faults: faults::Faults::of(path.parent().unwrap_or(&path)),
            path,
        })
    }

    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn octets(&self) -> u64 {
        self.octets.load(Ordering::Acquire)
    }

    /// Appends parts, all or nothing: what was written of a failed append is overwritten by the next. Where they begin.
    pub(super) fn append(&self, parts: &[&[u8]]) -> io::Result<u64> {
        let start = self.octets();
        let mut at = start;
        for part in parts {
            #[cfg(test)]
            self.faults.write(&self.file, part, at)?;
            self.file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        self.octets.store(at, Ordering::Release);
        Ok(start)
    }

    /// Cuts off what lies behind `octets`.
    pub(super) fn truncate(&self, octets: u64) -> io::Result<()> {
        self.file.set_len(octets)?;
        self.octets.store(octets, Ordering::Release);
        Ok(())
    }

    /// Waits until what is written lies on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Reads so many octets, waiting for the disk.
    pub(super) fn read(&self, at: u64, octets: usize) -> io::Result<Bytes> {
        #[cfg(test)]
        self.faults.read()?;
        let mut read = BytesMut::zeroed(octets);
        self.file.read_exact_at(&mut read, at)?;
        Ok(read.freeze())
    }

    /// Reads so many octets if the kernel has them in memory.
    pub(super) fn read_at_once(&self, at: u64, octets: usize) -> io::Result<AtOnce> {
        if !self.reads_at_once.load(Ordering::Relaxed) {
            return Ok(AtOnce::WouldWait);
        }
        #[cfg(test)]
        self.faults.read()?;
        let mut read = BytesMut::zeroed(octets);
        let mut filled = 0;
        while filled < octets {
            let mut rest = [IoSliceMut::new(&mut read[filled..])];
            match preadv2(&self.file, &mut rest, at + filled as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => filled += more,
                Err(Errno::AGAIN) => return Ok(AtOnce::WouldWait),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    self.reads_at_once.store(false, Ordering::Relaxed);
                    return Ok(AtOnce::WouldWait);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(AtOnce::Read(read.freeze()))
    }

    /// Whether its file was removed.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Removes its file.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.gone.store(true, Ordering::Relaxed);
        #[cfg(test)]
        self.faults.removed(self.octets());
        std::fs::remove_file(&self.path)
    }
}

fn path_of(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:08x}{SUFFIX}"))
}

/// The numbers of the segments in a folder, the oldest first.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        numbers.extend(stem.and_then(|stem| u32::from_str_radix(stem, 16).ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}
