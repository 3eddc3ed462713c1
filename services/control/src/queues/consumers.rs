//! Who takes the messages of a queue: one Worker, or whoever pulls by HTTP.

use std::{ops::RangeInclusive, sync::Arc};

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_ledger::Precondition;
use proxima_model::{
    Account, Entity, Queue, QueueConsumer, QueueConsumerId, QueueName, QueueReader, QueueSettings,
    QueueUsage, Worker, WorkerName, limits as model_limits,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{alone, find, make, queue_id, unknown};
use crate::{
    api::{
        Api,
        body::TextJsonBody,
        envelope::{Answer, time},
        write::{Author, Draft},
    },
    error::{ApiError, Code},
};

/// What v4 has of a consumer that says nothing.
const BATCH_SIZE: u32 = 10;
const MAX_RETRIES: u32 = 3;
const MAX_WAIT_MS: u32 = 5_000;
const VISIBILITY_MS: u32 = 30_000;

/// A consumer as it is given.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ConsumerBody {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    script_name: Option<String>,
    #[serde(default)]
    environment_name: Option<String>,
    #[serde(default)]
    dead_letter_queue: Option<String>,
    #[serde(default)]
    settings: SettingsBody,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct SettingsBody {
    #[serde(default)]
    batch_size: Option<f64>,
    #[serde(default)]
    max_retries: Option<f64>,
    #[serde(default)]
    max_wait_time_ms: Option<f64>,
    #[serde(default)]
    max_concurrency: Option<f64>,
    #[serde(default)]
    retry_delay: Option<f64>,
    #[serde(default)]
    visibility_timeout_ms: Option<f64>,
}

/// The whole number that JSON has written, of whatever client.
pub(super) fn number(given: f64) -> Option<u32> {
    let is_one = given.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&given);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was just looked at")]
    is_one.then_some(given as u32)
}

impl ConsumerBody {
    /// The consumer, but for when it was made and its id.
    fn read(&self) -> Result<QueueConsumer, ApiError> {
        let settings = &self.settings;
        let count = |field: &str, given: Option<f64>, otherwise: u32, bounds: RangeInclusive<u32>| {
            let Some(given) = given else { return Ok(otherwise) };
            number(given).filter(|number| bounds.contains(number)).ok_or_else(|| {
                let message =
                    format!("{field}: give a whole number from {} to {}", bounds.start(), bounds.end());
                refuse(message).at(format!("/settings/{field}"))
            })
        };
        let delays = 0..=model_limits::QUEUE_DELAY_SECONDS_MAX;
        let reader = match self.kind.as_deref() {
            Some("worker") | None => QueueReader::Worker {
                worker: self.worker()?,
                max_wait_ms: count(
                    "max_wait_time_ms",
                    settings.max_wait_time_ms,
                    MAX_WAIT_MS,
                    0..=model_limits::QUEUE_WAIT_MS_MAX,
                )?,
                max_concurrency: match settings.max_concurrency {
                    None => None,
                    given => {
                        Some(count("max_concurrency", given, 1, 1..=model_limits::QUEUE_CONCURRENCY_MAX)?)
                    }
                },
            },
            Some("http_pull") => QueueReader::Pull {
                visibility_timeout_ms: count(
                    "visibility_timeout_ms",
                    settings.visibility_timeout_ms,
                    VISIBILITY_MS,
                    1..=model_limits::QUEUE_VISIBILITY_MS_MAX,
                )?,
            },
            Some(other) => {
                return Err(refuse(format!("type: {other:.40} is neither worker nor http_pull")).at("/type"));
            }
        };
        let dead = self.dead_letter_queue.as_deref().filter(|name| !name.is_empty());
        let dead = dead.map(QueueName::parse).transpose();
        Ok(QueueConsumer {
            id: QueueConsumerId::from_bytes([0; 16]),
            created_at: proxima_model::Timestamp::from_millis(0),
            reader,
            batch_size: count("batch_size", settings.batch_size, BATCH_SIZE, model_limits::QUEUE_BATCH)?,
            max_retries: count(
                "max_retries",
                settings.max_retries,
                MAX_RETRIES,
                0..=model_limits::QUEUE_RETRIES_MAX,
            )?,
            retry_delay_seconds: count("retry_delay", settings.retry_delay, 0, delays)?,
            dead_letter_queue: dead
                .map_err(|invalid| refuse(invalid.to_string()).at("/dead_letter_queue"))?,
        })
    }

    fn worker(&self) -> Result<WorkerName, ApiError> {
        if self.environment_name.as_deref().is_some_and(|name| !matches!(name, "" | "production")) {
            let message = "environment_name: environments other than production are not offered";
            return Err(ApiError::new(Code::NotOffered, message).at("/environment_name"));
        }
        let name = self.script_name.as_deref().unwrap_or_default();
        WorkerName::parse(name).map_err(|invalid| refuse(invalid.to_string()).at("/script_name"))
    }
}

fn refuse(message: String) -> ApiError {
    ApiError::new(Code::QueueConsumerInvalid, message)
}

/// `GET queues/:queue_id/consumers`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let queue = find(snapshot, &account, &id)?;
        let shown: Vec<_> = queue.consumer.iter().map(|consumer| show(&queue, consumer)).collect();
        Ok(Answer::new(shown.into()).at(snapshot.seq()))
    })
    .await
}

/// `GET queues/:queue_id/consumers/:consumer_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id, consumer)): Path<(String, String, String)>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let queue = find(snapshot, &account, &id)?;
        Ok(Answer::new(show(&queue, of(&queue, &consumer)?)).at(snapshot.seq()))
    })
    .await
}

/// `POST queues/:queue_id/consumers`: of a queue that has none.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    author: Author,
    TextJsonBody(body): TextJsonBody<ConsumerBody>,
) -> Result<Answer, ApiError> {
    let given = body.read()?;
    api.change(&author, move |draft| {
        let consumer_id = QueueConsumerId::from_bytes(draft.id());
        let mut queue = read(draft, &account, &id)?;
        if let Some(known) = &queue.consumer {
            if draft.is_repeat && known.id == consumer_id {
                return Ok(show(&queue, known));
            }
            let message = "the queue has a consumer already: change that one, or remove it first";
            return Err(ApiError::new(Code::QueueConsumerExists, message));
        }
        let consumer = QueueConsumer { id: consumer_id, created_at: draft.now, ..given.clone() };
        put_consumer(draft, &account, &mut queue, consumer)
    })
    .await
}

/// `PUT queues/:queue_id/consumers/:consumer_id`: another one in the place of this one.
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id, consumer)): Path<(String, String, String)>,
    author: Author,
    TextJsonBody(body): TextJsonBody<ConsumerBody>,
) -> Result<Answer, ApiError> {
    let given = body.read()?;
    api.change(&author, move |draft| {
        let mut queue = read(draft, &account, &id)?;
        let known = of(&queue, &consumer)?;
        if draft.is_repeat {
            return Ok(show(&queue, known));
        }
        let consumer = QueueConsumer { id: known.id, created_at: known.created_at, ..given.clone() };
        put_consumer(draft, &account, &mut queue, consumer)
    })
    .await
}

/// `DELETE queues/:queue_id/consumers/:consumer_id`: messages wait then.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id, consumer)): Path<(String, String, String)>,
    author: Author,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        if draft.is_repeat {
            return Ok(Value::Null);
        }
        let mut queue = read(draft, &account, &id)?;
        of(&queue, &consumer)?;
        queue.consumer = None;
        queue.modified_at = draft.now;
        draft.put(&queue);
        Ok(Value::Null)
    })
    .await
}

fn read(draft: &mut Draft<'_>, account: &Account, id: &str) -> Result<Queue, ApiError> {
    draft.read::<Queue>(&(account.id, queue_id(id)?))?.ok_or_else(|| unknown(id))
}

/// The consumer of this id.
fn of<'q>(queue: &'q Queue, id: &str) -> Result<&'q QueueConsumer, ApiError> {
    let found = queue.consumer.as_ref().filter(|consumer| consumer.id.to_string() == id);
    found.ok_or_else(|| {
        ApiError::new(Code::QueueConsumerNotFound, format!("the queue has no consumer {id:.80}"))
    })
}

/// Gives a queue its consumer, and makes the dead letter queue that it names, if there is none.
fn put_consumer(
    draft: &mut Draft<'_>,
    account: &Account,
    queue: &mut Queue,
    consumer: QueueConsumer,
) -> Result<Value, ApiError> {
    if let QueueReader::Worker { worker, .. } = &consumer.reader {
        let key = Worker::key_of(&(account.id, worker.clone()));
        if draft.snapshot.revision(&key)?.is_none() {
            let message = format!("This Worker does not exist on your account: {worker}");
            return Err(ApiError::new(Code::WorkerNotFound, message).at("/script_name"));
        }
        draft.require(Precondition::Present(key));
    }
    if let Some(name) = &consumer.dead_letter_queue {
        let all = alone(draft, account)?;
        if let Some(way) = circle(&all, queue, name) {
            let names: Vec<_> = way.iter().map(|name| name.as_str()).collect();
            let message = format!(
                "dead letter queues would lead in a circle, which messages never leave: {}",
                names.join(" → ")
            );
            return Err(refuse(message).at("/dead_letter_queue"));
        }
        if !all.iter().any(|other| other.name == *name) {
            make(draft, account, &all, name, QueueSettings::default())?;
        } else {
            // So that it is not deleted meanwhile.
            draft.put(&QueueUsage { account: account.id, queues: all.len() });
        }
    }
    let shown = show(queue, &consumer);
    queue.consumer = Some(consumer);
    queue.modified_at = draft.now;
    draft.put(queue);
    Ok(shown)
}

/// The queues through which messages would come back to this one, if that one were its dead letter queue: this one first and last.
fn circle<'q>(all: &'q [Queue], queue: &'q Queue, dead: &'q QueueName) -> Option<Vec<&'q QueueName>> {
    let (mut way, mut next) = (vec![&queue.name], Some(dead));
    // A circle without this queue was there before, and is left as it is.
    while let Some(name) = next.filter(|name| !way[1..].contains(name)) {
        way.push(name);
        if *name == queue.name {
            return Some(way);
        }
        let consumer = all.iter().find(|known| known.name == *name)?.consumer.as_ref()?;
        next = consumer.dead_letter_queue.as_ref();
    }
    None
}

/// A consumer as v4 shows it.
pub(super) fn show(queue: &Queue, consumer: &QueueConsumer) -> Value {
    let mut settings = json!({
        "batch_size": consumer.batch_size,
        "max_retries": consumer.max_retries,
        "retry_delay": consumer.retry_delay_seconds,
    });
    let mut shown = json!({
        "consumer_id": consumer.id.to_string(),
        "queue_id": queue.id.to_string(),
        "queue_name": queue.name.as_str(),
        "created_on": time(consumer.created_at),
    });
    match &consumer.reader {
        QueueReader::Worker { worker, max_wait_ms, max_concurrency } => {
            shown["type"] = "worker".into();
            shown["script"] = worker.as_str().into();
            shown["script_name"] = worker.as_str().into();
            settings["max_wait_time_ms"] = (*max_wait_ms).into();
            settings["max_concurrency"] = (*max_concurrency).into();
        }
        QueueReader::Pull { visibility_timeout_ms } => {
            shown["type"] = "http_pull".into();
            settings["visibility_timeout_ms"] = (*visibility_timeout_ms).into();
        }
    }
    if let Some(name) = &consumer.dead_letter_queue {
        shown["dead_letter_queue"] = name.as_str().into();
    }
    shown["settings"] = settings;
    shown
}
