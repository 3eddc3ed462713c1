//! `zones/:zone_id/secondary_dns/outgoing`: the peers that may have a zone from here.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Extension, extract::State};
use proxima_ledger::{Precondition, Snapshot};
use proxima_model::{
    Entity as _, OutgoingTransfers, PeerNotice, TransferNotices, TransferPeer, TransferPeerId, Zone, ZoneId,
    limits as model_limits,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{refuse, unknown};
use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::{Answer, time, time_or_null},
        write::{Author, Draft},
    },
    error::{ApiError, Code},
};

const WHAT: &str = "the zone's configuration of outgoing transfers";

/// Who may have a zone.
#[derive(Debug, Deserialize)]
pub(crate) struct Body {
    name: String,
    peers: Vec<String>,
}

/// Checks that the body is about this zone, and reads its peers, all of which the zone's account has.
pub(super) fn peers(
    draft: &mut Draft<'_>,
    zone: &Zone,
    name: &str,
    given: &[String],
) -> Result<Vec<TransferPeerId>, ApiError> {
    if !name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(zone.name.as_str()) {
        return Err(refuse("name", format!("{name:.80?} is not the zone's; give \"{}.\"", zone.name)));
    }
    let given: BTreeSet<&String> = given.iter().collect();
    let most = model_limits::TRANSFER_PEERS_PER_ZONE_MAX;
    if given.len() > most {
        return Err(refuse("peers", format!("a zone has at most {most}")));
    }
    let mut peers = Vec::new();
    for text in given {
        let wrong = || refuse("peers", format!("{text:.40?} is not a peer of this account"));
        let id: TransferPeerId = text.parse().map_err(|_| wrong())?;
        // It may be put anew meanwhile, but not be deleted.
        let key = (zone.account, id);
        draft.snapshot.get::<TransferPeer>(&key)?.ok_or_else(wrong)?;
        draft.require(Precondition::Present(TransferPeer::key_of(&key)));
        peers.push(id);
    }
    Ok(peers)
}

/// What the peers were told.
fn notices(snapshot: &Snapshot, zone: ZoneId) -> Result<Vec<PeerNotice>, ApiError> {
    Ok(snapshot.get::<TransferNotices>(&zone)?.map(|notices| notices.peers).unwrap_or_default())
}

fn show(zone: &Zone, outgoing: &OutgoingTransfers, notices: &[PeerNotice]) -> Value {
    let told = notices.iter().filter(|notice| outgoing.peers.contains(&notice.peer));
    let told = told.map(|notice| {
        json!({
            "peer_id": notice.peer.to_string(),
            "soa_serial": notice.serial,
            "time": time(notice.at),
            "status": if notice.failure.is_none() { "acknowledged" } else { "failed" },
            "message": notice.failure,
        })
    });
    json!({
        "id": zone.id.to_string(),
        "name": format!("{}.", zone.name),
        "peers": outgoing.peers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "soa_serial": zone.serial,
        "created_time": time(outgoing.created_at),
        "modified_time": time(outgoing.modified_at),
        "checked_time": time_or_null(notices.iter().map(|notice| notice.at).max()),
        "notifies": told.collect::<Vec<_>>(),
        "last_transferred_time": null,
    })
}

/// `GET outgoing`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let zone = crate::api::zone(snapshot, zone.id)?;
        let outgoing = snapshot.get::<OutgoingTransfers>(&zone.id)?.ok_or_else(|| unknown(WHAT))?;
        Ok(Answer::new(show(&zone, &outgoing, &notices(snapshot, zone.id)?)).at(snapshot.seq()))
    })
    .await
}

/// `POST outgoing`.
pub(crate) async fn create(
    state: State<Arc<Api>>,
    zone: Extension<Zone>,
    author: Author,
    body: JsonBody<Body>,
) -> Result<Answer, ApiError> {
    write(state, zone, author, body, true).await
}

/// `PUT outgoing`.
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
    api.change(&author, move |draft| {
        if draft.is_repeat {
            let made = draft.made::<OutgoingTransfers>(&zone.id)?;
            return Ok(show(&zone, &made, &notices(draft.snapshot, zone.id)?));
        }
        let zone = draft.zone(zone.id)?;
        let former = draft.read::<OutgoingTransfers>(&zone.id)?;
        if is_new && former.is_some() {
            let message = "the zone has a configuration of outgoing transfers; PUT replaces it";
            return Err(ApiError::new(Code::TransferInvalid, message));
        }
        if !is_new && former.is_none() {
            return Err(unknown(WHAT));
        }
        let outgoing = OutgoingTransfers {
            zone: zone.id,
            peers: peers(draft, &zone, &body.name, &body.peers)?,
            enabled: former.as_ref().is_none_or(|former| former.enabled),
            created_at: former.as_ref().map_or(draft.now, |former| former.created_at),
            modified_at: draft.now,
            forced_at: former.and_then(|former| former.forced_at),
        };
        draft.put(&outgoing);
        Ok(show(&zone, &outgoing, &notices(draft.snapshot, zone.id)?))
    })
    .await
}

/// `DELETE outgoing`.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        if !draft.is_repeat {
            draft.read::<OutgoingTransfers>(&zone.id)?.ok_or_else(|| unknown(WHAT))?;
            draft.delete::<OutgoingTransfers>(&zone.id);
        }
        Ok(json!({ "id": zone.id.to_string() }))
    })
    .await
}

/// `POST outgoing/force_notify`: the log's node sees to it.
pub(crate) async fn force_notify(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let former = draft.read::<OutgoingTransfers>(&zone.id)?.ok_or_else(|| unknown(WHAT))?;
        if !draft.is_repeat {
            draft.put(&OutgoingTransfers { forced_at: Some(draft.now), ..former });
        }
        Ok(json!("OK"))
    })
    .await
}

const fn status_of(enabled: bool) -> &'static str {
    if enabled { "Enabled" } else { "Disabled" }
}

/// `GET outgoing/status`.
pub(crate) async fn status(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let outgoing = snapshot.get::<OutgoingTransfers>(&zone.id)?.ok_or_else(|| unknown(WHAT))?;
        Ok(Answer::new(json!(status_of(outgoing.enabled))).at(snapshot.seq()))
    })
    .await
}

/// `POST outgoing/enable`.
pub(crate) async fn enable(
    state: State<Arc<Api>>,
    zone: Extension<Zone>,
    author: Author,
) -> Result<Answer, ApiError> {
    switch(state, zone, author, true).await
}

/// `POST outgoing/disable`.
pub(crate) async fn disable(
    state: State<Arc<Api>>,
    zone: Extension<Zone>,
    author: Author,
) -> Result<Answer, ApiError> {
    switch(state, zone, author, false).await
}

async fn switch(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    enabled: bool,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let former = draft.read::<OutgoingTransfers>(&zone.id)?.ok_or_else(|| unknown(WHAT))?;
        if former.enabled != enabled && !draft.is_repeat {
            draft.put(&OutgoingTransfers { enabled, modified_at: draft.now, ..former });
        }
        Ok(json!(status_of(enabled)))
    })
    .await
}
