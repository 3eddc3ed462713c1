//! `DELETE zones/:zone_id`, with everything that lies beneath.
//!
//! The zone and its name go in the first append, with as much beneath them as fits: from then on nothing of it is served.
//! What did not fit follows in further appends, each bounded. Should this server die in between, the log's node removes
//! what was left when it next starts ([`remove_orphans`]).

use std::{collections::BTreeSet, sync::Arc};

use axum::{Extension, extract::State};
use proxima_ledger::{Append, Change, IdempotencyKey, ReadError, Snapshot};
use proxima_model::{
    AcmeOrder, BucketDomain, Certificate, ClientAuthentication, Entity, IncomingTransfers, OutgoingTransfers,
    Purge, Record, Ruleset, SecondaryZone, TransferNotices, TransferredRecord, WorkerDomain, WorkerHost,
    WorkerRoute, Zone, ZoneId, ZoneIndex, ZoneNotice, ZoneSigning,
};
use serde_json::json;

use crate::{
    api::{
        Api,
        envelope::Answer,
        write::{Author, Draft},
    },
    error::ApiError,
    limits,
};

/// `DELETE zones/:zone_id`.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
) -> Result<Answer, ApiError> {
    let id = zone.id;
    let written = api
        .write(&author, move |draft| {
            if draft.is_repeat {
                return Ok(false);
            }
            let zone = draft.zone(id)?;
            draft.delete::<ZoneIndex>(&zone.name);
            remove(draft, &zone)
        })
        .await?;
    if written.answer {
        remove_rest(&api, id);
    }
    Ok(Answer::new(json!({ "id": id.to_string() })).at(written.seq))
}

/// Deletes a zone, but for its name, with as much beneath it as one append takes; whether more may be left.
pub(super) fn remove(draft: &mut Draft<'_>, zone: &Zone) -> Result<bool, ApiError> {
    draft.delete::<Zone>(&zone.id);
    let beneath = beneath(draft.snapshot, zone.id, limits::DELETES_PER_APPEND)?;
    let more = beneath.len() == limits::DELETES_PER_APPEND;
    for change in beneath {
        draft.change(change);
    }
    Ok(more)
}

/// Removes the rest although the client may leave: nothing of the zone is served any more, it only takes room.
pub(super) fn remove_rest(api: &Arc<Api>, id: ZoneId) {
    let api = api.clone();
    tokio::spawn(async move {
        if let Err(error) = remove_beneath(&api, id).await {
            tracing::warn!(zone = %id, %error, "what lay beneath a deleted zone is not all removed; it will be when the log's node next starts");
        }
    });
}

/// Removes what is left beneath a zone that is gone, in bounded appends.
async fn remove_beneath(api: &Arc<Api>, id: ZoneId) -> Result<(), ApiError> {
    loop {
        let changes =
            api.read(move |snapshot| Ok(beneath(snapshot, id, limits::DELETES_PER_APPEND)?)).await?;
        if changes.is_empty() {
            return Ok(());
        }
        let append = Append {
            changes,
            preconditions: vec![proxima_ledger::Precondition::Absent(Zone::key_of(&id))],
            idempotency_key: IdempotencyKey(hex::encode(rand::random::<[u8; 16]>())),
            fingerprint: None,
            author: "node/upkeep".to_owned(),
        };
        let appended = api.append(append).await?;
        api.replica.wait_for(appended.seq, limits::READ_YOUR_WRITES_WITHIN).await;
    }
}

/// Removes what lies beneath zones that are gone. Reads everything once, so it is done once, when the log's node starts.
pub(crate) async fn remove_orphans(api: &Arc<Api>) -> Result<(), ApiError> {
    let orphans = api.read(|snapshot| Ok(orphans(snapshot)?)).await?;
    for id in orphans {
        tracing::info!(zone = %id, "removing what a deleted zone left behind");
        remove_beneath(api, id).await?;
    }
    Ok(())
}

fn orphans(snapshot: &Snapshot) -> Result<BTreeSet<ZoneId>, ReadError> {
    let mut seen = BTreeSet::new();
    let mut orphans = BTreeSet::new();
    let mut consider = |id: ZoneId| -> Result<(), ReadError> {
        if seen.insert(id) && snapshot.revision(&Zone::key_of(&id))?.is_none() {
            orphans.insert(id);
        }
        Ok(())
    };
    each::<Record>(snapshot, |it| it.zone, &mut consider)?;
    each::<Ruleset>(snapshot, |it| it.zone, &mut consider)?;
    each::<Certificate>(snapshot, |it| it.zone, &mut consider)?;
    each::<ClientAuthentication>(snapshot, |it| it.zone, &mut consider)?;
    each::<AcmeOrder>(snapshot, |it| it.zone, &mut consider)?;
    each::<ZoneSigning>(snapshot, |it| it.zone, &mut consider)?;
    each::<OutgoingTransfers>(snapshot, |it| it.zone, &mut consider)?;
    each::<TransferNotices>(snapshot, |it| it.zone, &mut consider)?;
    each::<IncomingTransfers>(snapshot, |it| it.zone, &mut consider)?;
    each::<SecondaryZone>(snapshot, |it| it.zone, &mut consider)?;
    each::<ZoneNotice>(snapshot, |it| it.zone, &mut consider)?;
    each::<TransferredRecord>(snapshot, |it| it.record.zone, &mut consider)?;
    each::<Purge>(snapshot, |it| it.zone, &mut consider)?;
    each::<WorkerRoute>(snapshot, |it| it.zone, &mut consider)?;
    each::<WorkerHost>(snapshot, |it| it.zone, &mut consider)?;
    each::<BucketDomain>(snapshot, |it| it.zone, &mut consider)?;
    Ok(orphans)
}

fn each<E: Entity>(
    snapshot: &Snapshot,
    zone_of: impl Fn(&E) -> ZoneId,
    consider: &mut impl FnMut(ZoneId) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    snapshot.scan::<E>(&[]).try_for_each(|found| consider(zone_of(&found?)))
}

/// The removal of what lies beneath a zone, at most this much of it.
fn beneath(snapshot: &Snapshot, id: ZoneId, max: usize) -> Result<Vec<Change>, ReadError> {
    let mut changes = Vec::new();
    // One of each zone, at a key of its own.
    take_one::<AcmeOrder>(snapshot, id, &mut changes)?;
    take_one::<ZoneSigning>(snapshot, id, &mut changes)?;
    take_one::<OutgoingTransfers>(snapshot, id, &mut changes)?;
    take_one::<TransferNotices>(snapshot, id, &mut changes)?;
    take_one::<IncomingTransfers>(snapshot, id, &mut changes)?;
    take_one::<SecondaryZone>(snapshot, id, &mut changes)?;
    take_one::<ZoneNotice>(snapshot, id, &mut changes)?;
    take::<Record>(snapshot, id, max, &mut changes)?;
    take::<TransferredRecord>(snapshot, id, max, &mut changes)?;
    take::<Ruleset>(snapshot, id, max, &mut changes)?;
    take::<Certificate>(snapshot, id, max, &mut changes)?;
    take::<ClientAuthentication>(snapshot, id, max, &mut changes)?;
    take::<Purge>(snapshot, id, max, &mut changes)?;
    take::<WorkerRoute>(snapshot, id, max, &mut changes)?;
    // Their buckets go on to name them, which is no domain then.
    take::<BucketDomain>(snapshot, id, max, &mut changes)?;
    take_hosts(snapshot, id, max, &mut changes)?;
    Ok(changes)
}

/// Custom domains are rows of their account's list too.
fn take_hosts(
    snapshot: &Snapshot,
    id: ZoneId,
    max: usize,
    changes: &mut Vec<Change>,
) -> Result<(), ReadError> {
    for host in snapshot.scan::<WorkerHost>(&[&id]) {
        if changes.len() + 2 > max {
            break;
        }
        let host = host?;
        changes.push(Change::delete::<WorkerDomain>(&(host.account, host.domain)));
        changes.push(Change::Delete { key: host.key() });
    }
    Ok(())
}

fn take_one<E: Entity<Id = ZoneId>>(
    snapshot: &Snapshot,
    id: ZoneId,
    changes: &mut Vec<Change>,
) -> Result<(), ReadError> {
    if snapshot.revision(&E::key_of(&id))?.is_some() {
        changes.push(Change::delete::<E>(&id));
    }
    Ok(())
}

fn take<E: Entity>(
    snapshot: &Snapshot,
    id: ZoneId,
    max: usize,
    changes: &mut Vec<Change>,
) -> Result<(), ReadError> {
    for entity in snapshot.scan::<E>(&[&id]) {
        if changes.len() == max {
            break;
        }
        changes.push(Change::Delete { key: entity?.key() });
    }
    Ok(())
}
