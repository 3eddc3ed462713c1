//! The configuration, as the API has it.

use proxima_ledger::Snapshot;
use proxima_model::{
    IncomingTransfers, PrimarySoa, SecondaryZone, Timestamp, Zone, ZoneId, limits as model_limits,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{
        envelope::{time, time_or_null},
        write::Draft,
    },
    error::{ApiError, Code},
    transfers::{
        of_zone::{self, Configuration},
        refuse, whole,
    },
};

/// From whom a zone comes.
#[derive(Debug, Deserialize)]
pub(crate) struct Body {
    name: String,
    peers: Vec<String>,
    #[serde(default)]
    pub(in crate::transfers) auto_refresh_seconds: Option<f64>,
}

/// How often the primary is asked, in seconds.
pub(in crate::transfers) fn refresh(given: Option<f64>) -> Result<u32, ApiError> {
    let (least, most) =
        (model_limits::TRANSFER_REFRESH_SECONDS_MIN, model_limits::TRANSFER_REFRESH_SECONDS_MAX);
    let Some(given) = given else { return Ok(most) };
    whole(given, least..=most)
        .ok_or_else(|| refuse("auto_refresh_seconds", format!("give {least} to {most}")))
}

impl Configuration for IncomingTransfers {
    type Body = Body;
    const WHAT: &'static str = "incoming transfers";

    fn admit(snapshot: &Snapshot, zone: ZoneId) -> Result<(), ApiError> {
        if snapshot.get::<SecondaryZone>(&zone)?.is_some() {
            return Ok(());
        }
        let message = "the zone is not a secondary one: its records are its owner's own. Make it with type \"secondary\"";
        Err(ApiError::new(Code::TransferInvalid, message))
    }

    fn make(body: &Body, zone: &Zone, former: Option<Self>, draft: &mut Draft<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            zone: zone.id,
            peers: of_zone::peers(draft, zone, &body.name, &body.peers)?,
            refresh_seconds: refresh(body.auto_refresh_seconds)?,
            // Whoever changes it wants to see what comes of it.
            forced_at: Some(draft.now),
            created_at: former.map_or(draft.now, |former| former.created_at),
            modified_at: draft.now,
        })
    }

    fn show(&self, zone: &Zone, snapshot: &Snapshot) -> Result<Value, ApiError> {
        let secondary = snapshot.get::<SecondaryZone>(&zone.id)?;
        let secondary = secondary.unwrap_or_else(|| SecondaryZone::new(zone.id));
        Ok(json!({
            "id": zone.id.to_string(),
            "name": format!("{}.", zone.name),
            "peers": self.peers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "auto_refresh_seconds": self.refresh_seconds,
            "soa_serial": secondary.soa.as_ref().map(PrimarySoa::serial),
            "created_time": time(self.created_at),
            "modified_time": time(self.modified_at),
            "checked_time": time_or_null(secondary.checked_at),
            "transferred_time": time_or_null(secondary.transferred_at),
            "expired": secondary.expired,
            "left_out": secondary.left_out,
            "failure": secondary.failure.as_ref().map(|failure| {
                json!({ "time": time(failure.at), "message": failure.message })
            }),
        }))
    }

    fn forced(self, now: Timestamp) -> Self {
        Self { forced_at: Some(now), ..self }
    }
}
