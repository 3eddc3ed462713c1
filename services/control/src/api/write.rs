//! Writing: read the replica, decide, append with what was decided upon as preconditions, wait until it is here.
//!
//! ```text
//!  snapshot ─▶ decide ─▶ append ──ok──▶ wait for the replica ─▶ answer
//!     ▲                    │
//!     └── wait for what ◀──┘ another write came between: decide anew, a bounded number of times
//! ```
//!
//! With an `Idempotency-Key` the ids that a write draws are derived from it, and the log knows the key and what was asked
//! for under it: a write that was already made is answered from what it made, on whichever server the retry lands, and the
//! same key for something else is refused.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::FromRequestParts,
    http::{Method, request::Parts},
};
use proxima_ledger::{
    Append, AppendError, Change, Fingerprint, IdempotencyKey, Precondition, Seq, Snapshot,
    limits as ledger_limits,
};
use proxima_model::{Account, AccountId, Entity, Timestamp, Zone, ZoneId};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    api::{Api, access::Caller, blocking, condition::Condition, envelope::Answer},
    error::{ApiError, Code},
    limits,
};

/// Who writes, and whether they may send the same again.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    /// As it stands in the log.
    name: String,
    repeatable: Option<Repeatable>,
}

/// What makes a write repeatable.
#[derive(Clone, Copy, Debug)]
struct Repeatable {
    /// From the client's `Idempotency-Key`, its token, and the method and path.
    seed: [u8; 32],
    /// What was asked for: the same key for something else is refused.
    fingerprint: Fingerprint,
}

impl Author {
    /// A node itself.
    pub(crate) fn node(name: &str) -> Self {
        Self { name: format!("node/{name}"), repeatable: None }
    }

    /// As it stands in the log.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// For a further write of one request, which the key of its first does not name.
    pub(crate) fn going_on(self) -> Self {
        Self { repeatable: None, ..self }
    }

    /// From what a write draws its ids: the same each time for one that may be repeated.
    fn seed(&self) -> [u8; 32] {
        self.repeatable.map_or_else(rand::random, |repeatable| repeatable.seed)
    }

    fn client(caller: &Caller, key: Option<(&str, Fingerprint)>, method: &Method, path: &str) -> Self {
        let name = format!("token/{}", caller.token);
        let repeatable = key.map(|(key, fingerprint)| {
            let mut hash = Sha256::new();
            for part in [&name, method.as_str(), path, key] {
                hash.update(part.len().to_be_bytes());
                hash.update(part);
            }
            Repeatable { seed: hash.finalize().into(), fingerprint }
        });
        Self { name, repeatable }
    }
}

impl FromRequestParts<Arc<Api>> for Author {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Arc<Caller>>().expect("every route is behind `authorise`");
        let key = parts.headers.get("idempotency-key").map(|key| {
            let text = key
                .to_str()
                .ok()
                .filter(|text| !text.is_empty() && text.len() <= limits::IDEMPOTENCY_KEY_OCTETS_MAX);
            text.ok_or_else(|| {
                ApiError::new(Code::FieldInvalid, "Idempotency-Key: give 1 to 255 printable ASCII characters")
            })
        });
        let fingerprint = parts.extensions.get::<Fingerprint>().copied();
        Ok(Self::client(caller, key.transpose()?.zip(fingerprint), &parts.method, parts.uri.path()))
    }
}

/// A write while it is decided.
pub(crate) struct Draft<'a> {
    api: &'a Api,
    /// The state that is decided upon.
    pub(crate) snapshot: &'a Snapshot,
    /// When it is decided.
    pub(crate) now: Timestamp,
    /// Whether a write of this key was made before: nothing is to be changed, and the answer is what is stored.
    pub(crate) is_repeat: bool,
    seed: [u8; 32],
    drawn: u64,
    changes: Vec<Change>,
    preconditions: Vec<Precondition>,
}

impl Draft<'_> {
    /// A new id: random, or the same each time for a write that may be repeated.
    pub(crate) fn id(&mut self) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(self.drawn.to_be_bytes());
        self.drawn += 1;
        let digest: [u8; 32] = hash.finalize().into();
        *digest.first_chunk().expect("32 octets have a first 16")
    }

    /// Puts a noun.
    pub(crate) fn put<E: Entity>(&mut self, entity: &E) {
        self.changes.push(self.api.replica.put(entity));
    }

    /// Deletes a noun.
    pub(crate) fn delete<E: Entity>(&mut self, id: &E::Id) {
        self.changes.push(Change::delete::<E>(id));
    }

    /// Any other change.
    pub(crate) fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// What must hold at the log.
    pub(crate) fn require(&mut self, precondition: Precondition) {
        self.preconditions.push(precondition);
    }

    /// What of it is more than the log takes in one append, if anything is.
    pub(crate) fn too_large(&self) -> Option<String> {
        [
            (self.changes.len(), ledger_limits::CHANGES_PER_APPEND_MAX, "changes"),
            (self.preconditions.len(), ledger_limits::PRECONDITIONS_PER_APPEND_MAX, "preconditions"),
            (self.changes.iter().map(Change::octets).sum(), ledger_limits::APPEND_OCTETS_MAX, "octets"),
        ]
        .into_iter()
        .find(|(amount, limit, _)| amount > limit)
        .map(|(amount, limit, what)| format!("{amount} {what}; an append holds {limit}"))
    }

    /// Takes all of it back: nothing is written.
    pub(crate) fn discard(&mut self) {
        self.changes.clear();
        self.preconditions.clear();
    }

    /// A noun that is decided upon: nothing may have changed it when the write is made.
    pub(crate) fn read<E: Entity>(&mut self, id: &E::Id) -> Result<Option<E>, ApiError> {
        self.read_if(id, &Condition::None)
    }

    /// As [`Self::read`], if the client's condition holds of it. What was made before, was made while it held.
    pub(crate) fn read_if<E: Entity>(
        &mut self,
        id: &E::Id,
        condition: &Condition,
    ) -> Result<Option<E>, ApiError> {
        let found = self.snapshot.get_with_revision::<E>(id)?;
        if !self.is_repeat {
            condition.check(found.as_ref().map(|(_, revision)| *revision))?;
        }
        let key = E::key_of(id);
        match found {
            Some((entity, revision)) => {
                self.require(Precondition::Revision(key, revision));
                Ok(Some(entity))
            }
            None => {
                self.require(Precondition::Absent(key));
                Ok(None)
            }
        }
    }

    /// The zone that is written to.
    pub(crate) fn zone(&mut self, id: ZoneId) -> Result<Zone, ApiError> {
        self.read::<Zone>(&id)?.ok_or_else(|| ApiError::no_object(&format!("/zones/{id}")))
    }

    /// What a repeated write made, or that it is gone.
    pub(crate) fn made<E: Entity>(&self, id: &E::Id) -> Result<E, ApiError> {
        self.snapshot.get::<E>(id)?.ok_or_else(|| {
            ApiError::new(
                Code::RepeatGone,
                "this Idempotency-Key was used, and what was made under it has been deleted since; use another key",
            )
        })
    }
}

/// A write that was made.
#[derive(Clone, Debug)]
pub(crate) struct Written<T> {
    /// The state that has it.
    pub(crate) seq: Seq,
    pub(crate) answer: T,
}

impl Api {
    /// Decides and writes. `decide` runs again when another write came between; it must have no effect but its draft.
    pub(crate) async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        author: &Author,
        decide: impl Fn(&mut Draft<'_>) -> Result<T, ApiError> + Send + Sync + 'static,
    ) -> Result<Written<T>, ApiError> {
        let decide = Arc::new(decide);
        let seed = author.seed();
        let key = IdempotencyKey(hex::encode(seed));
        let fingerprint = author.repeatable.map(|repeatable| repeatable.fingerprint);
        for _ in 0..limits::WRITE_ATTEMPTS_MAX {
            let decided = self.decide(&decide, seed, false).await;
            let Decided { changes, preconditions, answer } = match decided {
                Ok(decided) => decided,
                Err(refusal) => match self.made_before(author, &key).await? {
                    Some(seq) => return self.repeat(&decide, seed, seq).await,
                    None => return Err(refusal),
                },
            };
            if changes.is_empty() {
                // There is nothing to do; but the key may have been used for something else.
                return match self.made_before(author, &key).await? {
                    Some(seq) => self.repeat(&decide, seed, seq).await,
                    None => Ok(Written { seq: self.replica.seq(), answer }),
                };
            }
            let (idempotency_key, author) = (key.clone(), author.name.clone());
            let append = Append { changes, preconditions, idempotency_key, fingerprint, author };
            match self.append(append).await {
                Ok(appended) if appended.repeated && fingerprint.is_some() => {
                    return self.repeat(&decide, seed, appended.seq).await;
                }
                Ok(appended) => {
                    self.replica.wait_for(appended.seq, limits::READ_YOUR_WRITES_WITHIN).await;
                    return Ok(Written { seq: appended.seq, answer });
                }
                Err(AppendError::Precondition { found, .. }) => {
                    // What came between may not be here yet; without it the same would be decided again.
                    let newer = found.unwrap_or_else(|| self.log.last());
                    self.replica.wait_for(newer, limits::READ_YOUR_WRITES_WITHIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApiError::new(Code::Conflict, "other changes came between again and again; ask again"))
    }

    /// What `decide` says of the state as it is; nothing is written.
    pub(crate) async fn draft<T: Send + 'static>(
        self: &Arc<Self>,
        author: &Author,
        decide: impl Fn(&mut Draft<'_>) -> Result<T, ApiError> + Send + Sync + 'static,
    ) -> Result<T, ApiError> {
        Ok(self.decide(&Arc::new(decide), author.seed(), false).await?.answer)
    }

    /// Whether a write of this author's key was made before.
    pub(crate) async fn was_made(&self, author: &Author) -> Result<bool, ApiError> {
        let key = IdempotencyKey(hex::encode(author.seed()));
        Ok(self.made_before(author, &key).await?.is_some())
    }

    /// As [`Self::write`], with the answer as it is sent.
    pub(crate) async fn change(
        self: &Arc<Self>,
        author: &Author,
        decide: impl Fn(&mut Draft<'_>) -> Result<Value, ApiError> + Send + Sync + 'static,
    ) -> Result<Answer, ApiError> {
        let written = self.write(author, decide).await?;
        Ok(Answer::new(written.answer).at(written.seq))
    }

    /// Appends, and notes how long it took.
    pub(crate) async fn append(&self, append: Append) -> Result<proxima_ledger::Appended, AppendError> {
        let began = Instant::now();
        let outcome = self.log.append(append).await;
        self.metrics.appended(began.elapsed(), outcome.as_ref().map(|_| ()));
        outcome
    }

    async fn decide<T: Send + 'static>(
        self: &Arc<Self>,
        decide: &Arc<impl Fn(&mut Draft<'_>) -> Result<T, ApiError> + Send + Sync + 'static>,
        seed: [u8; 32],
        is_repeat: bool,
    ) -> Result<Decided<T>, ApiError> {
        let (api, decide) = (self.clone(), decide.clone());
        blocking(move || {
            let snapshot = api.replica.snapshot()?;
            let mut draft = Draft {
                api: &api,
                snapshot: &snapshot,
                now: api.now(),
                is_repeat,
                seed,
                drawn: 0,
                changes: Vec::new(),
                preconditions: Vec::new(),
            };
            let answer = decide(&mut draft)?;
            Ok(Decided { changes: draft.changes, preconditions: draft.preconditions, answer })
        })
        .await
    }

    /// Where the log has a write of this key. Asked only when a client gave the key and nothing is to be appended: that
    /// may be because of what its first attempt made.
    async fn made_before(&self, author: &Author, key: &IdempotencyKey) -> Result<Option<Seq>, ApiError> {
        let Some(repeatable) = author.repeatable else { return Ok(None) };
        // The log looks for the key first, and this can never hold.
        let never = Precondition::Revision(Account::key_of(&AccountId::from_bytes([0; 16])), Seq(u64::MAX));
        let question = Append {
            changes: Vec::new(),
            preconditions: vec![never],
            idempotency_key: key.clone(),
            fingerprint: Some(repeatable.fingerprint),
            author: author.name.clone(),
        };
        match self.append(question).await {
            Ok(appended) => Ok(Some(appended.seq)),
            Err(AppendError::Precondition { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Answers a write that was made before.
    async fn repeat<T: Send + 'static>(
        self: &Arc<Self>,
        decide: &Arc<impl Fn(&mut Draft<'_>) -> Result<T, ApiError> + Send + Sync + 'static>,
        seed: [u8; 32],
        seq: Seq,
    ) -> Result<Written<T>, ApiError> {
        self.replica.wait_for(seq, limits::READ_YOUR_WRITES_WITHIN).await;
        let Decided { answer, .. } = self.decide(decide, seed, true).await?;
        Ok(Written { seq, answer })
    }
}

struct Decided<T> {
    changes: Vec<Change>,
    preconditions: Vec<Precondition>,
    answer: T,
}
