//! The cache on a request's way.
//!
//! ```text
//!   request ─▶ for a cache? ─no──────────────────────────────▶ pass: the stages behind, seen again on the way back
//!                 │ yes
//!              stored? ─fresh, or stale with leave──────────▶ answer at once (HIT, UPDATING, STALE)
//!                 │   └not in memory, but on the disk─▶ read, and again from there (see `loading`)
//!                 │ no, or to be confirmed (and not expected to be storable: see `led`)
//!              in flight? ─its head is here, and shareable──▶ answer, reading what grows (HIT)
//!                 │        └not yet─▶ wait for its head, bounded
//!                 └no─▶ lead: a Fill of its own (MISS, EXPIRED, REVALIDATED)
//! ```
//!
//! A part of something that is not stored is not a reason to fetch the whole: the part is fetched, and kept for requests
//! of the very same part. A part of something that is stored whole and stale has the whole confirmed or fetched anew.

mod eligible;
mod encoded;
mod entrance;
mod filling;
mod glance;
mod led;
mod loading;
mod passed;
mod responses;
mod slices;

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::Poll,
    time::Duration,
};

use http::Method;
use proxima_chassis::Clock;
use proxima_compression::Compressor;
use proxima_pipeline::{
    AskedByPeer, Body, CacheFill, Decision, Exchange, Fault, Flow, FromPeer, Glance, Invalidations, Response,
    Rest, Sight, Stage,
};
use tokio::sync::oneshot;

use self::eligible::not_for_a_cache;
pub use self::entrance::Entrance;
use crate::{
    config::CacheConfig,
    disk::Location,
    fill::{self, Delivered, LeaderAnswer},
    flights::{Flights, Joined, Lead, Outcome, Waiting},
    forgets::{Forgets, Forgotten},
    key::{PrimaryKey, Slice},
    metrics::Metrics,
    outliving::Outliving,
    policy::{
        directives::{RequestDirectives, TARGETED},
        range,
        reuse::{self, Reuse},
        storing::Refusal,
        vary::Vary,
    },
    ruling::{Ruling, browser_lifetime},
    serve,
    status::{CACHE_STATUS, CACHE_STATUS_STANDARD, CacheStatus, Pass},
    store::{Found, Object, Store},
};

/// The stage's name.
pub(crate) const NAME: &str = "cache";
/// How often a request that waited in vain looks again, before it asks the origin for itself.
const TRIES_MAX: usize = 4;
/// After the origin failed to confirm an object that may be served stale, it is not asked again for this long.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The stage. Cheap to clone; every clone is the same cache.
#[derive(Clone)]
pub struct CacheStage(Arc<Shared>);

struct Shared {
    store: Arc<Store>,
    flights: Arc<Flights>,
    config: CacheConfig,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    compressor: Arc<Compressor>,
    /// Watched by whoever stores without a flight from the beginning.
    forgets: Forgets,
    /// Looked at by fetches of requests that entered a while ago.
    forgotten: Forgotten,
    /// Who is told of what unsafe requests have made invalid.
    invalidations: OnceLock<Arc<dyn Invalidations>>,
}

/// What to do with a request.
enum Plan {
    Answer(Flow),
    Pass(Pass, Option<PrimaryKey>),
    Ask(Ask),
    /// It lies on the disk, which has to be waited for.
    Load(PrimaryKey, Location),
}

/// Where an object is looked for.
enum From {
    /// In memory and, without waiting, on the disk.
    Everywhere,
    /// In memory; the disk has been read, with this result.
    Loaded(Option<Arc<Object>>),
}

/// A request that has to do with the origin.
struct Ask {
    key: PrimaryKey,
    asked: RequestDirectives,
    stale: Option<Arc<Object>>,
    vary: Vary,
}

impl Stage for CacheStage {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        Ruling::decide(exchange, NAME);
        match self.plan(exchange, From::Everywhere) {
            Plan::Answer(flow) => Decision::Now(flow),
            Plan::Pass(pass, key) => Decision::Now(self.pass(exchange, pass, key)),
            Plan::Load(key, location) => Decision::Later(Box::pin(self.load(exchange, key, location))),
            Plan::Ask(ask) => match self.lead_here(exchange, &ask) {
                Some(flow) => Decision::Now(flow),
                None => Decision::Later(Box::pin(self.ask(exchange, ask))),
            },
        }
    }

    fn on_response(&self, exchange: &mut Exchange) {
        self.came_back(exchange);
        self.landed(exchange);
    }

    fn glance(&self, glance: &mut Glance<'_>) -> Sight {
        self.look(glance).map_or(Sight::Unsure, Sight::Ready)
    }

    fn heeds(&self) -> &'static [&'static str] {
        &glance::HEEDED
    }
}

impl CacheStage {
    /// A stage over a store.
    pub fn new(
        store: Arc<Store>,
        config: CacheConfig,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        compressor: Arc<Compressor>,
    ) -> Self {
        Self(Arc::new(Shared {
            store,
            flights: Arc::default(),
            config,
            clock,
            metrics,
            compressor,
            forgets: Forgets::default(),
            forgotten: Forgotten::default(),
            invalidations: OnceLock::new(),
        }))
    }

    /// Has somebody told of what unsafe requests make invalid. Once, before there are requests.
    pub fn tell_invalidations(&self, invalidations: Arc<dyn Invalidations>) {
        self.0.invalidations.set(invalidations).ok();
    }

    /// Forgets a URL of a zone in all its variants, and what of it is on its way.
    pub fn forget(&self, key: &PrimaryKey) {
        // First: whoever leads a fetch afterwards sees it, and a fetch that is led already is forgotten below.
        self.0.forgotten.note(key, self.0.store.next_moment());
        for key in [key, &key.slices()] {
            self.0.forgets.note(key);
            self.0.flights.forget(&self.0.store, key);
        }
        self.0.store.purge_path(key);
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Decides what can be decided without waiting.
    fn plan(&self, exchange: &mut Exchange, from: From) -> Plan {
        let Some(key) = PrimaryKey::of(exchange) else { return Plan::Pass(Pass::NoSite, None) };
        if let Some(pass) = not_for_a_cache(exchange) {
            return Plan::Pass(pass, Some(key));
        }
        let asked = self.directives(exchange);
        if asked.no_store {
            return Plan::Pass(Pass::RequestNoStore, Some(key));
        }
        let mut found = self.0.store.find(&key, &exchange.request.headers);
        if found.object.is_none() {
            found.object = match self.look_on_disk(exchange, &key, from) {
                Ok(object) => object,
                Err(location) => return Plan::Load(key, location),
            };
        }
        if exchange.request.method == Method::HEAD {
            // To HEAD, a range means nothing (RFC 9110, 14.2).
            found.object = found.object.filter(|object| !object.is_part());
        }
        if let Some(object) = &found.object
            && let Some(flow) = self.answer_stored(exchange, &key, object, &asked)
        {
            return Plan::Answer(flow);
        }
        if asked.only_if_cached {
            exchange.trace.note(
                NAME,
                || "nothing stored may be used, and the client wants nothing else (only-if-cached)",
            );
            return Plan::Answer(Flow::Fail(Fault::NotCached));
        }
        if exchange.request.method == Method::HEAD {
            return Plan::Pass(Pass::Head, Some(key));
        }
        if found.object.is_none()
            && let Some(refusal) = self.0.store.pass(&key)
            && (refusal == Refusal::TooLarge || !Ruling::of(exchange).is_own())
        {
            return Plan::Pass(Pass::NotStorable(refusal), Some(key));
        }
        self.0.store.note_asked(&key);
        let vary = vary_of_fetch(exchange, &found);
        Plan::Ask(Ask { key, asked, stale: found.object, vary })
    }

    fn directives(&self, exchange: &Exchange) -> RequestDirectives {
        if self.0.config.client_directives {
            RequestDirectives::read(&exchange.request.headers)
        } else {
            RequestDirectives::default()
        }
    }

    /// The answer from what is stored, if it may be used without waiting for the origin.
    fn answer_stored(
        &self,
        exchange: &mut Exchange,
        key: &PrimaryKey,
        object: &Arc<Object>,
        asked: &RequestDirectives,
    ) -> Option<Flow> {
        let resident = object.resident();
        let (status, why) = match reuse::decide(&object.freshness, resident, asked) {
            Reuse::Fresh => (CacheStatus::Hit, "hit"),
            Reuse::StaleByRequest => (CacheStatus::Stale, "stale, which the client accepts (max-stale)"),
            Reuse::StaleWhileRevalidate => (CacheStatus::Updating, "stale, asked about in the background"),
            Reuse::Validate(_) => {
                let online = always_online(exchange);
                let failing = object.failed_within(ASK_AGAIN_AFTER);
                if !failing || !object.freshness.stale_if_error(resident, online) {
                    return None;
                }
                (CacheStatus::Stale, "stale, because the origin has just failed")
            }
        };
        if status == CacheStatus::Hit {
            self.0.store.used(key, object);
        }
        if status == CacheStatus::Updating {
            self.update_in_background(exchange, key, object);
        }
        self.answer(exchange, object, status, None, why)
    }

    /// An answer made of an object, counted and noted.
    fn answer(
        &self,
        exchange: &mut Exchange,
        object: &Arc<Object>,
        status: CacheStatus,
        body: Option<Body>,
        why: &'static str,
    ) -> Option<Flow> {
        let browser = browser_lifetime(exchange);
        let for_cache = is_for_cache(exchange);
        let asked = serve::Asked {
            for_cache,
            method: &exchange.request.method,
            request: &exchange.request.headers,
            status,
            browser,
        };
        let read = |first, end| self.read(exchange, object, first, end);
        let mut response = serve::respond(object, asked, body, &read)?;
        self.count(exchange, status);
        exchange.trace.note(NAME, || {
            let age = object.freshness.age(object.resident()).as_secs();
            let freshness = &object.freshness;
            format!(
                "{}: {why}; age {age} s of {} ({})",
                status.name(),
                freshness.lifetime_seconds,
                freshness.source
            )
        });
        if !for_cache {
            self.settle_coding(exchange, object, &mut response);
        }
        Some(Flow::Respond(response))
    }

    /// Joins a fetch, or leads one.
    async fn ask(&self, exchange: &mut Exchange, mut ask: Ask) -> Flow {
        for _ in 0..TRIES_MAX {
            let Some(rest) = exchange.rest() else {
                return self.pass(exchange, Pass::Busy, Some(ask.key));
            };
            let flow = match self.join(exchange, &ask) {
                Joined::Lead(lead) => self.lead(exchange, &ask, lead, rest).await,
                Joined::Wait(waiting) => self.wait(exchange, waiting).await,
                Joined::Share(object) => {
                    self.0.metrics.collapsed.inc();
                    self.answer(exchange, &object, CacheStatus::Hit, None, "joined a fetch in flight")
                        .ok_or(Missed::Waited)
                }
                Joined::Again => Err(Missed::Again),
                Joined::Busy => return self.pass(exchange, Pass::Busy, Some(ask.key)),
            };
            match flow {
                Ok(flow) => return flow,
                Err(Missed::Again) => {}
                Err(Missed::NotStorable(refusal)) => {
                    return self.pass(exchange, Pass::NotStorable(refusal), Some(ask.key));
                }
                Err(Missed::Waited) => break,
            }
            let found = self.0.store.find(&ask.key, &exchange.request.headers);
            if let Some(object) = &found.object
                && let Some(flow) = self.answer_stored(exchange, &ask.key, object, &ask.asked)
            {
                return flow;
            }
            (ask.vary, ask.stale) = (vary_of_fetch(exchange, &found), found.object);
        }
        self.pass(exchange, Pass::Waited, Some(ask.key))
    }

    /// Fetches for everybody, and answers this client.
    async fn lead(&self, exchange: &mut Exchange, ask: &Ask, lead: Lead, rest: Rest) -> Result<Flow, Missed> {
        exchange.trace.note(NAME, || match &ask.stale {
            None => Cow::from("nothing stored: asking the origin"),
            Some(stale) => {
                let age = stale.freshness.age(stale.resident()).as_secs();
                let lifetime = stale.freshness.lifetime_seconds;
                Cow::from(format!("stored, to be confirmed (age {age} s of {lifetime}): asking the origin"))
            }
        });
        let (deliver, mut delivered) = oneshot::channel();
        let mut fill = Outliving::new(self.fill(exchange, lead, rest, Some(deliver)).run());
        let delivered = poll_fn(|context| {
            // First, and again afterwards: what goes on to read content may use up this task's turn.
            if let Poll::Ready(delivered) = Pin::new(&mut delivered).poll(context) {
                return Poll::Ready(delivered);
            }
            let _ended = Pin::new(&mut fill).poll(context);
            Pin::new(&mut delivered).poll(context)
        });
        // It ended without a word. Somebody else shall lead.
        let Delivered { answer, own, trace, extensions } = delivered.await.map_err(|_| Missed::Again)?;
        // What is left of it goes on by itself; so does all of it if this client leaves.
        drop(fill);
        for entry in trace {
            exchange.trace.note(entry.stage, || entry.decision);
        }
        exchange.extensions.extend(extensions);
        // These were said of the fetch: what this request asks for itself afterwards is not to be stored.
        exchange.extensions.remove::<CacheFill>();
        exchange.extensions.remove::<FromPeer>();
        match answer {
            LeaderAnswer::Own(mut response, refusal) => {
                self.label_refused(exchange, &mut response, refusal);
                Ok(Flow::Respond(response))
            }
            LeaderAnswer::Shared(outcome, body) => {
                let fetched = if ask.stale.is_some() { CacheStatus::Expired } else { CacheStatus::Miss };
                let mut flow = self.settle(exchange, outcome, fetched, body)?;
                if let Flow::Respond(response) = &mut flow {
                    fill::put_own(response, &own);
                    self.consider_slices(exchange, response);
                }
                Ok(flow)
            }
        }
    }

    /// Says on a fetched answer, which is its client's alone, why it is not stored.
    fn label_refused(&self, exchange: &Exchange, response: &mut Response, refusal: Refusal) {
        if refusal == Refusal::TooLarge {
            self.consider_slices(exchange, response);
        }
        if !is_for_cache(exchange) {
            response.headers.remove(&TARGETED[0]);
        }
        let status = CacheStatus::of_refusal(refusal);
        self.count(exchange, status);
        response.headers.insert(CACHE_STATUS, status.value());
        response.headers.append(CACHE_STATUS_STANDARD, CacheStatus::standard_of_refusal(refusal));
    }

    /// Waits for somebody else's fetch, as long as is allowed.
    async fn wait(&self, exchange: &mut Exchange, waiting: Waiting) -> Result<Flow, Missed> {
        exchange.trace.note(NAME, || "waiting for another request's fetch of the same");
        let patience = Duration::from_millis(self.0.config.wait_ms_max);
        let known = tokio::time::timeout(patience, waiting.outcome()).await;
        drop(waiting);
        let outcome = known.map_err(|_| Missed::Waited)?;
        let request = &exchange.request.headers;
        match &outcome {
            // A variant for others: look again, now that it is known what answers vary by.
            Outcome::Filling(object) | Outcome::Confirmed(object) | Outcome::Stale(object)
                if !object.answers(request) =>
            {
                return Err(Missed::Again);
            }
            // It came after this request did, so the client's own directives are met; but what its origin wants to
            // be asked about each time is not to be shared (RFC 9111, 4 and 5.2.2.4).
            Outcome::Filling(object) => {
                let none = RequestDirectives::default();
                if matches!(reuse::decide(&object.freshness, object.resident(), &none), Reuse::Validate(_)) {
                    return Err(Missed::Waited);
                }
            }
            _ => {}
        }
        let flow = self.settle(exchange, outcome, CacheStatus::Hit, None)?;
        self.0.metrics.collapsed.inc();
        Ok(flow)
    }

    /// The answer that a fetch's outcome gives.
    fn settle(
        &self,
        exchange: &mut Exchange,
        outcome: Outcome,
        fetched: CacheStatus,
        body: Option<Body>,
    ) -> Result<Flow, Missed> {
        let (object, status, why) = match &outcome {
            Outcome::Filling(object) => (object, fetched, "from the origin"),
            Outcome::Confirmed(object) => (object, CacheStatus::Revalidated, "confirmed by the origin"),
            Outcome::Stale(object) => (object, CacheStatus::Stale, "stale, because the origin fails"),
            Outcome::NotStored(refusal) => return Err(Missed::NotStorable(*refusal)),
            Outcome::Failed(fault) => return Ok(Flow::Fail(fault.clone())),
            Outcome::Pending | Outcome::Lost => return Err(Missed::Again),
        };
        self.answer(exchange, object, status, body, why).ok_or(Missed::Waited)
    }
}

/// Why a try to be answered by a fetch did not answer.
enum Missed {
    /// Look again.
    Again,
    /// Waiting brought nothing that may be used: ask for oneself.
    Waited,
    /// The answer is not to be shared: ask for oneself.
    NotStorable(Refusal),
}

/// The names by which the answer that is to be fetched is expected to vary: see [`fill_exchange`].
fn vary_of_fetch(exchange: &Exchange, found: &Found) -> Vary {
    let whole = found.object.as_ref().is_some_and(|object| !object.is_part());
    let part = !whole && range::Asked::read(&exchange.request.headers).is_some();
    if part { found.vary.of_a_part() } else { found.vary.clone() }
}

/// Whether a cache asks, which may store the answer again: another server's, or this one for a slice.
fn is_for_cache(exchange: &Exchange) -> bool {
    exchange.extensions.get::<AskedByPeer>().is_some() || exchange.extensions.get::<Slice>().is_some()
}

fn always_online(exchange: &Exchange) -> bool {
    exchange.site.as_ref().is_some_and(|site| site.zone.settings.always_online)
}

#[cfg(test)]
mod tests;
