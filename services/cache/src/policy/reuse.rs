//! Whether a stored response may answer a request now (RFC 9111, 4).

use std::time::Duration;

use super::{
    directives::RequestDirectives,
    freshness::{Freshness, Remaining},
};

/// How a stored response may be used for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// As it is.
    Fresh,
    /// As it is, because the client accepts stale answers (`max-stale`).
    StaleByRequest,
    /// As it is, while it is asked about in the background (RFC 5861, 3).
    StaleWhileRevalidate,
    /// Only after the origin said that it is still right.
    Validate(Why),
}

/// Why the origin has to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is stale.
    Stale,
    /// The origin wants to be asked each time (`no-cache`).
    NoCache,
    /// The client wants it asked, or wants something fresher than this.
    Client,
}

/// Decides. What the client asks for only ever narrows, but for `max-stale`.
pub fn decide(freshness: &Freshness, resident: Duration, asked: &RequestDirectives) -> Reuse {
    if freshness.always_validate() {
        return Reuse::Validate(Why::NoCache);
    }
    let age = freshness.age(resident);
    let too_old = asked.max_age.is_some_and(|seconds| seconds == 0 || age > Duration::from_secs(seconds));
    if asked.no_cache || too_old {
        return Reuse::Validate(Why::Client);
    }
    match freshness.remaining(resident) {
        Remaining::Fresh(left) => match asked.min_fresh {
            Some(seconds) if left < Duration::from_secs(seconds) => Reuse::Validate(Why::Client),
            _ => Reuse::Fresh,
        },
        Remaining::Stale(_) if asked.min_fresh.is_some() => Reuse::Validate(Why::Stale),
        Remaining::Stale(since) => {
            let accepted = asked.max_stale.is_some_and(|seconds| since <= Duration::from_secs(seconds));
            if accepted && freshness.stale_by_request() {
                Reuse::StaleByRequest
            } else if freshness.stale_while_revalidate(resident) {
                Reuse::StaleWhileRevalidate
            } else {
                Reuse::Validate(Why::Stale)
            }
        }
    }
}

#[cfg(test)]
#[path = "reuse_tests.rs"]
mod tests;
