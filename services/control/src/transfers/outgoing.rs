//! `zones/:zone_id/secondary_dns/outgoing`: the peers that may have a zone from here.

use std::sync::Arc;

use axum::{Extension, extract::State};
use proxima_ledger::Snapshot;
use proxima_model::{OutgoingTransfers, Timestamp, TransferNotices, Zone, ZoneId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::of_zone::{self, Configuration};
use crate::{
    api::{
        Api,
        envelope::{Answer, time, time_or_null},
        write::{Author, Draft},
    },
    error::ApiError,
};

/// Who may have a zone.
#[derive(Debug, Deserialize)]
pub(crate) struct Body {
    name: String,
    peers: Vec<String>,
}

impl Configuration for OutgoingTransfers {
    type Body = Body;
    const WHAT: &'static str = "outgoing transfers";

    fn make(body: &Body, zone: &Zone, former: Option<Self>, draft: &mut Draft<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            zone: zone.id,
            peers: of_zone::peers(draft, zone, &body.name, &body.peers)?,
            enabled: former.as_ref().is_none_or(|former| former.enabled),
            created_at: former.as_ref().map_or(draft.now, |former| former.created_at),
            modified_at: draft.now,
            forced_at: former.and_then(|former| former.forced_at),
        })
    }

    fn show(&self, zone: &Zone, snapshot: &Snapshot) -> Result<Value, ApiError> {
        let notices = snapshot.get::<TransferNotices>(&zone.id)?;
        let notices = notices.map(|notices| notices.peers).unwrap_or_default();
        let told = notices.iter().filter(|notice| self.peers.contains(&notice.peer));
        let told = told.map(|notice| {
            json!({
                "peer_id": notice.peer.to_string(),
                "soa_serial": notice.serial,
                "time": time(notice.at),
                "status": if notice.failure.is_none() { "acknowledged" } else { "failed" },
                "message": notice.failure,
            })
        });
        Ok(json!({
            "id": zone.id.to_string(),
            "name": format!("{}.", zone.name),
            "peers": self.peers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "soa_serial": zone.serial,
            "created_time": time(self.created_at),
            "modified_time": time(self.modified_at),
            "checked_time": time_or_null(notices.iter().map(|notice| notice.at).max()),
            "notifies": told.collect::<Vec<_>>(),
            "last_transferred_time": null,
        }))
    }

    fn forced(self, now: Timestamp) -> Self {
        Self { forced_at: Some(now), ..self }
    }
}

/// Has a zone's peers told that it has changed, whatever its serial is.
pub(crate) fn tell_peers(draft: &mut Draft<'_>, zone: ZoneId) -> Result<(), ApiError> {
    if let Some(outgoing) = draft.read::<OutgoingTransfers>(&zone)? {
        let now = draft.now;
        draft.put(&outgoing.forced(now));
    }
    Ok(())
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
        let outgoing = snapshot.get::<OutgoingTransfers>(&zone.id)?;
        let outgoing = outgoing.ok_or_else(of_zone::unconfigured::<OutgoingTransfers>)?;
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
        let former = of_zone::of::<OutgoingTransfers>(draft, zone.id)?;
        if former.enabled != enabled && !draft.is_repeat {
            draft.put(&OutgoingTransfers { enabled, modified_at: draft.now, ..former });
        }
        Ok(json!(status_of(enabled)))
    })
    .await
}
