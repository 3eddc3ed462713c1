//! `POST zones/:zone_id/purge_cache`.

use std::sync::Arc;

use axum::{Extension, extract::State};
use proxima_ledger::Precondition;
use proxima_model::{
    CacheTag, DnsName, Entity, Invalid, Purge, PurgeId, PurgeWhat, UrlPrefix, Zone, ZoneId, excerpt,
    limits as model_limits,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::Answer,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
};

/// What is to be forgotten: one of these.
#[derive(Debug, Deserialize)]
pub(crate) struct PurgeBody {
    #[serde(default)]
    purge_everything: Option<bool>,
    #[serde(default)]
    files: Option<Vec<FileBody>>,
    #[serde(default)]
    hosts: Option<Vec<String>>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    prefixes: Option<Vec<String>>,
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
    let written = api.write(&author, move |draft| forget(draft, zone.id, what.clone())).await?;
    Ok(Answer::new(json!({ "id": written.answer.to_string() })).at(written.seq))
}

/// Has every server forget what it keeps of a host, from the change on that says so.
pub(crate) fn forget_host(draft: &mut Draft<'_>, zone: ZoneId, host: &DnsName) -> Result<(), ApiError> {
    forget(draft, zone, PurgeWhat::Hosts(vec![host.clone()])).map(drop)
}

fn forget(draft: &mut Draft<'_>, zone: ZoneId, what: PurgeWhat) -> Result<PurgeId, ApiError> {
    let id = PurgeId::from_bytes(draft.id());
    if !draft.is_repeat {
        // Changes of the zone do not matter to a purge; only that it is there.
        draft.require(Precondition::Present(Zone::key_of(&zone)));
        trim(draft, zone)?;
        draft.put(&Purge { id, zone, what, at: draft.now });
    }
    Ok(id)
}

pub(crate) fn what(body: &PurgeBody, zone: &Zone) -> Result<PurgeWhat, ApiError> {
    let everything = body.purge_everything.filter(|wanted| *wanted);
    match (everything, &body.files, &body.hosts, &body.prefixes, &body.tags) {
        (Some(_), None, None, None, None) => Ok(PurgeWhat::Everything),
        (None, Some(files), None, None, None) => {
            let url = |file: &FileBody| url(file, zone);
            Ok(PurgeWhat::Files(all("files", files, model_limits::PURGE_FILES_MAX, url)?))
        }
        (None, None, Some(hosts), None, None) => {
            let host = |text: &String| host(text, zone);
            Ok(PurgeWhat::Hosts(all("hosts", hosts, model_limits::PURGE_NAMES_MAX, host)?))
        }
        (None, None, None, Some(prefixes), None) => {
            let prefix = |text: &String| prefix(text, zone);
            Ok(PurgeWhat::Prefixes(all("prefixes", prefixes, model_limits::PURGE_NAMES_MAX, prefix)?))
        }
        (None, None, None, None, Some(tags)) => {
            let tag = |text: &String| CacheTag::parse(text).map_err(|invalid| in_words(&invalid));
            Ok(PurgeWhat::Tags(all("tags", tags, model_limits::PURGE_NAMES_MAX, tag)?))
        }
        _ => Err(ApiError::new(
            Code::PurgeInvalid,
            "give exactly one of \"purge_everything\": true, \"files\", \"tags\", \"hosts\" and \"prefixes\"",
        )),
    }
}

/// All that is named, each read by `read`; an error says which could not be.
fn all<T, U>(
    field: &str,
    given: &[T],
    max: usize,
    read: impl Fn(&T) -> Result<U, String>,
) -> Result<Vec<U>, ApiError> {
    let refuse = |message: String| ApiError::new(Code::PurgeInvalid, message);
    if given.is_empty() || given.len() > max {
        let message = format!("{field}: {} are given; give 1 to {max} in one request", given.len());
        return Err(refuse(message).at(format!("/{field}")));
    }
    let read = |(index, one)| read(one).map_err(|message| refuse(message).at(format!("/{field}/{index}")));
    given.iter().enumerate().map(read).collect()
}

fn in_words(invalid: &Invalid) -> String {
    format!("{}; {}", invalid.problem, invalid.remedy)
}

/// A host of this zone.
fn host(text: &str, zone: &Zone) -> Result<DnsName, String> {
    let refuse = || format!("{} is not a host; give such as www.{}", excerpt(text), zone.name);
    let name = DnsName::parse(text).ok().filter(|name| !name.is_wildcard()).ok_or_else(refuse)?;
    within(&name, zone)?;
    Ok(name)
}

/// The beginning of URLs of this zone.
fn prefix(text: &str, zone: &Zone) -> Result<UrlPrefix, String> {
    let prefix = UrlPrefix::parse(text).map_err(|invalid| in_words(&invalid))?;
    within(prefix.host(), zone)?;
    Ok(prefix)
}

fn within(name: &DnsName, zone: &Zone) -> Result<(), String> {
    if name.is_within(&zone.name) { Ok(()) } else { Err(format!("{name} is not in the zone {}", zone.name)) }
}

/// A URL of this zone, as it was given.
fn url(file: &FileBody, zone: &Zone) -> Result<String, String> {
    let (FileBody::Url(text) | FileBody::Variant { url: text }) = file;
    if text.len() > model_limits::PURGE_URL_OCTETS_MAX {
        return Err("the URL is longer than 8 KiB".to_owned());
    }
    let refuse = || format!("{} is not a URL; give such as https://www.{}/path", excerpt(text), zone.name);
    let uri: http::Uri = text.parse().map_err(|_| refuse())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(refuse());
    }
    let host = uri.host().ok_or_else(refuse)?;
    within(&DnsName::parse(host).map_err(|_| refuse())?, zone)?;
    Ok(text.clone())
}

/// Removes purges that every server has seen, or that are too many: whoever missed them empties the zone's cache.
fn trim(draft: &mut Draft<'_>, zone: ZoneId) -> Result<(), ApiError> {
    let purges = draft.snapshot.scan::<Purge>(&[&zone]).collect::<Result<Vec<_>, _>>()?;
    let mut purges: Vec<_> = purges.into_iter().map(|purge| (purge.at, purge.id)).collect();
    purges.sort();
    let surplus = (purges.len() + 1).saturating_sub(model_limits::PURGES_KEPT_MAX);
    let old = draft.now.plus_seconds(-model_limits::PURGE_KEPT_SECONDS);
    for (index, (at, id)) in purges.into_iter().enumerate() {
        if index < surplus || at < old {
            draft.delete::<Purge>(&(zone, id));
        }
    }
    Ok(())
}
