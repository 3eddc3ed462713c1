//! `cf-cache-status`: the words that tools and people look for, and when they are said; and `Cache-Status` (RFC 9211),
//! which says the same in the standard's words, beside what caches behind us said.

use std::{fmt, sync::LazyLock};

use http::{HeaderName, HeaderValue};

use crate::policy::storing::Refusal;

/// The field that tells what the cache did.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cf-cache-status");

/// The standard's field (RFC 9211): a list, to which every cache on the way appends.
pub const CACHE_STATUS_STANDARD: HeaderName = HeaderName::from_static("cache-status");

/// What the cache did for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelValue)]
pub enum CacheStatus {
    /// Answered from here.
    Hit,
    /// It was not here, and comes from the origin.
    Miss,
    /// It was here and stale; the origin sent it anew.
    Expired,
    /// It is stale, and served because the origin failed or the client accepts that.
    Stale,
    /// The answer, its origin, the client or the zone's owner forbids storing it.
    Bypass,
    /// It was here and stale; the origin confirmed it.
    Revalidated,
    /// It is stale, and served while the origin is asked in the background.
    Updating,
    /// It was never meant for a cache.
    Dynamic,
}

impl CacheStatus {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Hit,
        Self::Miss,
        Self::Expired,
        Self::Stale,
        Self::Bypass,
        Self::Revalidated,
        Self::Updating,
        Self::Dynamic,
    ];

    /// As the field says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss => "MISS",
            Self::Expired => "EXPIRED",
            Self::Stale => "STALE",
            Self::Bypass => "BYPASS",
            Self::Revalidated => "REVALIDATED",
            Self::Updating => "UPDATING",
            Self::Dynamic => "DYNAMIC",
        }
    }

    /// The field's value.
    pub const fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// The member of [`CACHE_STATUS_STANDARD`] for an answer that is stored. Whole and static, without `ttl`: a hit
    /// makes no text, and `Age` beside the lifetime says the same.
    pub const fn standard(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Hit => "proxima; hit",
            Self::Stale => "proxima; hit; detail=stale",
            Self::Updating => "proxima; hit; detail=updating",
            Self::Miss => "proxima; fwd=uri-miss; stored",
            Self::Expired => "proxima; fwd=stale; stored",
            Self::Revalidated => "proxima; fwd=stale; fwd-status=304; stored",
            Self::Bypass | Self::Dynamic => "proxima; fwd=bypass",
        })
    }

    /// The same for an answer that was not stored, with the reason.
    pub fn standard_of_refusal(refusal: Refusal) -> HeaderValue {
        static VALUES: Details =
            LazyLock::new(|| Refusal::ALL.map(|refusal| with_detail("uri-miss", &refusal)));
        prepared(&*VALUES, refusal, || with_detail("uri-miss", &refusal))
    }

    /// What an answer that was refused is called.
    pub const fn of_refusal(refusal: Refusal) -> Self {
        if refusal.forbidden() { Self::Bypass } else { Self::Dynamic }
    }
}

/// Why a request goes past the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It asks for no site.
    NoSite,
    /// Its method is neither GET nor HEAD.
    Method,
    /// It asks for another protocol.
    Upgrade,
    /// It has a body, which no key contains.
    Body,
    /// It carries a field that changes what origins answer and that no key contains.
    UnkeyedField(&'static str),
    /// It has a condition that only the origin can judge.
    OriginCondition,
    /// The zone is in development mode.
    DevelopmentMode,
    /// A cache rule of the zone says so.
    Rule,
    /// The client asked that nothing be stored.
    RequestNoStore,
    /// A HEAD for which nothing is stored: it fetches no content that could be.
    Head,
    /// Answers for this URL have lately not been storable.
    NotStorable(Refusal),
    /// Too much is in flight.
    Busy,
    /// Another request that asked the origin for the same took too long, or what it brought may not be shared.
    Waited,
}

impl Pass {
    /// What the answer is called, unless what it says decides.
    pub const fn status(self) -> Option<CacheStatus> {
        match self {
            Self::NoSite | Self::Method | Self::Upgrade | Self::Body => Some(CacheStatus::Dynamic),
            Self::UnkeyedField(_)
            | Self::OriginCondition
            | Self::DevelopmentMode
            | Self::Rule
            | Self::RequestNoStore => Some(CacheStatus::Bypass),
            Self::Head | Self::NotStorable(_) | Self::Busy | Self::Waited => None,
        }
    }
}

impl Pass {
    /// The member of [`CACHE_STATUS_STANDARD`].
    pub fn standard(self) -> HeaderValue {
        match self {
            Self::Method => HeaderValue::from_static("proxima; fwd=method"),
            Self::Head => with_detail("uri-miss", &self),
            Self::NotStorable(refusal) => {
                static VALUES: Details = LazyLock::new(|| {
                    Refusal::ALL.map(|refusal| with_detail("bypass", &Pass::NotStorable(refusal)))
                });
                prepared(&*VALUES, refusal, || with_detail("bypass", &self))
            }
            _ => with_detail("bypass", &self),
        }
    }
}

/// A member for each refusal, made once: they stand on most answers of programs.
type Details = LazyLock<[HeaderValue; Refusal::ALL.len()]>;

/// The member for this refusal. One that is missing in [`Refusal::ALL`] is made when it is asked for: no answer may
/// depend on that list.
fn prepared(values: &[HeaderValue], refusal: Refusal, make: impl FnOnce() -> HeaderValue) -> HeaderValue {
    values.get(refusal as usize).cloned().unwrap_or_else(make)
}

/// A member that says why the request went on, and in words what lay behind it. The words are ours: none has a quote
/// or anything but ASCII in it.
fn with_detail(forwarded: &str, words: &dyn fmt::Display) -> HeaderValue {
    HeaderValue::from_str(&format!("proxima; fwd={forwarded}; detail=\"{words}\""))
        .expect("our own words are a valid value")
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSite => f.write_str("the request asks for no site"),
            Self::Method => f.write_str("only GET and HEAD are answered from the cache"),
            Self::Upgrade => f.write_str("the request asks for another protocol"),
            Self::Body => f.write_str("the request has a body"),
            Self::UnkeyedField(name) => write!(f, "the request has {name}, which is in no key"),
            Self::OriginCondition => {
                f.write_str("only the origin can judge If-Match and If-Unmodified-Since")
            }
            Self::DevelopmentMode => f.write_str("the zone is in development mode"),
            Self::Rule => f.write_str("a cache rule of the zone says so"),
            Self::RequestNoStore => f.write_str("the client asked for no-store"),
            Self::Head => f.write_str("nothing fresh is stored, and HEAD brings nothing to store"),
            Self::NotStorable(refusal) => {
                write!(f, "answers for this URL were lately not storable: {refusal}")
            }
            Self::Busy => f.write_str("too many fetches are in flight"),
            Self::Waited => {
                f.write_str("another request's fetch of the same took too long or cannot be shared")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_counts_every_status_under_its_own_name() {
        for status in CacheStatus::ALL {
            let counted = proxima_pipeline::cache_status(Some(status.name().as_bytes()));
            assert_eq!(proxima_pipeline::CACHE_STATUSES[counted], status.name().to_lowercase());
        }
    }

    #[test]
    fn every_refusal_has_its_own_words() {
        for refusal in Refusal::ALL {
            let value = CacheStatus::standard_of_refusal(refusal);
            assert_eq!(value, with_detail("uri-miss", &refusal), "{refusal:?}");
            let pass = Pass::NotStorable(refusal);
            assert_eq!(pass.standard(), with_detail("bypass", &pass), "{refusal:?}");
        }
    }

    #[test]
    fn a_refusal_that_nothing_is_prepared_for_is_told_all_the_same() {
        let listed = [HeaderValue::from_static("listed")];
        let made = || HeaderValue::from_static("made");
        assert_eq!(prepared(&listed, Refusal::Method, made), "listed");
        assert_eq!(prepared(&listed, Refusal::TooLarge, made), "made");
    }
}
