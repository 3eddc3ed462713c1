//! Tells zones' peers of changes (RFC 1996): where the log is, once for the network.
//!
//! What was told lies in the log, so that a process that takes over tells no more and no less. A peer is told of one zone
//! by one task at a time; what changes meanwhile is told by the next. One that does not answer after some tries, or
//! refuses, is left to its own timers (RFC 1034, 4.3.5) until the next change.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use proxima_chassis::Shutdown;
use proxima_ledger::{Seq, Snapshot};
use proxima_model::{
    OutgoingTransfers, PeerNotice, Timestamp, TransferNotices, TransferPeer, TransferPeerId, Zone, ZoneId,
};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::client::{self, Other};
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
        under_way: JoinSet::new(),
        told_now: HashSet::new(),
    };
    let mut applied = notifier.api.replica.watch();
    loop {
        applied.borrow_and_update();
        let wait = match notifier.round().await {
            Ok(next) => next.unwrap_or_else(|| Instant::now() + limits::UPKEEP_INTERVAL),
            Err(error) => {
                tracing::warn!(%error, "telling zones' peers of changes failed; it is tried again");
                Instant::now() + limits::UPKEEP_RETRY
            }
        };
        tokio::select! {
            () = shutdown.draining() => return,
            changed = applied.changed() => if changed.is_err() { return },
            Some(ended) = notifier.under_way.join_next() => notifier.ended(ended.ok()),
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
    under_way: JoinSet<(ZoneId, TransferPeerId)>,
    told_now: HashSet<(ZoneId, TransferPeerId)>,
}

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
        let at = (Instant::now() + limits::NOTIFY_AFTER, changed.to);
        zones.into_iter().for_each(|zone| {
            self.due.entry(zone).or_insert(at);
        });
        self.looked_until = Some(changed.to);
        let (now, in_force) = (Instant::now(), *self.in_force.borrow());
        let is_due = |(at, seq): &(Instant, Seq)| *at <= now && *seq <= in_force;
        let due: Vec<ZoneId> =
            self.due.iter().filter(|(_, due)| is_due(due)).map(|(zone, _)| *zone).collect();
        for zone in due {
            if self.under_way.len() >= limits::NOTIFIES_MAX {
                // It goes on when one of them has ended.
                return Ok(None);
            }
            let (forget, allow_private) = (self.told_now.clone(), self.allow_private);
            let telling = self.api.read(move |snapshot| look(snapshot, zone, allow_private)).await?;
            self.due.remove(&zone);
            for telling in telling.into_iter().filter(|telling| !forget.contains(&(zone, telling.peer))) {
                self.tell(telling);
            }
        }
        let soon = now + limits::NOTIFY_AFTER / 4;
        Ok(self.due.values().map(|(at, _)| (*at).max(soon)).min())
    }

    fn tell(&mut self, Telling { zone, peer, forced_at, other }: Telling) {
        self.told_now.insert((zone.id, peer));
        let (api, author) = (self.api.clone(), self.author.clone());
        self.under_way.spawn(async move {
            let outcome = match other {
                Ok(other) => client::notify(&api, &other, &zone.name.wire()).await,
                Err(why) => Err(why),
            };
            match &outcome {
                Ok(()) => api.metrics.notified("acknowledged"),
                Err(why) => {
                    tracing::info!(zone = %zone.name, %peer, %why, "a peer was not told of a change");
                    api.metrics.notified("failed");
                }
            }
            if let Err(error) = note(&api, &author, &zone, (peer, forced_at), outcome.err()).await {
                tracing::warn!(zone = %zone.name, %error, "that a peer was told is not noted; it is told again");
            }
            (zone.id, peer)
        });
    }

    fn ended(&mut self, ended: Option<(ZoneId, TransferPeerId)>) {
        match ended {
            Some((zone, peer)) => {
                self.told_now.remove(&(zone, peer));
                // The zone may have changed meanwhile.
                self.due.entry(zone).or_insert((Instant::now(), Seq::ZERO));
            }
            // Which one it was is not told: all are looked at again when they are done.
            None => self.looked_until = None,
        }
    }
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
