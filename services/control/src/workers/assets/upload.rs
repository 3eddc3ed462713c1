//! `POST workers/assets/upload?base64=true`: files that a session lacks, as a form of parts that are called as their hashes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use proxima_model::{
    Account, ApiToken, AssetHash, ContentHash, ContentRef, Entity, WorkerAsset, WorkerAssetSession,
    WorkerContent, WorkerContentUse, limits as model_limits,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::token::{self, Claims, Use};
use crate::{
    api::{
        Api,
        access::Caller,
        blocking,
        body::{self, broken_form},
        envelope::Answer,
        jwt,
        page::Query,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    limits,
    workers::contents::Contents,
};

/// What a file is said to be that is to be served without a content type.
const NO_TYPE: &str = "application/null";

/// A file that was uploaded.
struct File {
    hash: AssetHash,
    content: ContentRef,
    content_type: Option<String>,
}

/// See the module.
pub(crate) async fn upload(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
    Extension(caller): Extension<Arc<Caller>>,
    author: Author,
    request: Request,
) -> Result<Response, ApiError> {
    let claims = caller.session.clone().filter(|claims| claims.account == account.id);
    let claims = claims.filter(|claims| claims.aud == Use::Upload).ok_or_else(|| {
        refuse("Authorization: send the token that the session of uploads gave, as `Bearer TOKEN`")
    })?;
    if !query.flag("base64")?.unwrap_or(false) {
        return Err(refuse("base64: give base64=true, and files as Base64"));
    }
    let _room = crate::kv::room(&api, &request, limits::ASSETS_FORM_OCTETS_MAX)?;
    let parts = receive(request).await?;
    let (at, session) = (account.id, claims.clone());
    let manifest = api.read(move |snapshot| {
        let found = snapshot.get::<WorkerAssetSession>(&(at, session.manifest))?;
        let found = found.ok_or_else(token::ran_out)?;
        super::manifest(snapshot, at, found.manifest).map(Arc::new)
    });
    let manifest = manifest.await?;
    let named = Arc::clone(&manifest);
    let files = blocking(move || {
        let lengths = named.files().iter().map(|file| (file.hash, file.octets)).collect();
        Files::decode(parts, &lengths)
    });
    let files = files.await?;
    store(&api, author, &account, &claims, files).await?;
    let at = account.id;
    let jwt = api.read(move |snapshot| {
        // Of this name it says the same as before, as long as there is a session.
        snapshot.get::<WorkerAssetSession>(&(at, claims.manifest))?.ok_or_else(token::ran_out)?;
        let signer = snapshot.get::<ApiToken>(&claims.sub)?.ok_or_else(token::ran_out)?;
        let is_complete = super::missing(snapshot, at, &manifest)?.is_empty();
        let complete = Claims { aud: Use::Complete, ..(*claims).clone() };
        Ok((snapshot.seq(), is_complete.then(|| jwt::sign(&complete, &signer))))
    });
    let (seq, jwt) = jwt.await?;
    let status = if jwt.is_some() { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    let mut response = Answer::new(json!({ "jwt": jwt })).at(seq).into_response();
    *response.status_mut() = status;
    Ok(response)
}

/// A part of the form: its name, its content type, and Base64.
type Part = (String, Option<String>, Bytes);

async fn receive(request: Request) -> Result<Vec<Part>, ApiError> {
    let mut form = body::form(request, limits::ASSETS_FORM_OCTETS_MAX).await.map_err(too_large)?;
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.map_err(broken_form)? {
        if parts.len() == limits::ASSETS_PER_BUCKET_MAX {
            let most = limits::ASSETS_PER_BUCKET_MAX;
            return Err(refuse(&format!("a form has at most {most} files: send the buckets one by one")));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let content_type = field.content_type().filter(|given| *given != NO_TYPE).map(str::to_owned);
        parts.push((name, content_type, field.bytes().await.map_err(broken_form)?));
    }
    Ok(parts)
}

/// Files with what is in them.
struct Files {
    rows: Vec<File>,
    contents: BTreeMap<ContentHash, Bytes>,
}

impl Files {
    /// Takes parts for what the session's manifest says they are.
    fn decode(parts: Vec<Part>, lengths: &HashMap<AssetHash, u32>) -> Result<Self, ApiError> {
        let mut files = Self { rows: Vec::new(), contents: BTreeMap::new() };
        for (name, content_type, text) in parts {
            let hash = name.parse::<AssetHash>().map_err(|problem| refuse(&problem.to_string()))?;
            let expected = lengths.get(&hash);
            let expected =
                expected.ok_or_else(|| refuse(&format!("{hash}: the manifest names no such file")))?;
            let octets = BASE64_STANDARD
                .decode(text.as_ref().trim_ascii())
                .map_err(|_| refuse(&format!("{hash}: it is not Base64")))?;
            drop(text);
            if octets.len() != *expected as usize {
                let problem =
                    format!("{hash}: it has {} octets, and by the manifest {expected}", octets.len());
                return Err(refuse(&problem));
            }
            if content_type.as_deref().is_some_and(|given| !is_type(given)) {
                return Err(refuse(&format!("{hash}: its content type is none")));
            }
            let content = ContentHash::from_bytes(Sha256::digest(&octets).into());
            files.rows.push(File {
                hash,
                content: ContentRef { hash: content, octets: *expected },
                content_type,
            });
            files.contents.insert(content, octets.into());
        }
        Ok(files)
    }
}

/// Whether it can be a field's value.
fn is_type(given: &str) -> bool {
    (1..=model_limits::WORKER_ASSET_TYPE_OCTETS_MAX).contains(&given.len())
        && given.bytes().all(|octet| matches!(octet, b' '..=b'~'))
}

/// Writes files, in as many appends as they take.
async fn store(
    api: &Arc<Api>,
    mut author: Author,
    account: &Account,
    claims: &Arc<Claims>,
    files: Files,
) -> Result<(), ApiError> {
    let (account, files) = (account.id, Arc::new(files));
    loop {
        let (claims, files) = (claims.clone(), files.clone());
        let written = api.write(&author, move |draft| {
            if draft.is_repeat {
                return Ok(true);
            }
            super::live_session(draft, account, &claims)?;
            step(draft, account, &files)
        });
        if written.await?.answer {
            return Ok(());
        }
        author = author.going_on();
    }
}

/// Writes as much of the files as an append holds; whether that is all of them. A file of which only some was written has a row
/// that says so, by which it is found if nobody goes on.
fn step(draft: &mut Draft<'_>, account: proxima_model::AccountId, files: &Files) -> Result<bool, ApiError> {
    let mut uses = Contents::of(account);
    let mut room = limits::ASSETS_APPEND_OCTETS;
    let mut all = true;
    for File { hash, content, content_type } in &files.rows {
        if draft.read::<WorkerAsset>(&(account, *hash))?.is_some_and(|known| known.is_whole) {
            continue;
        }
        let counted = WorkerContentUse::key_of(&(account, content.hash));
        let is_counted = uses.gains(content.hash) || draft.snapshot.revision(&counted)?.is_some();
        let octets = &files.contents[&content.hash];
        let mut lacking = Vec::new();
        if !is_counted {
            for piece in WorkerContent::pieces(account, content.hash, octets) {
                if draft.snapshot.revision(&piece.key())?.is_none() {
                    lacking.push(piece);
                }
            }
        }
        let needed: usize = lacking.iter().map(|piece| piece.octets.len()).sum();
        let is_whole = needed <= room;
        if is_whole {
            // Its pieces are written with the count.
            room -= needed;
            uses.gain_one(*content);
        } else {
            for piece in lacking {
                if piece.octets.len() > room {
                    break;
                }
                room -= piece.octets.len();
                draft.put(&piece);
            }
            (room, all) = (0, false);
        }
        draft.put(&WorkerAsset {
            account,
            hash: *hash,
            content: content.hash,
            octets: content.octets,
            content_type: content_type.clone(),
            is_whole,
        });
        if !is_whole {
            break;
        }
    }
    uses.write(draft, &files.contents)?;
    Ok(all)
}

fn refuse(problem: &str) -> ApiError {
    ApiError::new(Code::WorkerInvalid, problem)
}

fn too_large(refusal: ApiError) -> ApiError {
    if refusal.code() != Code::TooLong {
        return refusal;
    }
    let message = format!(
        "a file has at most {} octets, and a form those of one",
        model_limits::WORKER_ASSET_OCTETS_MAX
    );
    ApiError::new(Code::WorkerTooLarge, message)
}
