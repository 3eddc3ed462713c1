//! Keeps the zones' certificates up until the node drains: looks at what changed and what is due, and runs orders.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use proxima_chassis::Shutdown;
use proxima_ledger::{Seq, Snapshot};
use proxima_model::{AcmeOrder, Certificate, CertificateSource, KeyAlgorithm, Timestamp, Zone, ZoneId};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    AcmeSettings,
    client::Client,
    order::{Ended, Ordering},
    plan::{self, Failure, Fault, Next, Policy},
    schedule::Schedule,
    state,
};
use crate::{
    api::{Api, write::Author},
    error::{ApiError, ControlError},
    limits, zones as zones_api,
};

/// Orders what is missing or due, until the node drains; without an authority, takes back what one left under way.
pub(crate) async fn run(
    api: Arc<Api>,
    author: Author,
    settings: Option<AcmeSettings>,
    in_force: watch::Receiver<Seq>,
    shutdown: Shutdown,
) {
    let Some(settings) = settings else {
        return forget_all(&api, &author, &shutdown).await;
    };
    match Runner::new(api, author, settings, in_force) {
        Ok(mut runner) => runner.run(&shutdown).await,
        Err(error) => tracing::error!(%error, "no certificates are ordered until the node is restarted"),
    }
}

/// No authority is configured any more: nothing is under way and nothing is waited for, and the API must not say so.
/// What was ordered stays until it has run out.
async fn forget_all(api: &Arc<Api>, author: &Author, shutdown: &Shutdown) {
    loop {
        let forgotten = async {
            let zones = api.read(|snapshot| {
                let orders = snapshot.scan::<AcmeOrder>(&[]);
                orders.map(|order| Ok(order?.zone)).collect::<Result<Vec<_>, ApiError>>()
            });
            for zone in zones.await? {
                state::forget(api, author, zone).await?;
            }
            state::forget_account(api, author).await
        };
        match forgotten.await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, "forgetting former orders of certificates; it is tried again")
            }
        }
        tokio::select! {
            () = shutdown.draining() => return,
            () = tokio::time::sleep(limits::UPKEEP_RETRY) => {}
        }
    }
}

struct Runner {
    ordering: Arc<Ordering>,
    policy: Arc<Policy>,
    schedule: Schedule,
    /// Changes up to here have been looked at.
    looked_until: Option<Seq>,
    /// When every zone was last looked at.
    looked_at_all: Option<Instant>,
    orders: JoinSet<(ZoneId, Result<Ended, Failure>)>,
    in_flight: HashSet<ZoneId>,
    /// How often in a row the authority failed, and until when nothing is asked of it.
    troubles: u32,
    paused_until: Option<Instant>,
}

/// What was seen of all zones.
#[derive(Default)]
struct Seen {
    next: Vec<(ZoneId, Next)>,
    /// Only if all were looked at: when the first ordered certificate runs out, and how many zones fail.
    expires: Option<Timestamp>,
    failing: i64,
}

impl Runner {
    fn new(
        api: Arc<Api>,
        author: Author,
        settings: AcmeSettings,
        in_force: watch::Receiver<Seq>,
    ) -> Result<Self, ControlError> {
        let policy = Policy {
            directory: settings.directory.clone(),
            algorithms: settings.algorithms.clone(),
            renew_left_percent: settings.renew_left_percent,
        };
        let client = Arc::new(Client::new(settings)?);
        Ok(Self {
            ordering: Arc::new(Ordering { api, author, client, in_force }),
            policy: Arc::new(policy),
            schedule: Schedule::default(),
            looked_until: None,
            looked_at_all: None,
            orders: JoinSet::new(),
            in_flight: HashSet::new(),
            troubles: 0,
            paused_until: None,
        })
    }

    async fn run(&mut self, shutdown: &Shutdown) {
        let mut applied = self.ordering.api.replica.watch();
        loop {
            applied.borrow_and_update();
            let wait = match self.round().await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(%error, "looking after certificates failed; it is tried again");
                    self.looked_at_all = None;
                    limits::UPKEEP_RETRY
                }
            };
            tokio::select! {
                // Orders in flight are dropped: the process that takes over takes them back.
                () = shutdown.draining() => return,
                changed = applied.changed() => if changed.is_err() { return },
                Some(ended) = self.orders.join_next() => match ended {
                    Ok((zone, outcome)) => self.ended(zone, outcome).await,
                    // Aborted below.
                    Err(error) if error.is_cancelled() => {}
                    Err(panic) => {
                        tracing::error!(%panic, "an order of a certificate panicked");
                        // Which one it was is not told: all are looked at again, and taken back.
                        self.orders.abort_all();
                        self.in_flight.clear();
                        self.looked_at_all = None;
                    }
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Looks at what changed and what is due; how long to wait for the next round if nothing happens.
    async fn round(&mut self) -> Result<Duration, ApiError> {
        let api = self.ordering.api.clone();
        let changed = api.replica.changes_since(self.looked_until.unwrap_or(Seq::ZERO));
        let all = self.looked_at_all.is_none_or(|last| last.elapsed() >= limits::FULL_LOOK_INTERVAL);
        match changed.zones().filter(|_| !all) {
            Some(zones) => {
                let now = api.now();
                zones.into_iter().for_each(|zone| self.schedule.set(zone, Some(now)));
            }
            None => self.look_at_all().await?,
        }
        self.looked_until = Some(changed.to);
        while self.has_room() {
            let due = self.schedule.take_due(api.now(), limits::ACME_LOOKS);
            if due.is_empty() {
                break;
            }
            let seen = self.look(Some(due.into_iter().collect())).await?;
            self.act(seen.next).await;
        }
        Ok(self.rest())
    }

    fn has_room(&self) -> bool {
        let paused = self.paused_until.is_some_and(|until| until > Instant::now());
        !paused && self.in_flight.len() < self.ordering.client.settings().orders_max
    }

    /// How long until something is due.
    fn rest(&self) -> Duration {
        let longest = limits::UPKEEP_INTERVAL;
        if let Some(until) = self.paused_until
            && let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            return left.min(longest);
        }
        let now = self.ordering.api.now().as_millis();
        match self.schedule.next_at().filter(|_| self.has_room()) {
            Some(at) => {
                let millis = at.as_millis().saturating_sub(now).max(1).unsigned_abs();
                Duration::from_millis(millis).min(longest)
            }
            None => longest,
        }
    }

    async fn look_at_all(&mut self) -> Result<(), ApiError> {
        let seen = self.look(None).await?;
        let metrics = &self.ordering.api.metrics;
        metrics.acme_certificate_expires.set(seen.expires.map_or(0, Timestamp::as_seconds));
        metrics.acme_zones_failing.set(seen.failing);
        let now = self.ordering.api.now();
        for (zone, next) in seen.next {
            match next {
                // What is due later than the next look at all of them need not be remembered until then.
                Next::Rest(until) => {
                    let soon = now.plus_seconds(limits::FULL_LOOK_INTERVAL.as_secs().cast_signed());
                    self.schedule.set(zone, until.filter(|until| *until <= soon));
                }
                _ => self.schedule.set(zone, Some(now)),
            }
        }
        self.looked_at_all = Some(Instant::now());
        Ok(())
    }

    /// What to do for these zones, or for all of which something is to be done or waited for.
    async fn look(&self, zones: Option<BTreeSet<ZoneId>>) -> Result<Seen, ApiError> {
        let (policy, now) = (self.policy.clone(), self.ordering.api.now());
        self.ordering.api.read(move |snapshot| look(snapshot, &policy, zones, now)).await
    }

    async fn act(&mut self, seen: Vec<(ZoneId, Next)>) {
        let now = self.ordering.api.now();
        for (zone, next) in seen {
            if self.in_flight.contains(&zone) {
                // It is looked at again when that has ended.
                continue;
            }
            let (api, author) = (&self.ordering.api, &self.ordering.author);
            match next {
                Next::Rest(until) => self.schedule.set(zone, until),
                Next::Forget => {
                    let forgotten = state::forget(api, author, zone).await;
                    self.noted(zone, forgotten);
                }
                Next::TakeBack => {
                    let taken_back = state::take_back(api, author, zone).await;
                    self.noted(zone, taken_back);
                }
                Next::Order(_) if !self.has_room() => self.schedule.set(zone, Some(now)),
                Next::Order(algorithm) => self.begin(zone, algorithm),
            }
        }
    }

    /// Has a zone looked at again whose former order could not be changed: it keeps no other waiting.
    fn noted(&mut self, zone: ZoneId, noted: Result<(), ApiError>) {
        if let Err(error) = noted {
            tracing::warn!(%zone, %error, "a former order of a certificate stays; it is tried again");
            let again = self.ordering.api.now().plus_seconds(limits::ACME_RETRY_SECONDS);
            self.schedule.set(zone, Some(again));
        }
    }

    fn begin(&mut self, zone: ZoneId, algorithm: KeyAlgorithm) {
        self.in_flight.insert(zone);
        let ordering = self.ordering.clone();
        self.orders.spawn(async move { (zone, ordering.run(zone, algorithm).await) });
    }

    /// What operators know a zone by.
    async fn name_of(&self, id: ZoneId) -> String {
        let read = self.ordering.api.read(move |snapshot| Ok(snapshot.get::<Zone>(&id)?));
        read.await.ok().flatten().map_or_else(|| id.to_string(), |zone| zone.name.to_string())
    }

    /// Takes in how an order ended.
    async fn ended(&mut self, zone: ZoneId, outcome: Result<Ended, Failure>) {
        self.in_flight.remove(&zone);
        let name = self.name_of(zone).await;
        let (api, author) = (&self.ordering.api, &self.ordering.author);
        match outcome {
            Ok(Ended::NotNow) => return,
            Ok(Ended::Issued) => {
                tracing::info!(zone = %name, "a certificate was issued");
                api.metrics.acme_ordered("issued");
                self.troubles = 0;
            }
            Err(failure) => {
                let chance: u8 = rand::random();
                let blamed = failure.fault == Fault::Zone;
                if blamed {
                    tracing::warn!(zone = %name, why = %failure.message, "no certificate: the certificate authority refuses");
                    api.metrics.acme_ordered("refused");
                } else {
                    tracing::error!(zone = %name, why = %failure.message, "no certificate: the certificate authority fails");
                    api.metrics.acme_ordered("authority_failed");
                    // Orders that were in flight together fail together: that is one trouble.
                    if self.paused_until.is_none_or(|until| until <= Instant::now()) {
                        self.troubles = self.troubles.saturating_add(1);
                    }
                    let pause = plan::all_wait(self.troubles, chance, failure.retry_after);
                    self.paused_until = self.paused_until.max(Some(Instant::now() + pause));
                }
                if failure.account_lost {
                    self.ordering.client.forget_account(api, author).await;
                }
                let (troubles, asked) = (self.troubles, failure.retry_after);
                let wait = move |failures| {
                    let wait = match blamed {
                        true => plan::zone_waits(failures, chance).max(asked.unwrap_or_default()),
                        false => plan::all_wait(troubles, chance, asked),
                    };
                    i64::try_from(wait.min(limits::ACME_ZONE_WAIT_MAX * 2).as_secs()).unwrap_or(i64::MAX)
                };
                let noted = state::fail(api, author, zone, &failure.message, blamed, wait).await;
                if let Err(error) = noted {
                    tracing::warn!(zone = %name, %error, "that an order failed is not noted; it is taken back");
                }
            }
        }
        let now = self.ordering.api.now();
        self.schedule.set(zone, Some(now));
    }
}

fn look(
    snapshot: &Snapshot,
    policy: &Policy,
    zones: Option<BTreeSet<ZoneId>>,
    now: Timestamp,
) -> Result<Seen, ApiError> {
    let mut seen = Seen::default();
    let mut consider = |zone: &Zone, order: Option<&AcmeOrder>, rests: bool| -> Result<(), ApiError> {
        // Nothing of it is proxied, and a challenge would be answered by us alone.
        if zones_api::is_secondary(snapshot, zone.id)? {
            return Ok(());
        }
        let certificates = snapshot.scan::<Certificate>(&[&zone.id]).collect::<Result<Vec<_>, _>>()?;
        for certificate in &certificates {
            if matches!(certificate.source, CertificateSource::Acme { .. }) {
                seen.expires =
                    Some(seen.expires.map_or(certificate.not_after, |at| at.min(certificate.not_after)));
            }
        }
        seen.failing += i64::from(order.is_some_and(|order| order.failure.is_some()));
        let next = plan::next(policy, zone, &certificates, order, now);
        if rests || next != Next::Rest(None) {
            seen.next.push((zone.id, next));
        }
        Ok(())
    };
    match zones {
        Some(zones) => {
            for id in zones {
                let Some(zone) = snapshot.get::<Zone>(&id)? else { continue };
                consider(&zone, snapshot.get::<AcmeOrder>(&id)?.as_ref(), true)?;
            }
        }
        None => {
            let orders = snapshot.scan::<AcmeOrder>(&[]);
            let orders: HashMap<ZoneId, AcmeOrder> =
                orders.map(|order| order.map(|order| (order.zone, order))).collect::<Result<_, _>>()?;
            for zone in snapshot.scan::<Zone>(&[]) {
                let zone = zone?;
                consider(&zone, orders.get(&zone.id), false)?;
            }
        }
    }
    Ok(seen)
}
