//! What the names of this store's blobs begin with in the engine: drawn once, and kept beside the index.
//!
//! It is not made of the node's name alone: a server that has lost its disk and is set up anew under its old name would take for
//! strays what a backup of the index still names.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// The file with the name.
const FILE: &str = "engine";
/// Octets that are drawn: no two servers of one bucket draw the same.
const NAME_OCTETS: usize = 8;

/// Whether blobs of this store may lie in an engine.
pub(in crate::store) fn was_used(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

/// The name, which is drawn and made durable when it is first asked for; it begins as it is told to. Where it began otherwise, blobs
/// lie there that would not be found any more.
pub(super) fn own_name(folder: &Path, begin: &str) -> io::Result<String> {
    let path = folder.join(FILE);
    if let Some(name) = read(&path, begin)? {
        return Ok(name);
    }
    let drawn: [u8; NAME_OCTETS] = rand::random();
    let drawn = hex::encode(drawn);
    let temporary = folder.join(format!("{FILE}.{drawn}"));
    let mut file = File::create_new(&temporary)?;
    file.write_all(format!("{begin}{drawn}").as_bytes())?;
    file.sync_all()?;
    // Of two processes of a graceful restart one draws it, and both have it.
    let linked = fs::hard_link(&temporary, &path);
    fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => File::open(folder)?.sync_all()?,
    }
    read(&path, begin)?.ok_or_else(|| io::Error::other(format!("{} is gone", path.display())))
}

fn read(path: &Path, begin: &str) -> io::Result<Option<String>> {
    let name = match fs::read_to_string(path) {
        Ok(name) => name,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let refuse = |problem: String| Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    let ends = name.len().checked_sub(2 * NAME_OCTETS).and_then(|at| name.split_at_checked(at));
    match ends.filter(|(_, drawn)| drawn.bytes().all(|octet| octet.is_ascii_hexdigit())) {
        Some((began, _)) if began == begin => Ok(Some(name)),
        // As it was written before it said how it begins.
        Some(("", _)) => Ok(Some(format!("{begin}{name}"))),
        Some((began, _)) => refuse(format!(
            "they begin with {began}, and would with {begin} now: give the prefix and the server the names that they had"
        )),
        None => {
            refuse(format!("{} does not hold the name of this store's blobs in the engine", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "all/a-";

    #[test]
    fn a_store_has_one_name_whoever_asks_first() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!was_used(folder.path()));
        let names: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| own_name(folder.path(), BEGIN).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(was_used(folder.path()));
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        let other = tempfile::tempdir().unwrap();
        assert_ne!(own_name(other.path(), BEGIN).unwrap(), names[0]);
        assert!(names[0].starts_with(BEGIN));
        let moved = own_name(folder.path(), "other/a-").unwrap_err().to_string();
        assert!(moved.contains("begin with all/a-, and would with other/a- now"), "{moved}");
        fs::write(folder.path().join(FILE), "0123456789abcdef").unwrap();
        assert_eq!(
            own_name(folder.path(), BEGIN).unwrap(),
            format!("{BEGIN}0123456789abcdef"),
            "an older one"
        );
        fs::write(folder.path().join(FILE), "x").unwrap();
        assert!(own_name(folder.path(), BEGIN).is_err(), "a damaged one is not drawn anew");
    }
}
