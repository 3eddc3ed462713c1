//! The side of a hand-over that is to have the objects: keeps what comes in a folder of its own, says when all is there, and takes it
//! when the log says that it has the slot.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use proxima_model::{AccountId, DurableNamespaceId, NodeName};
use proxima_pipeline::Body;

use super::{
    files,
    marks::{Mark, is_held, lies_here},
    wire::{Asking, BODY_OCTETS_MAX, Batch, Object, Standing, Step},
};
use crate::{
    durable::{Durable, asked::Refusal, blocking, port::OBJECTS},
    engine::Owner,
};

/// The folder in an account's for what comes; one of each hand-over in it.
pub(super) const INCOMING: &str = "incoming";
/// In that, the files.
const FILES: &str = "files";
/// And how many batches there are, once all came.
const WHOLE: &str = "whole";

/// What the folder of a hand-over is called.
pub(super) fn folder_name(namespace: DurableNamespaceId, slot: &NodeName, turn: u32) -> String {
    format!("{namespace}.{slot}.{turn}")
}

/// The file of the objects of a batch.
fn objects_name(batch: u32) -> String {
    format!("objects-{batch}.json")
}

impl Durable {
    /// Does what the server that has a slot asks of this one, which is to have it.
    pub(in crate::durable) async fn step_here(
        &self,
        asker: &NodeName,
        asking: Asking,
        body: Body,
    ) -> Result<Standing, Refusal> {
        let octets = match asking.step {
            Step::Batch(_) => body.collect(BODY_OCTETS_MAX).await.map_err(|_| Refusal::lost())?,
            Step::Begin | Step::End(_) => Bytes::new(),
        };
        let alone = self.hand_over.staging.alone(&(asking.namespace, asking.slot.clone())).await;
        let namespace = self.namespace(asking.account, asking.namespace)?;
        let slot = namespace.slot(&asking.slot);
        let mark = self.mark(&namespace, &asking.slot).await?;
        let has_it = slot.server == self.me && slot.since == asking.turn;
        if has_it && is_held(mark, &slot) {
            return Ok(Standing::Taken);
        }
        let is_to_have_it =
            slot.to.as_ref() == Some(&self.me) && slot.turn == asking.turn && slot.server == *asker;
        let had_it = has_it && slot.from.as_ref() == Some(asker);
        if !(is_to_have_it || had_it) {
            return Err(Refusal::moving("this server does not know of the hand-over, or not any more"));
        }
        let account = self.engine()?.hosts().path(asking.account);
        let is_of_this = mark == Some(Mark::taking(asking.turn));
        if !is_of_this && lies_here(mark, &asking.slot, &self.me) && account.exists() {
            return Err(Refusal::moving("this server has still to remove what it had of it before"));
        }
        let folder = account.join(INCOMING).join(folder_name(asking.namespace, &asking.slot, asking.turn));
        let written = alone.write(move || match asking.step {
            Step::Begin => begin(&folder).map(Some),
            Step::Batch(number) => Batch::decode(octets)
                .map(|batch| keep(&folder, number, &batch).map(|()| Standing::Lacking))
                .transpose(),
            Step::End(batches) => end(&folder, batches).map(Some),
        });
        let standing = written.await.map_err(|error| {
            tracing::warn!(%error, account = %asking.account, %asker, "what comes of Durable Objects cannot be kept");
            Refusal::broken("what comes cannot be kept")
        })?;
        standing.ok_or_else(|| Refusal::broken("a batch did not come as it was sent"))
    }

    /// Takes a slot that the log says this server has: its objects run here after that.
    pub(super) async fn take_in(
        self: &Arc<Self>,
        account: AccountId,
        id: DurableNamespaceId,
        name: &NodeName,
    ) -> Result<(), Refusal> {
        let which = (id, name.clone());
        let alone = self.hand_over.staging.alone(&which).await;
        let Ok(namespace) = self.namespace(account, id) else { return Ok(()) };
        let slot = namespace.slot(name);
        let mark = self.mark(&namespace, name).await?;
        if slot.server != self.me || is_held(mark, &slot) {
            return Ok(());
        }
        let hosts = self.engine()?.hosts();
        let folder = hosts.path(account).join(INCOMING).join(folder_name(id, name, slot.since));
        let (mut objects, mut has_alarms) = (0, false);
        if slot.began_empty {
            // It may have had it before: also that was given up.
            if lies_here(mark, name, &self.me) && hosts.path(account).exists() {
                self.make_still(account, vec![(which.clone(), slot.since)]).await?;
                self.clear_out(&namespace, name, slot.since, false).await?;
            }
        } else {
            let whole = folder.clone();
            let batches = blocking(move || batches(&whole)).await.map_err(|error| unplaced(&error))?;
            let Some(batches) = batches else {
                tracing::error!(%account, namespace = %id, slot = %name, from = ?slot.from, "Durable Objects that were handed over to this server are not here; they are asked for again");
                return Err(Refusal::moving("what was given is not all here"));
            };
            self.note(&namespace).await?;
            self.mark_as(account, &which, Mark::taking(slot.since)).await?;
            for number in 0..batches {
                let (from, to, owner) = (folder.clone(), hosts.path(account).join(OBJECTS), hosts.owner());
                let placed = blocking(move || place(&from, &to, number, owner)).await;
                let given: Vec<Object> = placed.map_err(|error| unplaced(&error))?;
                objects += given.len();
                has_alarms |= given.iter().any(|object| object.registered.alarm.is_some());
                self.registry_told(account, id, "take", &given).await?;
            }
        }
        if has_alarms {
            self.note_alarms(account).await?;
        }
        self.mark_as(account, &which, Mark::held(slot.since)).await?;
        self.hand_over.tell();
        // What stays of it goes when it is looked again.
        alone.write(move || remove(&folder)).await.ok();
        if has_alarms {
            self.alarm_was_set(account).await?;
        }
        self.shared.metrics.taken_over();
        let from = slot.from.as_ref().map_or("", NodeName::as_str);
        match slot.began_empty {
            true => {
                tracing::warn!(%account, namespace = %id, slot = %name, from, "Durable Objects begin empty here: what they kept was given up");
            }
            false => {
                tracing::info!(%account, namespace = %id, slot = %name, from, objects, "Durable Objects were taken over");
            }
        }
        Ok(())
    }
}

fn unplaced(error: &io::Error) -> Refusal {
    tracing::error!(%error, "what came of Durable Objects cannot be put into its place");
    Refusal::broken("what came cannot be put into its place")
}

/// An empty folder, unless all came already.
fn begin(folder: &Path) -> io::Result<Standing> {
    if batches(folder)?.is_some() {
        return Ok(Standing::Whole);
    }
    remove(folder)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder.join(FILES))?;
    Ok(Standing::Lacking)
}

/// Writes a batch; it is on the disk after this. The same one may come again.
fn keep(folder: &Path, number: u32, batch: &Batch) -> io::Result<()> {
    let (mut octets, mut written) = (batch.octets.as_slice(), BTreeSet::new());
    for piece in &batch.pieces {
        let (these, others) = octets.split_at_checked(piece.octets).ok_or(io::ErrorKind::UnexpectedEof)?;
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(FILES).join(&piece.name))?;
        file.write_all_at(these, piece.offset)?;
        written.insert(piece.name.as_str());
        octets = others;
    }
    for name in written {
        File::open(folder.join(FILES).join(name))?.sync_all()?;
    }
    files::write(&folder.join(objects_name(number)), &serde_json::to_vec(&batch.objects)?)
}

/// Looks whether all is there, and marks it so.
fn end(folder: &Path, count: u32) -> io::Result<Standing> {
    if batches(folder)?.is_some() {
        return Ok(Standing::Whole);
    }
    for number in 0..count {
        for Object { registered, files } in objects(folder, number)? {
            for (rest, octets) in files {
                let there = fs::metadata(folder.join(FILES).join(format!("{}{rest}", registered.file)))?;
                if there.len() != octets {
                    return Ok(Standing::Lacking);
                }
            }
        }
    }
    File::open(folder.join(FILES))?.sync_all()?;
    files::write(&folder.join(WHOLE), count.to_string().as_bytes())?;
    // So that the folder itself is found again.
    for above in folder.ancestors().take(3) {
        File::open(above)?.sync_all()?;
    }
    Ok(Standing::Whole)
}

/// How many batches came, if all did.
fn batches(folder: &Path) -> io::Result<Option<u32>> {
    match fs::read_to_string(folder.join(WHOLE)) {
        Ok(count) => count.parse().map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn objects(folder: &Path, batch: u32) -> io::Result<Vec<Object>> {
    Ok(serde_json::from_slice(&fs::read(folder.join(objects_name(batch)))?)?)
}

/// Puts the objects of a batch where their process looks for them, as their process's user's; which they are.
fn place(folder: &Path, to: &Path, batch: u32, owner: Owner) -> io::Result<Vec<Object>> {
    if !to.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(to)?;
        owner.give(to)?;
    }
    let objects = objects(folder, batch)?;
    for Object { registered, files } in &objects {
        files::put_in_place(&folder.join(FILES), to, &registered.file, files, |path| owner.give(path))?;
    }
    File::open(to)?.sync_all()?;
    Ok(objects)
}

pub(super) fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
