//! The folder of one run: sockets and what the engine reads.
//!
//! ```text
//!  run-PID/          nobody but the node enters it
//!    0.sock …        where processes listen: the node's to ask
//!    root/           empty; each process has its own root mounted on it, and nobody else sees that
//!    cage/           what processes see of it, whoever they are: sockets at which the node answers, and settings
//! ```

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// What the folders of runs begin with; the process's id follows.
const PREFIX: &str = "run-";
/// What processes see of it.
const CAGE: &str = "cage";
/// On which their root is mounted.
const ROOT: &str = "root";

/// A folder that nobody else may enter; gone when it is dropped.
pub(crate) struct Folder {
    path: PathBuf,
    file: File,
}

impl Folder {
    /// Makes this process's folder in `parent`, and removes those of processes that ended without doing so.
    pub(crate) fn make(parent: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let parent = std::path::absolute(parent)?;
        for entry in fs::read_dir(&parent)? {
            let entry = entry?;
            let name = entry.file_name();
            let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        DirBuilder::new().mode(0o700).create(&path)?;
        DirBuilder::new().mode(0o700).create(path.join(ROOT))?;
        fs::create_dir(path.join(CAGE))?;
        fs::set_permissions(path.join(CAGE), fs::Permissions::from_mode(0o755))?;
        let file = File::open(&path)?;
        Ok(Self { path, file })
    }

    /// What processes see of it.
    pub(crate) fn cage(&self) -> PathBuf {
        self.path.join(CAGE)
    }

    /// An empty folder.
    pub(crate) fn root(&self) -> PathBuf {
        self.path.join(ROOT)
    }

    /// The way to a socket in it, however long the folder's path is: an address has 107 octets (unix(7)).
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.file.as_raw_fd()))
    }

    /// A socket at which the node answers processes, whoever they are: nobody else comes into the folder. To be called within
    /// the runtime.
    pub(crate) fn answering(&self, name: &str) -> io::Result<UnixListener> {
        let listener = UnixListener::bind(self.socket(&format!("{CAGE}/{name}")))?;
        fs::set_permissions(self.cage().join(name), fs::Permissions::from_mode(0o666))?;
        Ok(listener)
    }

    /// Writes a file that processes read, whoever they are.
    pub(crate) fn write(&self, name: &str, octets: &[u8]) -> io::Result<()> {
        let path = self.cage().join(name);
        // One that is there may not be written by anybody.
        fs::remove_file(&path).ok();
        fs::write(&path, octets)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444))
    }

    /// Makes a folder of such files.
    pub(crate) fn make_folder(&self, name: &str) -> io::Result<()> {
        let path = self.cage().join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
    }

    /// Removes one with all that is in it.
    pub(crate) fn remove_folder(&self, name: &str) {
        match fs::remove_dir_all(self.cage().join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(name, %error, "a folder of a process of the engine cannot be removed");
            }
            _ => {}
        }
    }

    pub(crate) fn remove(&self, name: &str) {
        // What is not there any more need not be removed.
        fs::remove_file(self.path.join(name)).ok();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the folder of the engine cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_finds_no_folder_of_processes_that_are_gone_and_leaves_none() {
        let parent = tempfile::tempdir().expect("a folder");
        // Process ids end at 2²².
        let gone = parent.path().join("run-4194305");
        fs::create_dir(&gone).expect("a folder");
        let folder = Folder::make(parent.path()).expect("a folder");
        assert!(!gone.exists() && folder.cage().exists() && folder.root().exists());
        let listener = std::os::unix::net::UnixListener::bind(folder.socket("x")).expect("a socket");
        assert!(folder.path.join("x").exists());
        drop((listener, folder));
        assert_eq!(fs::read_dir(parent.path()).expect("a folder").count(), 0);
    }
}
