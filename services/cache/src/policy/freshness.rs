//! How long a stored response may be used: freshness lifetime, age, and what may happen afterwards
//! (RFC 9111, 4.2; RFC 5861).

use std::{fmt, time::Duration};

use http::{HeaderMap, StatusCode, header};
use proxima_model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    date::DateField,
    directives::{Origin, ResponseDirectives, Scope, delta_seconds},
};

/// The heuristic takes this fraction of the time since `Last-Modified` (RFC 9111, 4.2.2, names 10 %).
const HEURISTIC_DIVISOR: u64 = 10;
/// The heuristic never trusts for longer than a day: nobody asked for it, so a mistake must heal by itself.
pub const HEURISTIC_SECONDS_MAX: u64 = 86_400;
/// How long a stale response serves a zone with `always_online` while its origin fails, when the origin itself named
/// no `stale-if-error`: three days, a long weekend.
pub const ALWAYS_ONLINE_SECONDS: u64 = 259_200;

/// Statuses that may be given a heuristic lifetime (RFC 9110, 15.1).
pub fn heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// What a freshness lifetime was taken from. Kept on disk: variants are added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// `s-maxage`.
    SMaxAge,
    /// `max-age`.
    MaxAge,
    /// `max-age` or `s-maxage` of a targeted field.
    Targeted,
    /// `Expires` minus `Date`.
    Expires,
    /// A tenth of the time since `Last-Modified`.
    Heuristic,
    /// Nothing says anything.
    Nothing,
    /// A cache rule.
    Rule,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SMaxAge => "s-maxage",
            Self::MaxAge => "max-age",
            Self::Targeted => "CDN-Cache-Control",
            Self::Expires => "Expires",
            Self::Heuristic => "a tenth of its age since Last-Modified",
            Self::Rule => "a cache rule",
            Self::Nothing => "no lifetime given",
        })
    }
}

/// When a response was asked for and received, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchanged {
    /// When the request was sent.
    pub requested_at: Timestamp,
    /// When its headers came.
    pub received_at: Timestamp,
}

/// Everything that decides for how long, and how, a stored response may be used. Kept on disk: whoever changes it raises
/// the version there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// How long it is fresh, in seconds, counted from its making at the origin.
    pub lifetime_seconds: u64,
    /// What says so.
    pub source: Source,
    /// How old it was when it came here (4.2.3, `corrected_initial_age`), in milliseconds.
    initial_age_ms: u64,
    /// `no-cache`: asked about on every use.
    always_validate: bool,
    /// `must-revalidate` or `proxy-revalidate` or `no-cache`: never stale, whoever would allow it.
    never_stale: bool,
    /// `s-maxage`: stale only where the origin itself allows it (5.2.2.10).
    stale_by_origin_only: bool,
    stale_while_revalidate_seconds: u64,
    stale_if_error_seconds: Option<u64>,
}

impl Freshness {
    /// Judges a response that has just come.
    pub fn of(status: StatusCode, headers: &HeaderMap, said: &ResponseDirectives, when: Exchanged) -> Self {
        let (lifetime_seconds, source) = lifetime(status, headers, said, when.received_at);
        let no_cache = said.no_cache == Scope::Whole;
        Self {
            lifetime_seconds,
            source,
            initial_age_ms: initial_age_ms(headers, when),
            always_validate: no_cache,
            never_stale: no_cache || said.must_revalidate || said.proxy_revalidate,
            stale_by_origin_only: said.s_maxage.is_some(),
            stale_while_revalidate_seconds: said.stale_while_revalidate.unwrap_or(0),
            stale_if_error_seconds: said.stale_if_error,
        }
    }

    /// The same, after it lay somewhere else for so long.
    #[must_use]
    pub fn older_by(mut self, elapsed: Duration) -> Self {
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.initial_age_ms = self.initial_age_ms.saturating_add(millis);
        self
    }

    /// The same answer with a lifetime that the owner of its zone gives it, counted from now; with 0 it is asked about on
    /// every use. What the origin says of lifetimes and of staleness counts for nothing then.
    #[must_use]
    pub fn overridden(&self, seconds: u32) -> Self {
        Self {
            lifetime_seconds: u64::from(seconds) + self.initial_age_ms.div_ceil(1_000),
            source: Source::Rule,
            initial_age_ms: self.initial_age_ms,
            always_validate: seconds == 0,
            never_stale: false,
            stale_by_origin_only: false,
            stale_while_revalidate_seconds: 0,
            stale_if_error_seconds: None,
        }
    }

    /// How much is left of a lifetime that a rule gave, in seconds; `None` if none did. Another server's cache, whose rules
    /// are the same, would count it anew.
    pub fn left_by_rule(&self, resident: Duration) -> Option<u64> {
        let age = self.age(resident).as_secs();
        (self.source == Source::Rule).then(|| self.lifetime_seconds.saturating_sub(age))
    }

    /// The same answer, with no more left of it than so many seconds from now, if somebody says how many.
    #[must_use]
    pub fn with_at_most(mut self, seconds: Option<u64>) -> Self {
        if let Some(seconds) = seconds {
            let now = self.initial_age_ms.div_ceil(1_000);
            self.lifetime_seconds = self.lifetime_seconds.min(now.saturating_add(seconds));
        }
        self
    }

    /// The same answer, never served stale while it is asked about.
    #[must_use]
    pub const fn never_while_updating(mut self) -> Self {
        self.stale_while_revalidate_seconds = 0;
        self
    }

    /// Its age (4.2.3) after it lay here for `resident`.
    pub fn age(&self, resident: Duration) -> Duration {
        Duration::from_millis(self.initial_age_ms).saturating_add(resident)
    }

    /// How long it stays fresh, or since when it is stale.
    pub fn remaining(&self, resident: Duration) -> Remaining {
        let (age, lifetime) = (self.age(resident), Duration::from_secs(self.lifetime_seconds));
        match lifetime.checked_sub(age) {
            Some(left) if !left.is_zero() => Remaining::Fresh(left),
            _ => Remaining::Stale(age.saturating_sub(lifetime)),
        }
    }

    /// Whether each use needs the origin's word (`no-cache`).
    pub const fn always_validate(&self) -> bool {
        self.always_validate
    }

    /// Whether it may be served stale to a client that accepts that (`max-stale`).
    pub const fn stale_by_request(&self) -> bool {
        !self.never_stale && !self.stale_by_origin_only
    }

    /// Whether it may be served now while it is asked about in the background (RFC 5861, 3). Its own
    /// `stale-while-revalidate` is more specific than what `s-maxage` says of staleness in general.
    pub fn stale_while_revalidate(&self, resident: Duration) -> bool {
        !self.never_stale && self.stale_within(resident, self.stale_while_revalidate_seconds)
    }

    /// Whether it may be served because the origin fails (RFC 5861, 4), or because the zone is `always_online`.
    pub fn stale_if_error(&self, resident: Duration, always_online: bool) -> bool {
        let allowed = self
            .stale_if_error_seconds
            .or_else(|| (always_online && !self.stale_by_origin_only).then_some(ALWAYS_ONLINE_SECONDS));
        !self.never_stale && allowed.is_some_and(|seconds| self.stale_within(resident, seconds))
    }

    /// Whether there will ever be a moment when it can be used without the origin.
    pub fn ever_usable(&self) -> bool {
        let at_once = Duration::ZERO;
        let fresh = !self.always_validate && matches!(self.remaining(at_once), Remaining::Fresh(_));
        fresh || self.stale_while_revalidate(at_once) || self.stale_if_error(at_once, false)
    }

    fn stale_within(&self, resident: Duration, seconds: u64) -> bool {
        match self.remaining(resident) {
            Remaining::Fresh(_) => true,
            Remaining::Stale(since) => seconds > 0 && since <= Duration::from_secs(seconds),
        }
    }
}

/// Where a response stands between making and expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// Fresh for this long; never zero.
    Fresh(Duration),
    /// Stale since this long.
    Stale(Duration),
}

/// The freshness lifetime (4.2.1, 4.2.2), in seconds.
fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    said: &ResponseDirectives,
    received_at: Timestamp,
) -> (u64, Source) {
    let named = |source| if said.origin == Origin::Targeted { Source::Targeted } else { source };
    if let Some(seconds) = said.s_maxage {
        return (seconds, named(Source::SMaxAge));
    }
    if let Some(seconds) = said.max_age {
        return (seconds, named(Source::MaxAge));
    }
    let date = DateField::read(headers, &header::DATE).at().unwrap_or(received_at);
    let seconds_between = |from: Timestamp, to: Timestamp| {
        u64::try_from(to.as_seconds().saturating_sub(from.as_seconds())).unwrap_or(0)
    };
    if said.origin == Origin::CacheControl {
        match DateField::read(headers, &header::EXPIRES) {
            DateField::At(at) => return (seconds_between(date, at), Source::Expires),
            DateField::Invalid => return (0, Source::Expires),
            DateField::Absent => {}
        }
    }
    match DateField::read(headers, &header::LAST_MODIFIED) {
        DateField::At(modified) if heuristically_cacheable(status) || said.public => {
            let tenth = seconds_between(modified, date) / HEURISTIC_DIVISOR;
            (tenth.min(HEURISTIC_SECONDS_MAX), Source::Heuristic)
        }
        _ => (0, Source::Nothing),
    }
}

/// `corrected_initial_age` (4.2.3), in milliseconds. `Age` is read as its first member; one that is no number says
/// nothing (5.1).
fn initial_age_ms(headers: &HeaderMap, when: Exchanged) -> u64 {
    let apparent_seconds = DateField::read(headers, &header::DATE)
        .at()
        .map_or(0, |date| when.received_at.as_seconds().saturating_sub(date.as_seconds()).max(0));
    let delay_ms = when.received_at.as_millis().saturating_sub(when.requested_at.as_millis()).max(0);
    let age_seconds = headers
        .get(header::AGE)
        .and_then(|value| value.as_bytes().split(|octet| *octet == b',').next())
        .and_then(|first| delta_seconds(first.trim_ascii()))
        .unwrap_or(0);
    let corrected_ms = (age_seconds * 1_000).saturating_add(u64::try_from(delay_ms).unwrap_or(0));
    u64::try_from(apparent_seconds).unwrap_or(0).saturating_mul(1_000).max(corrected_ms)
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
