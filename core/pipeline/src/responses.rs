//! The port by which code that runs here, Workers, keeps responses: their Cache API, over this server's cache. Whoever runs code
//! knows nothing of how a cache stores, and the cache nothing of code.

use futures_util::future::BoxFuture;
use http::{HeaderMap, Uri};
use proxima_model::{AccountId, ZoneId};

use crate::Response;

/// Where a response lies: no account reaches another's, whatever URL it says, and none what visitors are answered with.
#[derive(Clone, Copy, Debug)]
pub struct ResponsePlace<'a> {
    /// Whose it is.
    pub account: AccountId,
    /// The account's own zone that serves the URL: its purges reach it.
    pub zone: Option<ZoneId>,
    /// The name of the cache (`caches.open(name)`); `None` is `caches.default`.
    pub cache: Option<&'a str>,
    /// The URL, absolute.
    pub url: &'a Uri,
}

/// Why a response is not kept. Whoever gives it is told nothing else than that it was not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseRefused {
    /// The URL is none that a cache has.
    #[error("only http and https URLs are cached")]
    Url,
    /// What the response says, or does not say, forbids it.
    #[error("the response is not to be stored: {0}")]
    Response(String),
    /// It is longer than what the cache keeps, or there is no room for what is being stored now.
    #[error("the response is too large to be stored")]
    TooLarge,
    /// Its body did not come to its end, or was deleted or purged meanwhile.
    #[error("the response did not come whole, or was purged meanwhile")]
    Lost,
}

/// Keeps responses for code.
pub trait ResponseCache: Send + Sync + 'static {
    /// What is kept there and still fresh, as it answers a GET with these fields: conditions and ranges are heeded, and it says
    /// `cf-cache-status: HIT`.
    fn find<'a>(
        &'a self,
        place: ResponsePlace<'a>,
        request: &'a HeaderMap,
    ) -> BoxFuture<'a, Option<Response>>;

    /// Keeps a response to a GET with these fields, once its body has come to its end. The body is taken as soon as it is known
    /// that it may be kept.
    ///
    /// # Errors
    /// [`ResponseRefused`]: then what was there before stays, unless it was purged.
    fn put<'a>(
        &'a self,
        place: ResponsePlace<'a>,
        request: &'a HeaderMap,
        response: &'a mut Response,
    ) -> BoxFuture<'a, Result<(), ResponseRefused>>;

    /// Forgets what is kept there, in all its variants, and what is being put there; whether there was something fresh for a
    /// request with these fields.
    fn delete<'a>(&'a self, place: ResponsePlace<'a>, request: &'a HeaderMap) -> BoxFuture<'a, bool>;
}
