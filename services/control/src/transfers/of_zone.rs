//! What a zone has of transfers: to whom it goes, and from whom it comes. Both are made, replaced, deleted and hastened
//! alike.

use std::sync::Arc;

use axum::{Extension, extract::State};
use proxima_ledger::Snapshot;
use proxima_model::{
    Entity, Timestamp, TransferPeer, TransferPeerId, Zone, ZoneId, excerpt, limits as model_limits,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{refuse, unknown};
use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::Answer,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
};

/// A zone's configuration of one direction.
pub(crate) trait Configuration: Entity<Id = ZoneId> + Send + 'static {
    /// What it is made of.
    type Body: DeserializeOwned + Send + Sync + 'static;
    /// What is configured.
    const WHAT: &'static str;

    /// Refuses zones that cannot have one.
    fn admit(_snapshot: &Snapshot, _zone: ZoneId) -> Result<(), ApiError> {
        Ok(())
    }
    /// Makes it, new or in the place of a former one.
    fn make(
        body: &Self::Body,
        zone: &Zone,
        former: Option<Self>,
        draft: &mut Draft<'_>,
    ) -> Result<Self, ApiError>;
    /// As it is shown.
    fn show(&self, zone: &Zone, snapshot: &Snapshot) -> Result<Value, ApiError>;
    /// The same, with its owner's wish that what it is for is done now.
    fn forced(self, now: Timestamp) -> Self;
}

/// The configuration that a zone must have.
pub(super) fn of<C: Configuration>(draft: &mut Draft<'_>, zone: ZoneId) -> Result<C, ApiError> {
    draft.read::<C>(&zone)?.ok_or_else(unconfigured::<C>)
}

pub(super) fn unconfigured<C: Configuration>() -> ApiError {
    unknown(&format!("the zone's configuration of {}", C::WHAT))
}

/// Checks that a body is about this zone, and reads its peers, all of which the zone's account has: each once, in the order
/// in which they are given, which is that in which primaries are asked.
pub(super) fn peers(
    draft: &mut Draft<'_>,
    zone: &Zone,
    name: &str,
    given: &[String],
) -> Result<Vec<TransferPeerId>, ApiError> {
    if !name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(zone.name.as_str()) {
        return Err(refuse("name", format!("{} is not the zone's; give \"{}.\"", excerpt(name), zone.name)));
    }
    let most = model_limits::TRANSFER_PEERS_PER_ZONE_MAX;
    let mut peers = Vec::new();
    for text in given {
        let wrong = || refuse("peers", format!("{} is not a peer of this account", excerpt(text)));
        let id: TransferPeerId = text.parse().map_err(|_| wrong())?;
        if peers.contains(&id) {
            continue;
        }
        if peers.len() == most {
            return Err(refuse("peers", format!("a zone has at most {most}")));
        }
        let peer = draft.read::<TransferPeer>(&(zone.account, id))?.ok_or_else(wrong)?;
        // As it is: who deletes it at the same time decides anew, and finds it in use.
        draft.put(&peer);
        peers.push(id);
    }
    Ok(peers)
}

/// `GET`.
pub(crate) async fn get<C: Configuration>(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let zone = crate::api::zone(snapshot, zone.id)?;
        let found = snapshot.get::<C>(&zone.id)?.ok_or_else(unconfigured::<C>)?;
        Ok(Answer::new(found.show(&zone, snapshot)?).at(snapshot.seq()))
    })
    .await
}

/// `POST`.
pub(crate) async fn create<C: Configuration>(
    state: State<Arc<Api>>,
    zone: Extension<Zone>,
    author: Author,
    body: JsonBody<C::Body>,
) -> Result<Answer, ApiError> {
    write::<C>(state, zone, author, body, true).await
}

/// `PUT`.
pub(crate) async fn put<C: Configuration>(
    state: State<Arc<Api>>,
    zone: Extension<Zone>,
    author: Author,
    body: JsonBody<C::Body>,
) -> Result<Answer, ApiError> {
    write::<C>(state, zone, author, body, false).await
}

async fn write<C: Configuration>(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<C::Body>,
    is_new: bool,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        C::admit(draft.snapshot, zone.id)?;
        if draft.is_repeat {
            return draft.made::<C>(&zone.id)?.show(&zone, draft.snapshot);
        }
        let zone = draft.zone(zone.id)?;
        let former = draft.read::<C>(&zone.id)?;
        if is_new && former.is_some() {
            let message = format!("the zone has a configuration of {}; PUT replaces it", C::WHAT);
            return Err(ApiError::new(Code::TransferInvalid, message));
        }
        if !is_new && former.is_none() {
            return Err(unconfigured::<C>());
        }
        let made = C::make(&body, &zone, former, draft)?;
        draft.put(&made);
        made.show(&zone, draft.snapshot)
    })
    .await
}

/// `DELETE`.
pub(crate) async fn delete<C: Configuration>(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        if !draft.is_repeat {
            of::<C>(draft, zone.id)?;
            draft.delete::<C>(&zone.id);
        }
        Ok(json!({ "id": zone.id.to_string() }))
    })
    .await
}

/// `POST outgoing/force_notify` and `POST force_axfr`: the log's node sees to it.
pub(crate) async fn force<C: Configuration>(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let former = of::<C>(draft, zone.id)?;
        if !draft.is_repeat {
            draft.put(&former.forced(draft.now));
        }
        Ok(json!("OK"))
    })
    .await
}
