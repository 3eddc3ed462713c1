//! `POST zones/:zone_id/purge_cache`.

use std::sync::Arc;

use axum::{Extension, extract::State};
use proxima_ledger::Precondition;
use proxima_model::{Entity, Purge, PurgeId, PurgeWhat, Zone, limits as model_limits};
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
    limits,
};

/// What is to be forgotten: one of these.
#[derive(Debug, Deserialize)]
pub(crate) struct PurgeBody {
    #[serde(default)]
    purge_everything: Option<bool>,
    #[serde(default)]
    files: Option<Vec<FileBody>>,
    #[serde(default)]
    hosts: Option<Value>,
    #[serde(default)]
    tags: Option<Value>,
    #[serde(default)]
    prefixes: Option<Value>,
}

/// A URL, alone or with the request fields of one variant. Every variant is forgotten, so the fields are passed over.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FileBody {
    Url(String),
    Variant { url: String },
}

/// `POST purge_cache`.
pub(crate) async fn purge(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<PurgeBody>,
) -> Result<Answer, ApiError> {
    let what = what(&body, &zone)?;
    let written = api
        .write(&author, move |draft| {
            let id = PurgeId::from_bytes(draft.id());
            if draft.is_repeat {
                return Ok(id);
            }
            // Changes of the zone do not matter to a purge; only that it is there.
            draft.require(Precondition::Present(Zone::key_of(&zone.id)));
            trim(draft, &zone)?;
            draft.put(&Purge { id, zone: zone.id, what: what.clone(), at: draft.now });
            Ok(id)
        })
        .await?;
    Ok(Answer::new(json!({ "id": written.answer.to_string() })).at(written.seq))
}

fn what(body: &PurgeBody, zone: &Zone) -> Result<PurgeWhat, ApiError> {
    let refuse = |message: String| ApiError::new(Code::PurgeInvalid, message);
    let others = [("hosts", &body.hosts), ("tags", &body.tags), ("prefixes", &body.prefixes)];
    if let Some((name, _)) = others.iter().find(|(_, given)| given.is_some()) {
        let message = format!("purging by {name} is not offered yet; purge files, or everything");
        return Err(ApiError::new(Code::NotOffered, message).at(format!("/{name}")));
    }
    match (body.purge_everything, &body.files) {
        (Some(true), None) => Ok(PurgeWhat::Everything),
        (None | Some(false), Some(files)) if !files.is_empty() => {
            if files.len() > model_limits::PURGE_FILES_MAX {
                return Err(refuse(format!("files: give at most {} URLs", model_limits::PURGE_FILES_MAX)));
            }
            let urls = files.iter().enumerate().map(|(index, file)| {
                url(file, zone).map_err(|why| refuse(why).at(format!("/files/{index}")))
            });
            Ok(PurgeWhat::Files(urls.collect::<Result<_, _>>()?))
        }
        _ => Err(refuse("give either {\"purge_everything\": true} or {\"files\": [URL, …]}".to_owned())),
    }
}

/// A URL of this zone, as it was given.
fn url(file: &FileBody, zone: &Zone) -> Result<String, String> {
    let (FileBody::Url(text) | FileBody::Variant { url: text }) = file;
    if text.len() > model_limits::PURGE_URL_OCTETS_MAX {
        return Err("the URL is longer than 8 KiB".to_owned());
    }
    let refuse = || format!("{text:.120?} is not a URL; give such as https://www.{}/path", zone.name);
    let uri: http::Uri = text.parse().map_err(|_| refuse())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(refuse());
    }
    let host = uri.host().ok_or_else(refuse)?;
    let name = proxima_model::DnsName::parse(host).map_err(|_| refuse())?;
    if !name.is_within(&zone.name) {
        return Err(format!("{name} is not in the zone {}", zone.name));
    }
    Ok(text.clone())
}

/// Removes purges that every server has seen, or that are too many: whoever missed them empties the zone's cache.
fn trim(draft: &mut Draft<'_>, zone: &Zone) -> Result<(), ApiError> {
    let purges = draft.snapshot.scan::<Purge>(&[&zone.id]).collect::<Result<Vec<_>, _>>()?;
    let mut purges: Vec<_> = purges.into_iter().map(|purge| (purge.at, purge.id)).collect();
    purges.sort();
    let surplus = (purges.len() + 1).saturating_sub(limits::PURGES_KEPT_MAX);
    let old = draft.now.plus_seconds(-limits::PURGE_KEPT_SECONDS);
    for (index, (at, id)) in purges.into_iter().enumerate() {
        if index < surplus || at < old {
            draft.delete::<Purge>(&(zone.id, id));
        }
    }
    Ok(())
}
