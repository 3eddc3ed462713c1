//! Keeps secondary zones up until the node drains: looks at what changed and what is due, and fetches.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use proxima_chassis::Shutdown;
use proxima_ledger::{Seq, Snapshot};
use proxima_model::{
    Entity as _, IncomingTransfers, SecondaryZone, Timestamp, TransferFailure, TransferPeer, Zone, ZoneId,
    ZoneNotice,
};
use proxima_transfer::stream::Transfer;
use tokio::task::JoinSet;

use super::{
    apply::{self, NotApplied},
    fetch::{self, Wanted},
    plan::{self, Memory, Next},
};
use crate::{
    api::{Api, write::Author},
    error::ApiError,
    limits,
    transfers::client::Other,
};

/// Fetches zones until the node drains.
pub(crate) async fn run(api: Arc<Api>, author: Author, allow_private: bool, shutdown: Shutdown) {
    let mut runner = Runner {
        api,
        author,
        allow_private,
        looked_until: None,
        due: HashMap::new(),
        memory: HashMap::new(),
        fetching: JoinSet::new(),
        in_flight: HashSet::new(),
    };
    let mut applied = runner.api.replica.watch();
    loop {
        applied.borrow_and_update();
        let wait = match runner.round().await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(%error, "looking after secondary zones failed; it is tried again");
                runner.looked_until = None;
                limits::UPKEEP_RETRY
            }
        };
        tokio::select! {
            // What is under way is dropped: nothing of it is in force.
            () = shutdown.draining() => return,
            changed = applied.changed() => if changed.is_err() { return },
            Some(ended) = runner.fetching.join_next() => runner.ended(ended.ok()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Runner {
    api: Arc<Api>,
    author: Author,
    allow_private: bool,
    /// Changes up to here have been looked at.
    looked_until: Option<Seq>,
    /// When a zone is looked at next.
    due: HashMap<ZoneId, Timestamp>,
    memory: HashMap<ZoneId, Memory>,
    fetching: JoinSet<(ZoneId, Outcome)>,
    in_flight: HashSet<ZoneId>,
}

/// How a look ended.
#[derive(Clone, Copy)]
enum Outcome {
    /// A primary was heard.
    Heard,
    /// None was.
    Failed,
}

/// A zone that is looked at.
struct Look {
    zone: Zone,
    secondary: SecondaryZone,
    next: Next,
    /// When its owner and its primaries last asked for it.
    asked: (Option<Timestamp>, Option<Seq>),
    primaries: Vec<(Result<Other, String>, bool)>,
}

impl Runner {
    /// Looks at what changed and what is due; how long to wait for the next round if nothing happens.
    async fn round(&mut self) -> Result<Duration, ApiError> {
        let changed = self.api.replica.changes_since(self.looked_until.unwrap_or(Seq::ZERO));
        let now = self.api.now();
        let zones: BTreeSet<ZoneId> = match changed.zones().filter(|_| self.looked_until.is_some()) {
            Some(zones) => zones,
            None => self.api.read(all).await?,
        };
        self.due.extend(zones.into_iter().map(|zone| (zone, now)));
        self.looked_until = Some(changed.to);
        let due: Vec<ZoneId> = self.due.iter().filter(|(_, at)| **at <= now).map(|(zone, _)| *zone).collect();
        for id in due {
            if self.in_flight.contains(&id) {
                // It is looked at again when that has ended.
                self.due.remove(&id);
                continue;
            }
            if self.in_flight.len() >= limits::TRANSFERS_IN_MAX {
                return Ok(limits::UPKEEP_INTERVAL);
            }
            self.due.remove(&id);
            let (memory, allow) = (self.memory.get(&id).copied().unwrap_or_default(), self.allow_private);
            let Some(look) = self.api.read(move |snapshot| look(snapshot, id, memory, allow, now)).await?
            else {
                self.memory.remove(&id);
                continue;
            };
            match look.next {
                Next::Rest(None) => {}
                Next::Rest(Some(at)) => {
                    self.due.insert(id, at);
                }
                Next::Expire => {
                    expire(&self.api, &self.author, &look.zone).await?;
                    self.due.insert(id, now);
                }
                Next::Check { whole } => self.fetch(look, whole),
            }
        }
        let next = self.due.values().min().map(|at| at.as_millis().saturating_sub(now.as_millis()).max(10));
        let wait =
            next.map_or(limits::UPKEEP_INTERVAL, |millis| Duration::from_millis(millis.unsigned_abs()));
        Ok(wait.min(limits::UPKEEP_INTERVAL))
    }

    fn fetch(&mut self, look: Look, whole: bool) {
        let id = look.zone.id;
        self.in_flight.insert(id);
        let memory = self.memory.entry(id).or_default();
        let (forced_at, noticed) = look.asked;
        *memory = Memory { tried_at: Some(self.api.now()), forced_at, noticed, ..*memory };
        let (api, author) = (self.api.clone(), self.author.clone());
        self.fetching.spawn(async move {
            let outcome = match refresh(&api, &author, &look, whole).await {
                Ok(()) => Outcome::Heard,
                Err(why) => {
                    api.metrics.transferred_in("failed");
                    tracing::warn!(zone = %look.zone.name, %why, "a zone did not come from its primary");
                    if let Err(error) = note_failure(&api, &author, id, why).await {
                        tracing::warn!(zone = %look.zone.name, %error, "why a zone did not come is not noted");
                    }
                    Outcome::Failed
                }
            };
            (id, outcome)
        });
    }

    fn ended(&mut self, ended: Option<(ZoneId, Outcome)>) {
        let now = self.api.now();
        match ended {
            Some((zone, outcome)) => {
                self.in_flight.remove(&zone);
                let memory = self.memory.entry(zone).or_default();
                match outcome {
                    Outcome::Heard => *memory = Memory { heard_at: Some(now), failures: 0, ..*memory },
                    Outcome::Failed => memory.failures = memory.failures.saturating_add(1),
                }
                self.due.insert(zone, now);
            }
            None => {
                // Which one panicked is not told: all are looked at again.
                self.fetching.abort_all();
                self.in_flight.clear();
                self.looked_until = None;
            }
        }
    }
}

fn all(snapshot: &Snapshot) -> Result<BTreeSet<ZoneId>, ApiError> {
    snapshot.scan::<SecondaryZone>(&[]).map(|secondary| Ok(secondary?.zone)).collect()
}

fn look(
    snapshot: &Snapshot,
    id: ZoneId,
    memory: Memory,
    allow_private: bool,
    now: Timestamp,
) -> Result<Option<Look>, ApiError> {
    let Some(secondary) = snapshot.get::<SecondaryZone>(&id)? else { return Ok(None) };
    let Some(zone) = snapshot.get::<Zone>(&id)? else { return Ok(None) };
    let incoming = snapshot.get::<IncomingTransfers>(&id)?;
    let noticed = snapshot.revision(&ZoneNotice::key_of(&id))?;
    let next = plan::next(incoming.as_ref(), &secondary, noticed, memory, now);
    let mut primaries = Vec::new();
    for peer in incoming.iter().flat_map(|incoming| &incoming.peers) {
        let Some(peer) = snapshot.get::<TransferPeer>(&(zone.account, *peer))? else { continue };
        primaries.push((Other::of(snapshot, &peer, allow_private)?, peer.ixfr));
    }
    let asked = (incoming.and_then(|incoming| incoming.forced_at), noticed);
    Ok(Some(Look { zone, secondary, next, asked, primaries }))
}

/// Asks the primaries, one after the other, until one has the zone.
async fn refresh(api: &Arc<Api>, author: &Author, look: &Look, whole: bool) -> Result<(), String> {
    let mut why = "the zone has no primaries".to_owned();
    for (other, ixfr) in &look.primaries {
        let outcome = match other {
            Ok(other) => refresh_from(api, author, look, other, *ixfr, whole).await,
            Err(why) => Err(why.clone()),
        };
        match outcome {
            Ok(()) => return Ok(()),
            Err(new) => why = new,
        }
    }
    Err(why)
}

async fn refresh_from(
    api: &Arc<Api>,
    author: &Author,
    look: &Look,
    other: &Other,
    ixfr: bool,
    whole: bool,
) -> Result<(), String> {
    let zone = look.zone.id;
    let mut wanted = Wanted { zone: look.zone.name.wire(), here: look.secondary.soa.clone(), whole };
    for _ in 0..2 {
        let transfer = fetch::fetch(api, other, ixfr, &wanted).await?;
        if transfer == Transfer::Nothing {
            return note_heard(api, author, zone).await.map_err(|error| error.to_string());
        }
        let is_difference = matches!(transfer, Transfer::Differences(..));
        match apply::apply(api, author, zone, transfer).await {
            Ok(changes) => {
                api.metrics.transferred_in("came");
                tracing::info!(zone = %look.zone.name, from = %other.address, changes, "a zone came from its primary");
                return Ok(());
            }
            // Everything may do where differences do not.
            Err(NotApplied::Unfit(_)) if is_difference => wanted.whole = true,
            Err(NotApplied::Unfit(why)) => return Err(why),
            Err(NotApplied::Failed(error)) => return Err(error.to_string()),
        }
    }
    Err("neither differences nor everything can be taken".to_owned())
}

/// Notes that a primary was heard and has nothing newer: now and then, and where it was not before.
async fn note_heard(api: &Arc<Api>, author: &Author, zone: ZoneId) -> Result<(), ApiError> {
    let written = api.write(author, move |draft| {
        let Some(former) = draft.read::<SecondaryZone>(&zone)? else { return Ok(()) };
        let noted = former.checked_at.map(|at| at.plus_seconds(limits::TRANSFER_NOTED_SECONDS));
        let is_fresh = noted.is_some_and(|until| draft.now < until);
        if former.failure.is_none() && !former.expired && is_fresh {
            return Ok(());
        }
        draft.put(&SecondaryZone { checked_at: Some(draft.now), failure: None, expired: false, ..former });
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

async fn expire(api: &Arc<Api>, author: &Author, zone: &Zone) -> Result<(), ApiError> {
    tracing::warn!(zone = %zone.name, "no primary was heard for as long as the zone is good: it is not served any more");
    let id = zone.id;
    let written = api.write(author, move |draft| {
        if let Some(former) = draft.read::<SecondaryZone>(&id)? {
            draft.put(&SecondaryZone { expired: true, ..former });
        }
        Ok(())
    });
    written.await.map(|_| ())
}
