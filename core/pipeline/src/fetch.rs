//! The port by which code that runs here, Workers, asks for URLs: whoever runs it knows nothing of zones, origins and
//! connections, and whoever fetches nothing of code.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use proxima_model::{AccountId, CacheSettings, ZoneId};

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
