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
    KeyRole, ParentDs, SIGNING_KEY_FLAGS, SigningAlgorithm, SigningKey, SigningState, Timestamp, Zone,
    ZoneSigning, excerpt, limits as model_limits,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
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
    /// With what it is to be signed; ours.
    #[serde(default)]
    algorithm: Option<Value>,
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

/// What is to be different.
pub(crate) struct Wish {
    on: Option<bool>,
    algorithm: Option<SigningAlgorithm>,
    nsec3: Option<bool>,
}

impl Wish {
    pub(crate) fn parse(body: &PatchBody) -> Result<Self, ApiError> {
        for (field, wanted) in
            [("dnssec_multi_signer", body.dnssec_multi_signer), ("dnssec_presigned", body.dnssec_presigned)]
        {
            if wanted == Some(true) {
                let message = format!("{field}: not offered; leave it out");
                return Err(ApiError::new(Code::NotOffered, message).at(format!("/{field}")));
            }
        }
        let on = match body.status.as_deref() {
            None => None,
            Some("active") => Some(true),
            Some("disabled") => Some(false),
            Some(other) => {
                let message = format!(
                    "status: {} cannot be asked for; give \"active\" or \"disabled\"",
                    excerpt(other)
                );
                return Err(ApiError::new(Code::FieldInvalid, message).at("/status"));
            }
        };
        let algorithm = body.algorithm.as_ref().map(parse_algorithm).transpose()?;
        Ok(Self { on, algorithm, nsec3: body.dnssec_use_nsec3 })
    }

    /// What becomes of a zone that was signed so, or was not.
    fn of(
        &self,
        zone: &Zone,
        former: Option<ZoneSigning>,
        now: Timestamp,
        trusting: bool,
    ) -> Result<Option<ZoneSigning>, ApiError> {
        let next = match self.on {
            Some(true) => Some(switched_on(zone, former, self.algorithm, now, trusting)?),
            Some(false) if trusting => None,
            Some(false) => former.map(|former| switched_off(former, now)),
            None => former,
        };
        let Some(mut next) = next else {
            return match (self.algorithm, self.nsec3) {
                (None, None | Some(false)) => Ok(None),
                _ => {
                    let message = "the zone is not signed, so there is nothing to choose; give \"status\": \"active\" too";
                    Err(ApiError::new(Code::FieldInvalid, message).at("/status"))
                }
            };
        };
        if let Some(algorithm) = self.algorithm
            && next.keys().all(|key| key.algorithm != algorithm)
        {
            let message = format!(
                "algorithm: it is signed with another one; {} cannot take its place at once",
                algorithm.name()
            );
            return Err(ApiError::new(Code::FieldInvalid, message).at("/algorithm"));
        }
        if let Some(nsec3) = self.nsec3
            && nsec3 != next.nsec3
        {
            if nsec3 && zone.name.wire().len() > model_limits::NSEC3_ZONE_OCTETS_MAX {
                let message =
                    "dnssec_use_nsec3: the zone's name leaves no room for hashes below it; leave it out";
                return Err(ApiError::new(Code::FieldInvalid, message).at("/dnssec_use_nsec3"));
            }
            next = ZoneSigning { nsec3, modified_at: now, ..next };
        }
        Ok(Some(next))
    }
}

/// `PATCH dnssec`.
pub(crate) async fn patch(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<PatchBody>,
) -> Result<Answer, ApiError> {
    let wish = Wish::parse(&body)?;
    let trusting = api.activation == Activation::Trust;
    api.change(&author, move |draft| {
        let former = draft.read::<ZoneSigning>(&zone.id)?;
        if draft.is_repeat {
            return Ok(show(&zone, former.as_ref()));
        }
        let next = wish.of(&zone, former.clone(), draft.now, trusting)?;
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
    algorithm: Option<SigningAlgorithm>,
    now: Timestamp,
    trusting: bool,
) -> Result<ZoneSigning, ApiError> {
    let state = SigningState::On;
    let Some(former) = former else {
        let parent = if trusting { ParentDs::Seen } else { ParentDs::Unseen };
        let keys = vec![new_key(algorithm.unwrap_or_default(), now)?];
        return Ok(ZoneSigning { zone: zone.id, state, parent, keys, nsec3: false, modified_at: now });
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

fn parse_algorithm(given: &Value) -> Result<SigningAlgorithm, ApiError> {
    let known = match given {
        Value::String(text) => SigningAlgorithm::parse(text),
        Value::Number(number) => SigningAlgorithm::parse(&number.to_string()),
        _ => None,
    };
    known.ok_or_else(|| {
        let message = "algorithm: give \"13\" (ECDSAP256SHA256) or \"15\" (ED25519)";
        ApiError::new(Code::FieldInvalid, message).at("/algorithm")
    })
}

fn new_key(algorithm: SigningAlgorithm, now: Timestamp) -> Result<SigningKey, ApiError> {
    let (generated, prefix) = match algorithm {
        // Uncompressed: an octet that says so, then both coordinates.
        SigningAlgorithm::EcdsaP256 => (&PKCS_ECDSA_P256_SHA256, 1),
        SigningAlgorithm::Ed25519 => (&PKCS_ED25519, 0),
    };
    let pair = KeyPair::generate_for(generated)
        .map_err(|error| ApiError::new(Code::Internal, format!("making a key: {error}")))?;
    let public = pair.public_key_raw()[prefix..].to_vec();
    Ok(SigningKey {
        algorithm,
        public,
        private: pair.serialize_der(),
        role: KeyRole::Active,
        created_at: now,
    })
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
        format!("{}. 3600 IN DS {} {} 2 {digest}", zone.name, key.tag(), key.algorithm.code())
    });
    json!({
        "status": status,
        "flags": key.map(|_| SIGNING_KEY_FLAGS),
        "algorithm": key.map(|key| key.algorithm.code().to_string()),
        "key_type": key.map(|key| key.algorithm.name()),
        "digest_type": key.map(|_| "2"),
        "digest_algorithm": key.map(|_| "SHA256"),
        "digest": digest,
        "ds": ds,
        "key_tag": key.map(SigningKey::tag),
        "public_key": key.map(|key| BASE64_STANDARD.encode(&key.public)),
        "modified_on": signing.map(|signing| time(signing.modified_at)),
        "dnssec_multi_signer": false,
        "dnssec_presigned": false,
        "dnssec_use_nsec3": signing.is_some_and(|signing| signing.nsec3),
    })
}
