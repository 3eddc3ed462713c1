//! `POST dns_records/import`: a zone file, whole or not at all.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    extract::{Request, State},
};
use bytes::Bytes;
use proxima_model::{Record, RecordId, RecordType, Ttl, Zone, excerpt};
use serde_json::json;

use super::{
    edit,
    edit::{ZoneEdit, not_delegated},
    save,
};
use crate::{
    api::{
        Api,
        body::{broken_form, content_type, form, read},
        envelope::Answer,
        write::{Author, Draft},
    },
    error::{ApiError, Code, Problem},
    limits,
    zonefile::{self, FileRecord, LineNote, ZoneFile},
};

/// What is imported.
pub(crate) struct Upload {
    pub(crate) file: Bytes,
    /// Whether what can be proxied is to be; where it is not said, the file's own marks count.
    pub(crate) proxied: Option<bool>,
}

/// `POST dns_records/import`.
pub(crate) async fn import(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    request: Request,
) -> Result<Answer, ApiError> {
    let upload = receive(request).await?;
    let name = zone.name.clone();
    let (file, proxied) = (upload.file, upload.proxied);
    let parsed =
        crate::api::blocking(move || zonefile::parse(&name, &file).map_err(|problems| bad_lines(&problems)))
            .await?;
    if parsed.records.len() > limits::IMPORT_RECORDS_MAX {
        let message = format!(
            "the file has {} records; an import takes at most {}: split it",
            parsed.records.len(),
            limits::IMPORT_RECORDS_MAX
        );
        return Err(ApiError::new(Code::TooLong, message));
    }
    let parsed = Arc::new(parsed);
    let file = parsed.clone();
    let written = api.write(&author, move |draft| add(draft, &zone, &file, proxied)).await?;
    let result = json!({ "recs_added": written.answer, "total_records_parsed": parsed.records.len() });
    let answer = Answer::new(result).at(written.seq);
    Ok(parsed
        .notes
        .iter()
        .take(limits::IMPORT_PROBLEMS_MAX)
        .fold(answer, |answer, note| answer.message(format!("line {}: {}", note.line, note.text))))
}

/// Takes the upload out of a form, or the file alone as a text.
pub(crate) async fn receive(request: Request) -> Result<Upload, ApiError> {
    if content_type(&request) != "multipart/form-data" {
        if content_type(&request).starts_with("text/") {
            let file = read(request, limits::IMPORT_BODY_OCTETS_MAX).await?;
            return Ok(Upload { file, proxied: None });
        }
        return Err(ApiError::new(
            Code::ContentType,
            "send multipart/form-data with the zone file in the field `file`, or the file alone as text/plain",
        ));
    }
    let mut form = form(request, limits::IMPORT_BODY_OCTETS_MAX).await?;
    let (mut file, mut proxied) = (None, None);
    while let Some(field) = form.next_field().await.map_err(broken_form)? {
        match field.name() {
            Some("file") => file = Some(field.bytes().await.map_err(broken_form)?),
            Some("proxied") => {
                proxied = match field.text().await.map_err(broken_form)?.trim() {
                    "true" => Some(true),
                    "false" => Some(false),
                    other => {
                        let message = format!("proxied: {} is neither true nor false", excerpt(other));
                        return Err(ApiError::new(Code::ProxiedInvalid, message).at("/proxied"));
                    }
                };
            }
            _ => {}
        }
    }
    let file = file.ok_or_else(|| ApiError::new(Code::FieldInvalid, "file: it is missing").at("/file"))?;
    Ok(Upload { file, proxied })
}

/// Adds the records that are not there yet, and says how many; or names every line that cannot be added.
fn add(
    draft: &mut Draft<'_>,
    zone: &Zone,
    file: &ZoneFile,
    proxied: Option<bool>,
) -> Result<usize, ApiError> {
    if draft.is_repeat {
        // The ids tell what the first attempt added, as far as it is still there.
        let ids = (0..file.records.len()).map(|_| RecordId::from_bytes(draft.id())).collect::<Vec<_>>();
        let added = ids.iter().map(|id| Ok(draft.snapshot.get::<Record>(&(zone.id, *id))?.is_some()));
        let added = added.collect::<Result<Vec<bool>, ApiError>>()?;
        return Ok(added.into_iter().filter(|added| *added).count());
    }
    let mut edit = edit(draft, zone.id)?;
    let mut problems = Vec::new();
    let mut added = BTreeMap::new();
    for given in &file.records {
        let id = RecordId::from_bytes(draft.id());
        let record = record(given, zone, id, proxied, draft.now);
        if edit.identical(&record).is_some() {
            continue;
        }
        match edit.create(record) {
            Ok(()) => drop(added.insert(id, given.line)),
            Err(refusal) => problems.push(LineNote { line: given.line, text: refusal.to_string() }),
        }
    }
    problems.extend(undelegated(&edit, &added));
    if !problems.is_empty() {
        problems.sort();
        return Err(bad_lines(&problems));
    }
    save(draft, edit)?;
    Ok(added.len())
}

/// The lines whose DS records stand where nothing is delegated.
fn undelegated(edit: &ZoneEdit, added: &BTreeMap<RecordId, usize>) -> Vec<LineNote> {
    let note = |record: &Record| {
        let line = *added.get(&record.id)?;
        Some(LineNote { line, text: not_delegated(record).to_string() })
    };
    edit.undelegated().filter_map(note).collect()
}

fn record(
    given: &FileRecord,
    zone: &Zone,
    id: RecordId,
    proxied: Option<bool>,
    now: proxima_model::Timestamp,
) -> Record {
    let can_be_proxied = given.data.record_type().can_be_proxied() && given.name.is_of_host();
    let proxied = proxied.or(given.proxied).unwrap_or(false) && can_be_proxied;
    Record {
        id,
        zone: zone.id,
        name: given.name.clone(),
        data: given.data.clone(),
        ttl: if proxied { Ttl::Auto } else { given.ttl },
        proxied,
        flatten: given.flatten && given.data.record_type() == RecordType::Cname,
        comment: given.comment.clone(),
        tags: given.tags.clone(),
        created_at: now,
        modified_at: now,
    }
}

/// Every bad line, as one error each, up to a bound.
fn bad_lines(lines: &[LineNote]) -> ApiError {
    let problem = |message| Problem { code: Code::ZoneFileInvalid, message, pointer: None };
    let mut problems: Vec<Problem> = lines
        .iter()
        .take(limits::IMPORT_PROBLEMS_MAX)
        .map(|line| problem(format!("line {}: {}", line.line, line.text)))
        .collect();
    if lines.len() > problems.len() {
        problems.push(problem(format!("and {} more lines", lines.len() - problems.len())));
    }
    problems.push(problem("nothing was imported".to_owned()));
    ApiError { problems }
}
