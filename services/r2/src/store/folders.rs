//! Folders that outlive a crash: a folder is there after a loss of power if the one that it lies in was synced since it was made.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Makes a folder and those above it, as far as they are not there, durably.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    make_each(folder, &mut |parent| File::open(parent)?.sync_all())
}

/// Makes what is not there, from the top; `sync` has the name of each in its parent outlive a crash.
fn make_each(folder: &Path, sync: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    make_each(parent, sync)?;
    match fs::create_dir(folder) {
        // Another process of a graceful restart made it, and may not have synced it yet.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => sync(parent),
        Err(error) => Err(error),
        Ok(()) => sync(parent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_made_is_synced_into_its_parent_and_so_are_those_above_it() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("a/b");
        let mut synced = Vec::new();
        let mut make = |folder: &Path| {
            make_each(folder, &mut |parent| {
                synced.push(parent.to_owned());
                Ok(())
            })
        };
        make(&folder).unwrap();
        make(&folder).unwrap();
        make(&top.path().join("a/c")).unwrap();
        assert_eq!(synced, [top.path().to_owned(), top.path().join("a"), top.path().join("a")]);
        assert!(folder.is_dir());
    }

    #[test]
    fn a_file_in_its_place_is_told() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("a"), "x").unwrap();
        assert!(make(&top.path().join("a")).is_err());
        assert!(make(&top.path().join("a/b")).is_err());
    }
}
