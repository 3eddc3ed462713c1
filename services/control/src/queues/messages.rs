//! Messages, by HTTP: sent, pulled, settled, purged, counted.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use proxima_model::{Account, QueueReader, Timestamp, limits as model_limits};
use proxima_pipeline::{
    QueueBacklog, QueueContentType, QueueDelivered, QueueMessage, QueuePull, QueueSettled, QueueSettling,
    check_queue_messages,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Messages, consumers::number, nouns};
use crate::{
    api::{
        Api,
        body::{Given, TextJsonBody},
        envelope::Answer,
    },
    error::{ApiError, Code},
};

/// A message as it is given.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MessageBody {
    #[serde(default)]
    body: Given<Value>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    delay_seconds: Option<f64>,
}

/// Many of them.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MessagesBody {
    #[serde(default)]
    messages: Vec<MessageBody>,
    #[serde(default)]
    delay_seconds: Option<f64>,
}

/// How messages are pulled.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct PullBody {
    #[serde(default)]
    batch_size: Option<f64>,
    #[serde(default, alias = "visibility_timeout")]
    visibility_timeout_ms: Option<f64>,
}

/// What became of messages.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AckBody {
    #[serde(default)]
    acks: Vec<LeaseBody>,
    #[serde(default)]
    retries: Vec<LeaseBody>,
}

#[derive(Clone, Debug, Deserialize)]
struct LeaseBody {
    lease_id: String,
    #[serde(default)]
    delay_seconds: Option<f64>,
}

/// A purge.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct PurgeBody {
    #[serde(default)]
    delete_messages_permanently: bool,
}

fn refuse(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::QueueMessageInvalid, message)
}

fn delay(given: Option<f64>) -> Result<Option<u32>, ApiError> {
    let most = model_limits::QUEUE_DELAY_SECONDS_MAX;
    let Some(given) = given else { return Ok(None) };
    let delay = number(given).filter(|delay| *delay <= most);
    let problem =
        || refuse(format!("delay_seconds: give a whole number from 0 to {most}")).at("/delay_seconds");
    delay.map(Some).ok_or_else(problem)
}

impl MessageBody {
    fn read(self, delay_of_all: Option<u32>) -> Result<QueueMessage, ApiError> {
        let body = match self.body {
            Given::Value(body) => body,
            Given::Null => Value::Null,
            Given::Absent => return Err(refuse("body: give one; null is one, too").at("/body")),
        };
        let (content_type, body) = match (self.content_type.as_deref().unwrap_or("json"), body) {
            ("text", Value::String(text)) => (QueueContentType::Text, text),
            ("text", _) => {
                return Err(refuse("body: give a string, for the content type is text").at("/body"));
            }
            ("json", body) => (QueueContentType::Json, body.to_string()),
            (other, _) => {
                let message = format!("content_type: {other:.40} is neither text nor json");
                return Err(refuse(message).at("/content_type"));
            }
        };
        let delay_seconds = delay(self.delay_seconds)?.or(delay_of_all);
        Ok(QueueMessage { content_type, body: body.into(), delay_seconds })
    }
}

/// `POST queues/:queue_id/messages`.
pub(crate) async fn send(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    TextJsonBody(body): TextJsonBody<MessageBody>,
) -> Result<Answer, ApiError> {
    send_all(&api, account, id, vec![body.read(None)?]).await
}

/// `POST queues/:queue_id/messages/batch`.
pub(crate) async fn send_batch(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    TextJsonBody(body): TextJsonBody<MessagesBody>,
) -> Result<Answer, ApiError> {
    let delay_of_all = delay(body.delay_seconds)?;
    let read = |(index, message): (usize, MessageBody)| {
        message.read(delay_of_all).map_err(|refusal| refusal.at(format!("/messages/{index}")))
    };
    let messages = body.messages.into_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    send_all(&api, account, id, messages).await
}

async fn send_all(
    api: &Arc<Api>,
    account: Account,
    id: String,
    messages: Vec<QueueMessage>,
) -> Result<Answer, ApiError> {
    check_queue_messages(&messages)?;
    let Messages { port, queue } = Messages::of(api, account, id).await?;
    let backlog = port.send(queue.id, messages).await?;
    Ok(Answer::new(json!({ "metadata": { "metrics": metrics_of(backlog) } })))
}

/// `POST queues/:queue_id/messages/pull`.
pub(crate) async fn pull(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    TextJsonBody(body): TextJsonBody<PullBody>,
) -> Result<Answer, ApiError> {
    let Messages { port, queue } = Messages::of(&api, account, id).await?;
    let pulls = queue.consumer.as_ref().and_then(|consumer| match consumer.reader {
        QueueReader::Pull { visibility_timeout_ms } => Some((consumer.batch_size, visibility_timeout_ms)),
        QueueReader::Worker { .. } => None,
    });
    let Some((batch_size, visibility_ms)) = pulls else {
        let message = "the queue has no consumer of the type http_pull: add one first";
        return Err(ApiError::new(Code::QueueConsumerNotFound, message));
    };
    let number_in = |field: &str, given: Option<f64>, otherwise: u32, least: u32, most: u32| {
        let Some(given) = given else { return Ok(otherwise) };
        let problem =
            || refuse(format!("{field}: give a whole number from {least} to {most}")).at(format!("/{field}"));
        number(given).filter(|number| (least..=most).contains(number)).ok_or_else(problem)
    };
    let (least, most) = (*model_limits::QUEUE_BATCH.start(), *model_limits::QUEUE_BATCH.end());
    let visibility_max = model_limits::QUEUE_VISIBILITY_MS_MAX;
    let asked = QueuePull {
        batch_size: number_in("batch_size", body.batch_size, batch_size, least, most)?,
        visibility_ms: number_in(
            "visibility_timeout_ms",
            body.visibility_timeout_ms,
            visibility_ms,
            1,
            visibility_max,
        )?,
    };
    let pulled = port.pull(queue.id, asked).await?;
    Ok(Answer::new(json!({
        "message_backlog_count": pulled.backlog.messages,
        "metadata": { "metrics": metrics_of(pulled.backlog) },
        "messages": pulled.messages.iter().map(show).collect::<Value>(),
    })))
}

/// A message that was pulled, as v4 shows it: what is not text is Base64.
fn show(message: &QueueDelivered) -> Value {
    let body = match (message.content_type, std::str::from_utf8(&message.body)) {
        (QueueContentType::Text, Ok(text)) => text.to_owned(),
        _ => BASE64_STANDARD.encode(&message.body),
    };
    json!({
        "id": message.id,
        "body": body,
        "attempts": message.attempts,
        "timestamp_ms": message.sent_at.as_millis(),
        "lease_id": message.lease,
        "metadata": { "CF-Content-Type": message.content_type.as_str() },
    })
}

/// `POST queues/:queue_id/messages/ack`.
pub(crate) async fn ack(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    TextJsonBody(body): TextJsonBody<AckBody>,
) -> Result<Answer, ApiError> {
    let acks = body.acks.into_iter().map(|ack| Ok((ack.lease_id, QueueSettling::Ack)));
    let retries = body
        .retries
        .into_iter()
        .map(|retry| Ok((retry.lease_id, QueueSettling::Retry(delay(retry.delay_seconds)?))));
    let settled = acks
        .chain(retries)
        .map(|read: Result<_, ApiError>| read.map(|(lease, settling)| QueueSettled { lease, settling }))
        .collect::<Result<Vec<_>, _>>()?;
    let Messages { port, queue } = Messages::of(&api, account, id).await?;
    let counts = port.settle(queue.id, settled).await?;
    let warning = |lease| (lease, json!("it is no lease, or has run out"));
    let warnings: Map<String, Value> = counts.stale.into_iter().map(warning).collect();
    Ok(Answer::new(json!({
        "ackCount": counts.acked,
        "retryCount": counts.retried,
        "warnings": warnings,
    })))
}

/// `POST queues/:queue_id/purge`: all messages go.
pub(crate) async fn purge(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    TextJsonBody(body): TextJsonBody<PurgeBody>,
) -> Result<Answer, ApiError> {
    if !body.delete_messages_permanently {
        let message = "delete_messages_permanently: give true: messages do not come back";
        return Err(refuse(message).at("/delete_messages_permanently"));
    }
    let Messages { port, queue } = Messages::of(&api, account.clone(), id).await?;
    port.purge(queue.id).await?;
    api.read(move |snapshot| Ok(Answer::new(nouns::shown(snapshot, &account, &queue)?))).await
}

/// `GET queues/:queue_id/metrics`: what waits.
pub(crate) async fn metrics(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let Messages { port, queue } = Messages::of(&api, account, id).await?;
    Ok(Answer::new(metrics_of(port.backlog(queue.id).await?)))
}

fn metrics_of(backlog: QueueBacklog) -> Value {
    json!({
        "backlog_count": backlog.messages,
        "backlog_bytes": backlog.octets,
        "oldest_message_timestamp_ms": backlog.oldest.map_or(0, Timestamp::as_millis),
    })
}
