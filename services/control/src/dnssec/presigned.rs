//! `dnssec_presigned`: a secondary zone that is answered as its primary signed it.
//!
//! ```text
//!  disabled ──PATCH dnssec_presigned: true──▶ pending ──it comes, signed──▶ active ◀──it comes anew──▶ error: it came unsigned, its
//!     ▲                                          (fetched whole at once)                         signatures ended, or it is not served
//!     └──────────── PATCH dnssec_presigned: false, or status: disabled ────────────────────────────────┘
//! ```
//!
//! Nothing is signed here meanwhile, and there are no keys of ours: who is asked for the DS is the primary. Records that come
//! while it is on are kept octet by octet, so switching it has the zone fetched anew.

use proxima_model::{
    Denial, IncomingTransfers, Presigned, PresignedProblem, SecondaryZone, Timestamp, Zone, ZoneSigning,
};
use serde_json::{Value, json};

use super::Wish;
use crate::{
    api::{
        envelope::{time, time_or_null},
        write::Draft,
    },
    error::{ApiError, Code},
    transfers,
};

fn refuse(message: &str) -> ApiError {
    ApiError::new(Code::FieldInvalid, format!("dnssec_presigned: {message}")).at("/dnssec_presigned")
}

impl Wish {
    /// Whether a zone is to be answered as its primary signed it, that was so far or was not.
    fn wants_presigned(&self, was: bool) -> Result<bool, ApiError> {
        match (self.presigned, self.on) {
            (Some(true), Some(false)) => {
                Err(refuse("\"status\": \"disabled\" ends it; leave one of them out"))
            }
            (Some(wanted), _) => Ok(wanted),
            (None, Some(false)) => Ok(false),
            (None, _) => Ok(was),
        }
    }

    /// Whether something is chosen that is for zones that are signed here.
    fn is_about_own_keys(&self) -> bool {
        self.algorithm.is_some()
            || self.multi_signer == Some(true)
            || self.roll.is_some()
            || self.roll_days.is_some_and(|days| days > 0)
    }
}

/// Switches it on or off, if that is wished; the secondary zone as it is from now on, if it is one.
pub(super) fn switch(
    draft: &mut Draft<'_>,
    zone: &Zone,
    signing: Option<&ZoneSigning>,
    wish: &Wish,
) -> Result<Option<SecondaryZone>, ApiError> {
    let secondary = draft.read::<SecondaryZone>(&zone.id)?;
    let was = secondary.as_ref().is_some_and(|secondary| secondary.presigned.is_some());
    let wanted = wish.wants_presigned(was)?;
    if wanted && wish.is_about_own_keys() {
        return Err(refuse("the keys are the primary's; leave what is said of keys of ours out"));
    }
    if wanted && signing.is_some() {
        return Err(refuse(
            "the zone is signed here: end that first, with \"status\": \"disabled\", and wait until it is",
        ));
    }
    match secondary {
        None if wanted => Err(refuse("only a secondary zone comes signed; make it with type \"secondary\"")),
        Some(secondary) if wanted != was => put(draft, zone, secondary, wanted).map(Some),
        other => Ok(other),
    }
}

/// Switches it off, if it is on.
pub(super) fn end(draft: &mut Draft<'_>, zone: &Zone) -> Result<(), ApiError> {
    match draft.read::<SecondaryZone>(&zone.id)? {
        Some(secondary) if secondary.presigned.is_some() => put(draft, zone, secondary, false).map(|_| ()),
        _ => Ok(()),
    }
}

/// Every server answers otherwise from now on, and all of the zone is fetched.
fn put(
    draft: &mut Draft<'_>,
    zone: &Zone,
    secondary: SecondaryZone,
    wanted: bool,
) -> Result<SecondaryZone, ApiError> {
    let now = draft.now;
    let presigned = wanted.then_some(Presigned { since: now, came: None });
    let secondary = SecondaryZone { presigned, ..secondary };
    draft.put(&secondary);
    if let Some(incoming) = draft.read::<IncomingTransfers>(&zone.id)? {
        draft.put(&IncomingTransfers { forced_at: Some(now), ..incoming });
    }
    // The serial is the primary's: its peers are told by that it was switched.
    transfers::tell_peers(draft, zone.id)?;
    let zone = draft.zone(zone.id)?;
    draft.put(&Zone { modified_at: now, ..zone });
    Ok(secondary)
}

/// DNSSEC of such a zone, as v4 shows it: what a registrar wants to know is known to the primary.
pub(super) fn show(secondary: &SecondaryZone, presigned: &Presigned, now: Timestamp) -> Value {
    let problem = secondary.signing_problem(now);
    let status = match problem {
        Some(PresignedProblem::NotCome) => "pending",
        Some(problem) if problem.is_severe() => "error",
        _ => "active",
    };
    let came = presigned.came.as_ref();
    let denial = came.and_then(|came| came.denial);
    json!({
        "status": status,
        "flags": null,
        "algorithm": null,
        "key_type": null,
        "digest_type": null,
        "digest_algorithm": null,
        "digest": null,
        "ds": null,
        "key_tag": null,
        "public_key": null,
        "modified_on": time(presigned.since),
        "dnssec_multi_signer": false,
        "dnssec_presigned": true,
        "dnssec_use_nsec3": denial == Some(Denial::Nsec3),
        "key_roll": null,
        "key_roll_days": 0,
        "presigned": {
            "key_tags": came.map(|came| came.keys.clone()).unwrap_or_default(),
            "denial": denial,
            "signed_until": time_or_null(came.and_then(|came| came.expires_at)),
            "problem": problem.map(|problem| problem.to_string()),
        },
    })
}
