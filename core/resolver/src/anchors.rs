//! The root's trust anchors, followed while its keys roll over (RFC 5011). Pure: the time comes in, in seconds since 1970.
//!
//! ```text
//!  a DNSKEY set of the root ─▶ Anchors::observe
//!      │  1. does it revoke an anchor, signed by that very key? ─▶ Revoked, whoever else signs the set
//!      │  2. is it signed by an anchor that is left, and is that signature no older than the newest one that was seen?
//!      ▼
//!   each key that may sign keys:
//!
//!   Start ── new ─▶ Pending ── 30 days in every set ─▶ Valid ◀── gone, and there again ──▶ Missing
//!     ▲                │                                 │                                   │
//!     └──── gone ──────┘                                 └───────────▶ Revoked ◀─────────────┘
//!                                                                        │ 30 days in no set
//!                                                                        ▼
//!                                                                     Removed: remembered, never an anchor again
//! ```
//!
//! Anchors are the keys that are Valid or Missing, and those of the configuration that were not seen yet. A key that the
//! configuration has is Valid without waiting, unless it was revoked: an old file does not bring it back.
//!
//! It departs from the RFC in three points, each to the safe side:
//! * When all anchors are revoked, nothing is believed, where section 5 has the root be unsigned from then on. Whoever has
//!   the last key could otherwise switch validation off.
//! * A set whose signature began before the newest one that was seen changes nothing: a replayed one cannot have a key lose
//!   what it has waited.
//! * A clock that goes back gives a key nothing: what waits since later than now has waited for no time, and counts on when
//!   the clock is there again. When it began to wait is said by a set that is true, whose signature bounds how wrong the clock
//!   was, and is never changed: a clock of years ago would have it wait for years at once.
//!
//! What is kept over restarts is text (`anchors/text.rs`); who shares it and when the root is asked is in `anchors/shared.rs`.
//!
//! Limits: [`KEYS_MAX`], [`KEY_OCTETS_MAX`], what is configured (`hints.rs`), and what checks may cost (`keys.rs`).

mod shared;
mod text;

use crate::{
    keys::{self, Budget},
    rrset::{RrSet, Signature},
};
pub use shared::{Observation, TrustAnchors, Unobserved};
pub(crate) use text::sealed;
pub use text::{Followed, FollowedKey, NotFollowed};

/// Keys that are remembered, Removed ones with the others: the root had three in its first fifteen years. Beyond them no new
/// one is taken.
const KEYS_MAX: usize = 32;
/// Octets of one's data: RSA with 8,192 bits.
const KEY_OCTETS_MAX: usize = 1_040;
/// For how long a key is in every set before it is trusted, and in none before it is removed: 30 days (RFC 5011, 2.2 and
/// 2.4).
const HOLD_SECONDS: u64 = 30 * 86_400;
/// The root is asked after half of the TTL, and of the time that the signature has left, within these bounds (RFC 5011, 2.3).
const ASKED_SECONDS: (u64, u64) = (3_600, 15 * 86_400);
/// The same after a tenth of them, when that did not work.
const RETRY_SECONDS: (u64, u64) = (3_600, 86_400);

/// What a key is (RFC 5011, 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorState {
    /// It is new, and has to be there for a while.
    Pending,
    /// It is an anchor.
    Valid,
    /// It is an anchor, and was not in the last set.
    Missing,
    /// It has revoked itself.
    Revoked,
    /// That was a while ago.
    Removed,
}

impl AnchorState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Valid, Self::Missing, Self::Revoked, Self::Removed];

    /// As it is written in the file and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Valid => "valid",
            Self::Missing => "missing",
            Self::Revoked => "revoked",
            Self::Removed => "removed",
        }
    }

    /// Whether such a key is an anchor.
    pub const fn is_trusted(self) -> bool {
        matches!(self, Self::Valid | Self::Missing)
    }
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorChange {
    /// Its tag, without the flag of a revoked one.
    pub key_tag: u16,
    /// What it was; `None`: it was not known.
    pub from: Option<AnchorState>,
    /// What it is; `None`: it is not known any more.
    pub to: Option<AnchorState>,
}

/// A key that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tracked {
    /// Of its record, without the flag of a revoked one.
    data: Box<[u8]>,
    state: AnchorState,
    /// Since when; for a revoked one, when it was last in a set.
    since: u64,
    /// How long a pending one has to wait; otherwise 0.
    hold: u64,
}

/// The anchors, and what is on its way to become or has ceased to be one.
pub(crate) struct Anchors {
    /// DS data of the configuration's keys.
    configured: Vec<Box<[u8]>>,
    followed: Followed,
    next_probe: u64,
    retry_seconds: u64,
    /// Counts how often it was changed what is trusted.
    generation: u64,
}

impl Anchors {
    /// The configuration's anchors, and what was followed of them before.
    pub(crate) fn new(configured: Vec<Box<[u8]>>, followed: Followed) -> Self {
        let retry_seconds = RETRY_SECONDS.0;
        let mut anchors = Self { configured, followed, next_probe: 0, retry_seconds, generation: 0 };
        for at in 0..anchors.followed.keys.len() {
            let key = &anchors.followed.keys[at];
            if key.state == AnchorState::Pending && anchors.is_configured(&key.data) {
                let key = &mut anchors.followed.keys[at];
                (key.state, key.hold) = (AnchorState::Valid, 0);
            }
        }
        anchors
    }

    pub(crate) fn followed(&self) -> &Followed {
        &self.followed
    }

    /// DS data of all keys that are anchors: what is followed, and what is configured and was not seen.
    pub(crate) fn trusted(&self) -> Vec<Box<[u8]>> {
        let keys = &self.followed.keys;
        let trusted = keys.iter().filter(|key| key.state.is_trusted());
        let is_seen = |ds: &[u8]| keys.iter().any(|key| keys::is_digest(ds, &key.data));
        let followed = trusted.filter_map(|key| keys::digest_of_root(&key.data));
        followed.chain(self.configured.iter().filter(|ds| !is_seen(ds)).cloned()).collect()
    }

    /// Whether the root is to be asked for its keys; then it is not for a while.
    pub(crate) fn take_probe(&mut self, now: u64) -> bool {
        // A clock that went back is not waited for.
        let is_due = self.next_probe <= now || self.next_probe - now > ASKED_SECONDS.1;
        if is_due {
            self.next_probe = now + self.retry_seconds;
        }
        is_due
    }

    /// Takes in a DNSKEY set of the root.
    pub(crate) fn observe(&mut self, set: &RrSet, now: u64, budget: &impl Budget) -> Observation {
        let mut changes = Vec::new();
        self.revoke(set, now, budget, &mut changes);
        let outcome = self.validate(set, now, budget);
        if let Ok(signature) = &outcome {
            self.advance(set, signature, now, &mut changes);
        }
        Observation { changes, outcome: outcome.map(|_| ()) }
    }

    /// The newest signature by an anchor.
    fn validate<'a>(
        &self,
        set: &'a RrSet,
        now: u64,
        budget: &impl Budget,
    ) -> Result<&'a Signature, Unobserved> {
        let trusted = self.trusted();
        if trusted.is_empty() {
            return Err(Unobserved::NoAnchor);
        }
        let newest = keys::newest(set, &trusted, signed_seconds(now), budget).map_err(Unobserved::Invalid)?;
        let is_old = newest.inception.wrapping_sub(self.followed.inception).cast_signed() < 0;
        if self.followed.observed > 0 && is_old { Err(Unobserved::Old) } else { Ok(newest) }
    }

    /// Looks for anchors that revoke themselves: there with the flag, and the set signed by them (RFC 5011, 2.1).
    fn revoke(&mut self, set: &RrSet, now: u64, budget: &impl Budget, changes: &mut Vec<AnchorChange>) {
        for revoked in &set.data {
            let Some(data) = keys::without_revocation(revoked) else { continue };
            let at = self.followed.keys.iter().position(|key| key.data == data);
            let state = at.map(|at| self.followed.keys[at].state);
            if !self.is_anchor(&data, state) || !keys::is_revoked(set, revoked, signed_seconds(now), budget) {
                continue;
            }
            changes.push(self.changed(&data, state, Some(AnchorState::Revoked)));
            let key = Tracked { data, state: AnchorState::Revoked, since: now, hold: 0 };
            match at {
                Some(at) => self.followed.keys[at] = key,
                None => {
                    self.make_room();
                    self.followed.keys.push(key);
                }
            }
        }
    }

    /// The table of RFC 5011, 4.1, for a set that is true.
    fn advance(&mut self, set: &RrSet, signature: &Signature, now: u64, changes: &mut Vec<AnchorChange>) {
        let mut kept = Vec::new();
        for mut key in std::mem::take(&mut self.followed.keys) {
            let before = key.state;
            let after = next(&mut key, set, now);
            if after != Some(before) {
                changes.push(self.changed(&key.data, Some(before), after));
                (key.since, key.hold) = (now, 0);
            }
            kept.extend(after.map(|state| Tracked { state, ..key }));
        }
        for data in &set.data {
            let is_new = keys::may_anchor(data) && !kept.iter().any(|key| key.data == *data);
            if !is_new || kept.len() >= KEYS_MAX || data.len() > KEY_OCTETS_MAX {
                continue;
            }
            let (state, hold) = match self.is_configured(data) {
                true => (AnchorState::Valid, 0),
                false => (AnchorState::Pending, HOLD_SECONDS.max(signature.original_ttl.into())),
            };
            changes.push(self.changed(data, None, Some(state)));
            kept.push(Tracked { data: data.clone(), state, since: now, hold });
        }
        self.followed = Followed { keys: kept, observed: now, inception: signature.inception };
        let left = signature.expiration.wrapping_sub(signed_seconds(now)).cast_signed().max(0);
        let least = u64::from(signature.original_ttl).min(left.unsigned_abs().into());
        self.next_probe = now + (least / 2).clamp(ASKED_SECONDS.0, ASKED_SECONDS.1);
        self.retry_seconds = (least / 10).clamp(RETRY_SECONDS.0, RETRY_SECONDS.1);
    }

    /// Forgets a key, if no more can be remembered: one that is not trusted yet, or has not been for longest; a trusted one if
    /// there is no other, since what is revoked must not be forgotten for it.
    fn make_room(&mut self) {
        let keys = &mut self.followed.keys;
        let worth = |key: &Tracked| match key.state {
            AnchorState::Pending => (0, key.since),
            AnchorState::Removed => (1, key.since),
            AnchorState::Missing | AnchorState::Valid => (2, key.since),
            AnchorState::Revoked => (3, key.since),
        };
        while keys.len() >= KEYS_MAX {
            let Some(at) = (0..keys.len()).min_by_key(|at| worth(&keys[*at])) else { break };
            keys.remove(at);
        }
    }

    /// What became of a key; counts it, if that changes what is trusted.
    fn changed(&mut self, data: &[u8], from: Option<AnchorState>, to: Option<AnchorState>) -> AnchorChange {
        if self.is_anchor(data, from) != self.is_anchor(data, to) {
            self.generation += 1;
        }
        AnchorChange { key_tag: keys::tag(data), from, to }
    }

    /// Whether a key in this state is trusted; one that was not seen is, if it is configured.
    fn is_anchor(&self, data: &[u8], state: Option<AnchorState>) -> bool {
        state.map_or_else(|| self.is_configured(data), AnchorState::is_trusted)
    }

    fn is_configured(&self, data: &[u8]) -> bool {
        self.configured.iter().any(|ds| keys::is_digest(ds, data))
    }
}

/// What a key is after a set that is true; `None`: nothing any more.
fn next(key: &mut Tracked, set: &RrSet, now: u64) -> Option<AnchorState> {
    use AnchorState::{Missing, Pending, Removed, Revoked, Valid};
    let is_there = set.data.contains(&key.data);
    // By a clock that went back, not at all.
    let waited = now.saturating_sub(key.since);
    Some(match key.state {
        Pending if !is_there => return None,
        Pending if waited < key.hold => Pending,
        Pending => Valid,
        Valid | Missing => {
            if is_there {
                Valid
            } else {
                Missing
            }
        }
        Revoked if set.data.contains(&keys::with_revocation(&key.data)) => {
            key.since = now;
            Revoked
        }
        Revoked if waited < HOLD_SECONDS => Revoked,
        Revoked | Removed => Removed,
    })
}

/// As signatures count (RFC 4034, 3.1.5).
fn signed_seconds(now: u64) -> u32 {
    (now & 0xFFFF_FFFF) as u32
}

#[cfg(test)]
impl Followed {
    /// This key was revoked.
    pub(crate) fn revoked(data: &[u8]) -> Self {
        let key = Tracked { data: data.into(), state: AnchorState::Revoked, since: 1, hold: 0 };
        Self { keys: vec![key], observed: 1, inception: 1 }
    }
}

#[cfg(test)]
mod tests;
