//! `metadata.assets` of an upload: which files a version has, and how requests are answered with them.

use bytes::Bytes;
use proxima_model::{
    ApiToken, AssetConfig, ContentHash, ContentRef, FirstPaths, HtmlHandling, NotFoundHandling, Worker,
    WorkerAssets, WorkerFirst, limits as model_limits,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::token::{Unverified, Use, verify};
use crate::{
    api::write::Draft,
    error::{ApiError, Code},
    workers::{change::Latest, invalid},
};

/// As it is given.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::workers) struct AssetsBody {
    jwt: Option<String>,
    config: Option<ConfigBody>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigBody {
    html_handling: Option<HtmlHandling>,
    not_found_handling: Option<NotFoundHandling>,
    run_worker_first: Option<FirstBody>,
    #[serde(rename = "_headers")]
    headers: Option<String>,
    #[serde(rename = "_redirects")]
    redirects: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FirstBody {
    All(bool),
    Paths(Vec<String>),
}

/// Checked, as far as it can be without the Worker.
#[derive(Debug, Default)]
pub(in crate::workers) struct Assets {
    token: Option<Unverified>,
    config: Option<Config>,
    keep: bool,
}

#[derive(Clone, Debug, Default)]
struct Config {
    config: AssetConfig,
    headers: Option<ContentRef>,
    redirects: Option<ContentRef>,
}

impl Assets {
    /// Reads what is given. `add` takes what is in a file of rules.
    pub(in crate::workers) fn read(
        given: Option<AssetsBody>,
        keep: bool,
        add: impl FnMut(ContentHash, Bytes),
    ) -> Result<Self, ApiError> {
        let Some(given) = given else { return Ok(Self { keep, ..Self::default() }) };
        offered(&given.rest)?;
        let token = given.jwt.as_deref().filter(|text| !text.is_empty());
        if token.is_none() && !keep {
            return Err(refuse(
                "assets: give the jwt of a session of uploads that is complete, or keep_assets",
            ));
        }
        let token = token.map(|text| {
            Unverified::parse(text).ok_or_else(|| refuse("assets: jwt is no token of a session of uploads"))
        });
        let token = token.transpose().map_err(|refusal| refusal.at("/assets/jwt"))?;
        Ok(Self { token, config: given.config.map(|config| config.read(add)).transpose()?, keep })
    }

    /// Whether a version may have assets by it.
    pub(in crate::workers) const fn may_be(&self) -> bool {
        self.token.is_some() || self.keep
    }

    /// The assets of a version of this Worker that follows that one.
    pub(in crate::workers) fn choose(
        &self,
        draft: &mut Draft<'_>,
        worker: &Worker,
        former: Option<&Latest>,
    ) -> Result<Option<WorkerAssets>, ApiError> {
        let Some(token) = &self.token else {
            let kept = former.and_then(|former| former.version.assets.clone()).filter(|_| self.keep);
            let kept = kept.map(|kept| match &self.config {
                Some(config) => config.clone().of(kept.manifest),
                None => kept,
            });
            return Ok(kept);
        };
        let manifest = named(draft, worker, token)?;
        Ok(Some(self.config.clone().unwrap_or_default().of(manifest)))
    }
}

/// The manifest that a token names, all of whose files are there.
fn named(draft: &mut Draft<'_>, worker: &Worker, token: &Unverified) -> Result<ContentRef, ApiError> {
    let at = |refusal: ApiError| refusal.at("/assets/jwt");
    let foreign = || at(refuse("assets: jwt is not of a session of uploads of this Worker that is complete"));
    let signer = draft.snapshot.get::<ApiToken>(&token.signer())?.ok_or_else(foreign)?;
    let claims = verify(token, &signer, draft.now).map_err(at)?;
    let is_this = claims.account == worker.account && claims.worker == worker.name;
    if !is_this || claims.aud != Use::Complete {
        return Err(foreign());
    }
    let session = super::live_session(draft, worker.account, claims).map_err(at)?;
    let manifest = super::manifest(draft.snapshot, worker.account, session.manifest)?;
    // The token says so; but what the log has may have been taken back to before.
    if !super::missing(draft.snapshot, worker.account, &manifest)?.is_empty() {
        return Err(foreign());
    }
    Ok(session.manifest)
}

impl Config {
    fn of(self, manifest: ContentRef) -> WorkerAssets {
        let Self { config, headers, redirects } = self;
        WorkerAssets { manifest, config, headers, redirects }
    }
}

impl ConfigBody {
    fn read(self, mut add: impl FnMut(ContentHash, Bytes)) -> Result<Config, ApiError> {
        offered(&self.rest)?;
        let worker_first = match self.run_worker_first {
            None | Some(FirstBody::All(false)) => WorkerFirst::Never,
            Some(FirstBody::All(true)) => WorkerFirst::Always,
            Some(FirstBody::Paths(paths)) => {
                let paths = FirstPaths::try_from(paths);
                let at = "/assets/config/run_worker_first";
                WorkerFirst::Paths(paths.map_err(|problem| invalid(&problem).at(at))?)
            }
        };
        let mut rules = |field: &str, text: Option<String>| -> Result<Option<ContentRef>, ApiError> {
            let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
            let most = model_limits::WORKER_ASSETS_RULES_OCTETS_MAX;
            let octets = u32::try_from(text.len()).ok().filter(|octets| *octets as usize <= most);
            let octets =
                octets.ok_or_else(|| refuse(&format!("assets: {field} has more than {most} octets")))?;
            let hash = ContentHash::from_bytes(Sha256::digest(&text).into());
            add(hash, text.into());
            Ok(Some(ContentRef { hash, octets }))
        };
        Ok(Config {
            headers: rules("_headers", self.headers)?,
            redirects: rules("_redirects", self.redirects)?,
            config: AssetConfig {
                html_handling: self.html_handling.unwrap_or_default(),
                not_found_handling: self.not_found_handling.unwrap_or_default(),
                worker_first,
            },
        })
    }
}

/// Refuses what asks for something else.
fn offered(rest: &Map<String, Value>) -> Result<(), ApiError> {
    match rest.iter().find(|(_, value)| !value.is_null()) {
        Some((field, _)) => {
            let message = format!("assets: {field:.64} is not offered yet; leave it out");
            Err(ApiError::new(Code::NotOffered, message).at("/assets"))
        }
        None => Ok(()),
    }
}

fn refuse(problem: &str) -> ApiError {
    ApiError::new(Code::WorkerInvalid, problem).at("/assets")
}
