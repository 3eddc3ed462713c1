//! Telling other servers what happens here, for who looks there: `POST /tail` with the tail, answered by lines for as long as they
//! are read.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use proxima_model::NodeName;
use proxima_pipeline::{AnswersServers, Body, BodySender, TAIL_FILTERS_OCTETS_MAX, Tail, TailSeen};

use super::{
    PATH, line,
    looks::{Looking, Looks},
    queue::Queue,
};
use crate::refuse::refuse;

/// Octets of a tail: its filters, and room for the rest.
const TAIL_OCTETS_MAX: usize = TAIL_FILTERS_OCTETS_MAX + (4 << 10);
/// Lines between the queue and the connection: what is read slowly waits in the queue, which has a bound of octets.
const LINES_MAX: usize = 1;

/// See the module.
pub(crate) struct Answers(pub(crate) Arc<Looks>);

impl AnswersServers for Answers {
    fn answer<'a>(&'a self, _: &'a NodeName, request: Request<Body>) -> BoxFuture<'a, Response<Body>> {
        Box::pin(async move { self.answered(request).await.unwrap_or_else(|status| refuse(status, "")) })
    }
}

impl Answers {
    async fn answered(&self, request: Request<Body>) -> Result<Response<Body>, StatusCode> {
        if request.uri().path() != PATH {
            return Err(StatusCode::NOT_FOUND);
        }
        let octets =
            request.into_body().collect(TAIL_OCTETS_MAX).await.map_err(|_| StatusCode::BAD_REQUEST)?;
        let tail: Tail = serde_json::from_slice(&octets).map_err(|_| StatusCode::BAD_REQUEST)?;
        let queue = Arc::<Queue>::default();
        let looking =
            Looks::look(&self.0, tail, Arc::clone(&queue)).map_err(|_| StatusCode::TOO_MANY_REQUESTS)?;
        let (lines, body) = Body::channel(LINES_MAX, None);
        tokio::spawn(tell(queue, looking, lines));
        Ok(Response::new(body))
    }
}

/// Tells what comes until nobody reads it, or nothing comes any more.
async fn tell(queue: Arc<Queue>, looking: Looking, mut lines: BodySender) {
    loop {
        let seen = tokio::select! {
            seen = queue.next() => seen,
            () = lines.closed() => break,
        };
        if let Some(line) = line::write(&seen)
            && lines.send(line).await.is_err()
        {
            break;
        }
        if matches!(seen, TailSeen::Ended(_)) {
            break;
        }
    }
    // First, so that who asks at once again has its place.
    drop(looking);
    lines.finish().await;
}
