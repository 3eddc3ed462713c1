//! What the log's node keeps up, so that it is done once: a reconciler over the state, not a queue of jobs.
//!
//! ```text
//!  replica changed, or a minute passed ─▶ ticket keys ─▶ authority ─▶ zones that changed ─▶ certificates
//!                                                          (every hour: all zones)   └─▶ pending: delegation, DS; keys
//!                                                                                   └─▶ assets of Workers that nothing names
//! ```
//!
//! Each step looks at what is and makes what is missing, so it may be cut off anywhere and be run again. What fails for one
//! zone is said and left for a later round; the others' goes on (`round.rs`).

mod certificates;
mod dnssec;
mod keys;
mod round;

use std::{collections::BTreeSet, sync::Arc};

use proxima_chassis::Shutdown;
use proxima_ledger::Seq;
use proxima_model::{Kind, Zone, ZoneId, ZoneStatus};
use tokio::time::Instant;

use self::round::{Round, or_pass_over, readable};
use crate::{
    api::{Api, write::Author},
    config::Activation,
    error::ApiError,
    limits, workers, zones,
};

/// Keeps up until the node drains.
pub(crate) async fn run(api: Arc<Api>, author: Author, shutdown: Shutdown) {
    let mut upkeep = Upkeep {
        api,
        author,
        looked_until: None,
        looked_at_all: None,
        without_certificate: BTreeSet::new(),
        activated_at: None,
        pending_after: None,
        signed_after: None,
        rolled_after: None,
        rolled_at: None,
        orphans_removed: false,
        swept_at: None,
    };
    let mut applied = upkeep.api.replica.watch();
    loop {
        applied.borrow_and_update();
        let wait = match upkeep.round().await {
            Ok(()) => limits::UPKEEP_INTERVAL,
            Err(error) => {
                tracing::warn!(%error, "upkeep failed; it is tried again");
                upkeep.looked_at_all = None;
                limits::UPKEEP_RETRY
            }
        };
        tokio::select! {
            () = shutdown.draining() => return,
            changed = applied.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Upkeep {
    api: Arc<Api>,
    author: Author,
    /// Changes up to here have been looked at.
    looked_until: Option<Seq>,
    /// When every zone was last looked at.
    looked_at_all: Option<Instant>,
    /// Zones for which no certificate could be issued: they are tried again when keys are looked at.
    without_certificate: BTreeSet<ZoneId>,
    /// When delegations were last looked up.
    activated_at: Option<Instant>,
    /// The last pending zone that was looked up: the next round goes on behind it.
    pending_after: Option<ZoneId>,
    /// The last signed zone whose parent was looked at: likewise.
    signed_after: Option<ZoneId>,
    /// The last zone whose key was rolled on: likewise.
    rolled_after: Option<ZoneId>,
    /// When keys were last looked at.
    rolled_at: Option<Instant>,
    orphans_removed: bool,
    /// When assets that nothing names were last swept.
    swept_at: Option<Instant>,
}

impl Upkeep {
    async fn round(&mut self) -> Result<(), ApiError> {
        keys::keep_ticket_keys(&self.api, &self.author).await?;
        keys::keep_authority(&self.api, &self.author).await?;
        let due =
            |last: Option<Instant>, interval| last.is_none_or(|last: Instant| last.elapsed() >= interval);
        let changed = self.api.replica.changes_since(self.looked_until.unwrap_or(Seq::ZERO));
        let mut zones = changed.zones().filter(|_| !due(self.looked_at_all, limits::FULL_LOOK_INTERVAL));
        let all = zones.is_none();
        if let Some(zones) = zones.as_mut().filter(|_| due(self.rolled_at, limits::ACTIVATION_INTERVAL)) {
            zones.extend(&self.without_certificate);
        }
        let looked_at = zones.clone();
        let failed = certificates::keep(&self.api, &self.author, zones).await?;
        self.without_certificate.retain(|zone| looked_at.as_ref().is_some_and(|zones| !zones.contains(zone)));
        self.without_certificate.extend(failed);
        self.looked_until = Some(changed.to);
        if all {
            self.looked_at_all = Some(Instant::now());
        }
        if !self.orphans_removed {
            zones::remove_orphans(&self.api).await?;
            self.orphans_removed = true;
        }
        let may_be_unnamed = changed.touches(Kind::WorkerUsage) || changed.touches(Kind::WorkerAssetSession);
        if may_be_unnamed || due(self.swept_at, limits::ASSETS_SWEEP_INTERVAL) {
            workers::assets::sweep(&self.api, &self.author).await?;
            self.swept_at = Some(Instant::now());
        }
        if due(self.rolled_at, limits::ACTIVATION_INTERVAL) {
            self.rolled_after = dnssec::roll_keys(&self.api, &self.author, self.rolled_after).await?;
            self.rolled_at = Some(Instant::now());
        }
        if self.api.activation == Activation::Delegation
            && due(self.activated_at, limits::ACTIVATION_INTERVAL)
        {
            self.activate_pending().await?;
            self.signed_after = dnssec::follow_parents(&self.api, &self.author, self.signed_after).await?;
            self.activated_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Looks up some pending zones, going round.
    async fn activate_pending(&mut self) -> Result<(), ApiError> {
        let after = self.pending_after;
        let pending = self.api.read(move |snapshot| {
            let mut pending = Round::new(after, limits::ACTIVATIONS_PER_ROUND);
            for zone in readable(snapshot.scan::<Zone>(&[])) {
                let zone = zone?;
                if zone.status == ZoneStatus::Pending {
                    pending.offer(zone.id);
                }
            }
            Ok(pending.ids())
        });
        let pending = pending.await?;
        self.pending_after = pending.last().copied();
        for id in pending {
            or_pass_over("activating", id, self.activate(id).await)?;
        }
        Ok(())
    }

    async fn activate(&self, id: ZoneId) -> Result<(), ApiError> {
        let zone = self.api.read(move |snapshot| Ok(snapshot.get::<Zone>(&id)?)).await?;
        let Some(zone) = zone.filter(|zone| zone.status == ZoneStatus::Pending) else { return Ok(()) };
        match self.api.delegations.check(&zone).await {
            Ok(()) => {
                tracing::info!(zone = %zone.name, "delegated to us: active");
                self.api.write(&self.author, move |draft| zones::activate(draft, id)).await?;
            }
            Err(why) => tracing::debug!(%why, "still pending"),
        }
        Ok(())
    }
}
