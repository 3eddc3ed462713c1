//! Secondary zones that their primary has signed (DNSSEC): nothing is signed here, and what came is judged by what an
//! operator has to know of it.
//!
//! The keys are the primary's, and so are its signatures and denials: they come with the zone, as records of types that no
//! owner can have here ([`is_of_signing`]), and are answered as they came, good or not. A validator judges them; whoever looks
//! after the zone is told first ([`Presigned::problem`]).

use std::{
    borrow::Borrow,
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
};

use serde::{Deserialize, Serialize};

use crate::{
    Record, RecordData, Timestamp, ZoneName, key_tag,
    limits::{NSEC3_ITERATIONS_MAX, PRESIGNED_KEYS_SHOWN_MAX, SIGNATURES_END_SOON_SECONDS},
};

const RRSIG: u16 = 46;
const NSEC: u16 = 47;
const DNSKEY: u16 = 48;
const NSEC3PARAM: u16 = 51;
const SOA: u16 = 6;

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
    /// The tags of its keys, [`PRESIGNED_KEYS_SHOWN_MAX`] at the most.
    pub keys: Vec<u16>,
    /// How it denies; by hashes, if it has both.
    pub denial: Option<Denial>,
    /// How often its names are hashed again (RFC 5155, 3.1.3).
    #[serde(default)]
    pub iterations: u16,
    /// Whether its SOA record is signed.
    pub signs_soa: bool,
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
            Self::Expired(_) => "expired",
            Self::EndsSoon(_) => "ends_soon",
            Self::LeftOut(_) => "left_out",
        }
    }

    /// All that it may be called.
    pub const NAMES: [&str; 7] =
        ["not_come", "unsigned", "undenied", "iterations", "expired", "ends_soon", "left_out"];
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
        if came.denial.is_none() {
            return Some(PresignedProblem::Undenied);
        }
        if came.iterations > NSEC3_ITERATIONS_MAX {
            return Some(PresignedProblem::Iterations(came.iterations));
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

impl PresignedContent {
    /// What a zone's records say of it. Of a set that is signed more than once, the signature counts that lasts longest.
    pub fn of(apex: &ZoneName, records: impl Iterator<Item = impl Borrow<Record>>, now: Timestamp) -> Self {
        let mut content = Self::default();
        // Names by what they are hashed to, with a key that nobody else has: of a million, none is kept.
        let (hasher, mut ends) = (RandomState::new(), HashMap::<(u64, u16), i64>::new());
        for record in records {
            let record = record.borrow();
            let RecordData::Other(rdata) = &record.data else { continue };
            let (octets, is_apex) = (rdata.octets(), record.name.as_str() == apex.as_str());
            match (rdata.record_type().code(), is_apex) {
                (DNSKEY, true) if content.keys.len() < PRESIGNED_KEYS_SHOWN_MAX => {
                    content.keys.push(key_tag(octets));
                }
                (RRSIG, _) => {
                    let Some((covered, end)) = signature(octets, now) else { continue };
                    content.signs_soa |= is_apex && covered == SOA;
                    let known = ends.entry((hasher.hash_one(&record.name), covered)).or_insert(end);
                    *known = end.max(*known);
                }
                (NSEC, true) => content.denial = content.denial.or(Some(Denial::Nsec)),
                (NSEC3PARAM, true) => {
                    // Hash, flags, iterations (RFC 5155, 4.2).
                    let [_, _, high, low, ..] = octets else { continue };
                    content.denial = Some(Denial::Nsec3);
                    content.iterations = content.iterations.max(u16::from_be_bytes([*high, *low]));
                }
                _ => {}
            }
        }
        content.keys.sort_unstable();
        let first = ends.into_values().min();
        content.expires_at = first.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1_000)));
        content
    }
}

/// Which type a signature covers, and when it ends, in seconds since 1970: its 32 bits go around the clock (RFC 4034, 3.1.5).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "modulo 2^32"
)]
fn signature(data: &[u8], now: Timestamp) -> Option<(u16, i64)> {
    let covered = u16::from_be_bytes(*data.first_chunk()?);
    let end = u32::from_be_bytes(*data.get(8..12)?.first_chunk()?);
    let now = now.as_seconds();
    let ahead = end.wrapping_sub(now as u32) as i32;
    Some((covered, now + i64::from(ahead)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RecordId, Ttl, ZoneId};

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn record(name: &str, code: u16, octets: &[u8]) -> Record {
        Record {
            id: RecordId::from_bytes([1; 16]),
            zone: ZoneId::from_bytes([2; 16]),
            name: crate::DnsName::parse(name).unwrap(),
            data: RecordData::of_primary(code, octets).unwrap(),
            ttl: Ttl::transferred(60),
            proxied: false,
            flatten: false,
            comment: None,
            tags: Vec::new(),
            created_at: NOW,
            modified_at: NOW,
        }
    }

    /// A signature of this type that ends so many seconds from now.
    fn rrsig(name: &str, covered: u16, seconds: i64) -> Record {
        let end = u32::try_from(NOW.as_seconds() + seconds).unwrap();
        let head = [&covered.to_be_bytes()[..], &[13, 2, 0, 0, 0, 60], &end.to_be_bytes()].concat();
        record(name, RRSIG, &[&head[..], &[0; 6], b"\x00", &[7; 64]].concat())
    }

    fn problem(records: &[Record], left_out: u32) -> Option<PresignedProblem> {
        let apex = ZoneName::parse("example.com").unwrap();
        let came = Some(PresignedContent::of(&apex, records.iter(), NOW));
        Presigned { since: NOW, came }.problem(left_out, NOW)
    }

    #[test]
    fn what_is_wrong_with_a_zone_that_came_is_told_the_worst_first() {
        let (apex, day) = ("example.com", SIGNATURES_END_SOON_SECONDS);
        let key = record(apex, DNSKEY, &[1, 1, 3, 13, 9]);
        let nsec = record(apex, NSEC, b"\x00\x00\x01\x40");
        let hashed = |iterations| record(apex, NSEC3PARAM, &[1, 0, 0, iterations, 0]);
        let soa = |seconds| rrsig(apex, SOA, seconds);
        let ends = |seconds| NOW.plus_seconds(seconds);
        for (records, left_out, expected) in [
            (vec![], 0, Some(PresignedProblem::Unsigned)),
            (vec![key.clone(), nsec.clone()], 0, Some(PresignedProblem::Unsigned)),
            (vec![soa(2 * day), nsec.clone()], 0, Some(PresignedProblem::Unsigned)),
            (vec![key.clone(), rrsig(apex, 2, 2 * day)], 0, Some(PresignedProblem::Unsigned)),
            (vec![key.clone(), soa(2 * day)], 0, Some(PresignedProblem::Undenied)),
            (vec![key.clone(), soa(2 * day), nsec.clone()], 0, None),
            (vec![key.clone(), soa(2 * day), hashed(150)], 0, None),
            (vec![key.clone(), soa(2 * day), hashed(151)], 0, Some(PresignedProblem::Iterations(151))),
            (vec![key.clone(), soa(0), nsec.clone()], 0, Some(PresignedProblem::Expired(ends(0)))),
            (vec![key.clone(), soa(day), nsec.clone()], 1, Some(PresignedProblem::EndsSoon(ends(day)))),
            (vec![key.clone(), soa(2 * day), nsec.clone()], 3, Some(PresignedProblem::LeftOut(3))),
            // One that has ended beside one that has not, of the same set and of another.
            (vec![key.clone(), soa(-9), soa(2 * day), nsec.clone()], 0, None),
            (
                vec![key, soa(2 * day), rrsig("a.example.com", 1, -9), nsec],
                0,
                Some(PresignedProblem::Expired(ends(-9))),
            ),
        ] {
            assert_eq!(problem(&records, left_out), expected, "{records:?}");
            if let Some(problem) = expected {
                assert!(PresignedProblem::NAMES.contains(&problem.name()) && !problem.to_string().is_empty());
            }
        }
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
