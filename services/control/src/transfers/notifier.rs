//! Tells zones' peers of changes (RFC 1996): where the log is, once for the network.
//!
//! What was told lies in the log, so that a process that takes over tells no more and no less. A peer is told of one zone
//! by one task at a time; what changes meanwhile is told by the next. One that does not answer after some tries, or
//! refuses, is left to its own timers (RFC 1034, 4.3.5) until the next change.
//!
//! Limits: `limits::NOTIFIES_MAX` at a time, and of one account `limits::NOTIFIES_PER_ACCOUNT_MAX`, so that an account whose
//! peers are silent keeps no other waiting; who waits, waits in the order in which zones changed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use proxima_chassis::Shutdown;
use proxima_ledger::{Seq, Snapshot};
use proxima_model::{
    AccountId, OutgoingTransfers, PeerNotice, Timestamp, TransferNotices, TransferPeer, TransferPeerId, Zone,
    ZoneId,
};
use tokio::{
    sync::watch,
    task::{self, JoinError, JoinSet},
    time::Instant,
};

use super::{
    client::{self, Other},
    places::Places,
};
use crate::{
    api::{Api, write::Author},
    error::ApiError,
    limits,
};

/// Tells peers until the node drains.
pub(crate) async fn run(
    api: Arc<Api>,
    author: Author,
    allow_private: bool,
    in_force: watch::Receiver<Seq>,
    shutdown: Shutdown,
) {
    let mut notifier = Notifier {
        api,
        author,
        allow_private,
        in_force,
        looked_until: None,
        due: BTreeMap::new(),
        places: Places::new(limits::NOTIFIES_MAX, limits::NOTIFIES_PER_ACCOUNT_MAX),
        under_way: JoinSet::new(),
        tasks: HashMap::new(),
        told_now: HashSet::new(),
    };
    let mut applied = notifier.api.replica.watch();
    loop {
        applied.borrow_and_update();
        let wait = match notifier.round().await {
            Ok(next) => next.unwrap_or_else(|| Instant::now() + limits::UPKEEP_INTERVAL),
            Err(error) => {
                tracing::warn!(%error, "telling zones' peers of changes failed; it is tried again");
                // What was due may have been taken out already.
                notifier.looked_until = None;
                Instant::now() + limits::UPKEEP_RETRY
            }
        };
        tokio::select! {
            () = shutdown.draining() => return,
            changed = applied.changed() => if changed.is_err() { return },
            Some(ended) = notifier.under_way.join_next_with_id() => notifier.ended(ended.map(|(task, ())| task)),
            () = tokio::time::sleep_until(wait) => {}
        }
    }
}

struct Notifier {
    api: Arc<Api>,
    author: Author,
    allow_private: bool,
    in_force: watch::Receiver<Seq>,
    /// Changes up to here have been looked at.
    looked_until: Option<Seq>,
    /// Zones that changed, when they are looked at, and which state must be in force by then.
    due: BTreeMap<ZoneId, (Instant, Seq)>,
    places: Places,
    under_way: JoinSet<()>,
    /// What a task tells.
    tasks: HashMap<task::Id, Told>,
    told_now: HashSet<Told>,
}

/// A zone, and the peer that is told of it.
type Told = (ZoneId, TransferPeerId);

/// A peer that is to be told.
struct Telling {
    zone: Zone,
    peer: TransferPeerId,
    forced_at: Option<Timestamp>,
    other: Result<Other, String>,
}

impl Notifier {
    /// Notes what changed and tells what is due; when there is more to do if nothing happens.
    async fn round(&mut self) -> Result<Option<Instant>, ApiError> {
        let changed = self.api.replica.changes_since(self.looked_until.unwrap_or(Seq::ZERO));
        let zones = match changed.zones().filter(|_| self.looked_until.is_some()) {
            Some(zones) => zones.into_iter().collect(),
            None => self.api.read(all).await?,
        };
        let at = Instant::now() + limits::NOTIFY_AFTER;
        zones.into_iter().for_each(|zone| note_change(&mut self.due, zone, (at, changed.to)));
        self.looked_until = Some(changed.to);
        let (now, in_force) = (Instant::now(), *self.in_force.borrow());
        for zone in take_due(&mut self.due, now, in_force) {
            let allow_private = self.allow_private;
            let telling = match self.api.read(move |snapshot| look(snapshot, zone, allow_private)).await {
                Ok(telling) => telling,
                Err(error) => {
                    // It is looked at again, and the others are told meanwhile.
                    tracing::warn!(%zone, %error, "whom to tell of a zone is not known");
                    self.due.insert(zone, (now + limits::UPKEEP_INTERVAL, changed.to));
                    continue;
                }
            };
            for telling in telling {
                self.tell(telling.zone.account, (zone, telling.peer));
            }
        }
        let soon = now + limits::NOTIFY_AFTER / 4;
        Ok(self.due.values().map(|(at, _)| (*at).max(soon)).min())
    }

    /// Has a peer told, unless it is being told.
    fn tell(&mut self, account: AccountId, told: Told) {
        if !self.told_now.insert(told) {
            return;
        }
        let (api, author, allow_private) = (self.api.clone(), self.author.clone(), self.allow_private);
        let share = self.places.of(account);
        let task = self.under_way.spawn(async move {
            let _place = share.take().await;
            if let Err(error) = tell(&api, &author, told, allow_private).await {
                tracing::warn!(zone = %told.0, %error, "that a peer was told is not noted; it is told again");
            }
        });
        self.tasks.insert(task.id(), told);
    }

    fn ended(&mut self, ended: Result<task::Id, JoinError>) {
        let task = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "telling a peer of a change panicked");
            error.id()
        });
        let Some(told) = self.tasks.remove(&task) else { return };
        self.told_now.remove(&told);
        self.places.forget_idle();
        // The zone may have changed meanwhile.
        let at = (Instant::now() + limits::NOTIFY_AFTER, self.looked_until.unwrap_or(Seq::ZERO));
        self.due.entry(told.0).or_insert(at);
    }
}

/// Notes that a zone has changed. It is looked at when that was first to be, and when its last change is in force.
fn note_change(due: &mut BTreeMap<ZoneId, (Instant, Seq)>, zone: ZoneId, (at, changed): (Instant, Seq)) {
    due.entry(zone).and_modify(|due| due.1 = changed).or_insert((at, changed));
}

/// Takes out the zones that are due, those that changed first before the others.
fn take_due(due: &mut BTreeMap<ZoneId, (Instant, Seq)>, now: Instant, in_force: Seq) -> Vec<ZoneId> {
    let is_due = |(at, seq): &(Instant, Seq)| *at <= now && *seq <= in_force;
    let ready = due.iter().filter(|(_, due)| is_due(due));
    let mut ready: Vec<(Instant, ZoneId)> = ready.map(|(zone, (at, _))| (*at, *zone)).collect();
    ready.sort_unstable();
    for (_, zone) in &ready {
        due.remove(zone);
    }
    ready.into_iter().map(|(_, zone)| zone).collect()
}

/// Tells a peer of a zone as that is now, and notes it.
async fn tell(
    api: &Arc<Api>,
    author: &Author,
    (zone, peer): Told,
    allow_private: bool,
) -> Result<(), ApiError> {
    let telling = api.read(move |snapshot| look(snapshot, zone, allow_private)).await?;
    let Some(telling) = telling.into_iter().find(|telling| telling.peer == peer) else { return Ok(()) };
    let Telling { zone, forced_at, other, .. } = telling;
    let outcome = match other {
        Ok(other) => client::notify(api, &other, &zone.name.wire()).await,
        Err(why) => Err(why),
    };
    match &outcome {
        Ok(()) => api.metrics.notified("acknowledged"),
        Err(why) => {
            tracing::info!(zone = %zone.name, %peer, %why, "a peer was not told of a change");
            api.metrics.notified("failed");
        }
    }
    note(api, author, &zone, (peer, forced_at), outcome.err()).await
}

fn all(snapshot: &Snapshot) -> Result<Vec<ZoneId>, ApiError> {
    snapshot.scan::<OutgoingTransfers>(&[]).map(|outgoing| Ok(outgoing?.zone)).collect()
}

/// Whom to tell of a zone.
fn look(snapshot: &Snapshot, zone: ZoneId, allow_private: bool) -> Result<Vec<Telling>, ApiError> {
    let Some(outgoing) = snapshot.get::<OutgoingTransfers>(&zone)?.filter(|outgoing| outgoing.enabled) else {
        return Ok(Vec::new());
    };
    let Some(zone) = snapshot.get::<Zone>(&zone)? else { return Ok(Vec::new()) };
    let notices = snapshot.get::<TransferNotices>(&zone.id)?.map(|notices| notices.peers).unwrap_or_default();
    let mut telling = Vec::new();
    for id in &outgoing.peers {
        let notice = notices.iter().find(|notice| notice.peer == *id);
        let is_told = notice
            .is_some_and(|notice| notice.serial == zone.serial && notice.forced_at == outgoing.forced_at);
        let Some(peer) = snapshot.get::<TransferPeer>(&(zone.account, *id))?.filter(|_| !is_told) else {
            continue;
        };
        if peer.address.is_none() {
            // It is known by its key, wherever it is, and asks of itself.
            continue;
        }
        let other = Other::of(snapshot, &peer, allow_private)?;
        telling.push(Telling { zone: zone.clone(), peer: *id, forced_at: outgoing.forced_at, other });
    }
    Ok(telling)
}

/// Notes what a peer was told; those that are no longer the zone's are forgotten.
async fn note(
    api: &Arc<Api>,
    author: &Author,
    told: &Zone,
    (peer, forced_at): (TransferPeerId, Option<Timestamp>),
    failure: Option<String>,
) -> Result<(), ApiError> {
    let (zone, serial) = (told.id, told.serial);
    let failure = failure.map(|text| text.chars().take(limits::TRANSFER_MESSAGE_CHARS_MAX).collect());
    let written = api.write(author, move |draft| {
        let Some(outgoing) = draft.read::<OutgoingTransfers>(&zone)? else { return Ok(()) };
        let former = draft.read::<TransferNotices>(&zone)?;
        let mut peers = former.map(|former| former.peers).unwrap_or_default();
        peers.retain(|notice| notice.peer != peer && outgoing.peers.contains(&notice.peer));
        peers.push(PeerNotice { peer, serial, at: draft.now, forced_at, failure: failure.clone() });
        draft.put(&TransferNotices { zone, peers });
        Ok(())
    });
    written.await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_zone_is_told_of_when_its_last_change_is_in_force_and_the_first_to_change_comes_first() {
        let (zone, begun) = (|number| ZoneId::from_bytes([number; 16]), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut due = BTreeMap::new();
        note_change(&mut due, zone(2), (at(1), Seq(5)));
        note_change(&mut due, zone(1), (at(2), Seq(6)));
        note_change(&mut due, zone(2), (at(3), Seq(8)));
        assert_eq!(take_due(&mut due, at(0), Seq(8)), []);
        // The change that came second is not in force yet.
        assert_eq!(take_due(&mut due.clone(), at(2), Seq(7)), [zone(1)]);
        assert_eq!(take_due(&mut due, at(2), Seq(8)), [zone(2), zone(1)]);
        assert!(due.is_empty());
    }
}
