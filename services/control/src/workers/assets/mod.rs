//! Static assets: files that a Worker's versions name, and that servers answer with by themselves.
//!
//! ```text
//!  manifest ─▶ session: WorkerAssetSession, which of the files are missing ─▶ upload token, buckets of hashes
//!                                                                                  │
//!  files, a bucket at a time ─▶ upload: WorkerAsset, WorkerContent ◀───────────────┘
//!                                  └─ all are there ─▶ completion token ─▶ metadata.assets.jwt of a version ─▶ WorkerAssets
//! ```
//!
//! Contents lie in the log as those of modules do, so every server has them, and none asks another one for a file; what that
//! costs is bounded by [`WORKER_ASSETS_OCTETS_MAX`] of a version and [`WORKER_OCTETS_PER_ACCOUNT_MAX`] of an account. What no
//! version and no session names any more is swept (`sweep.rs`), within minutes.
//!
//! Both tokens are JSON Web Tokens, which clients look into for when they run out, and are signed with a key that is derived from
//! the API token of who began the session: every server has what it takes to check them, and they end with that token.
//!
//! [`WORKER_ASSETS_OCTETS_MAX`]: proxima_model::limits::WORKER_ASSETS_OCTETS_MAX
//! [`WORKER_OCTETS_PER_ACCOUNT_MAX`]: proxima_model::limits::WORKER_OCTETS_PER_ACCOUNT_MAX

mod chosen;
pub(crate) mod session;
mod sweep;
pub(crate) mod token;
pub(crate) mod upload;

use proxima_ledger::Snapshot;
use proxima_model::{
    AccountId, AssetHash, AssetManifest, ContentRef, WorkerAsset, WorkerAssetSession, WorkerContent,
};

use crate::{
    api::write::Draft,
    error::{ApiError, Code},
};

pub(super) use chosen::{Assets, AssetsBody};
pub(crate) use sweep::sweep;

/// The session of a manifest, to which something is about to be added. Whoever ends it meanwhile comes too late.
fn live_session(
    draft: &mut Draft<'_>,
    account: AccountId,
    claims: &token::Claims,
) -> Result<WorkerAssetSession, ApiError> {
    let now = draft.now;
    let found = draft.read::<WorkerAssetSession>(&(account, claims.manifest))?;
    found.filter(|session| session.until > now).ok_or_else(token::ran_out)
}

/// The manifest that lies here.
fn manifest(snapshot: &Snapshot, account: AccountId, content: ContentRef) -> Result<AssetManifest, ApiError> {
    let pieces = snapshot.scan::<WorkerContent>(&[&account, &content.hash]);
    let read = WorkerContent::join(content, pieces)?.as_deref().and_then(AssetManifest::parse);
    read.ok_or_else(|| {
        tracing::error!(%account, hash = %content.hash, "a manifest of assets is not whole");
        ApiError::new(Code::Internal, "the manifest of the assets is lost; upload them again")
    })
}

/// The files of a manifest that are not here, in the order of their paths, each once; and how many octets they have.
fn missing(
    snapshot: &Snapshot,
    account: AccountId,
    manifest: &AssetManifest,
) -> Result<Vec<(AssetHash, u32)>, ApiError> {
    let (mut missing, mut seen) = (Vec::new(), std::collections::HashMap::new());
    for file in manifest.files() {
        let differs = || {
            let message = format!("manifest: {} is of two lengths: that of {} differs", file.hash, file.path);
            ApiError::new(Code::WorkerInvalid, message).at("/manifest")
        };
        match seen.insert(file.hash, file.octets) {
            Some(octets) if octets == file.octets => continue,
            Some(_) => return Err(differs()),
            None => {}
        }
        match snapshot.get::<WorkerAsset>(&(account, file.hash))?.filter(|asset| asset.is_whole) {
            Some(asset) if asset.octets == file.octets => {}
            Some(_) => return Err(differs()),
            None => missing.push((file.hash, file.octets)),
        }
    }
    Ok(missing)
}
