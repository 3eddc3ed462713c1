//! Questions between services of one PoP's servers, over the connections that their caches have: both sides.
//!
//! ```text
//!   Neighbours::put ── POST /resolver, the question as body ──▶ answer ── AnswersNeighbours::take ─┐
//!        ▲                                                                                         │
//!        ├── 503 (declined), 400 (malformed) ◀───── not taken ─────────────────────────────────────┤
//!        └── 200: it is taken; the body is the answer, as soon as there is one, or empty: busy ◀───┘
//! ```
//!
//! Caches ask by GET, so that nothing in a client's request can make a question of it. The head of the answer is sent before
//! there is an answer: who asks knows by it that the other side is awake. Who has no answer after all says so by a body that is
//! whole and has nothing in it, which no answer is: servers of versions before take it for a malformed one, and do the same.
//! A body that ends early is an error: that server is lost.
//!
//! Limits: places for questions to each server ([`NEIGHBOUR_QUESTIONS_MAX`], half of the requests that a connection may have,
//! so that caches have the other half), octets of both, and the time for a question's octets. Beyond the places, questions are
//! not put; the other side has bounds of its own.
//!
//! [`NEIGHBOUR_QUESTIONS_MAX`]: proxima_pipeline::NEIGHBOUR_QUESTIONS_MAX

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, Uri};
use hyper::body::Incoming;
use proxima_pipeline::{
    AnswersNeighbours, Body, NEIGHBOUR_ANSWER_OCTETS_MAX, NEIGHBOUR_QUESTION_OCTETS_MAX, NeighbourAnswer,
    Neighbours, NoAnswer, Taken,
};
use tokio::time::timeout;

use crate::{
    peers::Peers,
    serve::{declined, empty},
    wire::DECLINED,
};

/// Where questions are put.
const PATH: &str = "/resolver";
/// The same as a URL; the host is nobody's.
const URL: &str = "https://neighbour.internal/resolver";
/// How long the octets of a question may take.
const QUESTION_WITHIN: Duration = Duration::from_secs(1);
/// For how long nothing is put to a server that takes no questions: one of another version, or without the service.
const SPARED: Duration = Duration::from_secs(30);
/// Why a question is not taken: there are too many; it is none; the service is not here, or none for who asks.
const BUSY: &str = "busy";
const MALFORMED: &str = "malformed";
const ABSENT: &str = "absent";

/// Whether a request of another server is a question.
pub(crate) fn is_question(request: &http::Request<Incoming>) -> bool {
    request.method() == Method::POST
}

impl Neighbours for Peers {
    fn home(&self, key: &[u8]) -> Option<usize> {
        self.map.near(key, |server| self.hears(server))
    }

    fn name(&self, neighbour: usize) -> String {
        self.map.servers().get(neighbour).map_or_else(String::new, |server| server.name.to_string())
    }

    fn put(&self, neighbour: usize, question: Vec<u8>) -> BoxFuture<'_, Result<NeighbourAnswer, NoAnswer>> {
        Box::pin(async move {
            let place = self.place(neighbour).ok_or(NoAnswer::Declined)?;
            let mut request = http::Request::new(Body::full(question));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = Uri::from_static(URL);
            let response = self.ask(neighbour, request).await.map_err(|_| NoAnswer::Lost)?;
            if response.status() != StatusCode::OK {
                let why = response.headers().get(DECLINED).map(HeaderValue::as_bytes);
                if why != Some(BUSY.as_bytes()) {
                    self.spare(neighbour, SPARED);
                }
                return Err(NoAnswer::Declined);
            }
            let body = Body::received(response.into_body());
            let answer: NeighbourAnswer = Box::pin(async move {
                let _place = place;
                let octets = body.collect(NEIGHBOUR_ANSWER_OCTETS_MAX).await.map_err(|_| NoAnswer::Lost)?;
                if octets.is_empty() { Err(NoAnswer::Busy) } else { Ok(octets) }
            });
            Ok(answer)
        })
    }
}

/// Answers the question of another server, if it is a neighbour's.
pub(crate) async fn answer(
    answers: Option<&Arc<dyn AnswersNeighbours>>,
    peers: &Peers,
    asker: usize,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    let Some(answers) = answers.filter(|_| peers.map.is_near(asker) && request.uri().path() == PATH) else {
        return declined(ABSENT);
    };
    let body = Body::received(request.into_body());
    let question = match timeout(QUESTION_WITHIN, body.collect(NEIGHBOUR_QUESTION_OCTETS_MAX)).await {
        Ok(Ok(question)) => question,
        Ok(Err(_)) | Err(_) => return malformed(),
    };
    match answers.take(asker, &question) {
        Taken::Now(octets) => http::Response::new(Body::full(octets)),
        Taken::Later(later) => {
            let (mut sender, body) = Body::channel(1, None);
            // In a task of its own: it goes on, and counts as under way, whether somebody still waits for it or not.
            tokio::spawn(async move {
                if let Some(octets) = later.await {
                    sender.send(Bytes::from(octets)).await.ok();
                }
                sender.finish().await;
            });
            http::Response::new(body)
        }
        Taken::Declined => declined(BUSY),
        Taken::Malformed => malformed(),
    }
}

fn malformed() -> http::Response<Body> {
    let mut response = empty(StatusCode::BAD_REQUEST);
    response.headers_mut().insert(DECLINED, HeaderValue::from_static(MALFORMED));
    response
}
