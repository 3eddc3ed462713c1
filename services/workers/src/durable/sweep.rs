//! What deleted classes leave on the disk: it goes a day after it was first seen that they are deleted, so that neither a replica that
//! is only behind nor a log that is restored costs anybody what objects keep.

use std::{
    collections::{BTreeSet, HashSet},
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use proxima_model::{AccountId, DurableNamespace, DurableNamespaceId};
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Durable, asked::Refusal, blocking};

/// The folder in an account's that names the namespaces of which there are objects: a file for each.
const NAMESPACES: &str = "namespaces";
/// What follows the name of one that is deleted; the file's time is when that was seen.
const GONE: &str = ".gone";
/// How long it stays after that.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How often it is looked.
const LOOKED_EVERY: Duration = Duration::from_secs(3_600);

/// Which namespaces are known to have objects here.
#[derive(Default)]
pub(crate) struct Sweep {
    noted: Arc<Mutex<HashSet<DurableNamespaceId>>>,
}

#[derive(Deserialize)]
struct Swept {
    done: bool,
}

impl Durable {
    /// Notes that a namespace has objects here, before the first of them keeps anything.
    pub(super) async fn note(&self, namespace: &DurableNamespace) -> Result<(), Refusal> {
        let (account, id) = (namespace.account, namespace.id);
        if self.sweep.noted.lock().unwrap_or_else(PoisonError::into_inner).contains(&id) {
            return Ok(());
        }
        let path = self.engine()?.hosts().path(account).join(NAMESPACES);
        let noted = Arc::clone(&self.sweep.noted);
        let writing = blocking(move || {
            DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
            File::create(path.join(id.to_string()))?;
            File::open(&path)?.sync_all()?;
            noted.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
            Ok(())
        });
        writing.await.map_err(|error| {
            tracing::error!(%error, %account, "the folder of Durable Objects cannot be written");
            Refusal::broken("what it keeps cannot be written")
        })
    }

    /// Looks every now and then what is to go, until `stopped`.
    pub(crate) async fn sweep_until(self: Arc<Self>, stopped: CancellationToken) {
        let mut due = tokio::time::interval(LOOKED_EVERY);
        loop {
            tokio::select! {
                _ = due.tick() => {}
                () = stopped.cancelled() => return,
            }
            let Ok(engine) = self.engine() else { return };
            let listing = Arc::clone(engine);
            let accounts = blocking(move || listing.hosts().accounts()).await;
            let accounts = accounts.inspect_err(|error| tracing::warn!(%error, UNREADABLE));
            for account in accounts.unwrap_or_default() {
                if let Err(error) = self.sweep_account(account).await {
                    tracing::warn!(%error, %account, "what deleted classes left cannot be removed now");
                }
            }
        }
    }

    async fn sweep_account(&self, account: AccountId) -> Result<(), Refusal> {
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or_default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now);
        let unreadable = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, UNREADABLE);
            Refusal::broken(UNREADABLE)
        };
        let snapshot = self.replica.snapshot().map_err(|error| unreadable(&error))?;
        let living: Result<BTreeSet<_>, _> =
            snapshot.scan::<DurableNamespace>(&[&account]).map(|found| found.map(|found| found.id)).collect();
        let living = living.map_err(|error| unreadable(&error))?;
        drop(snapshot);
        let path = self.engine()?.hosts().path(account).join(NAMESPACES);
        let folder = path.clone();
        let planned = blocking(move || plan(&folder, &living, now)).await;
        for id in planned.map_err(|error| unreadable(&error))? {
            loop {
                let Swept { done } = self.registry(account, "sweep", json!({ "namespace": id })).await?;
                if done {
                    break;
                }
            }
            tracing::info!(%account, namespace = %id, "what the objects of a deleted class kept is removed");
            self.sweep.noted.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            let file = path.join(id.to_string());
            let removed = blocking(move || {
                fs::remove_file(&file)?;
                fs::remove_file(gone(&file))
            });
            removed.await.map_err(|error| unreadable(&error))?;
        }
        Ok(())
    }
}

const UNREADABLE: &str = "what Durable Objects keep cannot be read";

/// The namespaces whose objects are to go: those that are not living, and were not a day ago. Notes which are not.
fn plan(
    folder: &Path,
    living: &BTreeSet<DurableNamespaceId>,
    now: SystemTime,
) -> io::Result<Vec<DurableNamespaceId>> {
    let mut due = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(due),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let file = entry?.path();
        let named = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let Some(id) = named else { continue };
        let gone = gone(&file);
        match (living.contains(&id), fs::metadata(&gone)) {
            (true, Ok(_)) => fs::remove_file(gone)?,
            (false, Ok(metadata)) => {
                if now.duration_since(metadata.modified()?).is_ok_and(|since| since >= KEPT_FOR) {
                    due.push(id);
                }
            }
            (false, Err(error)) if error.kind() == io::ErrorKind::NotFound => drop(File::create(gone)?),
            (true, Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
            (_, Err(error)) => return Err(error),
        }
    }
    Ok(due)
}

fn gone(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(GONE);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_goes_after_a_day_and_what_comes_back_meanwhile_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let ids = [1, 2, 3].map(|number| DurableNamespaceId::from_bytes([number; 16]));
        for id in ids {
            File::create(folder.path().join(id.to_string())).expect("a file");
        }
        let begun = fs::metadata(folder.path()).and_then(|folder| folder.modified()).expect("it has a time");
        let planned = |living: &[DurableNamespaceId], later: Duration| {
            let living = living.iter().copied().collect();
            plan(folder.path(), &living, begun + later).expect("it can be read")
        };
        let (hour, day) = (Duration::from_secs(3_600), Duration::from_secs(25 * 3_600));
        assert_eq!(planned(&ids[..1], Duration::ZERO), [], "first it is noted");
        assert_eq!(planned(&ids[..1], hour), []);
        assert_eq!(planned(&ids[..2], hour), [], "the second is back");
        assert_eq!(planned(&ids[..1], day), [ids[2]], "its day begins anew");
        assert_eq!(plan(&folder.path().join("none"), &BTreeSet::new(), begun).expect("none"), []);
    }
}
