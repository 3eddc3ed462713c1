//! `POST workers/scripts/:script_name/assets-upload-session`: begins with a manifest, and tells which of its files are missing.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    extract::{Path, State},
};
use bytes::Bytes;
use proxima_ledger::Precondition;
use proxima_model::{
    Account, ApiToken, AssetFile, AssetHash, AssetManifest, AssetPath, ContentHash, ContentRef, Entity,
    Timestamp, WorkerAssetSession,
};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::token::{Claims, Use};
use crate::{
    api::{
        Api,
        access::Caller,
        blocking,
        body::JsonBody,
        envelope::Answer,
        jwt,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    limits,
    workers::{contents::Contents, invalid, named},
};

/// Which files there are to be.
#[derive(Deserialize)]
pub(crate) struct SessionBody {
    manifest: BTreeMap<String, FileBody>,
}

#[derive(Deserialize)]
struct FileBody {
    hash: String,
    size: u64,
}

impl SessionBody {
    fn manifest(self) -> Result<AssetManifest, ApiError> {
        let refuse = |problem: &proxima_model::Invalid| invalid(problem).at("/manifest");
        let files = self.manifest.into_iter().map(|(path, given)| {
            let hash = given.hash.parse().map_err(|problem| refuse(&problem))?;
            // What does not fit is refused with all that are too large.
            let octets = u32::try_from(given.size).unwrap_or(u32::MAX);
            Ok(AssetFile { path: AssetPath::parse(&path).map_err(|problem| refuse(&problem))?, hash, octets })
        });
        let files = files.collect::<Result<Vec<_>, ApiError>>()?;
        AssetManifest::try_from(files).map_err(|problem| refuse(&problem))
    }
}

/// See the module.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    JsonBody(body): JsonBody<SessionBody>,
) -> Result<Answer, ApiError> {
    let worker = named(&name)?;
    // Megabytes take a while.
    let (manifest, octets) = blocking(move || {
        let manifest = body.manifest()?;
        let octets = Bytes::from(manifest.to_octets());
        Ok((manifest, octets))
    })
    .await?;
    let hash = ContentHash::from_bytes(Sha256::digest(&octets).into());
    let length = u32::try_from(octets.len()).expect("a body of JSON is bounded far below");
    let content = ContentRef { hash, octets: length };
    let contents = BTreeMap::from([(hash, octets)]);
    let written = api.write(&author, move |draft| {
        let until = begin(draft, &account, content, &contents)?;
        let missing = super::missing(draft.snapshot, account.id, &manifest)?;
        let signer = draft.snapshot.get::<ApiToken>(&caller.token)?;
        let signer = signer.ok_or_else(|| ApiError::new(Code::TokenInvalid, "Invalid API Token"))?;
        let aud = if missing.is_empty() { Use::Complete } else { Use::Upload };
        let claims = Claims {
            sub: signer.id,
            aud,
            account: account.id,
            worker: worker.clone(),
            manifest: hash,
            exp: until.as_seconds(),
        };
        Ok((jwt::sign(&claims, &signer), buckets(missing)))
    });
    let written = written.await?;
    let (jwt, buckets) = written.answer;
    Ok(Answer::new(json!({ "jwt": jwt, "buckets": buckets })).at(written.seq))
}

/// Writes that the manifest's files may be uploaded from now on, and until when.
fn begin(
    draft: &mut Draft<'_>,
    account: &Account,
    manifest: ContentRef,
    contents: &BTreeMap<ContentHash, Bytes>,
) -> Result<Timestamp, ApiError> {
    let id = (account.id, manifest.hash);
    if draft.is_repeat {
        return Ok(draft.made::<WorkerAssetSession>(&id)?.until);
    }
    draft.require(Precondition::Present(Account::key_of(&account.id)));
    let mut uses = Contents::of(account.id);
    if draft.read::<WorkerAssetSession>(&id)?.is_none() {
        uses.gain_one(manifest);
    }
    // Also where it is there already: nothing is swept at the same time of which this says that it is there.
    uses.write(draft, contents)?;
    let until = draft.now.plus_seconds(limits::ASSETS_SESSION_SECONDS);
    draft.put(&WorkerAssetSession { account: account.id, manifest, until });
    Ok(until)
}

/// Files that come in one form each, and make one append.
fn buckets(missing: Vec<(AssetHash, u32)>) -> Vec<Vec<String>> {
    let mut buckets: Vec<Vec<String>> = Vec::new();
    let mut room = 0;
    for (hash, octets) in missing {
        let octets = octets as usize;
        match buckets.last_mut() {
            Some(bucket) if octets <= room && bucket.len() < limits::ASSETS_PER_BUCKET_MAX => {
                bucket.push(hash.to_string());
                room -= octets;
            }
            _ => {
                buckets.push(vec![hash.to_string()]);
                room = limits::ASSETS_APPEND_OCTETS.saturating_sub(octets);
            }
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_one_append_does_and_a_larger_file_alone() {
        let file = |number: u8, octets: usize| {
            (AssetHash::from_bytes([number; 16]), u32::try_from(octets).expect("it is small"))
        };
        let most = limits::ASSETS_APPEND_OCTETS;
        let sizes = |files: Vec<(AssetHash, u32)>| buckets(files).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(Vec::new()), [0; 0]);
        assert_eq!(sizes(vec![file(1, most - 1), file(2, 1), file(3, 1)]), [2, 1]);
        assert_eq!(sizes(vec![file(1, 1), file(2, most * 3), file(3, 0)]), [1, 2]);
        let many = vec![file(1, 0); limits::ASSETS_PER_BUCKET_MAX + 1];
        assert_eq!(sizes(many), [limits::ASSETS_PER_BUCKET_MAX, 1]);
    }
}
