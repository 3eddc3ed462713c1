//! What answers with authority.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proxima_chassis::{Place, Places};
use proxima_ledger::{CompiledZones, Look, ReadError, Replica};
use proxima_model::AccountId;
use proxima_pipeline::ZoneNotices;
use tokio::{
    io::AsyncWrite,
    time::{Instant, timeout_at},
};
use tracing::{Level, enabled, trace, warn};

use crate::{
    analytics::Sampler,
    answerer::{Answerer, Found, Listening, Reply, Waiting},
    asker::Asker,
    config::DnsConfig,
    flattening::{self, Asking, Awaited, Flattening, Outside, Patience},
    metrics::DnsMetrics,
    respond::{Answered, Responder, Zones},
    transfer::{self, Journal},
    zone::ZoneTree,
};

/// Answers that wait for large zones to be compiled, in all and of one client.
const WAITING_FOR_ZONES_MAX: usize = 4_096;
const WAITING_FOR_ZONES_PER_CLIENT_MAX: usize = 256;
/// What one answer waits for at most: as many zones as an alias leads through, and its first.
const WAITS_MAX: usize = 9;
/// How long it waits, for all of that together; most who ask have given up by then.
const WAIT_IN_ALL: Duration = Duration::from_secs(10);

/// The role that has authority.
pub(crate) struct Server {
    pub(crate) config: DnsConfig,
    pub(crate) metrics: DnsMetrics,
    listening: Listening,
    pub(crate) zones: CompiledZones<ZoneTree>,
    pub(crate) responder: Responder,
    pub(crate) replica: Replica,
    /// What resolves names outside that aliases lead to, if anything does.
    pub(crate) flattening: Option<Arc<Flattening>>,
    /// Places for answers that wait for a zone.
    waiting_for_zones: Arc<Places>,
    /// Places for transfers of zones.
    pub(crate) transfers: Arc<Places>,
    /// What zones were when they were transferred.
    pub(crate) journal: Journal,
    /// Who is told that a zone which comes from elsewhere has changed there.
    pub(crate) notices: OnceLock<Arc<dyn ZoneNotices>>,
    /// What samples answers, if they are counted by what they say.
    sampler: Option<Arc<Sampler>>,
    /// Whether the replica could not be read when it was last tried.
    unreadable: AtomicBool,
}

impl Server {
    pub(crate) fn new(
        config: DnsConfig,
        (metrics, sampler): (DnsMetrics, Option<Arc<Sampler>>),
        listening: Listening,
        responder: Responder,
        replica: Replica,
        flattening: Option<Arc<Flattening>>,
    ) -> Self {
        let zones = CompiledZones::new(replica.clone(), config.zones_bytes_max);
        let transfers = Places::new(transfer::TRANSFERS_MAX, transfer::TRANSFERS_PER_CLIENT_MAX);
        let waiting_for_zones = Places::new(WAITING_FOR_ZONES_MAX, WAITING_FOR_ZONES_PER_CLIENT_MAX);
        let (notices, unreadable) = (OnceLock::new(), AtomicBool::new(false));
        Self {
            config,
            metrics,
            listening,
            zones,
            responder,
            replica,
            flattening,
            waiting_for_zones,
            transfers,
            journal: Journal::default(),
            notices,
            sampler,
            unreadable,
        }
    }

    /// Appends the answer to a message to `out`, and what it had better wait for, if there is something; and whether it was
    /// counted by the rate limit.
    fn say(
        &self,
        message: &[u8],
        asker: Asker,
        out: &mut Vec<u8>,
    ) -> (Option<Answered>, Option<Awaited>, bool) {
        let begun = self.metrics.begin();
        let asking = Asking::of_query(self, (false, Patience::ComesAgain), None);
        let mut counted = false;
        let answered = self.make(&asking, message, (asker, &mut counted), out);
        let awaited = asking.awaited();
        if awaited.is_none() {
            self.count(message, asker, answered, begun.map(|begun| begun.elapsed()));
        }
        if enabled!(target: "proxima_dns", Level::TRACE) {
            trace_answer(asker, message, answered);
        }
        (answered, awaited, counted)
    }

    /// Appends the answer to a message to `out`; counts it for the rate limit unless that was done.
    fn make(
        &self,
        asking: &Asking<'_>,
        message: &[u8],
        (asker, counted): (Asker, &mut bool),
        out: &mut Vec<u8>,
    ) -> Option<Answered> {
        let base = out.len();
        let answered = self.responder.respond_once(asking, message, (asker, counted), out)?;
        if answered.may_be_a_peers() {
            return Some(self.answer_peer(asking, message, asker, (out, base), answered));
        }
        Some(answered)
    }

    /// A place to wait in, and, for a name outside, one among those of its account.
    fn places(&self, client: IpAddr, awaited: &Awaited) -> Option<(Place, Option<Place<AccountId>>)> {
        match awaited {
            Awaited::Outside(sought) => {
                let flattening = self.flattening.as_ref()?;
                let (place, of_account) = flattening.take_places(client, sought.account())?;
                Some((place, Some(of_account)))
            }
            Awaited::Zone(_) => Some((self.waiting_for_zones.take(client)?, None)),
        }
    }

    /// Answers when what it waits for is there, in the place of what was appended to `out` from `base` on: that it is not. This
    /// is said if no more may wait.
    #[cold]
    fn answer_later(
        self: &Arc<Self>,
        (message, asker): (&[u8], Asker),
        (awaited, mut counted): (Awaited, bool),
        (out, base): (&mut Vec<u8>, usize),
        unready: Option<Answered>,
    ) -> Reply<Waiting> {
        // What a rate limit drops or cuts is not made up for later.
        let is_limited = unready.is_some_and(|unready| unready.limited.is_some());
        let places = if is_limited { None } else { self.places(asker.address, &awaited) };
        let (Some((place, of_account)), Some(unready)) = (places, unready) else {
            let mut said = unready;
            if !counted {
                out.truncate(base);
                let asking = Asking::of_query(self, (false, Patience::Ended), None);
                said = self.make(&asking, message, (asker, &mut counted), out);
            }
            self.count(message, asker, said, None);
            return said.map_or(Reply::None, Reply::Now);
        };
        out.truncate(base);
        let (server, message) = (self.clone(), message.to_vec());
        Reply::Later(Box::pin(async move {
            let said = server.wait_and_say(&message, (asker, counted), (awaited, of_account)).await;
            let (octets, answered) = said.unwrap_or((Vec::new(), unready));
            server.count(&message, asker, Some(answered), None);
            Found { octets, answered, place, waiting: None }
        }))
    }

    /// Waits, and answers; what it finds then may be an alias that leads to something else that has to be waited for.
    async fn wait_and_say(
        &self,
        message: &[u8],
        (asker, mut counted): (Asker, bool),
        (mut awaited, mut of_account): (Awaited, Option<Place<AccountId>>),
    ) -> Option<(Vec<u8>, Answered)> {
        let until = Instant::now() + WAIT_IN_ALL;
        let (mut octets, mut has_waited, mut landed, mut waits) = (Vec::new(), false, None, 1);
        loop {
            let mut patience = Patience::ComesAgain;
            match &awaited {
                Awaited::Outside(sought) => {
                    timeout_at(until, sought.wait()).await.ok();
                    has_waited = true;
                }
                Awaited::Zone(pending) => match timeout_at(until, pending.landed()).await {
                    Ok(Some(Ok(Some(zone)))) => landed = Some((pending.zone_name().into(), zone)),
                    Ok(Some(Ok(None)) | None) => {}
                    Ok(Some(Err(error))) => {
                        // Who asks again for what failed has it fail again.
                        self.noted::<()>(pending.zone_name(), Err(error)).ok();
                        patience = Patience::Ended;
                    }
                    Err(_) => patience = Patience::Ended,
                },
            }
            drop(of_account.take());
            if waits >= WAITS_MAX || Instant::now() >= until {
                patience = Patience::Ended;
            }
            octets.clear();
            let asking = Asking::of_query(self, (has_waited, patience), landed.clone());
            let answered = self.make(&asking, message, (asker, &mut counted), &mut octets);
            // Its place is the one that it has.
            let next = match asking.awaited() {
                Some(Awaited::Outside(sought)) if !has_waited && patience == Patience::ComesAgain => {
                    let place = self.flattening.as_ref()?.take_place_of(sought.account());
                    place.map(|place| (Awaited::Outside(sought), Some(place)))
                }
                Some(Awaited::Zone(pending)) => Some((Awaited::Zone(pending), None)),
                _ => None,
            };
            let Some(next) = next else { return answered.map(|answered| (octets, answered)) };
            (awaited, of_account) = next;
            waits += 1;
        }
    }

    /// Counts what was made of a message.
    fn count(&self, message: &[u8], asker: Asker, answered: Option<Answered>, took: Option<Duration>) {
        self.metrics.count(asker.transport, answered, took);
        if let (Some(sampler), Some(answered)) = (&self.sampler, answered) {
            sampler.answered(message, asker, &answered);
        }
    }

    /// Whether the replica can be read, as far as queries have shown; asks the replica itself only after one failed.
    pub(crate) fn can_read(&self) -> bool {
        if !self.unreadable.load(Ordering::Relaxed) {
            return true;
        }
        let readable = self.replica.snapshot().is_ok();
        if readable {
            self.unreadable.store(false, Ordering::Relaxed);
        }
        readable
    }
}

impl Answerer for Server {
    type Later = Waiting;

    fn answer(self: &Arc<Self>, message: &[u8], asker: Asker, out: &mut Vec<u8>) -> Reply<Waiting> {
        proxima_chassis::exchange_begun();
        let base = out.len();
        match self.say(message, asker, out) {
            (answered, None, _) => answered.map_or(Reply::None, Reply::Now),
            (unready, Some(awaited), counted) => {
                self.answer_later((message, asker), (awaited, counted), (out, base), unready)
            }
        }
    }

    fn listening(&self) -> &Listening {
        &self.listening
    }

    fn takes_long(unread: &[u8]) -> Option<usize> {
        transfer::waiting(unread)
    }

    async fn answer_at_length(
        self: &Arc<Self>,
        stream: &mut (impl AsyncWrite + Unpin + Send),
        message: &[u8],
        asker: Asker,
    ) -> io::Result<()> {
        transfer::serve(stream, self, message, asker).await
    }
}

impl Server {
    /// As [`Zones::find`], but that a large zone which is not here yet is compiled aside.
    pub(crate) fn look(&self, name: &str) -> Result<Look<ZoneTree>, ReadError> {
        self.noted(name, self.zones.look(name))
    }

    /// As [`Zones::find`], but that a large zone which is not here yet is an error.
    pub(crate) fn find_compiled(&self, name: &str) -> Result<Option<Arc<ZoneTree>>, ReadError> {
        self.noted(name, self.zones.find_compiled(name))
    }

    /// Notes that zones cannot be read.
    fn noted<F>(&self, name: &str, found: Result<F, ReadError>) -> Result<F, ReadError> {
        if let Err(error) = &found
            && !matches!(error, ReadError::NotCompiled { .. })
        {
            // One zone that cannot be decoded is that zone's trouble; these are the whole server's.
            let whole = matches!(error, ReadError::Corrupt(_) | ReadError::NotReady);
            if !whole || !self.unreadable.swap(true, Ordering::Relaxed) {
                warn!(%error, %name, "answering SERVFAIL: a zone cannot be read");
            }
        }
        found
    }
}

impl Zones for Server {
    fn find(&self, name: &str) -> Result<Option<Arc<ZoneTree>>, ReadError> {
        self.noted(name, self.zones.find(name))
    }

    fn beneath(&self, name: &str) -> Option<Vec<String>> {
        self.zones.beneath(name)
    }

    fn is_active(&self, zone: &str) -> Result<Option<bool>, ReadError> {
        self.noted(zone, Zones::is_active(&self.zones, zone))
    }

    /// Nobody waits here: what is not known yet is for the next time.
    fn outside(&self, account: AccountId, name: &[u8], rtype: u16) -> Outside {
        Outside(flattening::look(self, account, (name, rtype), false).0)
    }
}

#[cold]
fn trace_answer(asker: Asker, message: &[u8], answered: Option<Answered>) {
    trace!(target: "proxima_dns", transport = ?asker.transport, octets = message.len(), ?answered, "query");
}
