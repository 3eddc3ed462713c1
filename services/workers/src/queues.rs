//! Queues, as Workers ask the node for them, by way of a binding's entrypoint in the dispatcher: which account's and which queue
//! stands in a field of the engine's, which no Worker writes.
//!
//! `POST /batch` with `{"messages": [{"body": Base64, "type": "json", "delay": 5}]}` sends; `GET /metrics` tells what waits. Both
//! answer what waits then. A refusal is a status and a line of text, of which `queue.js` makes what is thrown.

use std::{convert::Infallible, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use proxima_chassis::Places;
use proxima_model::{AccountId, QueueId, limits};
use proxima_pipeline::{
    Body, QueueBacklog, QueueContentType, QueueError, QueueMessage, Queues, check_queue_messages,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    facts::Said,
    metrics::{Fetched, Metrics},
    refuse::refuse,
};

/// Operations that the Workers of one account have under way at a time: what keeps one from taking all that the port does.
const OPERATIONS_PER_ACCOUNT_MAX: usize = 32;
/// Octets of what is sent: a batch in Base64, and what is said of each message.
const BATCH_OCTETS_MAX: usize =
    limits::QUEUE_SEND_OCTETS_MAX / 3 * 4 + limits::QUEUE_SEND_MESSAGES_MAX * 256 + 1_024;
/// How long it may take to come.
const BATCH_WITHIN: Duration = Duration::from_secs(10);

/// Answers what Workers ask of queues.
pub(crate) struct QueueMessages {
    port: Option<Arc<dyn Queues>>,
    metrics: Metrics,
    under_way: Arc<Places<AccountId>>,
}

/// Why there is no answer.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        let status = match error {
            QueueError::Unknown => StatusCode::NOT_FOUND,
            QueueError::Invalid(_) => StatusCode::BAD_REQUEST,
            QueueError::Busy => StatusCode::TOO_MANY_REQUESTS,
            QueueError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            QueueError::Unreachable(_) | QueueError::Broken(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

#[derive(Deserialize)]
struct Batch {
    messages: Vec<Given>,
}

#[derive(Deserialize)]
struct Given {
    body: String,
    #[serde(rename = "type")]
    content_type: QueueContentType,
    delay: Option<u32>,
}

impl QueueMessages {
    pub(crate) fn new(port: Option<Arc<dyn Queues>>, metrics: Metrics) -> Self {
        Self { port, metrics, under_way: Places::new(usize::MAX, OPERATIONS_PER_ACCOUNT_MAX) }
    }

    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let answered = self.perform(request).await;
        self.metrics.asked_of_queues(match &answered {
            Ok(_) => Fetched::Answered,
            Err(Refusal(status, _)) => Fetched::of_refusal(*status),
        });
        Ok(match answered {
            Ok(backlog) => Response::new(Body::full(shown(backlog))),
            Err(Refusal(status, problem)) => refuse(status, problem),
        })
    }

    async fn perform(&self, mut request: Request<Incoming>) -> Result<QueueBacklog, Refusal> {
        let said = Said::take(&mut request).and_then(|said| Some((said.account, said.queue?)));
        let (account, queue) = said.ok_or_else(|| bad("nobody says for which queue this is"))?;
        let _place = self.under_way.take_for(account).ok_or_else(|| {
            let problem = "the Workers of this account ask for too much at a time";
            Refusal(StatusCode::TOO_MANY_REQUESTS, problem.to_owned())
        })?;
        let absent = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "this server has no queues".to_owned());
        let port = self.port.as_ref().ok_or_else(absent)?;
        let id: QueueId = port.find(account, &queue).ok_or(QueueError::Unknown)?;
        if request.method() != Method::POST {
            return Ok(port.backlog(id).await?);
        }
        let body = Body::received(request.into_body()).collect(BATCH_OCTETS_MAX);
        let body = tokio::time::timeout(BATCH_WITHIN, body).await;
        let body = body.ok().and_then(Result::ok).ok_or_else(|| bad("the messages did not come"))?;
        let batch: Batch = serde_json::from_slice(&body).map_err(|_| bad("the messages cannot be read"))?;
        let messages = batch.messages.into_iter().map(message).collect::<Result<Vec<_>, _>>()?;
        check_queue_messages(&messages)?;
        Ok(port.send(id, messages).await?)
    }
}

fn message(Given { body, content_type, delay }: Given) -> Result<QueueMessage, Refusal> {
    let body = BASE64_STANDARD.decode(body).map_err(|_| bad("a message cannot be read"))?;
    Ok(QueueMessage { content_type, body: body.into(), delay_seconds: delay })
}

fn shown(backlog: QueueBacklog) -> String {
    let shown = json!({
        "backlog_count": backlog.messages,
        "backlog_bytes": backlog.octets,
        "oldest_message_timestamp_ms": backlog.oldest.map_or(0, proxima_model::Timestamp::as_millis),
    });
    shown.to_string()
}

fn bad(problem: &str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, problem.to_owned())
}
