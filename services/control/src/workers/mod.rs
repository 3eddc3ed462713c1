//! `accounts/:account_id/workers` and `zones/:zone_id/workers/routes`: Workers, as stock wrangler and the SDKs write them.
//!
//! ```text
//!  form ─▶ Form ─▶ Modules, hashed ─┐
//!            └───▶ Metadata ────────┴─▶ Upload ─┐ + latest version (what is inherited), session of assets (assets/)
//!                                               ▼
//!                   tried: check::start ◀─┤
//!                          NewVersion ─▶ change::add ─▶ WorkerVersion, WorkerSecrets, Contents (what is new, what goes)
//!                                                 └──▶ change::deploy ─▶ Worker.deployment
//!  routes, domains ─▶ WorkerRoute; WorkerDomain, WorkerHost and a DNS record ─▶ WorkerTriggers
//! ```
//!
//! Invariants:
//! * **One append for each write**: a version, its contents and its deployment come together or not at all. Only the deletion
//!   of a Worker that is more than an append holds takes several, of which the first has it answer nothing any more.
//! * **Nothing is passed over in silence**: a binding or field that asks for what is not offered is refused by its name, but for
//!   `observability`, which wrangler sends with every new project: it is kept and shown.
//! * **Nothing is said that is not known**: whether code starts, and how long it takes for it, this server's engine tells before it is
//!   written (`check.rs`), if there is one; what it handles is not kept.
//! * Secrets are shown to nobody.
//!
//! Where it differs from v4: there is no domain for Workers that have none of their own (workers.dev), and whoever asks for
//! one is told so; environments of services are all `production`; custom domains that a deployment does not name any more
//! stay; `author_email` is the name of the token.

pub(crate) mod assets;
mod bindings;
mod brackets;
mod change;
mod check;
mod contents;
pub(crate) mod crons;
pub(crate) mod delete;
pub(crate) mod deployments;
pub(crate) mod domains;
pub(crate) mod durable;
mod form;
mod metadata;
pub(crate) mod routes;
pub(crate) mod scripts;
pub(crate) mod secrets;
pub(crate) mod settings;
mod show;
pub(crate) mod subdomain;
pub(crate) mod tails;
mod triggers;
mod upload;
pub(crate) mod versions;
pub(crate) mod whole;

use axum::http::{HeaderMap, header};
use proxima_ledger::Snapshot;
use proxima_model::{Account, Invalid, Worker, WorkerName};
use serde_json::Value;

use crate::{
    api::{Api, envelope::Answer, write::Author},
    error::{ApiError, Code},
};
use change::Maker;

pub(crate) use upload::exercise;

/// The only environment of services.
const ENVIRONMENT: &str = "production";
/// What the module of a script that is uploaded without a form is called.
const SCRIPT_ALONE: &str = "worker.js";

/// What is told of a Worker, as this is read of it.
async fn read_of(
    api: &Api,
    account: Account,
    name: &str,
    read: impl FnOnce(&Snapshot, &Worker) -> Result<Value, ApiError> + Send + 'static,
) -> Result<Answer, ApiError> {
    let name = named(name)?;
    api.read(move |snapshot| {
        let worker = change::find(snapshot, &account, &name)?;
        Ok(Answer::new(read(snapshot, &worker)?).at(snapshot.seq()))
    })
    .await
}

/// A Worker's name in a path.
fn named(text: &str) -> Result<WorkerName, ApiError> {
    WorkerName::parse(text).map_err(|problem| invalid(&problem))
}

fn invalid(problem: &Invalid) -> ApiError {
    ApiError::invalid(Code::WorkerInvalid, problem)
}

/// Who asks for a change, and with which tool.
fn maker(author: &Author, headers: &HeaderMap) -> Maker {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let source = if agent.starts_with("wrangler/") { "wrangler" } else { "api" };
    Maker { author: author.name().to_owned(), source }
}
