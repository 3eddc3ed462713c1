//! Requests that go past the cache, and what is to be done when they come back.

use http::{Method, StatusCode, Uri, header};
use proxima_model::Timestamp;
use proxima_pipeline::{Exchange, Fault, Flow};

use super::{CacheStage, NAME, eligible::not_for_anybody, is_for_cache};
use crate::{
    fill::{self, Fetched, Kept},
    flights::{Joined, Outcome, Wanted},
    key::{PrimaryKey, Slice},
    marks::{Birth, Tags},
    policy::{
        directives::TARGETED,
        freshness::Exchanged,
        invalidation, range,
        storing::{self, Answered, Refusal, Verdict},
    },
    ruling::Ruling,
    serve::take_left,
    status::{CACHE_STATUS, CACHE_STATUS_STANDARD, CacheStatus, Pass},
};

/// A request that went past, as it is known on the way back.
#[derive(Clone, Debug)]
struct Passed {
    pass: Pass,
    key: Option<PrimaryKey>,
    sent_at: Timestamp,
    /// When it began in the order of purges, if its answer might be stored nevertheless; and the count of its URL
    /// among those forgotten by then.
    birth: Option<(Birth, u64)>,
}

impl CacheStage {
    /// Lets a request go on to the origin.
    pub(super) fn pass(&self, exchange: &mut Exchange, pass: Pass, key: Option<PrimaryKey>) -> Flow {
        exchange.trace.note(NAME, || format!("passed by: {pass}"));
        if range::is_absurd(&exchange.request.headers) {
            exchange.trace.note(NAME, || "more ranges than are passed on: asking for the whole");
            exchange.request.headers.remove(header::RANGE);
            exchange.request.headers.remove(header::IF_RANGE);
        }
        let posted = pass == Pass::Method && exchange.request.method == Method::POST;
        // A key that a rule made has parts that a POST need not have as a GET would.
        let posted =
            key.as_ref().filter(|key| posted && !key.is_custom() && not_for_anybody(exchange).is_none());
        let birth = posted.map(|key| (self.birth(exchange, key), self.0.forgets.of(key)));
        exchange.extensions.insert(Passed { pass, key, sent_at: self.0.clock.now(), birth });
        Flow::Continue
    }

    /// Its answer has come. A fault is nobody's answer: it changes nothing here, and has no status.
    pub(super) fn came_back(&self, exchange: &mut Exchange) {
        let Some(passed) = exchange.extensions.remove::<Passed>() else { return };
        if exchange.extensions.get::<Fault>().is_none() {
            let tags = exchange.response.as_mut().and_then(|response| {
                // What goes past asks no other server: this is the origin's, which has no say in it.
                take_left(&mut response.headers);
                Tags::take(&mut response.headers)
            });
            let forgotten = self.invalidate(exchange, passed.key.as_ref());
            let for_cache = is_for_cache(exchange);
            if let (true, Some(tags), Some(response)) = (for_cache, &tags, &mut exchange.response) {
                tags.give_back(&mut response.headers);
            }
            self.keep_posted(exchange, &passed, forgotten, tags.unwrap_or_default());
            self.label(exchange, &passed);
            if let (false, Some(response)) = (for_cache, &mut exchange.response) {
                response.headers.remove(&TARGETED[0]);
            }
        }
    }

    /// Forgets what an unsafe request that succeeded has made invalid (RFC 9111, 4.4); how much of it counts for `own`.
    fn invalidate(&self, exchange: &mut Exchange, own: Option<&PrimaryKey>) -> u64 {
        let (Some(site), Some(response)) = (&exchange.site, &exchange.response) else { return 0 };
        if !invalidation::changes_state(&exchange.request.method) {
            return 0;
        }
        let Ok(target) = exchange.request.url().parse::<Uri>() else { return 0 };
        let mut forgotten = 0;
        let method = &exchange.request.method;
        let urls = invalidation::targets(method, &target, response.status, &response.headers);
        let zone = site.zone.id;
        for key in urls.iter().filter_map(|url| PrimaryKey::of_uri(zone, url)) {
            exchange
                .trace
                .note(NAME, || format!("forgotten, because {method} may have changed it: {}", key.url()));
            self.forget(&key);
            self.0.store.note_invalidated(&key);
            if let Some(others) = self.0.invalidations.get() {
                others.invalidated(zone, key.url());
            }
            forgotten += u64::from(own.is_some_and(|own| self.0.forgets.alike(own, &key)));
        }
        forgotten
    }

    /// Says on an answer that went past what it was to the cache.
    fn label(&self, exchange: &mut Exchange, passed: &Passed) {
        let ruling = Ruling::of(exchange);
        let Some(response) = &mut exchange.response else { return };
        let status = passed.pass.status().unwrap_or_else(|| {
            let received_at = self.0.clock.now();
            let verdict = storing::judge(Answered {
                method: &Method::GET,
                request: &exchange.request.headers,
                // A part says of its whole what the whole would say.
                status: if response.status == StatusCode::PARTIAL_CONTENT {
                    StatusCode::OK
                } else {
                    response.status
                },
                response: &response.headers,
                when: Exchanged { requested_at: passed.sent_at, received_at },
                share_cookies: self.0.config.share_cookies,
                wishes: ruling.wishes(response.status, exchange.request.target.path()),
            });
            match verdict {
                Verdict::Store(_) => {
                    let too_large = matches!(passed.pass, Pass::NotStorable(Refusal::TooLarge));
                    if let (Some(key), false) = (&passed.key, too_large) {
                        self.0.store.forget_pass(key);
                    }
                    CacheStatus::Miss
                }
                // To the client's own condition, which says nothing of what a whole answer would be.
                Verdict::Refuse(Refusal::NotModified) => match passed.pass {
                    Pass::NotStorable(refusal) => CacheStatus::of_refusal(refusal),
                    _ => CacheStatus::Miss,
                },
                Verdict::Refuse(refusal) => {
                    exchange.trace.note(NAME, || format!("not stored: {refusal}"));
                    CacheStatus::of_refusal(refusal)
                }
            }
        });
        response.headers.insert(CACHE_STATUS, status.value());
        response.headers.append(CACHE_STATUS_STANDARD, passed.pass.standard());
        let sliced = exchange.extensions.get::<Slice>().is_some();
        if !sliced {
            self.0.metrics.count(status);
        }
    }

    /// Stores the answer to a POST that is what a GET of the same URL would bring (RFC 9110, 9.3.3), while it goes to
    /// the client. `forgotten`: how often it has made this URL invalid itself.
    fn keep_posted(&self, exchange: &mut Exchange, passed: &Passed, forgotten: u64, tags: Tags) {
        let (Some((birth, forgets)), Some(key)) = (&passed.birth, &passed.key) else { return };
        let (shared, request, ruling) = (&self.0, &exchange.request, Ruling::of(exchange));
        let (Some(response), Ok(target)) = (&mut exchange.response, request.url().parse::<Uri>()) else {
            return;
        };
        let when = Exchanged { requested_at: passed.sent_at, received_at: shared.clock.now() };
        let answered = Answered {
            method: &request.method,
            request: &request.headers,
            status: response.status,
            response: &response.headers,
            when,
            share_cookies: shared.config.share_cookies,
            wishes: ruling.wishes(response.status, request.target.path()),
        };
        let Verdict::Store(storable) = storing::judge_posted(answered, &target) else { return };
        if response.body.length().is_some_and(|octets| octets > shared.store.object_octets_max()) {
            return;
        }
        // What was in flight has just been forgotten with what was stored: the URL is free, unless too much is in flight.
        let wanted = Wanted {
            key,
            request: &request.headers,
            vary: &storable.vary,
            birth: &|| birth.clone(),
            shares: &|_| false,
            stored: &|| false,
        };
        let Joined::Lead(lead) = shared.flights.join(&shared.store, &wanted) else { return };
        // From here on the flight watches for purges. Before, nothing did for this URL alone: if the count has
        // changed, it may have been forgotten.
        let untouched = shared.forgets.of(key) == forgets + forgotten;
        if !untouched || !shared.store.is_current(key, birth, &tags.again()) {
            return;
        }
        let request = request.headers.clone();
        let fetched = Fetched { birth: lead.birth().clone(), tags, when };
        let content = shared.store.new_content(response.body.length());
        let object = fill::object(content, fetched, &request, response, storable);
        let Some(reader) = object.content.body(0, None) else { return };
        let body = std::mem::replace(&mut response.body, reader);
        exchange.trace.note(NAME, || "storing the answer, which is what a GET would bring");
        lead.announce(Outcome::Filling(object.clone()));
        let (store, metrics) = (shared.store.clone(), shared.metrics.clone());
        tokio::spawn(async move { fill::keep(Kept { lead, request, object, body }, &store, &metrics).await });
    }
}
