//! Which slots of an account lie on this server, by which hand-over: a file for each that was ever handed over to or by it, in the
//! folder `slots` of the account's. A slot without one is as it was from the beginning.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use proxima_model::{AccountId, DurableSlot, NodeName};
use serde::{Deserialize, Serialize};

use super::{SlotOf, files};
use crate::durable::blocking;

/// The folder in an account's.
const SLOTS: &str = "slots";

/// What this server knows of a slot: by which hand-over it got it or, of one that it left, gave it away, and which of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::durable) struct Mark {
    since: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// They are to run here, and some of them lie here already.
    Taking,
    /// Its objects run here.
    Held,
    /// They do not any more, and some of them lie here still.
    Leaving,
    /// None of them does.
    Left,
}

impl Mark {
    pub(super) const fn taking(since: u32) -> Self {
        Self { since, state: State::Taking }
    }

    pub(super) const fn held(since: u32) -> Self {
        Self { since, state: State::Held }
    }

    pub(super) const fn leaving(since: u32) -> Self {
        Self { since, state: State::Leaving }
    }

    pub(super) const fn left(since: u32) -> Self {
        Self { since, state: State::Left }
    }
}

/// Whether something of a slot may lie here: without a mark, of the one that `me` has had from the beginning alone.
pub(super) fn lies_here(mark: Option<Mark>, slot: &NodeName, me: &NodeName) -> bool {
    mark.map_or(slot == me, |mark| mark.state != State::Left)
}

/// Whether who has this mark has taken the slot as the log has it.
pub(super) fn is_held(mark: Option<Mark>, slot: &DurableSlot) -> bool {
    mark.map_or(slot.since == 0, |mark| mark == Mark::held(slot.since))
}

/// Those of one account.
pub(super) type OfAccount = BTreeMap<SlotOf, Mark>;

/// Those of all accounts that were asked for.
#[derive(Default)]
pub(in crate::durable) struct Marks(Mutex<HashMap<AccountId, Arc<OfAccount>>>);

impl Marks {
    /// Those of an account, whose folder this is.
    pub(super) async fn of(&self, folder: PathBuf, account: AccountId) -> io::Result<Arc<OfAccount>> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&account) {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(blocking(move || read(&folder.join(SLOTS))).await?);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(all.entry(account).or_insert(read)))
    }

    /// Marks a slot; it is so after this, whatever happens.
    pub(super) async fn set(
        &self,
        folder: PathBuf,
        account: AccountId,
        slot: &SlotOf,
        mark: Mark,
    ) -> io::Result<()> {
        // From now on they are known; slots of one account may be marked at a time.
        self.of(folder.clone(), account).await?;
        let (path, name) = (folder.join(SLOTS), file_name(slot));
        blocking(move || write(&path, &name, mark)).await?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(all.entry(account).or_default()).insert(slot.clone(), mark);
        Ok(())
    }
}

fn file_name((namespace, slot): &SlotOf) -> String {
    format!("{namespace}.{slot}")
}

fn write(path: &Path, name: &str, mark: Mark) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    files::write(&path.join(name), &serde_json::to_vec(&mark)?)?;
    // The folder itself may be new.
    path.parent().map_or(Ok(()), |account| File::open(account)?.sync_all())
}

fn read(path: &Path) -> io::Result<OfAccount> {
    let mut found = BTreeMap::new();
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some((namespace, slot)) = name.split_once('.') else { continue };
        // What was not finished has one more dot, which no server's name has.
        let (Ok(namespace), Ok(slot)) = (namespace.parse(), NodeName::parse(slot)) else { continue };
        found.insert((namespace, slot), serde_json::from_slice(&fs::read(&path)?)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proxima_model::DurableNamespaceId;

    use super::*;

    #[tokio::test]
    async fn what_was_marked_is_known_to_the_next_process_and_what_was_not_finished_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (account, path) = (AccountId::from_bytes([1; 16]), folder.path().to_owned());
        let slot = |name| (DurableNamespaceId::from_bytes([2; 16]), NodeName::parse(name).expect("a name"));
        let marks = Marks::default();
        assert!(marks.of(path.clone(), account).await.expect("nothing is there").is_empty());
        marks.set(path.clone(), account, &slot("ams1"), Mark::held(3)).await.expect("it can be written");
        marks.set(path.clone(), account, &slot("ams1"), Mark::left(4)).await.expect("it can be written");
        marks.set(path.clone(), account, &slot("fra1"), Mark::held(1)).await.expect("it can be written");
        let unfinished = format!("{}{}", file_name(&slot("sin1")), files::UNFINISHED);
        fs::write(path.join(SLOTS).join(unfinished), "{").expect("it can be written");
        let now = marks.of(path.clone(), account).await.expect("it is known");
        let next = Marks::default().of(path, account).await.expect("it can be read");
        assert_eq!(now, next);
        let expected = [(slot("ams1"), Mark::left(4)), (slot("fra1"), Mark::held(1))];
        assert_eq!(*next, BTreeMap::from(expected));
    }

    #[test]
    fn a_slot_is_held_by_the_very_hand_over_that_the_log_names() {
        let slot = |since| DurableSlot {
            server: NodeName::parse("ams1").expect("a name"),
            since,
            from: None,
            turn: 7,
            began_empty: false,
            to: None,
        };
        assert!(is_held(None, &slot(0)) && !is_held(None, &slot(1)));
        assert!(is_held(Some(Mark::held(2)), &slot(2)) && !is_held(Some(Mark::held(1)), &slot(2)));
        // The log was put back to before it was given away.
        assert!(!is_held(Some(Mark::left(1)), &slot(0)) && !is_held(Some(Mark::leaving(1)), &slot(1)));
        assert!(!is_held(Some(Mark::taking(1)), &slot(1)), "not all of it is here");
    }
}
