//! Queues themselves.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_ledger::Snapshot;
use proxima_model::{Account, Queue, QueueId, QueueName, QueueSettings, QueueUsage, limits as model_limits};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{alone, consumers, find, make, of_account, producers, queue_id, unknown};
use crate::{
    api::{
        Api,
        body::TextJsonBody,
        envelope::{Answer, time},
        page::Query,
        write::Author,
    },
    error::{ApiError, Code},
    limits,
    r2::notifications,
};

/// What is said of a queue.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct QueueBody {
    #[serde(default)]
    queue_name: Option<String>,
    #[serde(default)]
    settings: Option<SettingsBody>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct SettingsBody {
    #[serde(default)]
    delivery_delay: Option<f64>,
    #[serde(default)]
    delivery_paused: Option<bool>,
    #[serde(default)]
    message_retention_period: Option<f64>,
}

impl QueueBody {
    fn name(&self) -> Result<Option<QueueName>, ApiError> {
        let name = self.queue_name.as_deref().map(QueueName::parse).transpose();
        name.map_err(|invalid| ApiError::invalid(Code::QueueNameInvalid, &invalid))
    }

    /// What is said, over what was before.
    fn settings(&self, before: QueueSettings) -> Result<QueueSettings, ApiError> {
        let Some(given) = self.settings else { return Ok(before) };
        let delay_max = model_limits::QUEUE_DELAY_SECONDS_MAX;
        let (least, most) =
            (*model_limits::QUEUE_RETENTION_SECONDS.start(), *model_limits::QUEUE_RETENTION_SECONDS.end());
        let delay = given.delivery_delay.map(|it| whole("delivery_delay", it, 0..=delay_max)).transpose()?;
        let retention = given
            .message_retention_period
            .map(|it| whole("message_retention_period", it, least..=most))
            .transpose()?;
        Ok(QueueSettings {
            delivery_delay_seconds: delay.unwrap_or(before.delivery_delay_seconds),
            is_paused: given.delivery_paused.unwrap_or(before.is_paused),
            retention_seconds: retention.unwrap_or(before.retention_seconds),
        })
    }
}

/// A whole number within bounds, as JSON of any client writes it.
fn whole(field: &str, given: f64, bounds: std::ops::RangeInclusive<u32>) -> Result<u32, ApiError> {
    super::consumers::number(given).filter(|number| bounds.contains(number)).ok_or_else(|| {
        let message = format!("{field}: give a whole number from {} to {}", bounds.start(), bounds.end());
        ApiError::new(Code::QueueInvalid, message).at(format!("/settings/{field}"))
    })
}

/// `GET queues`; only those of these names, if `name` is given.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::QUEUES_PER_PAGE, limits::OTHERS_PER_PAGE_MAX)?;
    api.read(move |snapshot| {
        let names: Vec<&str> = query.all("name").collect();
        let mut all = of_account(snapshot, &account)?;
        all.retain(|queue| names.is_empty() || names.contains(&queue.name.as_str()));
        let (all, info) = page.cut(all);
        let producers = producers(snapshot, &account)?;
        let shown = all.iter().map(|queue| show(queue, producers.get(&queue.name))).collect();
        Ok(Answer::page((shown, info)).at(snapshot.seq()))
    })
    .await
}

/// `GET queues/:queue_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let queue = find(snapshot, &account, &id)?;
        Ok(Answer::new(shown(snapshot, &account, &queue)?).at(snapshot.seq()))
    })
    .await
}

/// `POST queues`.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    author: Author,
    TextJsonBody(body): TextJsonBody<QueueBody>,
) -> Result<Answer, ApiError> {
    let missing = || ApiError::new(Code::QueueNameInvalid, "queue_name: it is missing").at("/queue_name");
    let name = body.name()?.ok_or_else(missing)?;
    let settings = body.settings(QueueSettings::default())?;
    api.change(&author, move |draft| {
        if draft.is_repeat {
            let id = QueueId::from_bytes(draft.id());
            let made = draft.made::<Queue>(&(account.id, id))?;
            return shown(draft.snapshot, &account, &made);
        }
        let others = alone(draft, &account)?;
        let queue = make(draft, &account, &others, &name, settings)?;
        Ok(show(&queue, None))
    })
    .await
}

/// `PATCH queues/:queue_id`: what is given is changed.
pub(crate) async fn patch(
    api: State<Arc<Api>>,
    account: Extension<Account>,
    path: Path<(String, String)>,
    author: Author,
    TextJsonBody(body): TextJsonBody<QueueBody>,
) -> Result<Answer, ApiError> {
    change(api, account, path, author, body, false).await
}

/// `PUT queues/:queue_id`: what is not given is as of a new queue.
pub(crate) async fn put(
    api: State<Arc<Api>>,
    account: Extension<Account>,
    path: Path<(String, String)>,
    author: Author,
    TextJsonBody(body): TextJsonBody<QueueBody>,
) -> Result<Answer, ApiError> {
    change(api, account, path, author, body, true).await
}

async fn change(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    author: Author,
    body: QueueBody,
    is_whole: bool,
) -> Result<Answer, ApiError> {
    let name = body.name()?;
    api.change(&author, move |draft| {
        let id = queue_id(&id)?;
        let mut queue = draft.read::<Queue>(&(account.id, id))?.ok_or_else(|| unknown(&id.to_string()))?;
        // What Workers are bound to is a name.
        if name.as_ref().is_some_and(|name| *name != queue.name) {
            let message = "queue_name: a queue keeps the name that it was made with";
            return Err(ApiError::new(Code::QueueInvalid, message).at("/queue_name"));
        }
        let before = if is_whole { QueueSettings::default() } else { queue.settings };
        let settings = body.settings(before)?;
        if !draft.is_repeat && settings != queue.settings {
            queue.settings = settings;
            queue.modified_at = draft.now;
            draft.put(&queue);
        }
        shown(draft.snapshot, &account, &queue)
    })
    .await
}

/// `DELETE queues/:queue_id`, with its consumer and messages; refused while Workers are bound to it, a consumer names it as its dead
/// letter queue, or rules of buckets say that it is told of objects.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    author: Author,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        if draft.is_repeat {
            return Ok(Value::Null);
        }
        let queue = find(draft.snapshot, &account, &id)?;
        let all = alone(draft, &account)?;
        let in_use = |message: String| Err(ApiError::new(Code::QueueInUse, message));
        if let Some(bound) = producers(draft.snapshot, &account)?.get(&queue.name) {
            return in_use(format!("Workers are bound to the queue: {}", bound.join(", ")));
        }
        let names_it = |other: &&Queue| {
            let consumer = other.consumer.as_ref().and_then(|it| it.dead_letter_queue.as_ref());
            other.id != queue.id && consumer == Some(&queue.name)
        };
        if let Some(other) = all.iter().find(names_it) {
            return in_use(format!("it is the dead letter queue of {}", other.name));
        }
        if let Some(bucket) = notifications::bucket_of(draft.snapshot, account.id, queue.id)? {
            return in_use(format!("it has event notifications of the bucket {bucket}: delete them first"));
        }
        draft.delete::<Queue>(&(account.id, queue.id));
        draft.put(&QueueUsage { account: account.id, queues: all.len().saturating_sub(1) });
        Ok(Value::Null)
    })
    .await
}

/// A queue as v4 shows it.
pub(super) fn shown(snapshot: &Snapshot, account: &Account, queue: &Queue) -> Result<Value, ApiError> {
    Ok(show(queue, producers(snapshot, account)?.get(&queue.name)))
}

fn show(queue: &Queue, producers: Option<&Vec<String>>) -> Value {
    let producers: Vec<Value> =
        producers.into_iter().flatten().map(|worker| json!({ "type": "worker", "script": worker })).collect();
    let consumers: Vec<Value> =
        queue.consumer.iter().map(|consumer| consumers::show(queue, consumer)).collect();
    json!({
        "queue_id": queue.id.to_string(),
        "queue_name": queue.name.as_str(),
        "created_on": time(queue.created_at),
        "modified_on": time(queue.modified_at),
        "producers_total_count": producers.len(),
        "producers": producers,
        "consumers_total_count": consumers.len(),
        "consumers": consumers,
        "settings": {
            "delivery_delay": queue.settings.delivery_delay_seconds,
            "delivery_paused": queue.settings.is_paused,
            "message_retention_period": queue.settings.retention_seconds,
        },
    })
}
