//! `cf-cache-status`: the words that tools and people look for, and when they are said.

use std::fmt;

use http::{HeaderName, HeaderValue};

use crate::policy::storing::Refusal;

/// The field that tells what the cache did.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cf-cache-status");

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
    /// The client asked that nothing be stored.
    RequestNoStore,
    /// A HEAD for which nothing is stored: it fetches no content that could be.
    Head,
    /// A part of something that is not stored.
    Range,
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
            Self::UnkeyedField(_) | Self::OriginCondition | Self::DevelopmentMode | Self::RequestNoStore => {
                Some(CacheStatus::Bypass)
            }
            Self::Head | Self::Range | Self::NotStorable(_) | Self::Busy | Self::Waited => None,
        }
    }
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
            Self::RequestNoStore => f.write_str("the client asked for no-store"),
            Self::Head => f.write_str("nothing fresh is stored, and HEAD brings nothing to store"),
            Self::Range => f.write_str("nothing is stored, and only a part is asked for"),
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
