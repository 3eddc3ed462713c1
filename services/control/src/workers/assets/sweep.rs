//! Sweeps assets that nothing names any more: on the log's node, after a session ran out or a version went.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use proxima_ledger::Snapshot;
use proxima_model::{
    AccountId, AssetHash, ContentRef, Entity, Timestamp, Worker, WorkerAsset, WorkerAssetSession,
    WorkerContent, WorkerContentUse, WorkerUsage,
};

use crate::{
    api::{
        Api,
        write::{Author, Draft},
    },
    error::ApiError,
    limits,
    workers::{change, contents::Contents},
};

/// Sweeps every account where something may be left over.
pub(crate) async fn sweep(api: &Arc<Api>, author: &Author) -> Result<(), ApiError> {
    let now = api.now();
    for account in api.read(move |snapshot| due(snapshot, now)).await? {
        while !api.write(author, move |draft| round(draft, account)).await?.answer {}
    }
    Ok(())
}

fn due(snapshot: &Snapshot, now: Timestamp) -> Result<BTreeSet<AccountId>, ApiError> {
    let mut accounts = BTreeSet::new();
    for usage in snapshot.scan::<WorkerUsage>(&[]) {
        let usage = usage?;
        if usage.assets_unnamed {
            accounts.insert(usage.account);
        }
    }
    for session in snapshot.scan::<WorkerAssetSession>(&[]) {
        let session = session?;
        if session.until <= now {
            accounts.insert(session.account);
        }
    }
    Ok(accounts)
}

/// Removes what nothing names of an account, as far as one append goes; whether that is all of it. Whoever comes to name something
/// meanwhile writes the account's usage, as this does.
fn round(draft: &mut Draft<'_>, account: AccountId) -> Result<bool, ApiError> {
    let mut uses = Contents::of(account);
    let mut manifests = BTreeSet::new();
    for session in draft.snapshot.scan::<WorkerAssetSession>(&[&account]) {
        let session = session?;
        if session.until > draft.now {
            manifests.insert(session.manifest);
        } else {
            draft.delete::<WorkerAssetSession>(&(account, session.manifest.hash));
            uses.lose_one(session.manifest);
        }
    }
    let named = named(draft.snapshot, account, manifests)?;
    let mut room = limits::ASSETS_SWEPT_PER_APPEND;
    for asset in draft.snapshot.scan::<WorkerAsset>(&[&account]) {
        let asset = asset?;
        if named.contains(&asset.hash) {
            continue;
        }
        if room == 0 {
            uses.unnamed();
            break;
        }
        room -= 1;
        remove(draft, &asset, &mut uses)?;
    }
    if room > 0 {
        uses.swept();
    }
    uses.write(draft, &BTreeMap::new())?;
    Ok(room > 0)
}

/// What the manifests of sessions, and those of all versions, name.
fn named(
    snapshot: &Snapshot,
    account: AccountId,
    mut manifests: BTreeSet<ContentRef>,
) -> Result<HashSet<AssetHash>, ApiError> {
    for worker in snapshot.scan::<Worker>(&[&account]) {
        let worker = worker?;
        for id in &worker.versions {
            let version = change::version(snapshot, &worker, *id)?;
            manifests.extend(version.assets.map(|assets| assets.manifest));
        }
    }
    let mut named = HashSet::new();
    for content in manifests {
        let manifest = super::manifest(snapshot, account, content)?;
        named.extend(manifest.files().iter().map(|file| file.hash));
    }
    Ok(named)
}

fn remove(draft: &mut Draft<'_>, asset: &WorkerAsset, uses: &mut Contents) -> Result<(), ApiError> {
    let WorkerAsset { account, content, octets, .. } = *asset;
    draft.delete::<WorkerAsset>(&(account, asset.hash));
    if asset.is_whole {
        uses.lose_one(ContentRef { hash: content, octets });
        return Ok(());
    }
    // Pieces of what is counted are somebody else's.
    if draft.snapshot.revision(&WorkerContentUse::key_of(&(account, content)))?.is_none() {
        for piece in 0..WorkerContent::count(octets as usize) {
            if draft.snapshot.revision(&WorkerContent::key_of(&(account, content, piece)))?.is_some() {
                draft.delete::<WorkerContent>(&(account, content, piece));
            }
        }
    }
    Ok(())
}
