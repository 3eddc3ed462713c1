//! What was followed, as the text of a file: a line for each key, and at the end the digest of all before it. What is not to
//! the letter what would be written is not read.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{AnchorState, HOLD_SECONDS, KEY_OCTETS_MAX, KEYS_MAX, Tracked};
use crate::keys;

const HEAD: &str = "# The root's keys as this node follows them (RFC 5011). Written by proxima: a change by hand is not believed.\n";
/// Octets of the largest file: each key is a line of base64, with some 60 octets beside.
pub(super) const OCTETS_MAX: usize = KEYS_MAX * (KEY_OCTETS_MAX * 4 / 3 + 64) + 512;

/// What was followed of the root's keys: what outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    pub(super) keys: Vec<Tracked>,
    /// When a set was last taken in, in seconds since 1970; 0: never.
    pub(super) observed: u64,
    /// When its newest signature began, as signatures count.
    pub(super) inception: u32,
}

/// A key that is followed, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowedKey {
    /// Its tag, without the flag of a revoked one.
    pub key_tag: u16,
    /// Its algorithm's number in the registry of DNSSEC.
    pub algorithm: u8,
    /// What it is.
    pub state: AnchorState,
    /// Since when, in seconds since 1970; for a revoked one, when it was last in a set.
    pub since: u64,
    /// Until when it is held down, in seconds since 1970: a pending one is an anchor if every set has it until then, a revoked
    /// one is removed if none has.
    pub held_until: Option<u64>,
}

impl FollowedKey {
    fn of(key: &Tracked) -> Self {
        let held = match key.state {
            AnchorState::Pending => Some(key.hold),
            AnchorState::Revoked => Some(HOLD_SECONDS),
            AnchorState::Valid | AnchorState::Missing | AnchorState::Removed => None,
        };
        Self {
            key_tag: keys::tag(&key.data),
            // Flags, protocol, algorithm (RFC 4034, 2.1): nothing shorter is followed.
            algorithm: key.data.get(3).copied().unwrap_or_default(),
            state: key.state,
            since: key.since,
            held_until: held.map(|held| key.since.saturating_add(held)),
        }
    }
}

/// A file says nothing that can be believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFollowed {
    /// It is longer than any that is written.
    #[error("it is too long")]
    TooLong,
    /// It was cut off, or is not what was written.
    #[error("it is damaged: the digest at its end is not that of what stands before")]
    Damaged,
    /// A line is not as it is written.
    #[error("line {line} is not understood")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
}

impl Followed {
    /// Reads what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// It is anything else.
    pub fn parse(text: &str) -> Result<Self, NotFollowed> {
        if text.len() > OCTETS_MAX {
            return Err(NotFollowed::TooLong);
        }
        let without_end = text.strip_suffix('\n').ok_or(NotFollowed::Damaged)?;
        let (body, end) = without_end.rsplit_once('\n').ok_or(NotFollowed::Damaged)?;
        let body_with_end = &text[..=body.len()];
        if end.strip_prefix("sha256 ") != Some(&*digest_of(body_with_end)) {
            return Err(NotFollowed::Damaged);
        }
        let mut followed = Self::default();
        for (number, line) in body.lines().enumerate() {
            let broken = || NotFollowed::Line { line: number + 1 };
            match number {
                0 if line == HEAD.trim_end() => {}
                0 => return Err(broken()),
                1 => (followed.observed, followed.inception) = observed(line).ok_or_else(broken)?,
                _ => {
                    let key = key(line).ok_or_else(broken)?;
                    let is_twice = followed.keys.iter().any(|known| known.data == key.data);
                    if is_twice || followed.keys.len() >= KEYS_MAX {
                        return Err(broken());
                    }
                    followed.keys.push(key);
                }
            }
        }
        // Numbers with zeros before them, lines that are missing.
        if followed.to_text() == text { Ok(followed) } else { Err(NotFollowed::Line { line: 1 }) }
    }

    /// As text.
    pub fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        // Writing to a string does not fail.
        writeln!(text, "observed {} {}", self.observed, self.inception).ok();
        for Tracked { data, state, since, hold } in &self.keys {
            let (name, tag, key) = (state.name(), keys::tag(data), STANDARD.encode(data));
            match state {
                AnchorState::Pending => writeln!(text, "{name} {tag} {since} {hold} {key}").ok(),
                _ => writeln!(text, "{name} {tag} {since} {key}").ok(),
            };
        }
        sealed(text)
    }

    /// When a set was last taken in, in seconds since 1970, if one was.
    pub fn observed_at(&self) -> Option<u64> {
        Some(self.observed).filter(|at| *at > 0)
    }

    /// The keys, those that are anchors first, then in the order of their tags.
    pub fn keys(&self) -> Vec<FollowedKey> {
        let mut keys: Vec<FollowedKey> = self.keys.iter().map(FollowedKey::of).collect();
        keys.sort_unstable_by_key(|key| (!key.state.is_trusted(), key.key_tag));
        keys
    }

    /// How many keys are in a state.
    pub fn count(&self, state: AnchorState) -> usize {
        self.keys.iter().filter(|key| key.state == state).count()
    }
}

fn observed(line: &str) -> Option<(u64, u32)> {
    let (observed, inception) = line.strip_prefix("observed ")?.split_once(' ')?;
    Some((observed.parse().ok()?, inception.parse().ok()?))
}

fn key(line: &str) -> Option<Tracked> {
    let fields: Vec<&str> = line.split(' ').collect();
    let state = AnchorState::ALL.into_iter().find(|state| state.name() == fields[0])?;
    let (since, hold, key) = match (state, &fields[1..]) {
        (AnchorState::Pending, [_, since, hold, key]) => (since, hold.parse().ok()?, key),
        (AnchorState::Pending, _) => return None,
        (_, [_, since, key]) => (since, 0, key),
        _ => return None,
    };
    let data: Box<[u8]> = STANDARD.decode(key).ok()?.into();
    let is_one = data.len() <= KEY_OCTETS_MAX && keys::may_anchor(&data);
    is_one.then_some(Tracked { data, state, since: since.parse().ok()?, hold })
}

/// With the digest of all of it at its end.
pub(crate) fn sealed(text: String) -> String {
    let digest = digest_of(&text);
    format!("{text}sha256 {digest}\n")
}

fn digest_of(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}
