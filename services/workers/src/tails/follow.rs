//! Following what happens on another server, for as long as somebody looks.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use proxima_model::NodeName;
use proxima_pipeline::{Body, Servers, TailEnd, TailSeen};
use tokio::time::{Instant, sleep, timeout};

use super::{PATH, TAILS_SERVICE, line::Lines, queue::Queue};

/// How long a server may take to begin: a connection must be made, perhaps around the world.
const WITHIN: Duration = Duration::from_secs(5);
/// How soon a server whose lines have ended is asked again; twice as long after each failure.
const AGAIN_MIN: Duration = Duration::from_millis(250);
/// See [`AGAIN_MIN`]. A server that comes back is seen after so long at the latest.
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// Puts into the queue what this server says, whenever it can be reached; until the tail was ended there.
pub(super) async fn follow(servers: Arc<dyn Servers>, server: NodeName, tail: Bytes, queue: Arc<Queue>) {
    let mut again = AGAIN_MIN;
    loop {
        let began = Instant::now();
        if let Some(body) = ask(&*servers, &server, tail.clone()).await
            && has_ended(body, &queue).await
        {
            return queue.end(TailEnd::Done);
        }
        // It was well for a while.
        if began.elapsed() > AGAIN_MAX {
            again = AGAIN_MIN;
        }
        // Not all at once, where many lost the same server.
        sleep(again.mul_f64(rand::random_range(0.75..1.25))).await;
        again = (again * 2).min(AGAIN_MAX);
    }
}

async fn ask(servers: &dyn Servers, server: &NodeName, tail: Bytes) -> Option<Body> {
    let mut request = Request::new(Body::full(tail));
    *request.uri_mut() = Uri::from_static(PATH);
    let response = timeout(WITHIN, servers.ask(server, TAILS_SERVICE, request)).await.ok()?.ok()?;
    (response.status() == StatusCode::OK).then(|| response.into_body())
}

/// Reads lines to their end; whether it is that of the tail.
async fn has_ended(mut body: Body, queue: &Queue) -> bool {
    let (mut lines, mut ended) = (Lines::default(), false);
    while let Some(Ok(frame)) = body.next_frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let read = lines.take(&data, |seen| match seen {
            TailSeen::Event(event) => drop(queue.push(event)),
            TailSeen::Dropped(count) => queue.lose(count),
            TailSeen::Ended(_) => ended = true,
        });
        if ended || read.is_err() {
            break;
        }
    }
    ended
}
