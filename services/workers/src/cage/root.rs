//! The root file system of a process: what the engine needs, and nothing else.
//!
//! ```text
//!  /workerd                  the program      ┐
//!  /lib/…, and the loader    its libraries    │ mounted from where they are, read-only
//!  /dev/null, /dev/urandom                    │
//!  /run                      the run's folder ┘ the node's sockets, the settings
//! ```
//!
//! No `/proc` and no `/sys`: the engine does without.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statvfs::{FsFlags, statvfs},
    unistd::{chdir, pivot_root},
};

use super::{CageError, Doing as _, RUN_FOLDER, Walls, Writable};

/// Where the libraries are, in the cage.
pub(super) const LIBRARIES: &str = "/lib";
/// Devices that the engine opens; neither keeps anything.
const DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];
/// Nothing may write through a mount, and no file there is a device or gives rights.
const SEALED: MsFlags = MsFlags::MS_RDONLY.union(MsFlags::MS_NOSUID).union(MsFlags::MS_NODEV);

/// Makes it, and enters it. Answers what the program is called in it.
pub(super) fn make(
    walls: &Walls,
    program: &Path,
    folder: &Path,
    writable: Option<&Writable>,
) -> Result<PathBuf, CageError> {
    let none = None::<&str>;
    // What is mounted here is not to be seen outside.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).doing("leaving the node's mounts")?;
    let root = walls.root.as_path();
    mount(Some("cage"), root, Some("tmpfs"), SEALED - MsFlags::MS_RDONLY, Some("mode=755"))
        .doing_with("mounting a root on", root)?;
    let name = Path::new("/").join(program.file_name().unwrap_or(program.as_os_str()));
    bind(root, program, &name, SEALED)?;
    if let Some(loader) = &walls.needs.loader {
        bind(root, loader, loader, SEALED)?;
    }
    for library in &walls.needs.libraries {
        let name = Path::new(LIBRARIES).join(library.file_name().unwrap_or(library.as_os_str()));
        bind(root, library, &name, SEALED)?;
    }
    for device in DEVICES.map(Path::new) {
        bind(root, device, device, MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC)?;
    }
    bind(root, folder, Path::new(RUN_FOLDER), SEALED | MsFlags::MS_NOEXEC)?;
    if let Some(writable) = writable {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        bind(root, &writable.outside, &writable.inside, flags)?;
    }
    // The old root is stacked on the new one, and goes (pivot_root(2)).
    chdir(root).doing_with("entering", root)?;
    pivot_root(".", ".").doing("changing the root")?;
    umount2(".", MntFlags::MNT_DETACH).doing("leaving the node's files")?;
    let flags = SEALED | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    mount(none, "/", none, flags, none).doing("sealing the root")?;
    Ok(name)
}

/// Mounts `outside` at `inside`, with these flags and those that it has already, which nobody may take away.
fn bind(root: &Path, outside: &Path, inside: &Path, flags: MsFlags) -> Result<(), CageError> {
    let none = None::<&str>;
    let at = root.join(inside.strip_prefix("/").unwrap_or(inside));
    let parent = at.parent().unwrap_or(root);
    fs::create_dir_all(parent).doing_with("making", parent)?;
    let found = fs::metadata(outside).doing_with("looking for", outside)?;
    if found.is_dir() {
        fs::create_dir_all(&at).doing_with("making", &at)?;
    } else {
        fs::File::create(&at).doing_with("making", &at)?;
    }
    mount(Some(outside), &at, none, MsFlags::MS_BIND, none).doing_with("mounting", outside)?;
    let has = statvfs(&at).doing_with("looking at", &at)?.flags();
    let kept = [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ];
    let kept = kept.iter().filter(|(flag, _)| has.contains(*flag)).map(|(_, flag)| *flag);
    let flags = kept.fold(flags, MsFlags::union) | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    mount(none, &at, none, flags, none).doing_with("sealing", outside)
}
