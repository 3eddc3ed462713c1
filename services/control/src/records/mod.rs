//! `zones/:zone_id/dns_records`.

pub(crate) mod body;
mod data;
pub(crate) mod edit;
mod export;
mod import;
mod list;

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_ledger::{ReadError, Snapshot};
use proxima_model::{Record, RecordId, SecondaryZone, TransferredRecord, Zone, ZoneId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::Answer,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    hosts, limits, zones,
};
use body::{RecordBody, id_of, show};
use edit::{ZoneEdit, not_found};

pub(crate) use export::export;
pub(crate) use import::{import, receive};
pub(crate) use list::list;

/// The records of a zone, to be changed by its owner; no other change of the zone can come between.
fn edit(draft: &mut Draft<'_>, id: ZoneId) -> Result<ZoneEdit, ApiError> {
    let edit = edit_with_hosts(draft, id)?;
    Ok(edit.keeping(hosts::of_zone(draft.snapshot, id)?))
}

/// As [`edit`], with those of custom domains of Workers and buckets.
pub(crate) fn edit_with_hosts(draft: &mut Draft<'_>, id: ZoneId) -> Result<ZoneEdit, ApiError> {
    let zone = draft.zone(id)?;
    if zones::is_secondary(draft.snapshot, id)? {
        let message = "the records of a secondary zone come from its primary: change them there";
        return Err(ApiError::new(Code::NotOffered, message));
    }
    let records = draft.snapshot.scan::<Record>(&[&id]).collect::<Result<_, _>>()?;
    Ok(ZoneEdit::new(zone, records))
}

/// Goes through the records of a zone: its owner's own, or those that came from its primary.
fn each_of_zone(snapshot: &Snapshot, zone: ZoneId, mut take: impl FnMut(Record)) -> Result<(), ReadError> {
    let Some(secondary) = snapshot.get::<SecondaryZone>(&zone)? else {
        return snapshot.scan::<Record>(&[&zone]).try_for_each(|record| record.map(&mut take));
    };
    for found in snapshot.scan::<TransferredRecord>(&[&zone]) {
        let found = found?;
        if found.is_in_force(secondary.generation) {
            take(found.record);
        }
    }
    Ok(())
}

/// Writes what an edit comes to, and raises the zone's serial.
pub(crate) fn save(draft: &mut Draft<'_>, edit: ZoneEdit) -> Result<(), ApiError> {
    let Some(mut edited) = edit.finish()? else { return Ok(()) };
    zones::touch(&mut edited.zone, draft.now);
    draft.put(&edited.zone);
    for record in &edited.put {
        draft.put(record);
    }
    for id in edited.deleted {
        draft.delete::<Record>(&(edited.zone.id, id));
    }
    Ok(())
}

/// What was made by a write that is repeated.
fn made(draft: &Draft<'_>, zone: &Zone, id: RecordId) -> Result<Value, ApiError> {
    Ok(show(&draft.made::<Record>(&(zone.id, id))?, &zone.name))
}

/// `GET dns_records/:record_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let id: RecordId = id.parse().map_err(|_| not_found())?;
    api.read(move |snapshot| {
        let record = match snapshot.get::<SecondaryZone>(&zone.id)? {
            None => snapshot.get::<Record>(&(zone.id, id))?,
            Some(secondary) => snapshot
                .get::<TransferredRecord>(&(zone.id, id))?
                .filter(|found| found.is_in_force(secondary.generation))
                .map(|found| found.record),
        };
        let record = record.ok_or_else(not_found)?;
        Ok(Answer::new(show(&record, &zone.name)).at(snapshot.seq()))
    })
    .await
}

/// `POST dns_records`.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<RecordBody>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let id = RecordId::from_bytes(draft.id());
        if draft.is_repeat {
            return made(draft, &zone, id);
        }
        let mut edit = edit(draft, zone.id)?;
        let record = body.create(edit.zone(), id, draft.now)?;
        let shown = show(&record, &zone.name);
        edit.create(record)?;
        save(draft, edit)?;
        Ok(shown)
    })
    .await
}

/// `PUT dns_records/:record_id`.
pub(crate) async fn put(
    state: State<Arc<Api>>,
    zone: Extension<Zone>,
    author: Author,
    path: Path<(String, String)>,
    body: JsonBody<RecordBody>,
) -> Result<Answer, ApiError> {
    change(state, zone, author, path, body, RecordBody::put).await
}

/// `PATCH dns_records/:record_id`.
pub(crate) async fn patch(
    state: State<Arc<Api>>,
    zone: Extension<Zone>,
    author: Author,
    path: Path<(String, String)>,
    body: JsonBody<RecordBody>,
) -> Result<Answer, ApiError> {
    change(state, zone, author, path, body, RecordBody::patch).await
}

type Change = fn(&RecordBody, &Zone, &Record, proxima_model::Timestamp) -> Result<Record, ApiError>;

async fn change(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    Path((_, id)): Path<(String, String)>,
    JsonBody(body): JsonBody<RecordBody>,
    change: Change,
) -> Result<Answer, ApiError> {
    let id: RecordId = id.parse().map_err(|_| not_found())?;
    api.change(&author, move |draft| {
        if draft.is_repeat {
            return made(draft, &zone, id);
        }
        let mut edit = edit(draft, zone.id)?;
        let record = change(&body, edit.zone(), edit.get(id)?, draft.now)?;
        edit.replace(record)?;
        let shown = show(edit.get(id)?, &zone.name);
        save(draft, edit)?;
        Ok(shown)
    })
    .await
}

/// `DELETE dns_records/:record_id`.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let id: RecordId = id.parse().map_err(|_| not_found())?;
    api.change(&author, move |draft| {
        if !draft.is_repeat {
            let mut edit = edit(draft, zone.id)?;
            edit.delete(id)?;
            save(draft, edit)?;
        }
        Ok(json!({ "id": id.to_string() }))
    })
    .await
}

/// Operations that are made together or not at all, in this order.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BatchBody {
    deletes: Option<Vec<RecordBody>>,
    patches: Option<Vec<RecordBody>>,
    puts: Option<Vec<RecordBody>>,
    posts: Option<Vec<RecordBody>>,
}

/// `POST dns_records/batch`.
pub(crate) async fn batch(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<BatchBody>,
) -> Result<Answer, ApiError> {
    let lists = [&body.deletes, &body.patches, &body.puts, &body.posts];
    let operations: usize = lists.iter().filter_map(|list| list.as_ref()).map(Vec::len).sum();
    if operations > limits::BATCH_OPERATIONS_MAX {
        let message = format!("a batch has at most {} operations", limits::BATCH_OPERATIONS_MAX);
        return Err(ApiError::new(Code::TooLong, message));
    }
    api.change(&author, move |draft| apply(draft, &zone, &body)).await
}

fn apply(draft: &mut Draft<'_>, zone: &Zone, body: &BatchBody) -> Result<Value, ApiError> {
    if draft.is_repeat {
        return repeated(draft, zone, body);
    }
    let now = draft.now;
    let mut edit = edit(draft, zone.id)?;
    let deletes = each(&body.deletes, "deletes", |given| Ok(show(&edit.delete(id_of(given)?)?, &zone.name)))?;
    let mut change = |given: &RecordBody, change: Change| {
        let id = id_of(given)?;
        let record = change(given, edit.zone(), edit.get(id)?, now)?;
        edit.replace(record)?;
        Ok(show(edit.get(id)?, &zone.name))
    };
    let patches = each(&body.patches, "patches", |given| change(given, RecordBody::patch))?;
    let puts = each(&body.puts, "puts", |given| change(given, RecordBody::put))?;
    let posts = each(&body.posts, "posts", |given| {
        let record = given.create(edit.zone(), RecordId::from_bytes(draft.id()), now)?;
        let shown = show(&record, &zone.name);
        edit.create(record)?;
        Ok(shown)
    })?;
    save(draft, edit)?;
    Ok(json!({ "deletes": deletes, "patches": patches, "puts": puts, "posts": posts }))
}

/// The answer to a batch that was made before: what it made, as it is now.
fn repeated(draft: &mut Draft<'_>, zone: &Zone, body: &BatchBody) -> Result<Value, ApiError> {
    let deletes = each(&body.deletes, "deletes", |given| Ok(json!({ "id": given.id })))?;
    let patches = each(&body.patches, "patches", |given| made(draft, zone, id_of(given)?))?;
    let puts = each(&body.puts, "puts", |given| made(draft, zone, id_of(given)?))?;
    let posts = each(&body.posts, "posts", |_| {
        let id = RecordId::from_bytes(draft.id());
        made(draft, zone, id)
    })?;
    Ok(json!({ "deletes": deletes, "patches": patches, "puts": puts, "posts": posts }))
}

/// The answers to a list of operations; `null` where there was no list. An error says at which it was.
fn each(
    list: &Option<Vec<RecordBody>>,
    name: &str,
    mut operation: impl FnMut(&RecordBody) -> Result<Value, ApiError>,
) -> Result<Option<Vec<Value>>, ApiError> {
    let Some(list) = list else { return Ok(None) };
    let answers = list
        .iter()
        .enumerate()
        .map(|(index, given)| operation(given).map_err(|refusal| refusal.at(format!("/{name}/{index}"))));
    answers.collect::<Result<_, _>>().map(Some)
}
