//! The endpoints.

use std::sync::Arc;

use axum::{Extension, extract::State};
use proxima_model::{IncomingTransfers, SecondaryZone, Zone, limits as model_limits};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::{Answer, time, time_or_null},
        write::Author,
    },
    error::{ApiError, Code},
    transfers::{outgoing, refuse, unknown},
};

const WHAT: &str = "the zone's configuration of incoming transfers";

/// From whom a zone comes.
#[derive(Debug, Deserialize)]
pub(crate) struct Body {
    name: String,
    peers: Vec<String>,
    #[serde(default)]
    auto_refresh_seconds: Option<f64>,
}

fn refresh(given: Option<f64>) -> Result<u32, ApiError> {
    let (least, most) =
        (model_limits::TRANSFER_REFRESH_SECONDS_MIN, model_limits::TRANSFER_REFRESH_SECONDS_MAX);
    let Some(given) = given else { return Ok(most) };
    // JSON has one kind of number, and clients of v4 send this one as a fraction.
    (least..=most)
        .find(|known| f64::from(*known) == given)
        .ok_or_else(|| refuse("auto_refresh_seconds", format!("give {least} to {most}")))
}

fn show(zone: &Zone, incoming: &IncomingTransfers, secondary: &SecondaryZone) -> Value {
    json!({
        "id": zone.id.to_string(),
        "name": format!("{}.", zone.name),
        "peers": incoming.peers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "auto_refresh_seconds": incoming.refresh_seconds,
        "soa_serial": secondary.soa.as_ref().map(proxima_model::PrimarySoa::serial),
        "created_time": time(incoming.created_at),
        "modified_time": time(incoming.modified_at),
        "checked_time": time_or_null(secondary.checked_at),
        "transferred_time": time_or_null(secondary.transferred_at),
        "expired": secondary.expired,
        "left_out": secondary.left_out,
        "failure": secondary.failure.as_ref().map(|failure| {
            json!({ "time": time(failure.at), "message": failure.message })
        }),
    })
}

/// `GET incoming`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let incoming = snapshot.get::<IncomingTransfers>(&zone.id)?.ok_or_else(|| unknown(WHAT))?;
        let secondary = snapshot.get::<SecondaryZone>(&zone.id)?;
        let secondary = secondary.unwrap_or_else(|| SecondaryZone::new(zone.id));
        Ok(Answer::new(show(&zone, &incoming, &secondary)).at(snapshot.seq()))
    })
    .await
}

/// `POST incoming`.
pub(crate) async fn create(
    state: State<Arc<Api>>,
    zone: Extension<Zone>,
    author: Author,
    body: JsonBody<Body>,
) -> Result<Answer, ApiError> {
    write(state, zone, author, body, true).await
}

/// `PUT incoming`.
pub(crate) async fn put(
    state: State<Arc<Api>>,
    zone: Extension<Zone>,
    author: Author,
    body: JsonBody<Body>,
) -> Result<Answer, ApiError> {
    write(state, zone, author, body, false).await
}

async fn write(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<Body>,
    is_new: bool,
) -> Result<Answer, ApiError> {
    let refresh_seconds = refresh(body.auto_refresh_seconds)?;
    api.change(&author, move |draft| {
        let secondary = draft.snapshot.get::<SecondaryZone>(&zone.id)?.ok_or_else(|| {
            let message = "the zone is not a secondary one: its records are its owner's own. Make it with type \"secondary\"";
            ApiError::new(Code::TransferInvalid, message)
        })?;
        if draft.is_repeat {
            return Ok(show(&zone, &draft.made::<IncomingTransfers>(&zone.id)?, &secondary));
        }
        let zone = draft.zone(zone.id)?;
        let former = draft.read::<IncomingTransfers>(&zone.id)?;
        if is_new && former.is_some() {
            let message = "the zone has a configuration of incoming transfers; PUT replaces it";
            return Err(ApiError::new(Code::TransferInvalid, message));
        }
        if !is_new && former.is_none() {
            return Err(unknown(WHAT));
        }
        let incoming = IncomingTransfers {
            zone: zone.id,
            peers: outgoing::peers(draft, &zone, &body.name, &body.peers)?,
            refresh_seconds,
            // Whoever changes it wants to see what comes of it.
            forced_at: Some(draft.now),
            created_at: former.map_or(draft.now, |former| former.created_at),
            modified_at: draft.now,
        };
        draft.put(&incoming);
        Ok(show(&zone, &incoming, &secondary))
    })
    .await
}

/// `DELETE incoming`: what came stays and is served until it expires.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        if !draft.is_repeat {
            draft.read::<IncomingTransfers>(&zone.id)?.ok_or_else(|| unknown(WHAT))?;
            draft.delete::<IncomingTransfers>(&zone.id);
        }
        Ok(json!({ "id": zone.id.to_string() }))
    })
    .await
}

/// `POST force_axfr`: the log's node sees to it.
pub(crate) async fn force(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let former = draft.read::<IncomingTransfers>(&zone.id)?.ok_or_else(|| unknown(WHAT))?;
        if !draft.is_repeat {
            draft.put(&IncomingTransfers { forced_at: Some(draft.now), ..former });
        }
        Ok(json!("OK"))
    })
    .await
}
