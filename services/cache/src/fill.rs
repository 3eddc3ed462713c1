//! The fetch behind a miss or a stale object: it outlives the client that leads it, so that none that leaves takes it
//! along.
//!
//! ```text
//!   leader ──polls──▶ the stages after this one ──▶ answer
//!     ▲                                              │ fault, 5xx ──▶ stale object, or the fault
//!     │ Delivered                                    │ 304 ────────▶ stored object with newer fields
//!     └──────────────────────────────────────────────┤ refused ────▶ to the leader alone
//!   others ◀── Outcome ──────────────────────────────┘ storable ───▶ object; content grows; stored at its end
//! ```
//!
//! A client that waits is never the only thing that keeps a fetch alive; a fetch that nobody reads any more goes on
//! to be stored, but only for [`reading::UNREAD_MAX`].

mod reading;

use std::sync::{Arc, atomic::Ordering};

use http::{Extensions, HeaderMap, HeaderName, Method, StatusCode, header};
use proxima_chassis::{Clock, GaugeGuard};
use proxima_compression::{Forms, fields as compression};
use proxima_pipeline::{
    AskedByPeer, Body, CacheFill, Exchange, Fault, FromPeer, Response, Rest, Trace, TraceEntry,
};
use tokio::{sync::oneshot, time::Instant};

pub(crate) use self::reading::read;

use crate::{
    content::Content,
    flights::{Lead, Outcome},
    marks::{Birth, Tags},
    metrics::Metrics,
    policy::{
        codings, date,
        directives::TARGETED,
        fields,
        freshness::{Exchanged, Freshness},
        range,
        storing::{self, Answered, Refusal, Storable, Verdict},
        validators,
        wishes::Wishes,
    },
    ruling::Ruling,
    serve::take_left,
    store::{Heads, NOT_FOR_DISK, NOT_OFFERED, Object, Store},
};

/// What the leader of a flight gets.
pub(crate) struct Delivered {
    /// What it is answered with.
    pub(crate) answer: LeaderAnswer,
    /// Fields of the answer that are for this client only: cookies of a 304, and what is not to be stored.
    pub(crate) own: HeaderMap,
    /// What the stages behind decided.
    pub(crate) trace: Vec<TraceEntry>,
    /// What they left for those before.
    pub(crate) extensions: Extensions,
}

/// How the leader is answered.
pub(crate) enum LeaderAnswer {
    /// As everybody else; with a body that reads the content from its beginning, if it is still growing.
    Shared(Outcome, Option<Body>),
    /// With the origin's own response, which is nobody else's.
    Own(Response, Refusal),
}

/// A fetch.
pub(crate) struct Fill {
    /// The flight.
    pub(crate) lead: Lead,
    /// The request as it goes to the origin.
    pub(crate) exchange: Exchange,
    /// The stages that lead there.
    pub(crate) rest: Rest,
    /// What is stored, if it is to be confirmed.
    pub(crate) stale: Option<Arc<Object>>,
    /// Whether the zone wants stale answers while its origin fails.
    pub(crate) always_online: bool,
    /// Whether answers that set cookies may be stored with them.
    pub(crate) share_cookies: bool,
    /// What the zone's cache rules say.
    pub(crate) ruling: Ruling,
    /// What is left of a lifetime, as another server's cache says.
    pub(crate) left: Option<u64>,
    /// Where the leader waits; nobody waits for a revalidation in the background.
    pub(crate) deliver: Option<oneshot::Sender<Delivered>>,
    /// The store.
    pub(crate) store: Arc<Store>,
    /// The wall clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// The metrics.
    pub(crate) metrics: Metrics,
}

/// What came from the origin, its tags taken out.
struct Came {
    response: Response,
    when: Exchanged,
    tags: Option<Tags>,
    /// What is left of the lifetime that a rule gave, if another server's cache says so.
    left: Option<u64>,
}

impl Fill {
    /// Fetches, and stores what may be stored.
    pub(crate) async fn run(mut self: Box<Self>) {
        let _in_flight = GaugeGuard::new(&self.metrics.fills);
        let Came { response, when, tags, left } = self.fetch().await;
        self.left = left;
        if let Some(fault) = self.exchange.extensions.remove::<Fault>() {
            return self.failed(fault);
        }
        match response.status {
            StatusCode::NOT_MODIFIED if self.stale.is_some() => self.confirmed(&response, when, tags),
            StatusCode::NOT_MODIFIED => {
                self.failed(Fault::OriginMalformed("304 to a request without a condition"))
            }
            status if is_failure(status) && self.may_serve_stale() => self.serve_stale(),
            _ => self.answered(response, when, tags.unwrap_or_default()).await,
        }
    }

    /// Asks the origin; if it answers 304 for something else than what is stored, asks again without condition.
    async fn fetch(&mut self) -> Came {
        let mut came = self.ask().await;
        if let Some(stale) = &self.stale
            && came.response.status == StatusCode::NOT_MODIFIED
            && !validators::confirms(&came.response.headers, &stale.headers)
        {
            self.exchange
                .trace
                .note("cache", || "the origin's 304 names another representation: asking without condition");
            validators::make_fill_request(&mut self.exchange.request.headers, None, stale.is_part());
            self.stale = None;
            came = self.ask().await;
        }
        came
    }

    async fn ask(&mut self) -> Came {
        let requested_at = self.clock.now();
        self.rest.run(&mut self.exchange).await;
        let received_at = self.clock.now();
        let mut response = self.exchange.response.take().unwrap_or_default();
        let tags = Tags::take(&mut response.headers);
        let left = take_left(&mut response.headers);
        let left = left.filter(|_| self.exchange.extensions.get::<FromPeer>().is_some());
        Came { response, when: Exchanged { requested_at, received_at }, tags, left }
    }

    /// A lifetime that does not begin anew with every cache that a rule holds for.
    fn capped(&self, freshness: Freshness) -> Freshness {
        freshness.with_at_most(self.left)
    }

    fn may_serve_stale(&self) -> bool {
        let allowed =
            |stale: &Arc<Object>| stale.freshness.stale_if_error(stale.resident(), self.always_online);
        self.stale.as_ref().is_some_and(allowed)
    }

    fn failed(mut self: Box<Self>, fault: Fault) {
        if self.may_serve_stale() {
            self.serve_stale();
        } else {
            self.tell(Outcome::Failed(fault));
        }
    }

    fn serve_stale(mut self: Box<Self>) {
        if let Some(stale) = self.stale.take() {
            stale.note_failure();
            self.exchange.trace.note("cache", || "the origin failed, and what is stored may be served stale");
            self.tell(Outcome::Stale(stale));
        }
    }

    /// The origin's 304: what is stored gets the fields that it brings (RFC 9111, 4.3.4).
    fn confirmed(mut self: Box<Self>, response: &Response, when: Exchanged, tags: Option<Tags>) {
        let Some(stale) = self.stale.take() else { return };
        let updated = fields::update(&stale.headers, &response.headers);
        let mut judged = updated.clone();
        if let Some(age) = response.headers.get(header::AGE) {
            judged.insert(header::AGE, age.clone());
        }
        let request = &self.exchange.request.headers;
        let verdict = storing::judge(Answered {
            method: &Method::GET,
            request,
            status: stale.status,
            response: &judged,
            when,
            share_cookies: self.share_cookies,
            wishes: self.ruling.wishes(stale.status, self.exchange.request.target.path()),
        });
        let (freshness, vary, kept, refusal) = match verdict {
            Verdict::Store(Storable { freshness, vary, left_out }) => {
                let freshness = self.capped(freshness);
                (freshness, vary, fields::storable(&updated, &left_out), None)
            }
            Verdict::Refuse(refusal) => (stale.freshness.clone(), stale.vary.clone(), updated, Some(refusal)),
        };
        let former = stale.clone();
        let same_names = tags.is_none() && vary == stale.vary;
        let variant = vary.variant(request);
        // The octets are the same, and so are their forms; but the origin may have said something new of encoding them.
        let forms = forms(stale.status, &kept, stale.content.length());
        let object = Arc::new(Object {
            forms: forms.map(|new| stale.forms.clone().unwrap_or(new)),
            status: stale.status,
            speaks_to_us: kept.contains_key(&TARGETED[0]),
            headers: kept,
            freshness,
            vary,
            variant,
            received: Instant::now(),
            received_at: when.received_at,
            birth: self.lead.birth().clone(),
            tags: tags.unwrap_or_else(|| stale.tags.again()),
            content: stale.content.clone(),
            heads: Heads::default(),
            failed: 0.into(),
            on_disk: stale.on_disk.load(Ordering::Relaxed).into(),
        });
        self.exchange.trace.note("cache", || match refusal {
            None => format!("confirmed by the origin: {}", stored_for(&object)),
            Some(refusal) => format!("confirmed by the origin, but to be stored no more: {refusal}"),
        });
        let own = chosen(&response.headers, &[header::SET_COOKIE]);
        self.deliver(LeaderAnswer::Shared(Outcome::Confirmed(object.clone()), None), own);
        let (store, lead, request) = (self.store, self.lead, self.exchange.request.headers);
        // Told before it ends, stored before it leaves the table: whoever looks finds one or the other.
        // What may not be stored is the leader's alone: whoever waits asks for itself.
        lead.announce(match refusal {
            None => Outcome::Confirmed(object.clone()),
            Some(refusal) => Outcome::NotStored(refusal),
        });
        lead.end(|key| match refusal {
            // A purge of a tag that it had until now is meant for it, too.
            None if store.is_current(key, &object.birth, &former.tags.again()) => {
                store.confirm(key, &request, object, same_names);
            }
            None => {}
            // The origin spoke of this one: other variants and parts have their own answers.
            Some(_) => store.forget_object(key, &former),
        });
    }

    /// A whole new answer.
    async fn answered(mut self: Box<Self>, mut response: Response, when: Exchanged, tags: Tags) {
        let request = &self.exchange.request.headers;
        let wishes = self.ruling.wishes(response.status, self.exchange.request.target.path());
        match judge(&self.store, request, &response, when, (self.share_cookies, wishes)) {
            Verdict::Store(mut storable) => {
                storable.freshness = self.capped(storable.freshness);
                let own = chosen(&response.headers, &storable.left_out);
                let fetched = Fetched { birth: self.lead.birth().clone(), tags, when };
                let content = self.store.new_content(response.body.length());
                let object = object(content, fetched, request, &response, storable);
                let near = self.exchange.extensions.get::<FromPeer>().is_some_and(|from| from.same_pop);
                // A PoP's disks have an object once, at its home.
                if near {
                    object.on_disk.store(NOT_FOR_DISK, Ordering::Relaxed);
                }
                self.exchange.trace.note("cache", || format!("storing: {}", stored_for(&object)));
                self.grow(object, response.body, own).await;
            }
            Verdict::Refuse(refusal) => {
                // Whoever asks may store it.
                if self.exchange.extensions.get::<AskedByPeer>().is_some() || self.lead.key().is_of_slices() {
                    tags.give_back(&mut response.headers);
                }
                self.refused(response, refusal);
            }
        }
    }

    fn refused(mut self: Box<Self>, response: Response, refusal: Refusal) {
        self.exchange.trace.note("cache", || format!("not stored: {refusal}"));
        self.lead.announce(Outcome::NotStored(refusal));
        // Another server's stale answer says nothing of what the origin has.
        let stale_of_a_peer =
            refusal == Refusal::Expired && self.exchange.extensions.get::<FromPeer>().is_some();
        if stale_of_a_peer {
            return self.deliver(LeaderAnswer::Own(response, refusal), HeaderMap::new());
        }
        // What a part is answered with says nothing of the whole, but that it is too large if the part is: then the
        // next request goes straight to the origin, and waits for no other.
        let of_the_whole = !self.exchange.request.headers.contains_key(header::RANGE);
        let of_all = !self.ruling.is_own();
        if refusal == Refusal::TooLarge || (refusal.lasting() && of_the_whole && of_all) {
            self.store.remember_pass(self.lead.key(), refusal);
        }
        // What the origin says now is newer than what is stored; an error says nothing of it, nor does what code wants of its own.
        let by_code = refusal == Refusal::ByRule && !of_all;
        if !response.status.is_server_error()
            && !by_code
            && self.stale.as_ref().is_some_and(|stale| !stale.is_part())
        {
            self.store.forget(self.lead.key());
        }
        self.deliver(LeaderAnswer::Own(response, refusal), HeaderMap::new());
    }

    /// Tells everybody of the object, reads its content, and stores it if it comes whole.
    async fn grow(mut self: Box<Self>, object: Arc<Object>, body: Body, own: HeaderMap) {
        // The leader's reader is there before the first octet: whatever becomes of the content, it gets all of it.
        let reader = object.content.body(0, None);
        self.lead.announce(Outcome::Filling(object.clone()));
        self.deliver(LeaderAnswer::Shared(Outcome::Filling(object.clone()), reader), own);
        let request = self.exchange.request.headers;
        keep(Kept { lead: self.lead, request, object, body }, &self.store, &self.metrics).await;
    }

    fn tell(&mut self, outcome: Outcome) {
        self.lead.announce(outcome.clone());
        self.deliver(LeaderAnswer::Shared(outcome, None), HeaderMap::new());
    }

    fn deliver(&mut self, answer: LeaderAnswer, own: HeaderMap) {
        let Some(deliver) = self.deliver.take() else { return };
        let trace = std::mem::take(&mut self.exchange.trace).entries().to_vec();
        let extensions = std::mem::take(&mut self.exchange.extensions);
        // A leader that has left needs nothing; its response, if it had one of its own, ends here.
        deliver.send(Delivered { answer, own, trace, extensions }).ok();
    }
}

/// An answer that is to be stored, while its content is still to come.
pub(crate) struct Kept {
    /// The flight.
    pub(crate) lead: Lead,
    /// The fields of the request that brought it.
    pub(crate) request: HeaderMap,
    /// The answer.
    pub(crate) object: Arc<Object>,
    /// Where its content comes from.
    pub(crate) body: Body,
}

/// Reads an object's content, and stores it if it comes whole.
pub(crate) async fn keep(kept: Kept, store: &Store, metrics: &Metrics) {
    let Kept { lead, request, object, body } = kept;
    match read(&object, body).await {
        Ok(true) => {
            lead.end(|key| store.insert(key, &request, object));
            metrics.stored.inc();
        }
        // Too large to keep, or read by nobody: the next request asks again.
        Ok(false) => {
            if object.content.length().is_none() {
                store.remember_pass(lead.key(), Refusal::TooLarge);
            }
        }
        Err(error) => {
            tracing::debug!(target: "proxima_cache", url = lead.key().url(), %error, "a fetch broke off");
        }
    }
}

/// Whether a fetched answer may be stored, and has room.
pub(crate) fn judge(
    store: &Store,
    request: &HeaderMap,
    response: &Response,
    when: Exchanged,
    (share_cookies, wishes): (bool, Wishes<'_>),
) -> Verdict {
    let (status, headers) = (response.status, &response.headers);
    let answered =
        Answered { method: &Method::GET, request, status, response: headers, when, share_cookies, wishes };
    let too_large = response.body.length().is_some_and(|octets| octets > store.object_octets_max());
    match storing::judge(answered) {
        Verdict::Store(_) if too_large => Verdict::Refuse(Refusal::TooLarge),
        verdict => verdict,
    }
}

/// How an answer was fetched, beside the answer itself.
pub(crate) struct Fetched {
    /// When its fetch began, in the order of purges.
    pub(crate) birth: Birth,
    /// Its tags.
    pub(crate) tags: Tags,
    /// By the wall clock.
    pub(crate) when: Exchanged,
}

/// The object that a storable answer makes, with the content that it is to have.
pub(crate) fn object(
    content: Arc<Content>,
    Fetched { birth, tags, when }: Fetched,
    request: &HeaderMap,
    response: &Response,
    storable: Storable,
) -> Arc<Object> {
    let mut headers = fields::storable(&response.headers, &storable.left_out);
    if !headers.contains_key(header::DATE)
        && let Some(date) = date::format(when.received_at)
    {
        // RFC 9110, 6.6.1: who keeps a response that has no Date gives it one.
        headers.insert(header::DATE, date);
    }
    Arc::new(Object {
        forms: forms(response.status, &headers, content.length()),
        status: response.status,
        speaks_to_us: headers.contains_key(&TARGETED[0]),
        headers,
        variant: storable.vary.variant(request),
        vary: storable.vary,
        freshness: storable.freshness,
        received: Instant::now(),
        received_at: when.received_at,
        birth,
        tags,
        content,
        heads: Heads::default(),
        failed: 0.into(),
        on_disk: NOT_OFFERED.into(),
    })
}

/// Where encoded forms of an answer are kept, if it is to be encoded for clients that want it: decided once, so that a hit
/// of anything else costs nothing.
pub(crate) fn forms(status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> Option<Arc<Forms>> {
    let compressible = status == StatusCode::OK && compression::is_compressible(headers, length);
    compressible.then(Arc::default)
}

/// The request that fills or confirms, made of a client's.
/// `fill`: what other servers' caches are told, if they may be asked.
pub(crate) fn fill_exchange(client: &Exchange, stale: Option<&Object>, fill: Option<CacheFill>) -> Exchange {
    let mut exchange = client.sub_request();
    if let Some(fill) = fill {
        exchange.extensions.insert(fill);
    }
    if let Some(asked) = client.extensions.get::<AskedByPeer>() {
        exchange.extensions.insert(*asked);
    }
    exchange.request.method = Method::GET;
    let headers = &mut exchange.request.headers;
    // Of what is stored whole, the whole is wanted; of what is not stored, no more than the client wants.
    let part = stale.map_or_else(|| range::Asked::read(headers).is_some(), Object::is_part);
    validators::make_fill_request(headers, stale.map(|stale| &stale.headers), part);
    codings::reduce(headers);
    if client.trace.is_kept() {
        exchange.trace = Trace::kept();
    }
    exchange
}

/// Puts what this client alone was just given into an answer, instead of what is stored.
pub(crate) fn put_own(response: &mut Response, own: &HeaderMap) {
    for name in own.keys() {
        response.headers.remove(name);
    }
    for (name, value) in own {
        response.headers.append(name.clone(), value.clone());
    }
}

/// The fields of these names.
pub(crate) fn chosen(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut chosen = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            chosen.append(name.clone(), value.clone());
        }
    }
    chosen
}

/// In how many words an object is stored: for whom, and why so long.
fn stored_for(object: &Object) -> String {
    let freshness = &object.freshness;
    let vary = if object.vary.is_empty() { "" } else { ", for requests alike in what it varies by" };
    let asked = if freshness.always_validate() { ", to be confirmed on every use" } else { "" };
    format!("stored for {} s: {}{asked}{vary}", freshness.lifetime_seconds, freshness.source)
}

/// Statuses that count as failures of the origin for stale-if-error (RFC 5861, 4).
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
