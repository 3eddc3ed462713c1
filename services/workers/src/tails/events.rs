//! What the dispatcher says of invocations: `POST /` with what the engine gives a tail, as JSON. Of which version it is, says a field
//! of the engine's, which no Worker writes.

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use proxima_chassis::Clock;
use proxima_pipeline::Body;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{event, looks::Looks};
use crate::{engine::Process, facts::Said, refuse::refuse, version::VersionKey};

/// Octets of what is said at once: the engine ends a log at 256 KiB, of which JSON makes up to six times as much.
const SAID_OCTETS_MAX: usize = 2 << 20;
/// How much is taken in at a time: what comes beyond is lost, and counted.
const SAID_AT_A_TIME_MAX: usize = 32;

/// See the module.
pub(crate) struct Events {
    looks: Arc<Looks>,
    clock: Arc<dyn Clock>,
    places: Semaphore,
}

impl Events {
    pub(crate) fn new(looks: Arc<Looks>, clock: Arc<dyn Clock>) -> Self {
        Self { looks, clock, places: Semaphore::new(SAID_AT_A_TIME_MAX) }
    }

    pub(crate) async fn answer(
        self: Arc<Self>,
        process: Arc<Process>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let key = Said::take(&mut request).and_then(|Said { account, worker, version, .. }| {
            Some(VersionKey { account, worker: worker?, version: version? })
        });
        let Some(key) = key else { return Ok(refuse(StatusCode::BAD_REQUEST, "")) };
        if !self.take(&key, &process, request).await {
            self.looks.lose(key.account, &key.worker, 1);
        }
        Ok(Response::new(Body::empty()))
    }

    /// Whether it could be taken in.
    async fn take(&self, key: &VersionKey, process: &Process, request: Request<Incoming>) -> bool {
        let Ok(_place) = self.places.try_acquire() else { return false };
        // A Worker that is no longer looked at may still have been running.
        if !self.looks.is_looked_at(key.account, &key.worker) {
            return true;
        }
        let Ok(octets) = Body::received(request.into_body()).collect(SAID_OCTETS_MAX).await else {
            return false;
        };
        let Ok(events) = serde_json::from_slice::<Vec<Value>>(&octets) else { return false };
        let now = self.clock.now();
        for mut event in events.into_iter().filter(Value::is_object) {
            let name = event::name(&event["event"]);
            let cpu = name.and_then(|name| process.cpu_of(key, &name)).unwrap_or_default();
            event::complete(&mut event, key, now, cpu);
            self.looks.tell(key.account, &key.worker, event);
        }
        true
    }
}
