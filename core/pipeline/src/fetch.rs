//! The port by which code that runs here, Workers, asks for URLs: whoever runs it knows nothing of zones, origins and
//! connections, and whoever fetches nothing of code.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::HeaderValue;
use proxima_model::{AccountId, CacheSettings, WorkerName, ZoneId, ZoneName};

use crate::{Exchange, Fault, Response};

/// What is usual for a WebSocket: as visitors' may be idle, unless the configuration says otherwise.
const WEBSOCKET_IDLE_MAX: Duration = Duration::from_secs(300);

/// Fetches what code asks for.
pub trait Fetch: Send + Sync + 'static {
    /// Asks for the URL of the exchange's request on behalf of code of this account, and takes its body. What fails becomes
    /// an answer, as it does for clients; a [`Fault`](crate::Fault) lies in the exchange's extensions then.
    fn fetch<'a>(&'a self, account: AccountId, exchange: &'a mut Exchange) -> BoxFuture<'a, Response>;

    /// For how long nothing may move on a WebSocket that is fetched.
    fn websocket_idle_max(&self) -> Duration {
        WEBSOCKET_IDLE_MAX
    }

    /// The active zone of this account that serves a host, lower case; `None`: it is served by nobody here, or is another's.
    fn zone<'a>(&'a self, account: AccountId, host: &'a str) -> BoxFuture<'a, Result<Option<ZoneId>, Fault>>;
}

/// How code wants the answer to what it fetches kept, whatever the rules of its zone say of the same. It lies in the exchange's
/// extensions.
#[derive(Clone, Debug)]
pub struct FetchCaching(pub Arc<CacheSettings>);

/// The Worker that fetches. It lies in the exchange's extensions.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The Worker.
    pub worker: WorkerName,
    /// How many Workers have called each other before it, one the next, by what they fetched.
    pub row: u8,
    /// Whether it has thrown, and the request goes on past it.
    pub passes: bool,
}

impl Caller {
    /// The last place in a row of Workers, of which the first has 0: one may call the next sixteen times, as Cloudflare documents.
    pub const ROW_MAX: u8 = 16;
}

/// That a request comes from a Worker of another account. It lies in the exchange's extensions, and is all that such a request has which
/// those of visitors do not have: nobody trusts it for that.
#[derive(Clone, Debug)]
pub struct Stranger {
    /// By what name the site is told of it.
    pub named: HeaderValue,
    /// The place that a Worker would have in the row, if it was the site's that answers.
    pub row: u8,
}

/// Tells strangers where a Worker belongs.
pub trait WorkerZones: Send + Sync + 'static {
    /// The first active zone of its account, by name, in which it is reached; `None` where it is reached in none.
    ///
    /// # Errors
    /// The replica cannot be read.
    fn zone_of(&self, account: AccountId, worker: &WorkerName) -> Result<Option<ZoneName>, Fault>;
}
