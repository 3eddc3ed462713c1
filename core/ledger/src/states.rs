//! The folder of a replica: the states in it, and which of them is in force.
//!
//! | name | what it is |
//! |---|---|
//! | `state-N` | a state: in force, being built, or left behind by a build that was cut short |
//! | `CURRENT` | names the one that is in force |
//! | `LOG` | names the log that is followed |
//! | `RESTORING` | a log is being restored here, and has not been yet |
//! | `damaged-N` | a state that a restore has set aside |
//!
//! # Invariants
//! * **Only who knows that a state can be had again removes it**: a follower, or who has put a whole one in force. That
//!   `CURRENT` names nothing says that this folder is damaged, not that the states in it are worth nothing.
//! * **What asks changes nothing**: [`in_force`] and [`in_use`] neither make nor remove a file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};

use crate::store::{LOCK_FILE, LogId};

const CURRENT: &str = "CURRENT";
const LOG: &str = "LOG";
const RESTORING: &str = "RESTORING";
/// Folders of states begin with this; a number follows.
const STATE: &str = "state-";
/// Folders of states that were set aside begin with this; a number follows.
const ASIDE: &str = "damaged-";

/// What a folder says about the state in force.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InForce {
    /// Nothing was ever in force here, and no state is here.
    Nothing,
    /// The one in this folder, which is there.
    State(PathBuf),
    /// There is no `CURRENT`, but a state or the log's name: this is damage, or a first start that was cut short.
    Unnamed,
    /// Something was, but which is not known: the folder is damaged, for this reason.
    Unknown(&'static str),
}

/// Which state is in force in this folder, which must be there.
pub(crate) fn in_force(path: &Path) -> io::Result<InForce> {
    let octets = match fs::read(path.join(CURRENT)) {
        Ok(octets) => octets,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let untouched = states(path)?.is_empty() && !path.join(LOG).exists();
            return Ok(if untouched { InForce::Nothing } else { InForce::Unnamed });
        }
        Err(error) => return Err(error),
    };
    let name = str::from_utf8(&octets).map(str::trim).unwrap_or_default();
    if !name.starts_with(STATE) || name.contains('/') {
        return Ok(InForce::Unknown("CURRENT names no state"));
    }
    let folder = path.join(name);
    Ok(if folder.is_dir() { InForce::State(folder) } else { InForce::Unknown("its state is missing") })
}

/// A name for a new state.
pub(crate) fn new_name() -> String {
    numbered(STATE)
}

fn numbered(begins: &str) -> String {
    let number: u64 = rand::random();
    format!("{begins}{number:016x}")
}

/// The folders of all states, in force or not.
pub(crate) fn states(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(STATE) {
            all.push(entry.path());
        }
    }
    Ok(all)
}

/// Removes the states other than this one, unless this process uses them. What cannot be removed now is tried again at
/// the next start.
pub(crate) fn remove_all_but(path: &Path, keep: Option<&Path>) {
    for state in states(path).unwrap_or_default() {
        let in_use = heed::env_closing_event(&state).is_some();
        if Some(state.as_path()) != keep && !in_use {
            let _ = fs::remove_dir_all(state);
        }
    }
}

/// Names the log, and the state in force, durably.
pub(crate) fn point_to(path: &Path, name: &str, log: LogId) -> io::Result<()> {
    write_whole(path, LOG, &log.to_string())?;
    write_whole(path, CURRENT, name)
}

/// The log that is followed here, if it is known.
pub(crate) fn log_of(path: &Path) -> Option<LogId> {
    fs::read_to_string(path.join(LOG)).ok().and_then(|text| LogId::parse(&text))
}

/// Whether a process has one of the states here open. LMDB holds a lock on the first octet of a lock file for as long;
/// another process is asked for by its lock, this one by what it has open.
pub(crate) fn in_use(path: &Path) -> io::Result<bool> {
    for state in states(path)? {
        if heed::env_closing_event(fs::canonicalize(&state)?).is_some() {
            // Not looked for below: closing the file would take this process's own lock away.
            return Ok(true);
        }
        let file = match fs::File::open(state.join(LOCK_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        #[expect(clippy::cast_possible_truncation, reason = "the constants are those of this field")]
        let mut lock = libc::flock {
            l_type: libc::F_WRLCK as _,
            l_whence: libc::SEEK_SET as _,
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_GETLK(&mut lock))?;
        if i32::from(lock.l_type) != libc::F_UNLCK {
            return Ok(true);
        }
    }
    Ok(false)
}

/// From now on what is in this folder is no log, until [`unmark_restore`].
pub(crate) fn mark_restore(path: &Path) -> io::Result<()> {
    write_whole(path, RESTORING, "")
}

pub(crate) fn is_marked_restore(path: &Path) -> bool {
    path.join(RESTORING).exists()
}

pub(crate) fn unmark_restore(path: &Path) -> io::Result<()> {
    fs::remove_file(path.join(RESTORING))?;
    fs::File::open(path)?.sync_all()
}

/// Keeps every state under another name, where nothing touches it; then none is in force.
pub(crate) fn set_aside(path: &Path) -> io::Result<()> {
    for state in states(path)? {
        fs::rename(state, path.join(numbered(ASIDE)))?;
    }
    match fs::remove_file(path.join(CURRENT)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::File::open(path)?.sync_all()
}

/// Writes a small file beside, syncs it and renames it, so that there always is a whole one.
fn write_whole(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    use io::Write as _;
    let beside = folder.join(format!("{name}.new"));
    let mut file = fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, folder.join(name))?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_whose_current_names_no_state_is_damaged_and_is_no_state_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(in_force(path).unwrap(), InForce::Nothing);
        fs::create_dir(path.join("state-1")).unwrap();
        assert_eq!(in_force(path).unwrap(), InForce::Unnamed);
        for wrong in [&b""[..], b"\n", b".", b"damaged-1", b"state-1/..", b"\xff"] {
            fs::write(path.join(CURRENT), wrong).unwrap();
            assert_eq!(in_force(path).unwrap(), InForce::Unknown("CURRENT names no state"), "{wrong:?}");
        }
        fs::write(path.join(CURRENT), "state-2").unwrap();
        assert_eq!(in_force(path).unwrap(), InForce::Unknown("its state is missing"));
        fs::write(path.join(CURRENT), "state-1\n").unwrap();
        assert_eq!(in_force(path).unwrap(), InForce::State(path.join("state-1")));
    }

    #[test]
    fn every_state_is_set_aside_and_none_is_in_force_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for name in ["state-1", "state-2"] {
            fs::create_dir(path.join(name)).unwrap();
            fs::write(path.join(name).join("data.mdb"), name).unwrap();
        }
        fs::write(path.join(CURRENT), "").unwrap();
        set_aside(path).unwrap();
        let mut kept: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(ASIDE))
            .map(|entry| fs::read_to_string(entry.path().join("data.mdb")).unwrap())
            .collect();
        kept.sort();
        assert_eq!(kept, ["state-1", "state-2"]);
        assert_eq!(in_force(path).unwrap(), InForce::Nothing);
    }
}
