//! Keeps secondary zones up until the node drains: looks at what changed and what is due, and has it fetched.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use proxima_chassis::Shutdown;
use proxima_ledger::{ChangeSet, Seq, Snapshot};
use proxima_model::{
    AccountId, Entity as _, IncomingTransfers, Key, Kind, PresignedProblem, SecondaryZone, Timestamp, Zone,
    ZoneId, ZoneNotice,
};
use tokio::task::{self, JoinError, JoinSet};

use super::{
    apply,
    plan::{self, Memory, Next},
    refresh::{Look, Outcome},
};
use crate::{
    api::{Api, write::Author},
    error::ApiError,
    limits,
    transfers::places::Places,
};

/// After how many seconds a zone is looked at again that could not be.
const UNREADABLE_WAIT_SECONDS: i64 = 30;

/// Fetches zones until the node drains.
pub(crate) async fn run(api: Arc<Api>, author: Author, allow_private: bool, shutdown: Shutdown) {
    let mut runner = Runner {
        api,
        author,
        allow_private,
        looked_until: None,
        due: HashMap::new(),
        memory: HashMap::new(),
        asking: Places::new(limits::TRANSFER_LOOKS_MAX, limits::TRANSFER_LOOKS_PER_ACCOUNT_MAX),
        fetching: Places::new(limits::TRANSFERS_IN_MAX, limits::TRANSFERS_IN_PER_ACCOUNT_MAX),
        slow: Places::new(limits::TRANSFERS_SLOW_MAX, limits::TRANSFERS_SLOW_PER_ACCOUNT_MAX),
        large: Places::new(limits::TRANSFERS_LARGE_MAX, limits::TRANSFERS_LARGE_PER_ACCOUNT_MAX),
        sweeping: Places::new(limits::TRANSFERS_SWEPT_MAX, limits::TRANSFERS_SWEPT_MAX),
        looking: JoinSet::new(),
        tasks: HashMap::new(),
        under_way: HashSet::new(),
        presigned: HashMap::new(),
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
            Some(ended) = runner.looking.join_next_with_id() => runner.ended(ended),
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
    asking: Places,
    fetching: Places,
    slow: Places,
    large: Places,
    sweeping: Places,
    looking: JoinSet<Outcome>,
    /// Which zone a task looks at.
    tasks: HashMap<task::Id, ZoneId>,
    /// Zones that a task looks at, or waits to.
    under_way: HashSet<ZoneId>,
    /// What is wrong with the zones that are answered as their primary signed them, as it was last told.
    presigned: HashMap<ZoneId, Option<PresignedProblem>>,
}

/// A zone, as far as it decides what is next.
struct Seen {
    zone: Zone,
    next: Next,
    expires_at: Option<Timestamp>,
    /// When its owner and its primaries last asked for it.
    forced_at: Option<Timestamp>,
    noticed: Option<Seq>,
    /// Which transfer stages, if one does.
    staging: Option<u64>,
    /// Of a zone that is answered as its primary signed it: what is wrong with that, and when that may change by itself.
    presigned: Option<(Option<PresignedProblem>, Option<Timestamp>)>,
}

impl Runner {
    /// Looks at what changed and what is due; how long to wait for the next round if nothing happens.
    async fn round(&mut self) -> Result<Duration, ApiError> {
        let changed = self.api.replica.changes_since(self.looked_until.unwrap_or(Seq::ZERO));
        let now = self.api.now();
        let zones: BTreeSet<ZoneId> = match changed.zones().filter(|_| self.looked_until.is_some()) {
            Some(zones) => {
                let corrected = self.corrected(&changed).await?;
                zones.into_iter().chain(noticed(&changed)).chain(corrected).collect()
            }
            None => self.api.read(all).await?,
        };
        // Those that are looked at already are due when that has ended.
        let zones = zones.into_iter().filter(|zone| !self.under_way.contains(zone));
        self.due.extend(zones.map(|zone| (zone, now)));
        self.looked_until = Some(changed.to);
        let due = self.due.iter().filter(|(_, at)| **at <= now);
        let mut due: Vec<(Timestamp, ZoneId)> = due.map(|(zone, at)| (*at, *zone)).collect();
        due.sort_unstable();
        for (_, id) in due {
            self.due.remove(&id);
            if let Err(error) = self.look_at(id, now).await {
                // It is looked at again, and the others are looked after meanwhile.
                tracing::warn!(zone = %id, %error, "looking after a secondary zone failed");
                self.due.insert(id, now.plus_seconds(UNREADABLE_WAIT_SECONDS));
            }
        }
        let next = self.due.values().min().map(|at| at.as_millis().saturating_sub(now.as_millis()).max(10));
        let wait =
            next.map_or(limits::UPKEEP_INTERVAL, |millis| Duration::from_millis(millis.unsigned_abs()));
        Ok(wait.min(limits::UPKEEP_INTERVAL))
    }

    /// The zones that do not come, and may by what was changed of their account's peers and keys.
    async fn corrected(&mut self, changed: &ChangeSet) -> Result<Vec<ZoneId>, ApiError> {
        let of_kind = |kind| changed.of_kind(kind).into_iter().flatten().filter_map(Key::first_part);
        let accounts: HashSet<AccountId> = of_kind(Kind::TransferPeer).chain(of_kind(Kind::Tsig)).collect();
        if accounts.is_empty() {
            return Ok(Vec::new());
        }
        let zones = self.api.read(move |snapshot| not_coming(snapshot, &accounts)).await?;
        for zone in &zones {
            self.memory.entry(*zone).or_default().is_corrected = true;
        }
        Ok(zones)
    }

    async fn look_at(&mut self, id: ZoneId, now: Timestamp) -> Result<(), ApiError> {
        let memory = self.memory.get(&id).copied().unwrap_or_default();
        let Some(seen) = self.api.read(move |snapshot| see(snapshot, id, memory, now)).await? else {
            self.memory.remove(&id);
            self.tell_presigned(id, None);
            return Ok(());
        };
        self.tell_presigned(id, Some(&seen));
        if self.under_way.contains(&id) {
            // However long that takes, the zone is good for no longer.
            match seen.expires_at {
                Some(at) if at <= now => expire(&self.api, &self.author, &seen.zone).await?,
                Some(at) => {
                    self.due.insert(id, at);
                }
                None => {}
            }
            return Ok(());
        }
        match seen.next {
            Next::Rest(None) => {}
            Next::Rest(Some(at)) => {
                self.due.insert(id, at);
            }
            Next::Expire => {
                expire(&self.api, &self.author, &seen.zone).await?;
                self.due.insert(id, now);
            }
            Next::Check { whole } => self.look(&seen, whole, now),
        }
        self.see_to_left(&seen, memory, now);
        if let Some((_, Some(at))) = seen.presigned {
            let due = self.due.entry(id).or_insert(at);
            *due = at.min(*due);
        }
        Ok(())
    }

    /// Says what is wrong with the signatures that a zone came with, once as long as it is the same.
    fn tell_presigned(&mut self, id: ZoneId, seen: Option<&Seen>) {
        let found = seen.and_then(|seen| Some((&seen.zone.name, seen.presigned?.0)));
        let known = match found {
            Some((_, problem)) => self.presigned.insert(id, problem),
            None => self.presigned.remove(&id),
        };
        match found {
            Some((_, problem)) if known == Some(problem) => return,
            None if known.is_none() => return,
            Some((zone, Some(PresignedProblem::NotCome))) => {
                tracing::info!(%zone, "a zone is to be answered as its primary signs it");
            }
            Some((zone, Some(why))) => {
                tracing::warn!(%zone, %why, "a zone that is answered as its primary signed it is not in order");
            }
            Some((zone, None)) => tracing::info!(%zone, "a zone is answered as its primary signed it"),
            None => {}
        }
        self.api.metrics.presigned(self.presigned.values().copied());
    }

    fn look(&mut self, seen: &Seen, whole: bool, now: Timestamp) {
        let id = seen.zone.id;
        let Seen { forced_at, noticed, .. } = *seen;
        let memory = self.memory.entry(id).or_default();
        *memory = Memory { tried_at: Some(now), forced_at, noticed, is_corrected: false, ..*memory };
        if let Some(at) = seen.expires_at {
            self.due.insert(id, at.max(now.plus_seconds(limits::TRANSFER_EXPIRY_GRACE_SECONDS)));
        }
        let look = Look {
            api: self.api.clone(),
            author: self.author.clone(),
            zone: id,
            forced: forced_at.filter(|_| whole),
            allow_private: self.allow_private,
            asking: self.asking.of(seen.zone.account),
            fetching: self.fetching.of(seen.zone.account),
            slow: self.slow.of(seen.zone.account),
            large: self.large.of(seen.zone.account),
        };
        let task = self.looking.spawn(look.take());
        self.tasks.insert(task.id(), id);
        self.under_way.insert(id);
    }

    /// Has taken away, after a while, what a transfer left that was broken off. A look that is taken sees to that itself.
    fn see_to_left(&mut self, seen: &Seen, memory: Memory, now: Timestamp) {
        let id = seen.zone.id;
        if self.under_way.contains(&id) {
            return;
        }
        let left = plan::left(seen.staging, memory, now);
        let place = left.filter(|(_, at)| *at <= now);
        let place = place.and_then(|_| self.sweeping.of(seen.zone.account).try_take());
        // What cannot be taken away waits as long again.
        let known = left.map(|(known, _)| known).filter(|_| place.is_none());
        if known != memory.left {
            self.memory.entry(id).or_default().left = known;
        }
        let Some((_, at)) = left else { return };
        let Some(place) = place else {
            let at = at.max(now.plus_seconds(limits::TRANSFER_LEFT_SECONDS));
            let due = self.due.entry(id).or_insert(at);
            *due = at.min(*due);
            return;
        };
        let (api, author, name) = (self.api.clone(), self.author.clone(), seen.zone.name.clone());
        let task = self.looking.spawn(async move {
            let _place = place;
            match apply::sweep(&api, &author, id).await {
                Ok(true) => {
                    tracing::info!(zone = %name, "what a transfer left that was broken off is taken away")
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(zone = %name, ?error, "what a transfer left is not taken away yet")
                }
            }
            Outcome::Swept
        });
        self.tasks.insert(task.id(), id);
        self.under_way.insert(id);
    }

    fn ended(&mut self, ended: Result<(task::Id, Outcome), JoinError>) {
        let (task, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "looking at a zone that comes from elsewhere panicked");
                (error.id(), Outcome::Failed)
            }
        };
        let Some(zone) = self.tasks.remove(&task) else { return };
        self.under_way.remove(&zone);
        let now = self.api.now();
        let memory = self.memory.entry(zone).or_default();
        let tried = Memory { tried_at: Some(now), ..*memory };
        match outcome {
            Outcome::Heard => *memory = Memory { heard_at: Some(now), failures: 0, ..tried },
            Outcome::Failed => *memory = Memory { failures: memory.failures.saturating_add(1), ..tried },
            Outcome::Swept => {}
        }
        self.due.insert(zone, now);
        self.asking.forget_idle();
        self.fetching.forget_idle();
        self.slow.forget_idle();
        self.large.forget_idle();
        self.sweeping.forget_idle();
    }
}

/// The zones of which primaries say that they have changed.
fn noticed(changed: &ChangeSet) -> impl Iterator<Item = ZoneId> {
    changed.of_kind(Kind::ZoneNotice).into_iter().flatten().filter_map(Key::first_part)
}

fn all(snapshot: &Snapshot) -> Result<BTreeSet<ZoneId>, ApiError> {
    snapshot.scan::<SecondaryZone>(&[]).map(|secondary| Ok(secondary?.zone)).collect()
}

/// The zones of these accounts that do not come.
fn not_coming(snapshot: &Snapshot, accounts: &HashSet<AccountId>) -> Result<Vec<ZoneId>, ApiError> {
    let mut zones = Vec::new();
    for secondary in snapshot.scan::<SecondaryZone>(&[]) {
        let secondary = secondary?;
        if secondary.failure.is_none() && secondary.is_served() {
            continue;
        }
        let zone = snapshot.get::<Zone>(&secondary.zone)?;
        zones.extend(zone.filter(|zone| accounts.contains(&zone.account)).map(|zone| zone.id));
    }
    Ok(zones)
}

fn see(snapshot: &Snapshot, id: ZoneId, memory: Memory, now: Timestamp) -> Result<Option<Seen>, ApiError> {
    let Some(secondary) = snapshot.get::<SecondaryZone>(&id)? else { return Ok(None) };
    let Some(zone) = snapshot.get::<Zone>(&id)? else { return Ok(None) };
    let incoming = snapshot.get::<IncomingTransfers>(&id)?;
    let noticed = snapshot.revision(&ZoneNotice::key_of(&id))?;
    let next = plan::next(incoming.as_ref(), &secondary, noticed, memory, now);
    let expires_at = plan::expires_at(incoming.as_ref(), &secondary, memory);
    let presigned = secondary
        .presigned
        .as_ref()
        .map(|presigned| (secondary.signing_problem(now), presigned.changes_at(now)));
    Ok(Some(Seen {
        zone,
        next,
        expires_at,
        forced_at: incoming.and_then(|incoming| incoming.forced_at),
        noticed,
        staging: secondary.staging,
        presigned,
    }))
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
