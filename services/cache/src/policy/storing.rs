//! What may be stored (RFC 9111, 3), for a shared cache.
//!
//! Unlike some networks this one does not ask for the file extension: what the origin allows by its fields is
//! stored, and nothing else. Stricter than the RFC in one point: a response that sets a cookie is not stored, unless
//! its `Cache-Control` takes the cookie out of the stored response (`no-cache="set-cookie"`).

use std::fmt;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::{
    directives::{RequestDirectives, ResponseDirectives, Scope},
    freshness::{Exchanged, Freshness, Source, heuristically_cacheable},
    vary::Vary,
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
    /// Only answers to GET are.
    Method,
    /// An interim answer or an upgrade.
    NotFinal,
    /// 206: parts are not stored.
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
    /// The answer sets a cookie.
    SetCookie,
    /// `Vary: *`, or more names than are kept.
    Vary,
    /// Nothing in the answer says that it may be kept, and there is no validator to ask with.
    NothingSays,
    /// It is stale already and there is no validator to ask with.
    Expired,
    /// It is larger than an object may be.
    TooLarge,
}

impl Refusal {
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "only answers to GET are stored",
            Self::NotFinal => "not a final answer",
            Self::Partial => "partial content",
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
}

/// Statuses whose caching rules are known here (`must-understand`, 5.2.2.3): those of RFC 9110 and their kin, but
/// for 206, whose storing needs more.
fn understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421..=422 | 426 | 428 | 429 | 431 | 451 | 500..=505 | 511
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

/// The rules that do not depend on time.
fn refusal(answered: Answered<'_>, said: &ResponseDirectives) -> Option<Refusal> {
    let Answered { method, request, status, response, .. } = answered;
    if method != Method::GET {
        return Some(Refusal::Method);
    }
    if status.is_informational() {
        return Some(Refusal::NotFinal);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        return Some(Refusal::Partial);
    }
    if status == StatusCode::NOT_MODIFIED {
        return Some(Refusal::NotModified);
    }
    if RequestDirectives::read(request).no_store {
        return Some(Refusal::RequestNoStore);
    }
    if said.must_understand && !understood(status) {
        return Some(Refusal::NotUnderstood);
    }
    if said.no_store && !said.must_understand {
        return Some(Refusal::NoStore);
    }
    if said.private == Scope::Whole {
        return Some(Refusal::Private);
    }
    let shared = said.public || said.s_maxage.is_some() || said.must_revalidate;
    if request.contains_key(header::AUTHORIZATION) && !shared {
        return Some(Refusal::Authorization);
    }
    let cookie_left_out = left_out(said).any(|name| name == header::SET_COOKIE);
    if response.contains_key(header::SET_COOKIE) && !cookie_left_out {
        return Some(Refusal::SetCookie);
    }
    None
}

fn store(answered: Answered<'_>, said: &ResponseDirectives) -> Verdict {
    let Answered { status, response, when, .. } = answered;
    let Some(vary) = Vary::read(response) else {
        return Verdict::Refuse(Refusal::Vary);
    };
    let freshness = Freshness::of(status, response, said, when);
    let allowed = said.public
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
    Verdict::Store(Storable { freshness, vary, left_out: left_out(said).cloned().collect() })
}

fn left_out(said: &ResponseDirectives) -> impl Iterator<Item = &HeaderName> {
    said.private.fields().iter().chain(said.no_cache.fields())
}

#[cfg(test)]
#[path = "storing_tests.rs"]
mod tests;
