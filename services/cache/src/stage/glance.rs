//! Hits that are answered as their requests lie in their connections' buffers (`core/pipeline/src/glance.rs`).
//!
//! What such a request is answered with was decided when the object was stored, but for its age: the head is made once for
//! each form of the object, as octets, and kept beside it. Everything that is not a plain hit is left to the long way: what
//! is stale, in variants, in pieces, growing or on the disk; zones with cache rules; what has to be compared with a purge.

use bytes::Bytes;
use http::StatusCode;
use proxima_compression::{Coding, Form, encoder::Effort, fields, negotiate_line};
use proxima_pipeline::{Glance, HeadForm, PreparedHead, Ready};

use super::{CacheStage, eligible::UNKEYED_FIELDS};
use crate::{
    key::UrlSeen,
    policy::{
        directives::{RequestDirectives, ResponseDirectives},
        reuse::{self, Reuse},
    },
    serve,
    status::CacheStatus,
    store::{Object, ReadyHead},
};

/// Fields that make a request conditional, ask for a part, or say what a cache may do.
const CONDITIONS: [&str; 7] = [
    "cache-control",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
];

/// All with which a request has to be looked at more closely.
pub(super) static HEEDED: [&str; CONDITIONS.len() + UNKEYED_FIELDS.len()] = {
    let mut all = [""; CONDITIONS.len() + UNKEYED_FIELDS.len()];
    let mut place = 0;
    while place < all.len() {
        all[place] = if place < CONDITIONS.len() {
            CONDITIONS[place]
        } else {
            UNKEYED_FIELDS[place - CONDITIONS.len()]
        };
        place += 1;
    }
    all
};

/// The place of a hit among what is counted of zones.
const HIT: usize = 0;

impl CacheStage {
    /// The answer to a request, if that is a plain hit; it is counted then.
    pub(super) fn look(&self, glance: &Glance<'_>) -> Option<Ready> {
        let site = glance.site.as_ref()?;
        let settings = &site.zone.settings;
        let developed = settings.development_mode && settings.in_development(self.0.clock.now());
        if developed || !site.cache_rules.is_empty() {
            return None;
        }
        let url = UrlSeen::new(site.zone.id, glance);
        let object = self.0.store.glance(&url)?;
        let whole = object.content.in_one_piece().filter(|_| object.status == StatusCode::OK)?;
        let resident = glance.received.saturating_duration_since(object.received);
        let fresh = reuse::decide(&object.freshness, resident, &RequestDirectives::default());
        if fresh != Reuse::Fresh {
            return None;
        }
        let (coding, body) = form(&object, whole, glance, settings.brotli)?;
        let age_seconds = object.freshness.age(resident).as_secs();
        let made = object.heads.of(glance.form, coding);
        let (is_new, ReadyHead { head, browser_seconds }) = match made.get() {
            Some(made) => (false, made),
            None => (true, made.get_or_init(|| head(&object, glance.form, coding, body.len() as u64))),
        };
        let lengthened = settings.browser_cache_ttl;
        if lengthened > 0 && *browser_seconds < u64::from(lengthened) + age_seconds {
            return None;
        }
        if is_new {
            // It takes memory from now on. That counts as a use, too.
            self.0.store.recount(&url.to_key(), &object);
        } else {
            self.0.store.touch(&url);
        }
        self.0.metrics.count(CacheStatus::Hit);
        if let Some(coding) = coding {
            self.0.compressor.metrics().of(coding, Effort::Stored).answers.inc();
        }
        Some(Ready { head: head.clone(), age_seconds, body, cache: HIT })
    }
}

/// Whether an object of so many octets has encoded forms.
fn is_encoded(object: &Object, length: u64) -> bool {
    object.forms.is_some() && length >= fields::LENGTH_MIN
}

/// The form that a request wants; `None` if it is not made yet.
fn form(
    object: &Object,
    whole: &Bytes,
    glance: &Glance<'_>,
    brotli: bool,
) -> Option<(Option<Coding>, Bytes)> {
    let as_it_is = || Some((None, whole.clone()));
    let Some(forms) = object.forms.as_ref().filter(|_| is_encoded(object, whole.len() as u64)) else {
        return as_it_is();
    };
    let wanted = negotiate_line(glance.accept_encoding, |coding| coding != Coding::Br || brotli);
    let Some(coding) = wanted else { return as_it_is() };
    match forms.made(coding)? {
        Form::Ready(form) => Some((Some(coding), form)),
        Form::Identity(_) => as_it_is(),
        Form::Making(_) => None,
    }
}

/// The head of the answer in this coding, of so many octets, as the protocol writes it.
fn head(object: &Object, written: &'static dyn HeadForm, coding: Option<Coding>, octets: u64) -> ReadyHead {
    let mut headers = serve::fields_of_hits(object);
    let said = ResponseDirectives::of_cache_control(&headers);
    let browser_seconds = serve::told_browsers(&said).unwrap_or(u64::MAX);
    match coding {
        Some(coding) => fields::encode(&mut headers, coding, Some(octets)),
        None if is_encoded(object, octets) => fields::vary(&mut headers),
        None => {}
    }
    let head = PreparedHead::new(written, object.status, &headers, octets).into();
    ReadyHead { head, browser_seconds }
}
