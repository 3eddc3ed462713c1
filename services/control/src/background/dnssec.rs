//! What parents say of signed zones: a zone is active when its DS is there, and stays signed until that is long gone. And
//! what follows for a key that is rolled over ([`proxima_model::RollStage`]): this is what leads each roll-over on.

use std::{collections::BTreeSet, sync::Arc};

use proxima_model::{
    ParentDs, ParentSays, RollStage, SigningKey, SigningState, Timestamp, Zone, ZoneId, ZoneSigning,
    limits as model_limits,
};

use super::round::{Round, or_pass_over, readable};
use crate::{
    api::{Api, write::Author},
    config::Activation,
    dnssec,
    error::ApiError,
    limits,
};

/// Looks up the DS of some zones that wait for it to come or to go, those after this one in order; returns behind which
/// one to go on.
pub(super) async fn follow_parents(
    api: &Arc<Api>,
    author: &Author,
    after: Option<ZoneId>,
) -> Result<Option<ZoneId>, ApiError> {
    let waiting = api.read(move |snapshot| {
        let mut waiting = Round::new(after, limits::DS_LOOKUPS_PER_ROUND);
        for signing in readable(snapshot.scan::<ZoneSigning>(&[])) {
            let signing = signing?;
            if waits(&signing) {
                waiting.offer(signing.zone);
            }
        }
        Ok(waiting.ids())
    });
    let waiting = waiting.await?;
    for id in &waiting {
        or_pass_over("following the parent's DS", *id, follow_parent(api, author, *id).await)?;
    }
    Ok(waiting.last().copied())
}

async fn follow_parent(api: &Arc<Api>, author: &Author, id: ZoneId) -> Result<(), ApiError> {
    let Some(zone) = api.read(move |snapshot| Ok(snapshot.get::<Zone>(&id)?)).await? else { return Ok(()) };
    let found = match api.delegations.ds(&zone).await {
        Ok(found) => found,
        Err(why) => {
            tracing::debug!(%why, "what the parent says of a signed zone is not known");
            return Ok(());
        }
    };
    let written = api.write(author, move |draft| {
        let Some(former) = draft.read::<ZoneSigning>(&id)? else { return Ok(()) };
        let next = follow(&former, names(&former, &found), draft.now).map(|next| {
            let parent = ParentSays::NamesActive(names_active(&next, &found));
            next.roll_on(parent, draft.now).unwrap_or(next)
        });
        dnssec::put(draft, &zone, Some(&former), next.as_ref())
    });
    written.await.map(|_| ())
}

/// Leads on what time alone leads on, and begins what is due: those after this zone in order; returns behind which one to go
/// on. Where owners are taken at their word for what parents say, so is the end of a roll-over.
pub(super) async fn roll_keys(
    api: &Arc<Api>,
    author: &Author,
    after: Option<ZoneId>,
) -> Result<Option<ZoneId>, ApiError> {
    let parent = match api.activation {
        Activation::Trust => ParentSays::Trusted,
        Activation::Delegation => ParentSays::Unknown,
    };
    let now = api.now();
    let due = api.read(move |snapshot| {
        let mut due = Round::new(after, limits::ROLLS_PER_ROUND);
        for signing in readable(snapshot.scan::<ZoneSigning>(&[])) {
            let signing = signing?;
            if signing.is_roll_due(now) || signing.roll_on(parent, now).is_some() {
                due.offer(signing.zone);
            }
        }
        Ok(due.ids())
    });
    let due = due.await?;
    for id in &due {
        or_pass_over("rolling a key over", *id, roll_on(api, author, *id, parent).await)?;
    }
    Ok(due.last().copied())
}

async fn roll_on(api: &Arc<Api>, author: &Author, id: ZoneId, parent: ParentSays) -> Result<(), ApiError> {
    let written = api.write(author, move |draft| {
        let Some(former) = draft.read::<ZoneSigning>(&id)? else { return Ok(()) };
        let next = match former.roll_on(parent, draft.now) {
            Some(next) => next,
            None if former.is_roll_due(draft.now) => dnssec::roll_key(&former, None, draft.now)?,
            None => return Ok(()),
        };
        let stage = next.roll.map_or("done", |roll| roll.stage.name());
        tracing::info!(zone = %id, stage, "the roll-over of a key goes on");
        let zone = draft.zone(id)?;
        dnssec::put(draft, &zone, Some(&former), Some(&next))
    });
    written.await.map(|_| ())
}

/// Whether something about the zone changes with its parent's DS. One that is active is left in peace.
fn waits(signing: &ZoneSigning) -> bool {
    let rolls = signing
        .roll
        .is_some_and(|roll| matches!(roll.stage, RollStage::WaitingForParent | RollStage::Settling));
    signing.state == SigningState::Leaving || signing.parent != ParentDs::Seen || rolls
}

/// Whether the parent's DS records bear upon the zone's keys. Any of them bears upon a zone that leaves: as long as there
/// is one, validators ask for signatures. But where others sign it too, theirs stay, and only those of our keys go.
fn names(signing: &ZoneSigning, found: &BTreeSet<Vec<u8>>) -> bool {
    match signing.state {
        SigningState::Leaving if signing.multi_signer => signing.keys().any(|key| names_key(key, found)),
        SigningState::Leaving => !found.is_empty(),
        SigningState::On => {
            signing.keys().any(|key| key.role.signs() && key.role.is_published() && names_key(key, found))
        }
    }
}

/// Whether the parent's DS records name the key that they are to name.
fn names_active(signing: &ZoneSigning, found: &BTreeSet<Vec<u8>>) -> bool {
    signing.active_key().is_some_and(|key| names_key(key, found))
}

/// The first octets of a DS are tag and algorithm (RFC 4034, 5.1); which digest its owner chose does not matter.
fn names_key(key: &SigningKey, found: &BTreeSet<Vec<u8>>) -> bool {
    let [high, low] = key.tag().to_be_bytes();
    let beginning = [high, low, key.algorithm.code()];
    found.iter().any(|ds| ds.starts_with(&beginning))
}

/// What becomes of a signed zone whose parent names its keys, or does not; `None` when it is to be signed no longer.
fn follow(former: &ZoneSigning, named: bool, now: Timestamp) -> Option<ZoneSigning> {
    let parent = match (former.state, former.parent, named) {
        (_, _, true) => ParentDs::Seen,
        (SigningState::Leaving, ParentDs::Unseen, false) => return None,
        (SigningState::Leaving, ParentDs::Gone(since), false)
            if now >= since.plus_seconds(model_limits::DS_CACHED_SECONDS) =>
        {
            return None;
        }
        (_, ParentDs::Seen, false) => ParentDs::Gone(now),
        (_, other, false) => other,
    };
    if parent == former.parent {
        return Some(former.clone());
    }
    Some(ZoneSigning { parent, modified_at: now, ..former.clone() })
}

#[cfg(test)]
mod tests {
    use proxima_model::{KeyRole, KeyRoll, SigningAlgorithm};

    use super::*;

    fn signing(state: SigningState, parent: ParentDs) -> ZoneSigning {
        let key = SigningKey {
            algorithm: SigningAlgorithm::EcdsaP256,
            public: vec![7; 64],
            private: Vec::new(),
            role: KeyRole::Active,
            created_at: Timestamp::default(),
        };
        let zone = ZoneId::from_bytes([1; 16]);
        ZoneSigning { state, parent, ..ZoneSigning::new(zone, vec![key], Timestamp::default()) }
    }

    #[test]
    fn a_zone_stays_signed_until_its_ds_has_left_all_caches() {
        let start = Timestamp::from_millis(1_764_000_000_000);
        let hours = |hours: i64| start.plus_seconds(hours * 3_600);
        let parent =
            |state, parent, named, now| follow(&signing(state, parent), named, now).map(|next| next.parent);
        use ParentDs::{Gone, Seen, Unseen};
        use SigningState::{Leaving, On};
        for (state, before, named, after) in [
            (On, Unseen, false, Some(Unseen)),
            (On, Unseen, true, Some(Seen)),
            (On, Seen, false, Some(Gone(hours(0)))),
            (On, Gone(hours(-99)), false, Some(Gone(hours(-99)))),
            (On, Gone(hours(-99)), true, Some(Seen)),
            (Leaving, Unseen, false, None),
            (Leaving, Unseen, true, Some(Seen)),
            (Leaving, Seen, true, Some(Seen)),
            (Leaving, Seen, false, Some(Gone(hours(0)))),
            (Leaving, Gone(hours(-47)), false, Some(Gone(hours(-47)))),
            (Leaving, Gone(hours(-48)), false, None),
            (Leaving, Gone(hours(-99)), true, Some(Seen)),
        ] {
            assert_eq!(parent(state, before, named, hours(0)), after, "{state:?} {before:?} {named}");
        }
    }

    #[test]
    fn only_a_ds_of_an_own_key_makes_a_zone_active_and_any_keeps_it_signed() {
        let mut zone = signing(SigningState::On, ParentDs::Unseen);
        let [high, low] = zone.keys[0].tag().to_be_bytes();
        let (own, other) =
            (BTreeSet::from([vec![high, low, 13, 4, 1]]), BTreeSet::from([vec![high, low, 8, 2, 1]]));
        assert_eq!((names(&zone, &own), names(&zone, &other)), (true, false));
        assert!(!names(&zone, &BTreeSet::new()) && waits(&zone));
        zone.state = SigningState::Leaving;
        assert_eq!((names(&zone, &other), names(&zone, &BTreeSet::new())), (true, false));
        zone.multi_signer = true;
        assert_eq!((names(&zone, &other), names(&zone, &own)), (false, true), "others stay");
        zone.multi_signer = false;
        zone.parent = ParentDs::Seen;
        assert!(waits(&zone));
        zone.state = SigningState::On;
        assert!(!waits(&zone));
    }

    #[test]
    fn a_parent_is_looked_at_while_a_roll_over_waits_for_it_and_names_the_new_key_alone() {
        let zone = signing(SigningState::On, ParentDs::Seen);
        let beginning = |key: &SigningKey| {
            let [high, low] = key.tag().to_be_bytes();
            BTreeSet::from([vec![high, low, 13, 2, 1]])
        };
        let new = SigningKey { public: vec![8; 64], ..zone.keys[0].clone() };
        let (before, after) = (beginning(&zone.keys[0]), beginning(&new));
        let mut rolling = zone.roll_to(new, Timestamp::default()).unwrap();
        assert!(!waits(&rolling) && names_active(&rolling, &before));
        for stage in [RollStage::WaitingForParent, RollStage::Settling] {
            rolling.roll = Some(KeyRoll { stage, since: Timestamp::default() });
            assert!(waits(&rolling), "{stage:?}");
        }
        rolling.keys.reverse();
        rolling.keys[0].role = KeyRole::Active;
        rolling.keys[1].role = KeyRole::Companion;
        assert!(names_active(&rolling, &after) && !names_active(&rolling, &before));
        // Either makes it a zone that validates.
        assert!(names(&rolling, &after) && names(&rolling, &before) && !names(&rolling, &BTreeSet::new()));
    }
}
