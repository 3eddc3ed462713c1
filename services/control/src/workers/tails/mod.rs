//! `workers/scripts/:script_name/tails`: live logs of a Worker, as `wrangler tail` shows them.
//!
//! ```text
//!  POST tails {filters} ─▶ JWT of the tail (api/jwt.rs) ─▶ {id, url, expires_at}
//!                                                                │ by whichever server
//!  GET  tails/:id/live?jwt=… ─▶ whose is it, may they still? ─▶ WebSocket (trace-v1) ◀── events ── Tails (port of the pipeline)
//! ```
//!
//! Nothing of it is in the log: a tail is what its URL says, and is as long as its WebSocket. The URL is good for
//! [`TAIL_OPEN_SECONDS`], as long as the API token that asked for it is good for reading Workers; both are looked at again while it
//! is open.
//!
//! [`TAIL_OPEN_SECONDS`]: crate::limits::TAIL_OPEN_SECONDS

mod filters;
mod live;
mod overload;
mod socket;

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Request, State},
};
use proxima_model::{Account, ApiToken, TokenId};
use proxima_pipeline::{TAILS_PER_WORKER_MAX, Tail, Tails};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{change, named};
use crate::{
    api::{
        Api,
        access::Caller,
        body,
        envelope::{Answer, time},
        jwt,
    },
    error::{ApiError, Code},
    limits,
    routes::PREFIX,
    server::Arrived,
};

pub(crate) use live::live;

/// What a tail's URL says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct TailClaims {
    sub: TokenId,
    exp: i64,
    tail: Tail,
}

impl jwt::Claims for TailClaims {
    const PURPOSE: &'static str = "tails of Workers";

    fn signer(&self) -> TokenId {
        self.sub
    }

    fn expires_seconds(&self) -> i64 {
        self.exp
    }
}

/// Who shows what Workers do.
fn port(api: &Api) -> Result<Arc<dyn Tails>, ApiError> {
    let port = api.tails.get().cloned();
    port.ok_or_else(|| ApiError::new(Code::NotOffered, "this server shows no live logs"))
}

/// `POST workers/scripts/:script_name/tails`.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(arrived): Extension<Arrived>,
    Path((_, name)): Path<(String, String)>,
    request: Request,
) -> Result<Answer, ApiError> {
    let (worker, port) = (named(&name)?, port(&api)?);
    let host = host(&request)?;
    // Not by its type: wrangler says that its JSON is text.
    let octets = body::read(request, limits::TAIL_BODY_OCTETS_MAX).await?;
    let filters = filters::parse(&octets, arrived.peer)?;
    if port.list(account.id, &worker).len() >= TAILS_PER_WORKER_MAX {
        return Err(ApiError::new(Code::TailQuota, proxima_pipeline::TailRefused::WorkerFull.to_string()));
    }
    let now = api.now();
    let expires = now.plus_seconds(limits::TAIL_SECONDS);
    let id = hex::encode(rand::random::<[u8; 16]>());
    let tail = Tail { id, account: account.id, worker, expires, filters };
    let exp = now.plus_seconds(limits::TAIL_OPEN_SECONDS).as_seconds();
    let claims = TailClaims { sub: caller.token, exp, tail };
    api.read(move |snapshot| {
        change::find(snapshot, &account, &claims.tail.worker)?;
        let token = snapshot.get::<ApiToken>(&claims.sub)?;
        let token = token.ok_or_else(|| ApiError::new(Code::TokenInvalid, "Invalid API Token"))?;
        let url = format!("{}?jwt={}", url(&claims.tail, &host, arrived), jwt::sign(&claims, &token));
        let shown = json!({ "id": claims.tail.id, "url": url, "expires_at": time(claims.tail.expires) });
        Ok(Answer::new(shown).at(snapshot.seq()))
    })
    .await
}

/// `GET workers/scripts/:script_name/tails`: those that are looked at, by whom it may be. Their URLs open nothing: what does was
/// given to who made them.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(arrived): Extension<Arrived>,
    Path((_, name)): Path<(String, String)>,
    request: Request,
) -> Result<Answer, ApiError> {
    let (worker, host) = (named(&name)?, host(&request)?);
    let tails = port(&api)?.list(account.id, &worker);
    api.read(move |snapshot| {
        change::find(snapshot, &account, &worker)?;
        let show = |tail: &Tail| {
            json!({ "id": tail.id, "url": url(tail, &host, arrived), "expires_at": time(tail.expires) })
        };
        Ok(Answer::new(tails.iter().map(show).collect()).at(snapshot.seq()))
    })
    .await
}

/// `DELETE workers/scripts/:script_name/tails/:tail_id`: ends it, wherever it is looked at. One that is not open is none, which is
/// what was asked for: wrangler closes it first.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name, id)): Path<(String, String, String)>,
) -> Result<Answer, ApiError> {
    port(&api)?.end(account.id, &named(&name)?, &id);
    Ok(Answer::new(Value::Null))
}

/// At what name and port this API is asked.
fn host(request: &Request) -> Result<String, ApiError> {
    let named = request.headers().get(axum::http::header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().authority().map(|authority| authority.as_str()).or(named);
    let host = host.filter(|host| host.parse::<axum::http::uri::Authority>().is_ok());
    Ok(host
        .ok_or_else(|| ApiError::new(Code::FieldInvalid, "Host: say at which name this API is"))?
        .to_owned())
}

fn url(tail: &Tail, host: &str, arrived: Arrived) -> String {
    let scheme = if arrived.tls { "wss" } else { "ws" };
    let Tail { id, account, worker, .. } = tail;
    format!("{scheme}://{host}{PREFIX}/accounts/{account}/workers/scripts/{worker}/tails/{id}/live")
}
