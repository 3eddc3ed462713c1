//! Opening an environment.

use std::{ops::RangeInclusive, path::Path};

use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithoutTls, types::Bytes};

/// Readers at once, of two processes: more than there are threads that read.
pub const READERS_MAX: u32 = 512;
/// More than any disk has; less than the address space.
const OCTETS_MAX: u64 = 16 << 40;
/// A map is of whole pages, of whichever size machines have.
const STEP: u64 = 64 << 10;

/// A database of octets.
pub type Db = Database<'static, Bytes, Bytes>;

/// What a transaction that is committed is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk.
    Kept,
    /// It may be lost with the system, as those before it; what is there then is whole.
    Lost,
}

/// Why an environment is not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Pages that it should have are missing.
    #[error("the file is shorter than its pages")]
    Short,
    /// What LMDB says.
    #[error(transparent)]
    Lmdb(#[from] heed::Error),
}

/// Opens the environment in a folder that is there, or makes one, with these databases. It takes `octets_max` of the address
/// space, and as much of the disk at the most.
///
/// # Errors
/// See [`OpenError`].
pub fn open<const DATABASES: usize>(
    folder: &Path,
    octets_max: usize,
    durability: Durability,
    databases: [&str; DATABASES],
) -> Result<(Env<WithoutTls>, [Db; DATABASES]), OpenError> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    let count = u32::try_from(DATABASES).expect("a store has few databases");
    options.map_size(octets_max).max_dbs(count).max_readers(READERS_MAX);
    let flags = match durability {
        Durability::Kept => EnvFlags::NO_READ_AHEAD,
        Durability::Lost => EnvFlags::NO_READ_AHEAD | EnvFlags::NO_META_SYNC,
    };
    // SAFETY: NO_READ_AHEAD only advises the kernel; without the second sync the last transactions may be lost with the
    // system, but the file stays whole. Neither gives up locks.
    unsafe { options.flags(flags) };
    // SAFETY: the folder is the node's own and local, and only one service opens it, in whichever process, with LMDB's locks
    // on; nothing else writes the file.
    let env = unsafe { options.open(folder) }?;
    let info = env.info();
    let page: u64 = env.unnamed_database_stat().page_size.into();
    let needed = (info.last_page_number as u64 + 1).saturating_mul(page);
    // A new file has its first two pages.
    if info.last_txn_id > 0 && env.real_disk_size()? < needed {
        return Err(OpenError::Short);
    }
    env.clear_stale_readers()?;
    let txn = env.write_txn()?;
    let opened = env.create_databases_and_commit(txn, |opener, txn| {
        let open = |name| opener.create_database::<Bytes, Bytes>(txn, Some(name));
        let opened = databases.into_iter().map(open).collect::<heed::Result<Vec<_>>>()?;
        let opened: [_; DATABASES] = opened.try_into().expect("each name has its database");
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(opened))
    })?;
    Ok((env, opened.commit().expect("the closure above only commits")))
}

/// Octets that these databases use.
///
/// # Errors
/// What LMDB says.
pub fn used<'d>(txn: &RoTxn<'_>, databases: impl IntoIterator<Item = &'d Db>) -> heed::Result<usize> {
    databases.into_iter().try_fold(0, |sum, db| Ok(sum + db.stat(txn)?.non_free_page_size()))
}

/// Checks how many octets a store is configured to take, of which it needs so many.
///
/// # Errors
/// What is to be given.
pub fn check_octets(name: &str, octets: u64, least: u64) -> Result<(), String> {
    let range: RangeInclusive<u64> = least..=OCTETS_MAX;
    if !range.contains(&octets) {
        return Err(format!("{name}: give {least} to {OCTETS_MAX}"));
    }
    if !octets.is_multiple_of(STEP) {
        return Err(format!("{name}: give a multiple of {STEP}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_and_a_file_that_lacks_pages_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let octets_max = 1 << 20;
        let reopen = |durability| open(folder.path(), octets_max, durability, ["one", "two"]);
        {
            let (env, [one, two]) = reopen(Durability::Kept).expect("it is made");
            let mut txn = env.write_txn().expect("a transaction");
            one.put(&mut txn, b"key", &[7; 100_000]).expect("there is room");
            assert!(used(&txn, [&one, &two]).expect("it can be told") >= 100_000);
            txn.commit().expect("there is room");
            env.prepare_for_closing().wait();
        }
        {
            let (env, [one, two]) = reopen(Durability::Lost).expect("it is there");
            let txn = env.read_txn().expect("a transaction");
            assert_eq!(one.get(&txn, b"key").expect("readable").map(<[u8]>::len), Some(100_000));
            assert_eq!(two.get(&txn, b"key").expect("readable"), None);
            drop(txn);
            env.prepare_for_closing().wait();
        }
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("data.mdb"));
        file.expect("the file").set_len(50_000).expect("it is cut");
        assert!(matches!(reopen(Durability::Kept), Err(OpenError::Short)));
    }

    #[test]
    fn octets_that_could_not_be_are_told() {
        let check = |octets| check_octets("x", octets, 1 << 20);
        assert_eq!(check(1 << 20), Ok(()));
        assert_eq!(check(0), Err("x: give 1048576 to 17592186044416".to_owned()));
        assert_eq!(check(OCTETS_MAX + STEP), check(0));
        assert_eq!(check((1 << 20) + 1), Err("x: give a multiple of 65536".to_owned()));
    }
}
