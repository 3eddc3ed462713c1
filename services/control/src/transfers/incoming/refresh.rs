//! One look at a zone: its primaries are asked, and what is newer is fetched and applied.
//!
//! Every primary is asked for its serial until one has something newer: one that lags behind does not hide the next. Only
//! then a place for transfers is taken, for this look as a whole, which ends [`limits::TRANSFER_WITHIN`] later however many
//! primaries there are.
//!
//! ```text
//!  place to ask ─▶ something newer ─▶ place to fetch ─ a minute later ─▶ place to fetch slowly, if one is free ─▶ the end
//! ```
//!
//! So nobody keeps a place to fetch for more than a minute, however slow the primaries of however many accounts are: whoever
//! waits for one gets it. Who fetches slowly is in the way of others that do, and of nobody else; and for long only who sends
//! much: how long a zone may take depends on how much of it has come ([`fetch::Pace`]). What is large needs a place for that
//! beside the others, because of the memory that it takes ([`fetch::Room`]).

use std::{pin::pin, sync::Arc};

use proxima_ledger::Snapshot;
use proxima_model::{
    IncomingTransfers, PrimarySoa, SecondaryZone, Timestamp, TransferFailure, TransferPeer, Zone, ZoneId,
};
use proxima_transfer::stream::{Transfer, is_newer};
use tokio::time::{Instant, timeout_at};

use super::{
    apply::{self, Began, NotApplied},
    fetch::{self, Pace, Room, Wanted},
    plan,
};
use crate::{
    api::{Api, write::Author},
    error::ApiError,
    limits,
    transfers::{
        client::Other,
        places::{Place, Share},
    },
};

/// A look that is to be taken.
pub(super) struct Look {
    pub(super) api: Arc<Api>,
    pub(super) author: Author,
    pub(super) zone: ZoneId,
    /// The owner's wish for everything, if that is what is asked for.
    pub(super) forced: Option<Timestamp>,
    pub(super) allow_private: bool,
    /// Places to ask for a serial, to fetch, and to fetch slowly.
    pub(super) asking: Share,
    pub(super) fetching: Share,
    pub(super) slow: Share,
    /// Places for what is large, beside those.
    pub(super) large: Share,
}

/// How often a zone is fetched in one look: differences, then everything if they do not fit, and once more because another
/// process came between.
const FETCHES_MAX: usize = 3;

/// How a look ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// A primary was heard.
    Heard,
    /// None was, or what is newer could not be taken.
    Failed,
    /// Nobody was asked: what another one had left was taken away.
    Swept,
}

/// What is here of a zone, and whom to ask.
struct Found {
    zone: Zone,
    secondary: SecondaryZone,
    /// Primaries, or why they cannot be asked; and whether they know differences.
    primaries: Vec<(Result<Other, String>, bool)>,
}

fn find(snapshot: &Snapshot, id: ZoneId, allow_private: bool) -> Result<Option<Found>, ApiError> {
    let Some(secondary) = snapshot.get::<SecondaryZone>(&id)? else { return Ok(None) };
    let Some(zone) = snapshot.get::<Zone>(&id)? else { return Ok(None) };
    let incoming = snapshot.get::<IncomingTransfers>(&id)?;
    let mut primaries = Vec::new();
    for peer in incoming.iter().flat_map(|incoming| &incoming.peers) {
        let Some(peer) = snapshot.get::<TransferPeer>(&(zone.account, *peer))? else { continue };
        primaries.push((Other::of(snapshot, &peer, allow_private)?, peer.ixfr));
    }
    Ok(Some(Found { zone, secondary, primaries }))
}

/// What a look holds.
enum Turn {
    /// A place to ask.
    Asking { _place: Place },
    /// Nothing.
    Waiting,
    /// A place to fetch: this one for so long, and any for so long.
    Transferring { _place: Place, keeps_until: Instant, deadline: Instant },
}

/// What came of asking one primary.
enum Answer {
    /// Something newer, which is in force.
    Came,
    /// What is here.
    Same,
    /// What is older than what is here.
    Older(u32),
}

/// Why nothing came of it, in words for the zone's owner.
enum Failure {
    /// It was not heard.
    Unheard(String),
    /// It has something newer, which cannot be taken.
    Untaken(String),
}

impl Look {
    /// Asks the primaries, and notes in the log why nothing came of it.
    pub(super) async fn take(self) -> Outcome {
        let turn = Turn::Asking { _place: self.asking.take().await };
        let (id, allow) = (self.zone, self.allow_private);
        let found = match self.api.read(move |snapshot| find(snapshot, id, allow)).await {
            Ok(Some(found)) => found,
            // It has been deleted meanwhile.
            Ok(None) => return Outcome::Failed,
            Err(error) => {
                tracing::warn!(zone = %id, %error, "a zone that comes from elsewhere cannot be looked at");
                return Outcome::Failed;
            }
        };
        let Err(why) = self.refresh(&found, turn).await else { return Outcome::Heard };
        self.api.metrics.transferred_in("failed");
        tracing::warn!(zone = %found.zone.name, %why, "a zone did not come from its primary");
        if let Err(error) = note_failure(&self.api, &self.author, id, why).await {
            tracing::warn!(zone = %found.zone.name, %error, "why a zone did not come is not noted");
        }
        Outcome::Failed
    }

    /// Asks one primary after the other, until one has something newer.
    async fn refresh(&self, found: &Found, mut turn: Turn) -> Result<(), String> {
        // The serial of those that were heard, as far as it is older than what is here.
        let (mut heard, mut untaken): (Option<Option<u32>>, Option<String>) = (None, None);
        let mut unheard = "the zone has no primaries".to_owned();
        let (mut pace, mut room) = (Pace::new(Instant::now()), Room::new(self.large.clone()));
        for (other, ixfr) in &found.primaries {
            let answer = match other {
                Ok(other) => {
                    self.refresh_from(found, (other, *ixfr), &mut turn, (&mut pace, &mut room)).await
                }
                Err(why) => Err(Failure::Unheard(why.clone())),
            };
            match answer {
                Ok(Answer::Came) => return Ok(()),
                Ok(Answer::Same) => heard = Some(None),
                Ok(Answer::Older(serial)) => heard = heard.or(Some(Some(serial))),
                Err(Failure::Untaken(why)) => untaken = Some(why),
                Err(Failure::Unheard(why)) => unheard = why,
            }
        }
        let older = match (untaken, heard) {
            (Some(why), _) => return Err(why),
            (None, None) => return Err(unheard),
            (None, Some(older)) => older,
        };
        note_heard(&self.api, &self.author, self.zone, older).await.map_err(|error| error.to_string())
    }

    async fn refresh_from(
        &self,
        found: &Found,
        (other, ixfr): (&Other, bool),
        turn: &mut Turn,
        (pace, room): (&mut Pace, &mut Room),
    ) -> Result<Answer, Failure> {
        let name = found.zone.name.wire();
        let there = fetch::serial(&self.api, other, &name).await.map_err(Failure::Unheard)?;
        let here = found.secondary.soa.as_ref();
        if let Some(here) = here.map(PrimarySoa::serial).filter(|_| self.forced.is_none())
            && !is_newer(there, here)
        {
            return Ok(if there == here { Answer::Same } else { Answer::Older(there) });
        }
        self.transferring(turn).await;
        let whole = self.forced.is_some();
        let mut wanted = Wanted { zone: name, here: here.filter(|_| !whole).cloned() };
        let mut began = Began { zone: self.zone, soa: found.secondary.soa.clone(), forced: self.forced };
        for _ in 0..FETCHES_MAX {
            let fetching = fetch::fetch(&self.api, (other, ixfr), &wanted, (pace, room));
            let transfer = within_places(turn, &self.slow, fetching).await.map_err(Failure::Untaken)?;
            if transfer == Transfer::Nothing {
                return Ok(Answer::Same);
            }
            let is_difference = matches!(transfer, Transfer::Differences(..));
            match apply::apply(&self.api, &self.author, began.clone(), transfer).await {
                Ok(changes) => {
                    self.api.metrics.transferred_in("came");
                    tracing::info!(zone = %found.zone.name, from = %other.address, changes, "a zone came from its primary");
                    return Ok(Answer::Came);
                }
                // Everything may do where differences do not.
                Err(NotApplied::Unfit(_)) if is_difference => wanted.here = None,
                Err(NotApplied::Unfit(why)) => return Err(Failure::Untaken(why)),
                Err(NotApplied::Overtaken) => {
                    tracing::info!(zone = %found.zone.name, "another transfer came between: fetching again");
                    began.soa = self.in_force().await.map_err(|error| Failure::Untaken(error.to_string()))?;
                    wanted.here = began.soa.clone().filter(|_| !whole);
                    let serial = wanted.here.as_ref().map(PrimarySoa::serial);
                    if serial.is_some_and(|here| !is_newer(there, here)) {
                        return Ok(Answer::Same);
                    }
                }
                Err(NotApplied::Failed(error)) => return Err(Failure::Untaken(error.to_string())),
            }
        }
        Err(Failure::Untaken("neither differences nor everything can be taken".to_owned()))
    }

    /// The SOA record that is in force now.
    async fn in_force(&self) -> Result<Option<PrimarySoa>, ApiError> {
        let zone = self.zone;
        let found = self.api.read(move |snapshot| Ok(snapshot.get::<SecondaryZone>(&zone)?)).await?;
        Ok(found.and_then(|found| found.soa))
    }

    /// Takes a place for transfers, unless this look has one.
    async fn transferring(&self, turn: &mut Turn) {
        if let Turn::Transferring { .. } = turn {
            return;
        }
        // Others may ask while this waits.
        *turn = Turn::Waiting;
        let place = self.fetching.take().await;
        let now = Instant::now();
        let (keeps_until, deadline) = (now + limits::TRANSFER_QUICK_WITHIN, now + limits::TRANSFER_WITHIN);
        *turn = Turn::Transferring { _place: place, keeps_until, deadline };
    }
}

/// Fetches for as long as the look's place is its own, and then in one for slow transfers.
async fn within_places<T>(
    turn: &mut Turn,
    slow: &Share,
    fetching: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let &mut Turn::Transferring { keeps_until, deadline, .. } = turn else {
        return Err("it has no place to fetch".to_owned());
    };
    let mut fetching = pin!(fetching);
    if let Ok(fetched) = timeout_at(keeps_until, &mut fetching).await {
        return fetched;
    }
    if keeps_until < deadline {
        let Some(place) = slow.try_take() else {
            return Err(
                "the transfer takes long, and too many that do are under way; it is tried again".to_owned()
            );
        };
        // The former place is free from here on.
        *turn = Turn::Transferring { _place: place, keeps_until: deadline, deadline };
    }
    timeout_at(deadline, fetching).await.unwrap_or_else(|_| Err("the transfer takes too long".to_owned()))
}

/// Notes that a primary was heard and none has anything newer: now and then, and where that is news. A serial that has gone
/// back at all of them is told to the zone's owner.
async fn note_heard(
    api: &Arc<Api>,
    author: &Author,
    zone: ZoneId,
    older: Option<u32>,
) -> Result<(), ApiError> {
    let written = api.write(author, move |draft| {
        let Some(former) = draft.read::<SecondaryZone>(&zone)? else { return Ok(()) };
        let noted = former.checked_at.map(|at| at.plus_seconds(plan::noted_seconds(&former)));
        let is_fresh = noted.is_some_and(|until| draft.now < until);
        let here = former.soa.as_ref().map(PrimarySoa::serial).unwrap_or_default();
        let message = older.map(|there| {
            format!("the primary has serial {there}, which is older than {here} here; force_axfr takes it")
        });
        let known = former.failure.as_ref().map(|failure| &failure.message);
        if known == message.as_ref() && !former.expired && is_fresh {
            return Ok(());
        }
        let failure = match former.failure.clone() {
            failure if known == message.as_ref() => failure,
            _ => message.map(|message| TransferFailure { at: draft.now, message }),
        };
        draft.put(&SecondaryZone { checked_at: Some(draft.now), failure, expired: false, ..former });
        Ok(())
    });
    written.await.map(|_| ())
}

/// Notes why a zone did not come: once, as long as it is for the same reason.
async fn note_failure(api: &Arc<Api>, author: &Author, zone: ZoneId, why: String) -> Result<(), ApiError> {
    let message: String = why.chars().take(limits::TRANSFER_MESSAGE_CHARS_MAX).collect();
    let written = api.write(author, move |draft| {
        let Some(former) = draft.read::<SecondaryZone>(&zone)? else { return Ok(()) };
        if former.failure.as_ref().is_some_and(|failure| failure.message == message) {
            return Ok(());
        }
        let failure = Some(TransferFailure { at: draft.now, message: message.clone() });
        draft.put(&SecondaryZone { failure, ..former });
        Ok(())
    });
    written.await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proxima_model::AccountId;

    use super::*;
    use crate::transfers::places::Places;

    #[tokio::test(start_paused = true)]
    async fn however_many_accounts_are_slow_another_one_waits_for_a_minute_at_the_most() {
        let mut quick = Places::new(limits::TRANSFERS_IN_MAX, limits::TRANSFERS_IN_PER_ACCOUNT_MAX);
        let mut slow = Places::new(limits::TRANSFERS_SLOW_MAX, limits::TRANSFERS_SLOW_PER_ACCOUNT_MAX);
        let mut of = |account| {
            let account = AccountId::from_bytes([account; 16]);
            (quick.of(account), slow.of(account))
        };
        let endless = limits::TRANSFER_WITHIN * 2;
        // Each account has two, of which one goes on and the other one ends.
        let slow_ones: Vec<_> =
            [0, 0, 1, 1, 2, 2, 3, 3].map(|account| tokio::spawn(fetches(of(account), endless))).into();
        // A legitimate one that takes its time, and one that is quick.
        let patient = tokio::spawn(fetches(of(4), limits::TRANSFER_WITHIN / 2));
        tokio::task::yield_now().await;
        let begun = Instant::now();
        let (outcome, _) = fetches(of(5), Duration::from_secs(1)).await;
        assert_eq!(outcome, Ok(()));
        assert_eq!(begun.elapsed().as_secs(), limits::TRANSFER_QUICK_WITHIN.as_secs() + 1);
        assert_eq!(patient.await.unwrap().0, Ok(()), "slow, and within the bound");
        let mut ended: Vec<u64> = Vec::new();
        for one in slow_ones {
            let (outcome, after) = one.await.unwrap();
            assert!(outcome.is_err());
            ended.push(after.as_secs());
        }
        ended.sort_unstable();
        let (quick, slow) = (limits::TRANSFER_QUICK_WITHIN.as_secs(), limits::TRANSFER_WITHIN.as_secs());
        assert_eq!(ended, [[quick; 4], [slow; 4]].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_as_little_as_may_be_leaves_its_slow_place_to_others_after_some_minutes() {
        let mut slow = Places::new(limits::TRANSFERS_SLOW_MAX, limits::TRANSFERS_SLOW_PER_ACCOUNT_MAX);
        let dripping: Vec<_> = (0..u8::try_from(limits::TRANSFERS_SLOW_MAX).unwrap())
            .map(|account| {
                let place = slow.of(AccountId::from_bytes([account; 16])).try_take().unwrap();
                tokio::spawn(async move {
                    let mut pace = Pace::new(Instant::now());
                    // Hardly more than what is asked of it.
                    while pace.holds(limits::TRANSFER_PACE_OCTETS_MIN / 7 + 1, Instant::now()) {
                        tokio::time::sleep(Duration::from_secs(9)).await;
                    }
                    drop(place);
                })
            })
            .collect();
        let other = slow.of(AccountId::from_bytes([99; 16]));
        assert!(other.try_take().is_none(), "all are taken");
        let begun = Instant::now();
        let _place = other.take().await;
        assert!(begun.elapsed() < limits::TRANSFER_WITHIN / 4, "{:?}", begun.elapsed());
        for one in dripping {
            one.await.unwrap();
        }
    }

    /// Fetches in places as looks have them; how that ends after this long.
    async fn fetches((fetching, slow): (Share, Share), takes: Duration) -> (Result<(), String>, Duration) {
        let now = Instant::now;
        let _place = fetching.take().await;
        let began = now();
        let (keeps_until, deadline) =
            (began + limits::TRANSFER_QUICK_WITHIN, began + limits::TRANSFER_WITHIN);
        let mut turn = Turn::Transferring { _place, keeps_until, deadline };
        let outcome = within_places(&mut turn, &slow, async {
            tokio::time::sleep(takes).await;
            Ok(())
        });
        (outcome.await, now() - began)
    }
}
