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
//!
//! `key_roll` begins the roll-over of the key, takes it back, or says where nobody looks that the parent names the new key;
//! `background/dnssec.rs` leads it on, stage by stage ([`proxima_model::RollStage`]).
//!
//! A zone that its primary has signed is none of this: see [`presigned`].

mod presigned;

use std::sync::Arc;

use axum::{Extension, extract::State};
use base64::{Engine, prelude::BASE64_STANDARD};
use proxima_model::{
    Invalid, KeyRole, ParentDs, RollStage, SIGNING_KEY_FLAGS, SecondaryZone, SigningAlgorithm, SigningKey,
    SigningState, Timestamp, Zone, ZoneSigning, excerpt, limits as model_limits,
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
    /// What is to be done about the roll-over of its key; ours.
    #[serde(default)]
    key_roll: Option<String>,
    /// After how many days its key is rolled over unasked; 0 is never; ours.
    #[serde(default)]
    key_roll_days: Option<u32>,
}

/// `GET dnssec`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    let now = api.now();
    api.read(move |snapshot| {
        let signing = snapshot.get::<ZoneSigning>(&zone.id)?;
        let secondary = snapshot.get::<SecondaryZone>(&zone.id)?;
        Ok(Answer::new(show(&zone, signing.as_ref(), secondary.as_ref(), now)).at(snapshot.seq()))
    })
    .await
}

/// What is to be different.
pub(crate) struct Wish {
    on: Option<bool>,
    algorithm: Option<SigningAlgorithm>,
    nsec3: Option<bool>,
    multi_signer: Option<bool>,
    presigned: Option<bool>,
    roll: Option<RollWish>,
    roll_days: Option<u32>,
}

/// What is to be done about the roll-over of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RollWish {
    Start,
    Back,
    ParentDone,
}

impl RollWish {
    fn parse(text: &str) -> Result<Self, ApiError> {
        match text {
            "start" => Ok(Self::Start),
            "back" => Ok(Self::Back),
            "parent_done" => Ok(Self::ParentDone),
            other => {
                let other = excerpt(other);
                let message =
                    format!("key_roll: {other} is not known; give \"start\", \"back\" or \"parent_done\"");
                Err(ApiError::new(Code::FieldInvalid, message).at("/key_roll"))
            }
        }
    }

    fn of(
        self,
        signing: &ZoneSigning,
        algorithm: Option<SigningAlgorithm>,
        now: Timestamp,
        trusting: bool,
    ) -> Result<ZoneSigning, ApiError> {
        match self {
            Self::Start => roll_key(signing, algorithm, now),
            Self::Back => signing.roll_back(now).map_err(|invalid| refused(&invalid)),
            Self::ParentDone if trusting => {
                signing.parent_names_active(now).map_err(|invalid| refused(&invalid))
            }
            Self::ParentDone => {
                let message = "key_roll: the parent is looked at here, every five minutes; wait until it is seen \
                               to name the new key";
                Err(ApiError::new(Code::FieldInvalid, message).at("/key_roll"))
            }
        }
    }
}

fn refused(invalid: &Invalid) -> ApiError {
    ApiError::new(Code::FieldInvalid, invalid.to_string()).at("/key_roll")
}

/// Begins to roll over to a key that is made here, of this algorithm or the same as before.
pub(crate) fn roll_key(
    signing: &ZoneSigning,
    algorithm: Option<SigningAlgorithm>,
    now: Timestamp,
) -> Result<ZoneSigning, ApiError> {
    let same = signing.active_key().map(|key| key.algorithm).unwrap_or_default();
    let algorithm = algorithm.unwrap_or(same);
    let mut new = new_key(algorithm, now)?;
    // A parent's DS tells keys apart by their tags: two of one tag could not be.
    while signing.keys().any(|key| key.tag() == new.tag()) {
        new = new_key(algorithm, now)?;
    }
    signing.roll_to(new, now).map_err(|invalid| refused(&invalid))
}

impl Wish {
    pub(crate) fn parse(body: &PatchBody) -> Result<Self, ApiError> {
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
        let roll = body.key_roll.as_deref().map(RollWish::parse).transpose()?;
        let days = model_limits::KEY_ROLL_DAYS_MIN..=model_limits::KEY_ROLL_DAYS_MAX;
        if body.key_roll_days.is_some_and(|given| given != 0 && !days.contains(&given)) {
            let message =
                format!("key_roll_days: give {} to {} days, or 0 for never", days.start(), days.end());
            return Err(ApiError::new(Code::FieldInvalid, message).at("/key_roll_days"));
        }
        let (nsec3, multi_signer) = (body.dnssec_use_nsec3, body.dnssec_multi_signer);
        let (presigned, roll_days) = (body.dnssec_presigned, body.key_roll_days);
        Ok(Self { on, algorithm, nsec3, multi_signer, presigned, roll, roll_days })
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
            let chooses = self.nsec3 == Some(true) || self.multi_signer == Some(true);
            return match (self.algorithm, chooses, self.roll, self.roll_days) {
                (None, false, None, None | Some(0)) => Ok(None),
                _ => {
                    let message = "the zone is not signed, so there is nothing to choose; give \"status\": \"active\" too";
                    Err(ApiError::new(Code::FieldInvalid, message).at("/status"))
                }
            };
        };
        if let Some(multi_signer) = self.multi_signer
            && multi_signer != next.multi_signer
        {
            next = ZoneSigning { multi_signer, modified_at: now, ..next };
        }
        if let Some(days) = self.roll_days
            && days != next.roll_days
        {
            next = ZoneSigning { roll_days: days, modified_at: now, ..next };
        }
        if let Some(roll) = self.roll {
            next = roll.of(&next, self.algorithm, now, trusting)?;
        } else if let Some(algorithm) = self.algorithm
            && next.keys().all(|key| key.algorithm != algorithm)
        {
            let message = format!(
                "algorithm: it is signed with another one; {} cannot take its place at once; give \"key_roll\": \
                 \"start\" too",
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
            let secondary = draft.read::<SecondaryZone>(&zone.id)?;
            return Ok(show(&zone, former.as_ref(), secondary.as_ref(), draft.now));
        }
        let secondary = presigned::switch(draft, &zone, former.as_ref(), &wish)?;
        let mut next = former.clone();
        if secondary.as_ref().is_none_or(|secondary| secondary.presigned.is_none()) {
            next = wish.of(&zone, former.clone(), draft.now, trusting)?;
            put(draft, &zone, former.as_ref(), next.as_ref())?;
        }
        Ok(show(&zone, next.as_ref(), secondary.as_ref(), draft.now))
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
            presigned::end(draft, &zone)?;
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
        return Ok(ZoneSigning { parent, ..ZoneSigning::new(zone.id, keys, now) });
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
fn show(
    zone: &Zone,
    signing: Option<&ZoneSigning>,
    secondary: Option<&SecondaryZone>,
    now: Timestamp,
) -> Value {
    if let Some(secondary) = secondary
        && let Some(presigned) = &secondary.presigned
    {
        return presigned::show(secondary, presigned, now);
    }
    let status = match signing.map(|signing| (signing.state, signing.parent)) {
        None => "disabled",
        Some((SigningState::Leaving, _)) => "pending-disabled",
        Some((SigningState::On, ParentDs::Seen)) => "active",
        Some((SigningState::On, ParentDs::Unseen | ParentDs::Gone(_))) => "pending",
    };
    let key = signing.and_then(ZoneSigning::active_key);
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
        "dnssec_multi_signer": signing.is_some_and(|signing| signing.multi_signer),
        "dnssec_presigned": false,
        "presigned": null,
        "dnssec_use_nsec3": signing.is_some_and(|signing| signing.nsec3),
        "key_roll": signing.and_then(show_roll),
        "key_roll_days": signing.map_or(0, |signing| signing.roll_days),
    })
}

/// A roll-over: how far it is, and the key whose DS the parent is not, or no more, to have.
fn show_roll(signing: &ZoneSigning) -> Option<Value> {
    let (roll, other) = (signing.roll?, signing.other_key()?);
    let is_new = matches!(roll.stage, RollStage::Signing | RollStage::Publishing);
    Some(json!({
        "stage": roll.stage.name(),
        "since": time(roll.since),
        // A roll-over that waits for the parent ends by no time alone.
        "next_on": roll.due_at().map(time),
        if is_new { "new_key_tag" } else { "former_key_tag" }: other.tag(),
    }))
}
