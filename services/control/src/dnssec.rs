//! `zones/:zone_id/dnssec`: whether a zone is signed, and what its registrar has to be told.
//!
//! ```text
//!            PATCH active           DS seen at the parent
//!  disabled ─────────────▶ pending ──────────────────────▶ active
//!     ▲                                                      │ PATCH disabled
//!     └──── two days after the DS is gone ── pending-disabled ◀┘
//! ```
//!
//! A zone is signed in all of them but the first: a signature that nobody asks for does no harm, and one that is missing
//! takes the zone away from whoever validates. The log's node looks for the DS (`background/dnssec.rs`). Where owners are
//! taken at their word (`activation = "trust"`), nobody looks, and a zone is active or disabled at once. `DELETE` ends it
//! at once everywhere: for who has seen to the parent.

use std::sync::Arc;

use axum::{Extension, extract::State};
use base64::{Engine, prelude::BASE64_STANDARD};
use proxima_model::{
    KeyRole, ParentDs, SIGNING_ALGORITHM, SIGNING_KEY_FLAGS, SigningKey, SigningState, Timestamp, Zone,
    ZoneSigning,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::{Answer, time},
        write::{Author, Draft},
    },
    config::Activation,
    error::{ApiError, Code},
    zones,
};

/// What may be changed.
#[derive(Debug, Deserialize)]
pub(crate) struct PatchBody {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    dnssec_multi_signer: Option<bool>,
    #[serde(default)]
    dnssec_presigned: Option<bool>,
    #[serde(default)]
    dnssec_use_nsec3: Option<bool>,
}

/// `GET dnssec`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let signing = snapshot.get::<ZoneSigning>(&zone.id)?;
        Ok(Answer::new(show(&zone, signing.as_ref())).at(snapshot.seq()))
    })
    .await
}

/// `PATCH dnssec`.
pub(crate) async fn patch(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<PatchBody>,
) -> Result<Answer, ApiError> {
    for (field, wanted) in [
        ("dnssec_multi_signer", body.dnssec_multi_signer),
        ("dnssec_presigned", body.dnssec_presigned),
        ("dnssec_use_nsec3", body.dnssec_use_nsec3),
    ] {
        if wanted == Some(true) {
            let message = format!("{field}: not offered; leave it out");
            return Err(ApiError::new(Code::NotOffered, message).at(format!("/{field}")));
        }
    }
    let wanted = match body.status.as_deref() {
        None => None,
        Some("active") => Some(true),
        Some("disabled") => Some(false),
        Some(other) => {
            let message =
                format!("status: {other:.20?} cannot be asked for; give \"active\" or \"disabled\"");
            return Err(ApiError::new(Code::FieldInvalid, message).at("/status"));
        }
    };
    let trusting = api.activation == Activation::Trust;
    api.change(&author, move |draft| {
        let former = draft.read::<ZoneSigning>(&zone.id)?;
        let Some(wanted) = wanted.filter(|_| !draft.is_repeat) else {
            return Ok(show(&zone, former.as_ref()));
        };
        let next = match wanted {
            true => Some(switched_on(&zone, former.clone(), draft.now, trusting)?),
            false if trusting => None,
            false => former.clone().map(|former| switched_off(former, draft.now)),
        };
        put(draft, &zone, former.as_ref(), next.as_ref())?;
        Ok(show(&zone, next.as_ref()))
    })
    .await
}

/// `DELETE dnssec`.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        if !draft.is_repeat {
            let former = draft.read::<ZoneSigning>(&zone.id)?;
            put(draft, &zone, former.as_ref(), None)?;
        }
        Ok(json!(""))
    })
    .await
}

/// Puts how a zone is signed, if it is another way than it was: that is a change of what DNS answers.
pub(crate) fn put(
    draft: &mut Draft<'_>,
    zone: &Zone,
    former: Option<&ZoneSigning>,
    next: Option<&ZoneSigning>,
) -> Result<(), ApiError> {
    if former == next {
        return Ok(());
    }
    let mut zone = draft.zone(zone.id)?;
    zones::touch(&mut zone, draft.now);
    draft.put(&zone);
    match next {
        Some(next) => draft.put(next),
        None => draft.delete::<ZoneSigning>(&zone.id),
    }
    Ok(())
}

fn switched_on(
    zone: &Zone,
    former: Option<ZoneSigning>,
    now: Timestamp,
    trusting: bool,
) -> Result<ZoneSigning, ApiError> {
    let state = SigningState::On;
    let Some(former) = former else {
        let parent = if trusting { ParentDs::Seen } else { ParentDs::Unseen };
        return Ok(ZoneSigning { zone: zone.id, state, parent, keys: vec![new_key(now)?], modified_at: now });
    };
    let parent = if trusting { ParentDs::Seen } else { former.parent };
    if (former.state, former.parent) == (state, parent) {
        return Ok(former);
    }
    // If it has not left yet, its keys are still good.
    Ok(ZoneSigning { state, parent, modified_at: now, ..former })
}

fn switched_off(former: ZoneSigning, now: Timestamp) -> ZoneSigning {
    match former.state {
        SigningState::On => ZoneSigning { state: SigningState::Leaving, modified_at: now, ..former },
        SigningState::Leaving => former,
    }
}

fn new_key(now: Timestamp) -> Result<SigningKey, ApiError> {
    let failed = |what: String| ApiError::new(Code::Internal, format!("making a key: {what}"));
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| failed(error.to_string()))?;
    // Uncompressed: an octet that says so, then both coordinates.
    let public = pair.public_key_raw().get(1..).and_then(|point| point.try_into().ok());
    let public = public.ok_or_else(|| failed("its public half has an unknown form".to_owned()))?;
    Ok(SigningKey { public, private: pair.serialize_der(), role: KeyRole::Active, created_at: now })
}

/// DNSSEC as v4 shows it, with the key that signs.
fn show(zone: &Zone, signing: Option<&ZoneSigning>) -> Value {
    let status = match signing.map(|signing| (signing.state, signing.parent)) {
        None => "disabled",
        Some((SigningState::Leaving, _)) => "pending-disabled",
        Some((SigningState::On, ParentDs::Seen)) => "active",
        Some((SigningState::On, ParentDs::Unseen | ParentDs::Gone(_))) => "pending",
    };
    let key = signing.and_then(|signing| signing.keys().find(|key| key.role == KeyRole::Active));
    let digest = key.map(|key| hex::encode_upper(Sha256::digest(key.digested(&zone.name.wire()))));
    let ds = key.zip(digest.as_ref()).map(|(key, digest)| {
        format!("{}. 3600 IN DS {} {SIGNING_ALGORITHM} 2 {digest}", zone.name, key.tag())
    });
    json!({
        "status": status,
        "flags": key.map(|_| SIGNING_KEY_FLAGS),
        "algorithm": key.map(|_| SIGNING_ALGORITHM.to_string()),
        "key_type": key.map(|_| "ECDSAP256SHA256"),
        "digest_type": key.map(|_| "2"),
        "digest_algorithm": key.map(|_| "SHA256"),
        "digest": digest,
        "ds": ds,
        "key_tag": key.map(SigningKey::tag),
        "public_key": key.map(|key| BASE64_STANDARD.encode(key.public)),
        "modified_on": signing.map(|signing| time(signing.modified_at)),
        "dnssec_multi_signer": false,
        "dnssec_presigned": false,
        "dnssec_use_nsec3": false,
    })
}
