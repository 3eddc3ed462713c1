//! How much the objects of accounts keep on this server's disk.

use std::{
    collections::HashMap,
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use proxima_model::AccountId;

use super::asked::Refusal;
use crate::engine::Engine;

/// For how long it is believed what was measured: an account writes some hundreds of MiB meanwhile at the most.
const MEASURED_FOR: Duration = Duration::from_secs(5);
/// Accounts whose octets are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// See the module.
pub(super) struct Room {
    octets_max: u64,
    measured: Arc<Mutex<HashMap<AccountId, Measured>>>,
}

#[derive(Clone, Copy)]
struct Measured {
    octets: u64,
    since: Instant,
    is_going_on: bool,
}

impl Room {
    pub(super) fn new(octets_max: u64) -> Self {
        Self { octets_max, measured: Arc::default() }
    }

    /// Refuses what is asked of objects that keep too much, as far as was measured; measures again beside, if that was long ago.
    pub(super) fn check(&self, engine: &Engine, account: AccountId) -> Result<(), Refusal> {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let known = measured.get(&account).copied();
        if known.is_none_or(|known| !known.is_going_on && now.duration_since(known.since) > MEASURED_FOR) {
            if measured.len() >= REMEMBERED_MAX {
                measured.retain(|_, known| known.is_going_on);
            }
            let octets = known.map_or(0, |known| known.octets);
            measured.insert(account, Measured { octets, since: now, is_going_on: true });
            let (path, shared) = (engine.hosts().path(account), Arc::clone(&self.measured));
            tokio::task::spawn_blocking(move || {
                let octets = measure(&path).unwrap_or_else(|error| {
                    tracing::warn!(%error, %account, "what Durable Objects keep cannot be measured");
                    octets
                });
                let now = Measured { octets, since: Instant::now(), is_going_on: false };
                shared.lock().unwrap_or_else(PoisonError::into_inner).insert(account, now);
            });
        }
        drop(measured);
        match known {
            Some(known) if known.octets > self.octets_max => Err(Refusal::refused(&format!(
                "the objects of this account keep {} octets on this server, more than {}; delete some of their classes",
                known.octets, self.octets_max
            ))),
            _ => Ok(()),
        }
    }
}

/// Octets of all files below a folder; what goes meanwhile is not counted.
fn measure(path: &Path) -> io::Result<u64> {
    let mut octets = 0;
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => octets += metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_counted_and_a_folder_that_is_not_there_is_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("a")).expect("a folder");
        fs::write(folder.path().join("a/x"), [0; 100]).expect("a file");
        fs::write(folder.path().join("y"), [0; 23]).expect("a file");
        assert_eq!(measure(folder.path()).expect("it can be read"), 123);
        assert_eq!(measure(&folder.path().join("z")).expect("nothing is there"), 0);
    }
}
