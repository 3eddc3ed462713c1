//! Secondary zones that their primary has signed (DNSSEC): nothing is signed here, and what came is judged by what an
//! operator has to know of it.
//!
//! The keys are the primary's, and so are its signatures and denials: they come with the zone, as records of types that no
//! owner can have here ([`is_of_signing`]), and are answered as they came, good or not. A validator judges them; whoever looks
//! after the zone is told first ([`Presigned::problem`]), by what is answered (`core/transfer/src/presigned.rs`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Timestamp,
    limits::{NSEC3_ITERATIONS_MAX, SIGNATURES_END_SOON_SECONDS},
};

const RRSIG: u16 = 46;
const NSEC: u16 = 47;
const DNSKEY: u16 = 48;
const NSEC3PARAM: u16 = 51;

/// Whether a signed zone has records of this type because it is signed: RRSIG, NSEC and DNSKEY (RFC 4034), NSEC3 and NSEC3PARAM
/// (RFC 5155), CDS and CDNSKEY (RFC 7344), and ZONEMD, the digest of all of it (RFC 8976).
pub const fn is_of_signing(code: u16) -> bool {
    matches!(code, RRSIG | NSEC | DNSKEY | 50 | NSEC3PARAM | 59 | 60 | 63)
}

/// That a secondary zone is answered as its primary has signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presigned {
    /// Since when its owner wants that.
    pub since: Timestamp,
    /// What came last; `None` before anything has come since then.
    #[serde(default)]
    pub came: Option<PresignedContent>,
}

/// How a zone says that names do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Denial {
    /// By names in their order (RFC 4034, 4).
    Nsec,
    /// By hashes in their order (RFC 5155).
    Nsec3,
}

/// What a zone that came has because it is signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresignedContent {
    /// The tags of its keys, [`PRESIGNED_KEYS_SHOWN_MAX`](crate::limits::PRESIGNED_KEYS_SHOWN_MAX) at the most.
    pub keys: Vec<u16>,
    /// How it is denied here what does not exist; by hashes, if it has both and they can be used.
    pub denial: Option<Denial>,
    /// How often its names are hashed again (RFC 5155, 3.1.3), if that is why nothing is denied.
    #[serde(default)]
    pub iterations: u16,
    /// Whether its SOA record is signed.
    pub signs_soa: bool,
    /// How many of its sets have no signature by a key of it.
    #[serde(default)]
    pub unsigned: u32,
    /// When the first of its sets has no good signature any more.
    pub expires_at: Option<Timestamp>,
}

/// What is wrong with a zone that is answered as its primary signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresignedProblem {
    /// It has not come since it is to be answered so.
    NotCome,
    /// It has no keys, or no signatures.
    Unsigned,
    /// Nothing in it says what does not exist.
    Undenied,
    /// Its names are hashed more often than they are here.
    Iterations(u16),
    /// It is not served, since no primary was heard for too long.
    Unserved,
    /// So many of its sets have no signature by a key of it.
    UnsignedSets(u32),
    /// Signatures have ended.
    Expired(Timestamp),
    /// Signatures end soon.
    EndsSoon(Timestamp),
    /// So many records of it are left out here, and the answers for their names cannot be validated.
    LeftOut(u32),
}

impl PresignedProblem {
    /// Whether validators refuse answers because of it.
    pub const fn is_severe(self) -> bool {
        !matches!(self, Self::NotCome | Self::EndsSoon(_) | Self::LeftOut(_))
    }

    /// What it is called in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotCome => "not_come",
            Self::Unsigned => "unsigned",
            Self::Undenied => "undenied",
            Self::Iterations(_) => "iterations",
            Self::Unserved => "unserved",
            Self::UnsignedSets(_) => "unsigned_sets",
            Self::Expired(_) => "expired",
            Self::EndsSoon(_) => "ends_soon",
            Self::LeftOut(_) => "left_out",
        }
    }

    /// All that it may be called.
    pub const NAMES: [&str; 9] = [
        "not_come",
        "unsigned",
        "undenied",
        "iterations",
        "unserved",
        "unsigned_sets",
        "expired",
        "ends_soon",
        "left_out",
    ];
}

impl fmt::Display for PresignedProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCome => f.write_str("it has not come from its primary since dnssec_presigned was switched on"),
            Self::Unsigned => f.write_str(
                "it came without keys or without signatures and is answered unsigned: have its primary sign it and transfer \
                 the signatures, or take the DS out of the parent",
            ),
            Self::Undenied => {
                f.write_str("it came without NSEC or NSEC3 records: what does not exist cannot be denied with a proof")
            }
            Self::Iterations(iterations) => write!(
                f,
                "its primary hashes names {iterations} times more; more than {NSEC3_ITERATIONS_MAX} are not computed here \
                 (RFC 9276, 3.2): denials have no proof"
            ),
            Self::Unserved => f.write_str(
                "its primaries were not heard for as long as it is good, and it is answered SERVFAIL until one is",
            ),
            Self::UnsignedSets(count) => write!(
                f,
                "{count} record sets of it have no signature by one of its keys: have its primary sign it again and raise the \
                 serial"
            ),
            Self::Expired(at) => {
                write!(f, "signatures of its primary ended at {at}: have it sign the zone again and raise the serial")
            }
            Self::EndsSoon(at) => {
                write!(f, "signatures of its primary end at {at}, and none that last longer have come")
            }
            Self::LeftOut(count) => write!(
                f,
                "{count} records of types or names that cannot be had here were left out: answers about their names cannot be \
                 validated"
            ),
        }
    }
}

impl Presigned {
    /// What is wrong with it now, the worst first; `left_out` records did not find a place.
    pub fn problem(&self, left_out: u32, now: Timestamp) -> Option<PresignedProblem> {
        let Some(came) = &self.came else { return Some(PresignedProblem::NotCome) };
        let expires_at = came.expires_at.filter(|_| came.signs_soa && !came.keys.is_empty());
        let Some(expires_at) = expires_at else { return Some(PresignedProblem::Unsigned) };
        if expires_at <= now {
            return Some(PresignedProblem::Expired(expires_at));
        }
        if came.unsigned > 0 {
            return Some(PresignedProblem::UnsignedSets(came.unsigned));
        }
        if came.iterations > NSEC3_ITERATIONS_MAX {
            return Some(PresignedProblem::Iterations(came.iterations));
        }
        if came.denial.is_none() {
            return Some(PresignedProblem::Undenied);
        }
        if expires_at <= now.plus_seconds(SIGNATURES_END_SOON_SECONDS) {
            return Some(PresignedProblem::EndsSoon(expires_at));
        }
        (left_out > 0).then_some(PresignedProblem::LeftOut(left_out))
    }

    /// When something else may be wrong with it, though nothing comes.
    pub fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let expires_at = self.came.as_ref()?.expires_at?;
        let soon = expires_at.plus_seconds(-SIGNATURES_END_SOON_SECONDS);
        [soon, expires_at].into_iter().find(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    #[test]
    fn a_zone_that_has_not_come_waits_for_that() {
        let none = Presigned { since: NOW, came: None };
        assert_eq!((none.problem(0, NOW), none.changes_at(NOW)), (Some(PresignedProblem::NotCome), None));
    }

    #[test]
    fn a_zone_is_looked_at_again_when_its_signatures_end_soon_and_when_they_end() {
        let at = |seconds| NOW.plus_seconds(seconds);
        let came = PresignedContent { expires_at: Some(at(100_000)), ..PresignedContent::default() };
        let presigned = Presigned { since: NOW, came: Some(came) };
        assert_eq!(presigned.changes_at(NOW), Some(at(100_000 - SIGNATURES_END_SOON_SECONDS)));
        assert_eq!(presigned.changes_at(at(99_999)), Some(at(100_000)));
        assert_eq!(presigned.changes_at(at(100_000)), None);
    }
}
