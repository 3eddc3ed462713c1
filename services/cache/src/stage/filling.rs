//! Fetches on behalf of everybody, as they begin.

use std::sync::Arc;

use proxima_pipeline::{CacheFill, Exchange, Rest};
use tokio::sync::oneshot;

use super::{Ask, CacheStage, always_online};
use crate::{
    fill::{Delivered, Fill, fill_exchange},
    flights::{Joined, Lead, Wanted},
    key::PrimaryKey,
    policy::reuse::{self, Reuse},
    ruling::Ruling,
    store::Object,
};

impl CacheStage {
    /// Joins a fetch, or leads one.
    pub(super) fn join(&self, exchange: &Exchange, ask: &Ask) -> Joined {
        let usable = |object: &Object| {
            !matches!(reuse::decide(&object.freshness, object.resident(), &ask.asked), Reuse::Validate(_))
        };
        let request = &exchange.request.headers;
        let stored = || self.0.store.find(&ask.key, request).object.is_some_and(|object| usable(&object));
        let birth = || self.birth(exchange, &ask.key);
        let (key, vary) = (&ask.key, &ask.vary);
        let wanted = Wanted { key, request, vary, birth: &birth, shares: &usable, stored: &stored };
        self.0.flights.join(&self.0.store, &wanted)
    }

    /// Has what is stale confirmed or fetched anew, while it is served.
    pub(super) fn update_in_background(&self, exchange: &Exchange, key: &PrimaryKey, stale: &Arc<Object>) {
        let wanted = Wanted {
            key,
            request: &exchange.request.headers,
            vary: &stale.vary,
            birth: &|| self.birth(exchange, key),
            shares: &|_| true,
            // Somebody has confirmed or forgotten it meanwhile.
            stored: &|| {
                let found = self.0.store.find(key, &exchange.request.headers).object;
                found.is_none_or(|found| !Arc::ptr_eq(&found, stale))
            },
        };
        if let (Some(rest), Joined::Lead(lead)) =
            (exchange.rest(), self.0.flights.join(&self.0.store, &wanted))
        {
            tokio::spawn(Box::pin(self.fill(exchange, lead, rest, None).run()));
        }
    }

    /// Boxed: it is moved about while it runs.
    pub(super) fn fill(
        &self,
        exchange: &Exchange,
        lead: Lead,
        rest: Rest,
        deliver: Option<oneshot::Sender<Delivered>>,
    ) -> Box<Fill> {
        // Looked up anew: what was forgotten before this flight began must not be confirmed by it.
        let stale = self.0.store.find(lead.key(), &exchange.request.headers).object;
        let (key, store) = (lead.key(), &self.0.store);
        // What an unsafe request has just changed, those above may not have heard of yet.
        let ask_others = !store.was_invalidated(key);
        let tell = || CacheFill { url: key.place(), purged_up_to: store.progress().begun() };
        let mut fetch = fill_exchange(exchange, stale.as_deref(), ask_others.then(tell));
        if deliver.is_some() {
            fetch.interims.clone_from(&exchange.interims);
        }
        Box::new(Fill {
            lead,
            exchange: fetch,
            rest,
            stale,
            always_online: always_online(exchange),
            share_cookies: self.0.config.share_cookies,
            ruling: Ruling::of(exchange),
            left: None,
            deliver,
            store: self.0.store.clone(),
            clock: self.0.clock.clone(),
            metrics: self.0.metrics.clone(),
        })
    }
}
