//! What may be stored (RFC 9111, 3), for a shared cache.
//!
//! Unlike some networks this one does not ask for the file extension: what the origin allows by its fields is
//! stored, and nothing else. A response that sets a cookie is stored only if the origin itself gives it a lifetime,
//! never on a guess (7.3 leaves it to the origin to forbid sharing it), or if its `Cache-Control` takes the cookie out
//! of the stored response (`no-cache="set-cookie"`). The node's configuration may forbid the former.
//!
//! The owner of a zone may say otherwise of lifetimes, by cache rules ([`Wishes`]). A lifetime of the owner's stands above
//! what the origin says: `no-store`, `private` and the like count for nothing, and a cookie is taken out of what is stored.
//! Never stored, whatever a rule says, is what would go to somebody else than it was made for: answers to authorized
//! requests without the origin's leave, `Vary: *`, what its client wants not stored.
//!
//! A part (206) is stored as it came, for requests of the very same part: nothing is combined (3.4 would need a
//! strong validator, and a whole object answers every part).

use std::fmt;

use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use proxima_model::EdgeLifetime;

use super::{
    directives::{RequestDirectives, ResponseDirectives, Scope},
    freshness::{Exchanged, Freshness, Source, heuristically_cacheable},
    invalidation, range,
    vary::Vary,
    wishes::Wishes,
};

/// What became of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be stored.
    Store(Storable),
    /// It may not.
    Refuse(Refusal),
}

/// How a response is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storable {
    /// For how long it may be used.
    pub freshness: Freshness,
    /// Which requests it answers.
    pub vary: Vary,
    /// Fields that the qualified forms of `private` and `no-cache` keep out of the stored response. (For `no-cache`
    /// the RFC would allow them after validation; leaving them out is what it allows always.)
    pub left_out: Vec<HeaderName>,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Only answers to GET are, and such to POST as are the answer to a later GET.
    Method,
    /// An interim answer or an upgrade.
    NotFinal,
    /// 206 with several parts, with none that it names, or to a request that asked for none.
    Partial,
    /// 304 to a condition that was not ours.
    NotModified,
    /// The client's `no-store`.
    RequestNoStore,
    /// The origin's `no-store`.
    NoStore,
    /// `must-understand` on a status whose caching rules we do not know.
    NotUnderstood,
    /// `private`.
    Private,
    /// The request was authorized, and nothing in the answer allows sharing it (3.5).
    Authorization,
    /// The answer sets a cookie, and its origin does not say that it may be kept nevertheless.
    SetCookie,
    /// `Vary: *`, or more names than are kept.
    Vary,
    /// Nothing in the answer says that it may be kept, and there is no validator to ask with.
    NothingSays,
    /// It is stale already and there is no validator to ask with.
    Expired,
    /// It is larger than an object may be.
    TooLarge,
    /// A cache rule says not to store answers of this status.
    ByRule,
    /// The origin gives no lifetime, and a cache rule wants none guessed.
    NoLifetime,
    /// Its type is not that of the URL's extension, and a cache rule wants it to be.
    OtherType,
}

impl Refusal {
    /// All of them, each in the place of its number.
    pub const ALL: [Self; 17] = [
        Self::Method,
        Self::NotFinal,
        Self::Partial,
        Self::NotModified,
        Self::RequestNoStore,
        Self::NoStore,
        Self::NotUnderstood,
        Self::Private,
        Self::Authorization,
        Self::SetCookie,
        Self::Vary,
        Self::NothingSays,
        Self::Expired,
        Self::TooLarge,
        Self::ByRule,
        Self::NoLifetime,
        Self::OtherType,
    ];

    /// Whether the answer (or its client) forbade storing, as against never having been meant for a cache: `BYPASS`
    /// against `DYNAMIC`.
    pub const fn forbidden(self) -> bool {
        !matches!(self, Self::Method | Self::NotFinal | Self::Partial | Self::NotModified | Self::NothingSays)
    }

    /// Whether the next answer for the same URL can be expected to be refused as well.
    pub const fn lasting(self) -> bool {
        !matches!(self, Self::RequestNoStore | Self::Partial | Self::NotModified | Self::Authorization)
    }
}

/// The build fails if [`Refusal::ALL`] has another order than the variants: it is looked up by number.
const _: () = {
    let mut place = 0;
    while place < Refusal::ALL.len() {
        assert!(Refusal::ALL[place] as usize == place, "Refusal::ALL is not in the order of the variants");
        place += 1;
    }
};

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "only answers to GET are stored",
            Self::NotFinal => "not a final answer",
            Self::Partial => "partial content, and not the one part that was asked for",
            Self::NotModified => "304 to the client's own condition",
            Self::RequestNoStore => "the client asked for no-store",
            Self::NoStore => "no-store",
            Self::NotUnderstood => "must-understand, and the status is not one we know the caching of",
            Self::Private => "private",
            Self::Authorization => {
                "the request was authorized, and neither public, s-maxage nor must-revalidate allows sharing"
            }
            Self::SetCookie => "Set-Cookie",
            Self::Vary => "Vary: * (or too many names)",
            Self::NothingSays => "no lifetime and no validator",
            Self::Expired => "already stale, and no validator",
            Self::TooLarge => "larger than an object may be",
            Self::ByRule => "a cache rule says not to store this status",
            Self::NoLifetime => "no lifetime given, and a cache rule wants none guessed",
            Self::OtherType => "not of the type of the URL's extension, as a cache rule wants it",
        })
    }
}

/// A request and its answer, as far as storing depends on them.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's fields, as the client sent them.
    pub request: &'a HeaderMap,
    /// The answer's status.
    pub status: StatusCode,
    /// The answer's fields, as the origin sent them.
    pub response: &'a HeaderMap,
    /// When both happened.
    pub when: Exchanged,
    /// Whether an answer that sets a cookie may be stored with it, if its origin gives it a lifetime.
    pub share_cookies: bool,
    /// What the owner of the zone wishes.
    pub wishes: Wishes<'a>,
}

/// Statuses whose caching rules are known here (`must-understand`, 5.2.2.3): those of RFC 9110 and their kin.
fn understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=206 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421..=422 | 426 | 428 | 429 | 431 | 451 | 500..=505 | 511
    )
}

/// Whether, and how, a response may be stored.
pub fn judge(answered: Answered<'_>) -> Verdict {
    let said = ResponseDirectives::read(answered.response);
    match refusal(answered, &said) {
        Some(refusal) => Verdict::Refuse(refusal),
        None => store(answered, &said),
    }
}

/// The same for an answer to POST: it may be stored, to answer a later GET, if it says itself that it is what a GET
/// of the same URL would bring (`Content-Location`), and for how long (RFC 9110, 9.3.3). `target` is absolute.
pub fn judge_posted(answered: Answered<'_>, target: &Uri) -> Verdict {
    let is_what_get_brings = answered.method == Method::POST
        && answered.status.is_success()
        && answered.status != StatusCode::PARTIAL_CONTENT
        && invalidation::content_location(target, answered.response).as_ref() == Some(target);
    if !is_what_get_brings {
        return Verdict::Refuse(Refusal::Method);
    }
    match judge(Answered { method: &Method::GET, ..answered }) {
        Verdict::Store(storable) if !given_a_lifetime(&storable.freshness) => {
            Verdict::Refuse(Refusal::Method)
        }
        verdict => verdict,
    }
}

/// Whether the origin itself gave a response a lifetime, within which nobody need ask.
fn given_a_lifetime(freshness: &Freshness) -> bool {
    let guessed = matches!(freshness.source, Source::Heuristic | Source::Rule | Source::Nothing);
    !guessed && freshness.lifetime_seconds > 0 && !freshness.always_validate()
}

/// The rules that do not depend on time.
fn refusal(answered: Answered<'_>, said: &ResponseDirectives) -> Option<Refusal> {
    let Answered { method, request, status, response, wishes, .. } = answered;
    if method != Method::GET {
        return Some(Refusal::Method);
    }
    if status.is_informational() {
        return Some(Refusal::NotFinal);
    }
    if status == StatusCode::PARTIAL_CONTENT
        && (range::Asked::read(request).is_none() || range::content_range(response).is_none())
    {
        return Some(Refusal::Partial);
    }
    if status == StatusCode::NOT_MODIFIED {
        return Some(Refusal::NotModified);
    }
    if RequestDirectives::read(request).no_store {
        return Some(Refusal::RequestNoStore);
    }
    if wishes.lifetime == EdgeLifetime::Never {
        return Some(Refusal::ByRule);
    }
    if wishes.deceives(response) {
        return Some(Refusal::OtherType);
    }
    if said.must_understand && !understood(status) && !wishes.overrides() {
        return Some(Refusal::NotUnderstood);
    }
    if said.no_store && !said.must_understand && !wishes.overrides() {
        return Some(Refusal::NoStore);
    }
    if said.private == Scope::Whole && !wishes.overrides() {
        return Some(Refusal::Private);
    }
    let shared = said.public || said.s_maxage.is_some() || said.must_revalidate;
    if request.contains_key(header::AUTHORIZATION) && !shared {
        return Some(Refusal::Authorization);
    }
    None
}

fn store(answered: Answered<'_>, said: &ResponseDirectives) -> Verdict {
    let Answered { status, response, when, wishes, .. } = answered;
    let Some(mut vary) = Vary::read(response) else {
        return Verdict::Refuse(Refusal::Vary);
    };
    // Anything but the whole may be what it is because of the part that was asked for: 206, 416, a refusal.
    if status != StatusCode::OK && range::Asked::read(answered.request).is_some() {
        vary = vary.of_a_part();
    }
    let mut freshness = Freshness::of(status, response, said, when);
    if let EdgeLifetime::Seconds(seconds) = wishes.lifetime {
        freshness = freshness.overridden(seconds);
    }
    if wishes.never_while_updating {
        freshness = freshness.never_while_updating();
    }
    let cookie = response.contains_key(header::SET_COOKIE);
    let cookie_left_out = wishes.overrides() || left_out(said).any(|name| name == header::SET_COOKIE);
    if cookie && !cookie_left_out && !(answered.share_cookies && given_a_lifetime(&freshness)) {
        return Verdict::Refuse(Refusal::SetCookie);
    }
    let guessed = matches!(freshness.source, Source::Heuristic | Source::Nothing);
    if wishes.lifetime == EdgeLifetime::OriginAlone && guessed {
        return Verdict::Refuse(Refusal::NoLifetime);
    }
    let allowed = wishes.overrides()
        || said.public
        || said.explicit_freshness()
        || freshness.source == Source::Expires
        || heuristically_cacheable(status);
    let validator = response.contains_key(header::ETAG) || response.contains_key(header::LAST_MODIFIED);
    if !allowed || (freshness.source == Source::Nothing && !validator) {
        return Verdict::Refuse(Refusal::NothingSays);
    }
    if !freshness.ever_usable() && !validator {
        return Verdict::Refuse(Refusal::Expired);
    }
    let cookie = wishes.overrides().then_some(header::SET_COOKIE);
    Verdict::Store(Storable { freshness, vary, left_out: left_out(said).cloned().chain(cookie).collect() })
}

fn left_out(said: &ResponseDirectives) -> impl Iterator<Item = &HeaderName> {
    said.private.fields().iter().chain(said.no_cache.fields())
}

#[cfg(test)]
#[path = "storing_tests.rs"]
mod tests;
