//! Whose a minute is: while one process takes over from another, both run, and a restart may be quicker than a minute.

use std::{
    fs::OpenOptions,
    io::{self, Read as _, Seek as _, Write as _},
    path::Path,
};

/// How far the file may be ahead, in minutes, before it is taken to be of a clock that was wrong.
const AHEAD_MAX: i64 = 60;
/// Octets of the file that are read: a number has fewer.
const OCTETS_MAX: u64 = 32;

/// Takes a minute, counted from 1970, if no process has taken it or a later one.
pub(super) fn claim(path: &Path, minute: i64) -> io::Result<bool> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    file.lock()?;
    let mut text = String::new();
    // What is no number was never written by this function: nothing is taken yet.
    let read = (&mut file).take(OCTETS_MAX).read_to_string(&mut text);
    let taken = read.ok().and_then(|_| text.trim().parse::<i64>().ok());
    if taken.is_some_and(|taken| (minute..=minute.saturating_add(AHEAD_MAX)).contains(&taken)) {
        return Ok(false);
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{minute}")?;
    file.sync_data()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_taken_once_and_none_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crons");
        assert!(claim(&path, 10).unwrap());
        assert!(!claim(&path, 10).unwrap());
        assert!(claim(&path, 11).unwrap());
        assert!(!claim(&path, 10).unwrap(), "the clock was set back a little");
        std::fs::write(&path, "not a number").unwrap();
        assert!(claim(&path, 12).unwrap());
        std::fs::write(&path, "1000000").unwrap();
        assert!(claim(&path, 13).unwrap(), "a clock was wrong by years");
        assert!(claim(folder.path(), 14).is_err());
    }
}
