//! The files of objects, as the engine has them in an account's folder: the id of the object's supervisor, 64 hexadecimal digits, and
//! what follows: of the supervisor's database, of the list of its facets, of each facet's database, and of their logs.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use proxima_model::DurableObjectId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Objects whose files are looked for together: each time the whole folder is read.
pub(super) const PAGE: usize = 1_000;
/// Letters of what follows.
const REST_MAX: usize = 32;
/// What follows the name of what is being written, before it takes its name.
pub(super) const UNFINISHED: &str = ".new";
/// The end of files that SQLite makes anew of the others when nobody has them open.
const MADE_ANEW: &str = "-shm";
/// What there may be of an object that the registry does not know: its start was cut off, and it kept nothing.
const OF_SUPERVISOR: [&str; 3] = [".sqlite", ".sqlite-wal", ".sqlite-shm"];

/// An object as the registry gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registered {
    pub(super) id: DurableObjectId,
    /// How the names of its files begin.
    pub(super) file: String,
    /// Its alarm, for the other registry to read.
    pub(super) alarm: Option<Value>,
}

/// A file: what follows in its name, and its octets.
pub(super) type OfObject = (String, u64);

/// Takes the name of a file apart; `None` of what is none of an object.
pub(super) fn parts(name: &str) -> Option<(&str, &str)> {
    let (file, rest) = name.split_at_checked(64)?;
    let is_hex = file.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
    let is_rest = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b".-".contains(&octet);
    let fits = rest.starts_with('.') && rest.len() <= REST_MAX && rest.bytes().all(is_rest);
    (is_hex && fits).then_some((file, rest))
}

/// The files of these objects, of which nothing runs; all of them, or those alone that are not made anew.
pub(super) fn of(
    folder: &Path,
    objects: &HashSet<String>,
    all: bool,
) -> io::Result<HashMap<String, Vec<OfObject>>> {
    let mut found = HashMap::<_, Vec<_>>::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some(file) = name.get(..64).filter(|file| objects.contains(*file)) else { continue };
        let Some((_, rest)) = parts(name) else {
            return Err(io::Error::other(format!("{name} is of an object, and of no known kind")));
        };
        if all || !rest.ends_with(MADE_ANEW) {
            found.entry(file.to_owned()).or_default().push((rest.to_owned(), entry.metadata()?.len()));
        }
    }
    Ok(found)
}

/// A piece of a file, whole.
pub(super) fn read(path: &Path, offset: u64, octets: usize) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; octets];
    File::open(path)?.read_exact_at(&mut piece, offset)?;
    Ok(piece)
}

/// Writes a file, which is on the disk after this, or is as it was.
pub(super) fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    let mut file = File::create(&unfinished)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Renames what came of an object into the folder of all, unless it is there already, and removes what is no part of it. Done again,
/// it goes on.
pub(super) fn put_in_place(
    from: &Path,
    to: &Path,
    file: &str,
    files: &[OfObject],
    given: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    for (rest, octets) in files {
        let name = format!("{file}{rest}");
        let (came, placed) = (from.join(&name), to.join(&name));
        match fs::rename(&came, &placed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        let there = fs::symlink_metadata(&placed)?.len();
        if there != *octets {
            let problem = format!("{name} has {there} octets, and was given with {octets}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        given(&placed)?;
    }
    for rest in OF_SUPERVISOR {
        if files.iter().all(|(other, _)| other != rest) {
            remove(&to.join(format!("{file}{rest}")))?;
        }
    }
    Ok(())
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_files_are_taken_apart_and_others_lead_nowhere() {
        let file = "0123456789abcdef".repeat(4);
        for rest in [".sqlite", ".sqlite-wal", ".facets", ".1.sqlite", ".12.sqlite-wal"] {
            assert_eq!(parts(&format!("{file}{rest}")), Some((file.as_str(), rest)));
        }
        let short = &file[1..];
        for name in [
            file.clone(),
            format!("{file}x.sqlite"),
            format!("{short}.sqlite"),
            format!("{}.sqlite", file.to_uppercase()),
            format!("{file}./../x"),
            format!("{file}.{}", "x".repeat(REST_MAX)),
            "metadata.sqlite".to_owned(),
        ] {
            assert_eq!(parts(&name), None, "{name}");
        }
    }

    #[test]
    fn what_came_is_put_in_place_once_however_often_it_is_begun_and_what_is_stale_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir(&from).and_then(|()| fs::create_dir(&to)).expect("folders");
        let file = "ab".repeat(32);
        let named = |rest: &str| format!("{file}{rest}");
        fs::write(from.join(named(".sqlite")), "new").expect("a file");
        fs::write(from.join(named(".1.sqlite")), "facet").expect("a file");
        fs::write(to.join(named(".sqlite")), "stale").expect("a file");
        fs::write(to.join(named(".sqlite-wal")), "stale").expect("a file");
        fs::write(to.join(format!("{}.sqlite", "cd".repeat(32))), "another's").expect("a file");
        let files = [(".sqlite".to_owned(), 3), (".1.sqlite".to_owned(), 5)];
        // It was cut off after the first file.
        put_in_place(&from, &to, &file, &files[..1], |_| Ok(())).expect("it is whole");
        put_in_place(&from, &to, &file, &files, |_| Ok(())).expect("it is whole");
        put_in_place(&from, &to, &file, &files, |_| Ok(())).expect("it is in place");
        let objects = HashSet::from([file.clone()]);
        let mut found = of(&to, &objects, true).expect("it can be read").remove(&file).expect("files");
        found.sort_unstable();
        assert_eq!(found, [(".1.sqlite".to_owned(), 5), (".sqlite".to_owned(), 3)]);
        assert_eq!(fs::read_dir(&to).expect("it can be read").count(), 3, "the other object's is there");
        let error = put_in_place(&from, &to, &file, &[(".sqlite".to_owned(), 4)], |_| Ok(())).err();
        assert!(error.is_some_and(|error| error.to_string().contains("given with 4")));
        fs::write(to.join(named(".odd?")), "").expect("a file");
        assert!(of(&to, &objects, true).is_err(), "what is not known is not left behind");
    }
}
