//! Requests that go past the cache, and what is to be done when they come back.

use http::{Method, StatusCode, Uri};
use proxima_model::Timestamp;
use proxima_pipeline::{Exchange, Fault, Flow};

use super::{CacheStage, NAME};
use crate::{
    key::PrimaryKey,
    policy::{
        freshness::Exchanged,
        invalidation,
        storing::{self, Answered, Refusal, Verdict},
    },
    status::{CACHE_STATUS, CacheStatus, Pass},
};

/// A request that went past, as it is known on the way back.
#[derive(Clone, Debug)]
struct Passed {
    pass: Pass,
    key: Option<PrimaryKey>,
    sent_at: Timestamp,
}

impl CacheStage {
    /// Lets a request go on to the origin.
    pub(super) fn pass(&self, exchange: &mut Exchange, pass: Pass, key: Option<PrimaryKey>) -> Flow {
        exchange.trace.note(NAME, || format!("passed by: {pass}"));
        exchange.extensions.insert(Passed { pass, key, sent_at: self.0.clock.now() });
        Flow::Continue
    }

    /// Its answer has come. A fault is nobody's answer: it changes nothing here, and has no status.
    pub(super) fn came_back(&self, exchange: &mut Exchange) {
        let Some(passed) = exchange.extensions.remove::<Passed>() else { return };
        if exchange.extensions.get::<Fault>().is_none() {
            self.invalidate(exchange);
            self.label(exchange, &passed);
        }
    }

    /// Forgets what an unsafe request that succeeded has made invalid (RFC 9111, 4.4).
    fn invalidate(&self, exchange: &mut Exchange) {
        let (Some(site), Some(response)) = (&exchange.site, &exchange.response) else { return };
        if !invalidation::changes_state(&exchange.request.method) {
            return;
        }
        let Ok(target) = exchange.request.url().parse::<Uri>() else { return };
        let method = &exchange.request.method;
        let urls = invalidation::targets(method, &target, response.status, &response.headers);
        let zone = site.zone.id;
        for key in urls.iter().filter_map(|url| PrimaryKey::of_uri(zone, url)) {
            exchange
                .trace
                .note(NAME, || format!("forgotten, because {method} may have changed it: {}", key.url()));
            self.forget(&key);
        }
    }

    /// Says on an answer that went past what it was to the cache.
    fn label(&self, exchange: &mut Exchange, passed: &Passed) {
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
        self.0.metrics.count(status);
    }
}
