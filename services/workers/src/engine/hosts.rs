//! Where processes that host Durable Objects keep them: a folder for each account, which one process at a time has.
//!
//! The lock is the kernel's (flock(2)), of a file that the process opens before it becomes the engine: it is held for as long as the
//! process is there, also when the node that started it is not any more. Whoever starts another one waits for that.

use std::{
    fs::{self, DirBuilder, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, lchown},
    path::{Path, PathBuf},
    time::Duration,
};

use proxima_model::AccountId;
use tokio::time::Instant;

use super::{
    folder::Folder,
    settings::{Runs, process_settings},
};
use crate::{
    WorkersError,
    cage::{Keeps, Writable},
};

/// The folder of all of them, beside those of runs.
const FOLDER: &str = "objects";
/// Where an account's is, for a process in a cage.
const INSIDE: &str = "/objects";
/// What is locked, in an account's.
const LOCK: &str = "lock";
/// By which part of what an object may keep its files may be longer: what it has is bounded by itself (`class.js`), and one statement may
/// add so much before that is seen and it is undone. Beyond, only `deleteAll` helps.
const SLACK_PART: u64 = 4;
/// How long the process that has the folder may take to be gone: it was told to go, or its node has gone, and the kernel has much
/// memory to take back.
const FREE_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked meanwhile.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Hosts {
    /// The folder of all runs.
    data: PathBuf,
    secret: String,
    object_octets_max: u64,
    /// Who the processes are, if not who the node is.
    user: Option<u32>,
}

/// Whose what the processes keep is, if not the node's.
#[derive(Clone, Copy)]
pub(crate) struct Owner(Option<u32>);

impl Owner {
    /// Makes a file or an empty folder theirs.
    pub(crate) fn give(self, path: &Path) -> io::Result<()> {
        self.0.map_or(Ok(()), |user| lchown(path, Some(user), Some(user)))
    }
}

/// What a process for an account starts with.
pub(crate) struct Hosting {
    /// What its settings are called, in the folder of the run.
    pub(crate) settings: String,
    pub(crate) keeps: Keeps,
}

impl Hosts {
    /// In `data`, the folder of all runs.
    pub(crate) fn new(data: &Path, secret: String, object_octets_max: u64, user: Option<u32>) -> Self {
        // Who is put into a cage is told so.
        let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
        Self { data, secret, object_octets_max, user }
    }

    /// The folder of an account.
    pub(crate) fn path(&self, account: AccountId) -> PathBuf {
        self.data.join(FOLDER).join(account.to_string())
    }

    /// Octets that an object may keep.
    pub(crate) const fn object_octets_max(&self) -> u64 {
        self.object_octets_max
    }

    /// Whose what lies there is.
    pub(crate) fn owner(&self) -> Owner {
        Owner(self.user)
    }

    /// Waits until no process has an account's folder, if there is one.
    pub(crate) async fn freed(&self, account: AccountId) -> Result<(), WorkersError> {
        let path = self.path(account);
        let failed = |source| WorkersError::Folder { path: path.clone(), source };
        let begun = Instant::now();
        while path.exists() && !self.is_free(account).map_err(failed)? {
            if begun.elapsed() > FREE_WITHIN {
                return Err(failed(io::Error::other("another process has it, and does not end")));
            }
            tokio::time::sleep(LOOKED_AT_EVERY).await;
        }
        Ok(())
    }

    /// The accounts that have a folder.
    pub(crate) fn accounts(&self) -> io::Result<Vec<AccountId>> {
        let entries = match fs::read_dir(self.data.join(FOLDER)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut accounts = Vec::new();
        for entry in entries {
            accounts.extend(entry?.file_name().to_str().and_then(|name| name.parse::<AccountId>().ok()));
        }
        Ok(accounts)
    }

    /// Has a process of this run find its settings and its folder, once no other one has that.
    /// `is_caged`: it sees nothing but what it is given.
    pub(crate) async fn prepare(
        &self,
        run: &Folder,
        account: AccountId,
        is_caged: bool,
    ) -> Result<Hosting, WorkersError> {
        let path = self.path(account);
        let failed = |source| WorkersError::Folder { path: path.clone(), source };
        let name = format!("objects-{account}.capnp");
        // A process is started rarely, and a few files are written for it.
        let seen = if is_caged { INSIDE.to_owned() } else { format!("../../{FOLDER}/{account}") };
        run.write(&name, process_settings(&self.secret, Runs::Objects(&seen)).as_bytes()).map_err(failed)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        self.freed(account).await?;
        if let Some(user) = self.user {
            let path = path.clone();
            let given = tokio::task::spawn_blocking(move || give(&path, user)).await;
            given.map_err(io::Error::other).flatten().map_err(failed)?;
        }
        let keeps = Keeps {
            folder: Writable { outside: path.clone(), inside: INSIDE.into() },
            lock: path.join(LOCK),
            file_octets_max: self.object_octets_max.saturating_add(self.object_octets_max / SLACK_PART),
        };
        Ok(Hosting { settings: name, keeps })
    }

    /// Whether nobody has a folder that is there.
    fn is_free(&self, account: AccountId) -> io::Result<bool> {
        let mut options = fs::OpenOptions::new();
        let path = self.path(account).join(LOCK);
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Makes a folder with all that is in it a user's, unless it is. The folder itself comes last, so that what was interrupted is done
/// again.
fn give(path: &Path, user: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.uid() == user {
        return Ok(());
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    lchown(path, Some(user), Some(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_folder_is_one_processs_until_it_lets_go() {
        let data = tempfile::tempdir().expect("a folder");
        let run = Folder::make(data.path()).expect("a folder");
        let hosts = Hosts::new(data.path(), "secret".to_owned(), 1 << 20, None);
        let account = AccountId::from_bytes([7; 16]);
        assert_eq!(hosts.accounts().expect("it can be read"), []);
        let first = hosts.prepare(&run, account, false).await.expect("nobody has it");
        assert!(run.cage().join(&first.settings).exists());
        let process = fs::File::open(&first.keeps.lock).expect("it is there");
        process.lock().expect("it is free");
        let error = hosts.prepare(&run, account, false).await.err().expect("the process has it");
        assert!(error.to_string().contains("another process has it"), "{error}");
        drop(process);
        hosts.prepare(&run, account, false).await.expect("it is free");
        assert_eq!(hosts.accounts().expect("it can be read"), [account]);
    }
}
