//! The folder of one run: sockets and what the engine reads.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

/// What the folders of runs begin with; the process's id follows.
const PREFIX: &str = "run-";

/// A folder that nobody else may enter; gone when it is dropped.
pub(crate) struct Folder {
    path: PathBuf,
    file: File,
}

impl Folder {
    /// Makes this process's folder in `parent`, and removes those of processes that ended without doing so.
    pub(crate) fn make(parent: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        for entry in fs::read_dir(parent)? {
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
        let file = File::open(&path)?;
        Ok(Self { path, file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The way to a socket in it, however long the folder's path is: an address has 107 octets (unix(7)).
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.file.as_raw_fd()))
    }

    /// Writes a file that nobody else may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(self.path.join(name))?;
        io::Write::write_all(&mut file, text.as_bytes())
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
        assert!(!gone.exists() && folder.path().exists());
        let listener = std::os::unix::net::UnixListener::bind(folder.socket("x")).expect("a socket");
        assert!(folder.path().join("x").exists());
        drop((listener, folder));
        assert_eq!(fs::read_dir(parent.path()).expect("a folder").count(), 0);
    }
}
