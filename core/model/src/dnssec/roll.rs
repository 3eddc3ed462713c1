//! Rolling a zone's key over to a new one without a gap: a state machine with the clock and what the parent says passed in.
//!
//! A zone has one combined signing key, so this is the roll-over of a single-type signing scheme (RFC 6781, 4.1.3): both
//! keys are published and sign while the parent changes from one to the other. Between algorithms, signatures come before
//! keys and leave after them (RFC 6781, 4.1.4), since some validators want a signature of each algorithm that has a key.
//!
//! ```text
//!                          former             new                next when
//!  ┌ signing (1)           active             hidden             a day and an hour: what it did not sign has left caches
//!  └▶ publishing           active             companion          two hours: the DNSKEY set without it has left caches
//!     waiting for parent   companion          active             the parent's DS names it, and never by time alone
//!     settling             companion          active             two days: the DS without it has left caches
//!     withdrawing (1)      hidden             active             two hours: the DNSKEY set with the former has left caches
//!     done                 gone               active
//!                                     (1) only where the algorithm changes
//! ```
//!
//! What is asked of the parent (CDS, CDNSKEY, RFC 7344) names the active key alone, from `waiting for parent` on the new one.
//! A way back leads through the same stages, in the other direction: the former key becomes the one that the parent is to
//! name again.
//!
//! Invariants:
//! * **Whatever a validator remembers within its TTLs, it finds a chain**: from a DS to a key that signed the DNSKEY set,
//!   and in that to a key that signed what was asked for. `tests/nouns/rolls.rs` tries it.
//! * **No key leaves as long as the parent may name it alone**: after `waiting for parent` comes nothing by itself.
//! * Each step depends on what is written down, the clock and the parent only: it may be done twice, late, or by another
//!   server.
//! * A zone that leaves DNSSEC rolls nothing: both keys sign until it is unsigned.
//! * Nothing of a signed zone may be remembered for longer than [`limits::TTL_SECONDS_MAX`]: the stages are as long as that.
//!   The API takes no longer TTL, and what another server wrote is answered with none (`services/dns`, `ZoneTree`).

use serde::{Deserialize, Serialize};

use super::{KeyRole, SigningKey, SigningState, ZoneSigning};
use crate::{Invalid, Timestamp, limits};

/// How far a roll-over has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollStage {
    /// The new key signs and is not published yet: it has another algorithm.
    Signing,
    /// The new key signs and is published.
    Publishing,
    /// The parent is asked to name the new key instead of the former one.
    WaitingForParent,
    /// The parent names the new key; others may remember for a while that it did not.
    Settling,
    /// The former key, of another algorithm, is published no longer and signs still.
    Withdrawing,
}

impl RollStage {
    /// As the API says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Publishing => "publishing",
            Self::WaitingForParent => "waiting_for_parent",
            Self::Settling => "settling",
            Self::Withdrawing => "withdrawing",
        }
    }

    /// How long it lasts, in seconds; `None` where time alone ends it never.
    const fn seconds(self) -> Option<i64> {
        match self {
            Self::Signing => Some(limits::TTL_SECONDS_MAX as i64 + limits::PROPAGATION_SECONDS),
            Self::Publishing | Self::Withdrawing => {
                Some(limits::KEY_TTL_SECONDS as i64 + limits::PROPAGATION_SECONDS)
            }
            Self::WaitingForParent => None,
            Self::Settling => Some(limits::DS_CACHED_SECONDS),
        }
    }
}

const _: () = assert!(
    limits::DS_CACHED_SECONDS >= limits::TTL_SECONDS_MAX as i64 + limits::PROPAGATION_SECONDS,
    "when a former key leaves, nothing is remembered that it alone signed"
);

/// A roll-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRoll {
    /// How far it has come.
    pub stage: RollStage,
    /// Since when it is there.
    pub since: Timestamp,
}

impl KeyRoll {
    /// When time alone leads on; `None` while the parent is waited for.
    pub fn due_at(self) -> Option<Timestamp> {
        self.stage.seconds().map(|seconds| self.since.plus_seconds(seconds))
    }
}

/// What is known of the parent at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentSays {
    /// Nothing: nobody looked, or no answer came.
    Unknown,
    /// Its DS names the active key, or does not.
    NamesActive(bool),
    /// Nobody looks here, and its owner is taken at their word for it.
    Trusted,
}

impl ZoneSigning {
    /// The key that the parent is to name.
    pub fn active_key(&self) -> Option<&SigningKey> {
        self.keys().find(|key| key.role == KeyRole::Active)
    }

    /// In a roll-over, the other key: the new one until the parent is asked to name it, the former one then.
    pub fn other_key(&self) -> Option<&SigningKey> {
        self.keys().find(|key| matches!(key.role, KeyRole::Companion | KeyRole::Hidden))
    }

    /// Begins to roll over to this key.
    ///
    /// # Errors
    /// Another one is under way, or nothing is signed that could be rolled.
    pub fn roll_to(&self, new: SigningKey, now: Timestamp) -> Result<Self, Invalid> {
        let (SigningState::On, Some(active), None) = (self.state, self.active_key(), self.roll) else {
            let problem = match self.roll {
                Some(_) => "a roll-over is under way",
                None => "the zone is not signed, or is to be signed no longer",
            };
            return Err(Invalid::new("key_roll", problem, "let that end first, or take it back"));
        };
        let stage =
            if active.algorithm == new.algorithm { RollStage::Publishing } else { RollStage::Signing };
        let role = if stage == RollStage::Signing { KeyRole::Hidden } else { KeyRole::Companion };
        let kept = self.keys().filter(|key| key.role == KeyRole::Active).cloned();
        let keys = kept.chain([SigningKey { role, ..new }]).collect();
        let roll = Some(KeyRoll { stage, since: now });
        Ok(Self { keys, roll, modified_at: now, ..self.clone() })
    }

    /// Turns a roll-over back.
    ///
    /// # Errors
    /// There is none, or it has gone too far: the former key is published no longer.
    pub fn roll_back(&self, now: Timestamp) -> Result<Self, Invalid> {
        let Some(roll) = self.roll else {
            return Err(Invalid::new(
                "key_roll",
                "no roll-over is under way",
                "there is nothing to turn back",
            ));
        };
        match roll.stage {
            // Nobody has heard of the new key.
            RollStage::Signing => Ok(self.without_other(now)),
            // It may be named already, by an owner who was early.
            RollStage::Publishing => Ok(self.at(RollStage::WaitingForParent, now)),
            RollStage::WaitingForParent | RollStage::Settling => {
                Ok(self.with_roles_swapped().at(RollStage::WaitingForParent, now))
            }
            RollStage::Withdrawing => Err(Invalid::new(
                "key_roll",
                "the former key is published no longer",
                "let this roll-over end, and begin another one",
            )),
        }
    }

    /// The owner says that the parent names the active key, where nobody looks.
    ///
    /// # Errors
    /// No roll-over waits for that.
    pub fn parent_names_active(&self, now: Timestamp) -> Result<Self, Invalid> {
        match self.roll {
            Some(KeyRoll { stage: RollStage::WaitingForParent, .. }) => Ok(self.at(RollStage::Settling, now)),
            _ => Err(Invalid::new(
                "key_roll",
                "no roll-over waits for the parent",
                "say so when `key_roll` is \"waiting_for_parent\"",
            )),
        }
    }

    /// How it is signed next, if a roll-over goes on now.
    pub fn roll_on(&self, parent: ParentSays, now: Timestamp) -> Option<Self> {
        let roll = self.roll.filter(|_| self.state == SigningState::On)?;
        let is_due = roll.due_at().is_some_and(|due| now >= due);
        match (roll.stage, parent) {
            (RollStage::WaitingForParent, ParentSays::NamesActive(true)) => {
                Some(self.at(RollStage::Settling, now))
            }
            // Who changed the parent has changed it back.
            (RollStage::Settling, ParentSays::NamesActive(false)) => {
                Some(self.at(RollStage::WaitingForParent, now))
            }
            (RollStage::Settling, ParentSays::NamesActive(true) | ParentSays::Trusted) if is_due => {
                Some(self.settled(now))
            }
            (RollStage::WaitingForParent | RollStage::Settling, _) => None,
            _ if !is_due => None,
            (RollStage::Signing, _) => {
                Some(self.with_other_as(KeyRole::Companion).at(RollStage::Publishing, now))
            }
            (RollStage::Publishing, _) => {
                Some(self.with_roles_swapped().at(RollStage::WaitingForParent, now))
            }
            (RollStage::Withdrawing, _) => Some(self.without_other(now)),
        }
    }

    /// Whether its active key is older than its owner wants, and can be rolled: where others sign the zone, too, nobody but its
    /// owner can tell them of the new key first (RFC 8901, 4.2.1).
    pub fn is_roll_due(&self, now: Timestamp) -> bool {
        let days = i64::from(self.roll_days);
        self.state == SigningState::On
            && self.parent == super::ParentDs::Seen
            && self.roll.is_none()
            && !self.multi_signer
            && days > 0
            && self.active_key().is_some_and(|key| now >= key.created_at.plus_seconds(days * 86_400))
    }

    fn settled(&self, now: Timestamp) -> Self {
        let algorithms =
            (self.active_key().map(|key| key.algorithm), self.other_key().map(|key| key.algorithm));
        if algorithms.0 == algorithms.1 {
            return self.without_other(now);
        }
        self.with_other_as(KeyRole::Hidden).at(RollStage::Withdrawing, now)
    }

    fn at(&self, stage: RollStage, now: Timestamp) -> Self {
        Self { roll: Some(KeyRoll { stage, since: now }), modified_at: now, ..self.clone() }
    }

    fn with_roles(&self, role: impl Fn(KeyRole) -> KeyRole) -> Self {
        let keys = self.keys().map(|key| SigningKey { role: role(key.role), ..key.clone() }).collect();
        Self { keys, ..self.clone() }
    }

    fn with_other_as(&self, role: KeyRole) -> Self {
        self.with_roles(|known| if known == KeyRole::Active { known } else { role })
    }

    fn with_roles_swapped(&self) -> Self {
        self.with_roles(|known| if known == KeyRole::Active { KeyRole::Companion } else { KeyRole::Active })
    }

    fn without_other(&self, now: Timestamp) -> Self {
        let keys = self.keys().filter(|key| key.role == KeyRole::Active).cloned().collect();
        Self { keys, roll: None, modified_at: now, ..self.clone() }
    }
}
