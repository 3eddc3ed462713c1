//! Fetches that are run by the exchange of their client: where the answer is expected to be nobody else's.
//!
//! ```text
//!   nothing stored, no condition, and the folder's last answers were refused
//!      └─▶ a flight, and on to the stages behind with the client's own exchange
//!             └─▶ on the way back: refused ─▶ the client's alone      storable ─▶ stored and shared after all
//! ```
//!
//! A fetch that outlives its client is a future of its own, with a request of its own. For answers that nobody else
//! gets, that is effort for nothing. All else is as with every fetch: who asks for the same meanwhile waits for the
//! head, and shares what proves to be storable. Only a client that leaves before the head is there takes the fetch
//! along; one of those who wait then leads anew.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use proxima_chassis::GaugeGuard;
use proxima_model::Timestamp;
use proxima_pipeline::{Exchange, Fault, Flow, Response, answer};

use super::{Ask, CacheStage, NAME, is_for_cache};
use crate::{
    fill::{self, Fetched, Kept},
    flights::{Joined, Lead, Outcome},
    marks::Tags,
    policy::{
        codings,
        freshness::Exchanged,
        storing::{Refusal, Storable, Verdict},
        validators,
    },
    ruling::Ruling,
    serve::take_left,
    status::CacheStatus,
};

/// A fetch under way, as it is known on the way back. Shared only because extensions must be.
#[derive(Clone)]
struct Led(Arc<Flying>);

struct Flying {
    lead: Lead,
    requested_at: Timestamp,
    /// What the client accepts of codings: the origin is told less.
    accepted: Vec<HeaderValue>,
    _counted: GaugeGuard,
}

impl CacheStage {
    /// Leads a fetch with the client's own exchange, if that will do.
    pub(super) fn lead_here(&self, exchange: &mut Exchange, ask: &Ask) -> Option<Flow> {
        let expected = ask.stale.is_none() && self.0.store.expects_refusal(&ask.key);
        if !expected || !validators::is_fill_request(&exchange.request.headers) {
            return None;
        }
        let Joined::Lead(lead) = self.join(exchange, ask) else { return None };
        exchange.trace.note(
            NAME,
            || "nothing stored, and the last answers from that folder were not to be: asking the origin",
        );
        let flying = Flying {
            lead,
            requested_at: self.0.clock.now(),
            accepted: codings::reduce(&mut exchange.request.headers),
            _counted: GaugeGuard::new(&self.0.metrics.fills),
        };
        exchange.extensions.insert(Led(Arc::new(flying)));
        Some(Flow::Continue)
    }

    /// Its answer has come.
    pub(super) fn landed(&self, exchange: &mut Exchange) {
        let Some(Led(flying)) = exchange.extensions.remove::<Led>() else { return };
        let Some(Flying { lead, requested_at, accepted, _counted }) = Arc::into_inner(flying) else { return };
        codings::give_back(&mut exchange.request.headers, accepted);
        if let Some(fault) = exchange.extensions.get::<Fault>() {
            return lead.announce(Outcome::Failed(fault.clone()));
        }
        let Some(response) = &mut exchange.response else { return };
        let tags = Tags::take(&mut response.headers).unwrap_or_default();
        // Such a fetch asks no other server: whoever says this is the origin, which has no say in it.
        take_left(&mut response.headers);
        if response.status == StatusCode::NOT_MODIFIED {
            return Self::unasked(exchange, &lead);
        }
        let when = Exchanged { requested_at, received_at: self.0.clock.now() };
        let ruling = exchange.extensions.get::<Ruling>().cloned().unwrap_or_default();
        let wishes = ruling.wishes(response.status, exchange.request.target.path());
        let request = &exchange.request.headers;
        match fill::judge(&self.0.store, request, response, when, (self.0.config.share_cookies, wishes)) {
            Verdict::Refuse(refusal) => {
                if let (true, Some(response)) = (is_for_cache(exchange), &mut exchange.response) {
                    tags.give_back(&mut response.headers);
                }
                self.refused(exchange, &lead, refusal);
            }
            Verdict::Store(storable) => {
                let fetched = Fetched { birth: lead.birth().clone(), tags, when };
                self.storable(exchange, lead, storable, fetched);
            }
        }
    }

    /// A 304 to a request without a condition.
    fn unasked(exchange: &mut Exchange, lead: &Lead) {
        let fault = Fault::OriginMalformed("304 to a request without a condition");
        exchange.trace.note(NAME, || format!("failed: {fault}"));
        lead.announce(Outcome::Failed(fault.clone()));
        exchange.response = Some(answer(&fault, exchange));
        exchange.extensions.insert(fault);
    }

    /// As expected.
    fn refused(&self, exchange: &mut Exchange, lead: &Lead, refusal: Refusal) {
        exchange.trace.note(NAME, || format!("not stored: {refusal}"));
        if refusal.lasting() && (refusal == Refusal::TooLarge || !Ruling::of(exchange).is_own()) {
            // Only where somebody waited in vain does it help to know this URL by itself, or where others will ask for parts.
            if lead.is_awaited() || refusal == Refusal::TooLarge {
                self.0.store.remember_pass(lead.key(), refusal);
            } else {
                self.0.store.note_refused(lead.key());
            }
        }
        lead.announce(Outcome::NotStored(refusal));
        if let Some(mut response) = exchange.response.take() {
            self.label_refused(exchange, &mut response, refusal);
            exchange.response = Some(response);
        }
    }

    /// Against expectation: it is stored while it goes to the client, and shared from now on.
    fn storable(&self, exchange: &mut Exchange, lead: Lead, storable: Storable, fetched: Fetched) {
        let Some(response) = exchange.response.take() else { return };
        let shared = &self.0;
        let request = exchange.request.headers.clone();
        let own = fill::chosen(&response.headers, &storable.left_out);
        let content = shared.store.new_content(response.body.length());
        let object = fill::object(content, fetched, &request, &response, storable);
        let Response { body, .. } = response;
        // There before the first octet: whatever becomes of the content, this client gets all of it.
        let reader = object.content.body(0, None);
        lead.announce(Outcome::Filling(object.clone()));
        let flow = self.answer(exchange, &object, CacheStatus::Miss, reader, "from the origin, to be stored");
        exchange.response = match flow {
            Some(Flow::Respond(mut response)) => {
                fill::put_own(&mut response, &own);
                Some(response)
            }
            _ => Some(answer(&Fault::Internal("an answer that has just come has no reader"), exchange)),
        };
        let (store, metrics) = (shared.store.clone(), shared.metrics.clone());
        tokio::spawn(async move { fill::keep(Kept { lead, request, object, body }, &store, &metrics).await });
    }
}
