//! Workers: code of a customer that runs on every server.
//!
//! ```text
//!  upload ─▶ WorkerVersion ── names and hashes ──▶ WorkerContent, in pieces
//!               │   ├── names of secrets ────────▶ WorkerSecrets
//!               │   └── static assets (assets.rs)
//!               ▼
//!  Worker.deployment ◀── WorkerRoute, WorkerHost ◀── a request's URL
//! ```
//!
//! A version never changes: what is changed about a Worker's code, bindings or secrets is a new version, and a deployment
//! says which versions answer. So a rollback brings back the secrets too.
//!
//! Invariants:
//! * A version that a kept deployment names exists, and so does all content that a version names: they are written in one
//!   append, and removed by it.
//! * [`WorkerContentUse`] counts who names a content: versions, assets and sessions of uploads; [`WorkerUsage`] is written with
//!   every change of any of them, so that two writers of one account never count at the same time. All pieces are there of a
//!   content that it counts.
//!
//! What an upload costs: of content only what no version of the account has yet, four thirds of its octets, since values are
//! JSON and octets stand in it as Base64; and a version of some KiB. The log keeps that for as long as it keeps the entry,
//! and once more when the content goes; beyond what it may keep, the oldest entries go first.

mod assets;
mod content;
mod cron;
mod domain;
mod id;
mod route;
mod version;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{AccountId, Entity, Invalid, Key, Kind, Timestamp, WorkerTag, excerpt, limits, name::text_name};

pub use assets::{
    AssetConfig, AssetFile, AssetHash, AssetManifest, AssetPath, ContentRef, FirstPaths, HtmlHandling,
    NotFoundHandling, WorkerAsset, WorkerAssetSession, WorkerAssets, WorkerFirst,
};
pub use content::{ContentHash, WorkerContent, WorkerContentUse, WorkerSecrets, WorkerUsage};
pub use cron::{CronExpression, WorkerCron};
pub use domain::{WorkerDomain, WorkerHost, WorkerTriggers};
pub use id::{DeploymentId, WorkerVersionId};
pub use route::{RoutePattern, RouteScheme, RouteSpecificity, WorkerRoute};
pub use version::{
    BindingName, BindingValue, CompatibilityDate, CompatibilityFlag, ModuleKind, ModuleName, WorkerBinding,
    WorkerModule, WorkerSyntax, WorkerVersion,
};

/// What a Worker is called: lower-case letters, digits, `_` and `-`, not beginning with `-`; 63 octets, so that it can be a
/// label of a host's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerName(String);

impl WorkerName {
    /// Parses a Worker's name.
    ///
    /// # Errors
    /// What is not one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_of_it = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if !(1..=limits::WORKER_NAME_OCTETS_MAX).contains(&text.len())
            || !text.bytes().all(is_of_it)
            || text.starts_with('-')
        {
            return Err(Invalid::new(
                "script_name",
                format!("{} is not a Worker's name", excerpt(text)),
                "give 1 to 63 lower-case letters, digits, _ and -, not beginning with -",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(WorkerName);

/// A Worker: its versions, and which of them answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Whose it is.
    pub account: AccountId,
    /// What it is called.
    pub name: WorkerName,
    /// Tells it from an earlier Worker of the same name.
    pub tag: WorkerTag,
    /// When it was made.
    pub created_at: Timestamp,
    /// When anything of it last changed.
    pub modified_at: Timestamp,
    /// Whether its owner wants it at a name of the network's own (workers.dev).
    pub subdomain_enabled: bool,
    /// Whether its owner wants previews of its versions there.
    pub previews_enabled: bool,
    /// What its owner sorts it by.
    pub tags: Vec<String>,
    /// What its owner wants observed, as it was given.
    pub observability: Option<Map<String, Value>>,
    /// Which versions answer; none of a Worker whose versions were only uploaded.
    pub deployment: Option<Deployment>,
    /// The versions that are kept, oldest first; at most [`limits::WORKER_VERSIONS_MAX`].
    pub versions: Vec<WorkerVersionId>,
    /// The former deployments that are kept, oldest first; at most [`limits::WORKER_DEPLOYMENTS_MAX`].
    pub former_deployments: Vec<DeploymentId>,
    /// The number that the next version gets.
    pub next_number: u32,
    /// The last migration of its classes of Durable Objects that was done; at most
    /// [`limits::WORKER_MIGRATION_TAG_OCTETS_MAX`] octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration_tag: Option<String>,
}

impl Entity for Worker {
    const KIND: Kind = Kind::Worker;
    type Id = (AccountId, WorkerName);

    fn key(&self) -> Key {
        Key::new(Self::KIND, &[&self.account, &self.name])
    }

    fn key_of((account, name): &(AccountId, WorkerName)) -> Key {
        Key::new(Self::KIND, &[account, name])
    }
}

/// What was said when a version or a deployment was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAnnotations {
    /// Why (`workers/message`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What people call it (`workers/tag`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// By what it came to be (`workers/triggered_by`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggered_by: Option<String>,
}

/// Which versions answer, and how many requests each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it, as the log names authors.
    pub author: String,
    /// With which tool it was made (`wrangler`, `api`).
    pub source: String,
    /// What was said of it.
    pub annotations: WorkerAnnotations,
    /// The versions.
    pub versions: VersionShares,
}

/// A version, and how many requests it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionShare {
    /// The version.
    pub version: WorkerVersionId,
    /// Of all requests, in hundredths of a percent: 0 to 10,000. With none of them, it answers who asks for it by its id.
    pub hundredths: u16,
}

/// The versions of a deployment: one or two, that answer all requests between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<VersionShare>", into = "Vec<VersionShare>")]
pub struct VersionShares(Vec<VersionShare>);

impl VersionShares {
    /// All requests, in hundredths of a percent.
    pub const ALL: u16 = 10_000;

    /// This version answers all requests.
    pub fn one(version: WorkerVersionId) -> Self {
        Self(vec![VersionShare { version, hundredths: Self::ALL }])
    }

    /// The versions, one or two of them.
    pub fn as_slice(&self) -> &[VersionShare] {
        &self.0
    }

    /// Whether a version is among them.
    pub fn names(&self, version: WorkerVersionId) -> bool {
        self.0.iter().any(|share| share.version == version)
    }

    /// The version that answers a request which was drawn, evenly, from the hundredths of a percent: 0 to 9,999. The same
    /// draw gives the same version for as long as the deployment is in force.
    pub fn version_at(&self, drawn: u16) -> WorkerVersionId {
        let [first, rest @ ..] = &self.0[..] else { unreachable!("a deployment has a version") };
        match rest.first() {
            Some(second) if drawn >= first.hundredths => second.version,
            _ => first.version,
        }
    }
}

impl TryFrom<Vec<VersionShare>> for VersionShares {
    type Error = Invalid;

    fn try_from(shares: Vec<VersionShare>) -> Result<Self, Invalid> {
        let refuse = |problem: &str| {
            Err(Invalid::new(
                "versions",
                problem,
                "give one or two versions with percentages from 0 to 100, 100 together",
            ))
        };
        if !(1..=limits::WORKER_DEPLOYED_VERSIONS_MAX).contains(&shares.len()) {
            return refuse(&format!("a deployment of {} versions", shares.len()));
        }
        if shares.iter().map(|share| u32::from(share.hundredths)).sum::<u32>() != u32::from(Self::ALL) {
            return refuse("the percentages are not 100 together");
        }
        if shares.len() == 2 && shares[0].version == shares[1].version {
            return refuse("a version is named twice");
        }
        Ok(Self(shares))
    }
}

impl From<VersionShares> for Vec<VersionShare> {
    fn from(VersionShares(shares): VersionShares) -> Self {
        shares
    }
}

/// A deployment that another one followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDeployment {
    /// Whose the Worker is.
    pub account: AccountId,
    /// The Worker.
    pub worker: WorkerName,
    /// The deployment.
    pub deployment: Deployment,
}

impl Entity for WorkerDeployment {
    const KIND: Kind = Kind::WorkerDeployment;
    type Id = (AccountId, WorkerName, DeploymentId);

    fn key(&self) -> Key {
        Key::new(Self::KIND, &[&self.account, &self.worker, &self.deployment.id])
    }

    fn key_of((account, worker, id): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, worker, id])
    }
}
