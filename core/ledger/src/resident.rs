//! Keeps what is mapped of a store small.
//!
//! The kernel maps pages of a file in groups of sixteen around each one that is touched, if it has them in its cache,
//! whatever `MADV_RANDOM` says: of a million zones, ten thousand lookups all over the file have most of it counted as
//! this process's memory. Letting the mapping go costs nothing that stays: the pages remain in the page cache, and one
//! that is touched again is mapped again without the disk.

use std::{ffi::c_void, fs, path::Path, ptr::NonNull};

use nix::sys::mman::{MmapAdvise, madvise};

use crate::limits::MAPPED_OCTETS_MAX;

/// Where a store's file is mapped. LMDB itself tells only of maps at a fixed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    address: usize,
    octets: usize,
}

impl Mapping {
    /// Where this process has this file mapped; `None` if it has not, or the system does not tell.
    pub(crate) fn of(file: &Path) -> Option<Self> {
        let file = fs::canonicalize(file).ok()?;
        let maps = fs::read_to_string("/proc/self/maps").ok()?;
        maps.lines().find_map(|line| Self::parse(line, &file))
    }

    /// "from-to permissions offset device inode path" (proc_pid_maps(5)); shared and from the file's beginning.
    fn parse(line: &str, file: &Path) -> Option<Self> {
        let path = line.find('/').map(|at| Path::new(&line[at..]))?;
        let mut fields = line.split(' ');
        let (from, to) = fields.next()?.split_once('-')?;
        let shared = fields.next()?.ends_with('s');
        let whole = fields.next()?.bytes().all(|digit| digit == b'0');
        if path != file || !shared || !whole {
            return None;
        }
        let (address, end) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
        Some(Self { address, octets: end.checked_sub(address)? })
    }

    /// Lets the first `used` octets go from this process's mappings if it has more mapped than it may.
    ///
    /// # Safety
    /// The file must still be mapped there.
    pub(crate) unsafe fn trim(self, page: u32, used: usize) {
        if mapped_octets(page.into()).is_none_or(|mapped| mapped <= MAPPED_OCTETS_MAX) {
            return;
        }
        let Some(map) = NonNull::new(std::ptr::with_exposed_provenance_mut::<c_void>(self.address)) else {
            return;
        };
        // SAFETY: the range lies within the map, says the caller. It is shared and never written through (LMDB writes
        // the file itself), so every page of it is the file's, and whoever touches one gets the same octets again.
        if let Err(error) = unsafe { madvise(map, used.min(self.octets), MmapAdvise::MADV_DONTNEED) } {
            tracing::debug!(%error, "the pages of the store stay mapped");
        }
    }
}

/// Octets of files that this process has mapped and resident; `None` where the system does not tell.
fn mapped_octets(page: u64) -> Option<u64> {
    // "size resident shared …", in pages (proc_pid_statm(5)).
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let shared: u64 = statm.split(' ').nth(2)?.parse().ok()?;
    shared.checked_mul(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_of_a_file_is_told_from_others() {
        let parse = |line| Mapping::parse(line, Path::new("/data/ledger/data.mdb"));
        let found = parse("7f0000000000-7f0000010000 r--s 00000000 fe:00 42    /data/ledger/data.mdb");
        assert_eq!(found, Some(Mapping { address: 0x7f00_0000_0000, octets: 0x1_0000 }));
        assert_eq!(parse("7f0000000000-7f0000010000 r--s 00001000 fe:00 42    /data/ledger/data.mdb"), None);
        assert_eq!(parse("7f0000000000-7f0000010000 r--p 00000000 fe:00 42    /data/ledger/data.mdb"), None);
        assert_eq!(parse("7f0000000000-7f0000010000 r--s 00000000 fe:00 42    /data/ledger/lock.mdb"), None);
        assert_eq!(parse("7f0000000000-7f0000010000 rw-p 00000000 00:00 0"), None);
    }
}
