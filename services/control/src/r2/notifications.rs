//! `event_notifications/r2/:bucket_name/configuration`: which queues are told of what happens to a bucket's objects.
//!
//! Rules lie in their bucket's noun, as its other rules do, and go with it. A queue that they name is there: it is not deleted before
//! they are.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Request, State},
    http::HeaderMap,
};
use proxima_ledger::Snapshot;
use proxima_model::{Account, AccountId, Bucket, BucketName, Permission, Queue, QueueId};
use proxima_pipeline::{
    NewNotificationRule, NotificationError, NotificationRule, Notifications, QueueNotified,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{change, find};
use crate::{
    api::{
        Api,
        access::{Caller, On},
        body,
        envelope::{Answer, time},
        write::Author,
    },
    error::{ApiError, Code},
    limits, queues,
};

/// Rules that are added.
#[derive(Clone, Debug, Default, Deserialize)]
struct Adding {
    #[serde(default)]
    rules: Vec<NewNotificationRule>,
}

/// Rules that are taken away; all, if nothing is said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Removing {
    #[serde(default)]
    rule_ids: Option<Vec<String>>,
}

impl From<NotificationError> for ApiError {
    fn from(error: NotificationError) -> Self {
        let code = match error {
            NotificationError::Invalid(_) => Code::BucketNotificationInvalid,
            NotificationError::Overlap(_) => Code::BucketNotificationOverlap,
        };
        Self::new(code, error.to_string())
    }
}

/// `GET …/configuration`: of all queues.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    let kept = Notifications::kept(bucket.notifications.as_ref());
    if kept.queues.is_empty() {
        let message = "this bucket has no rules of event notifications";
        return Err(ApiError::new(Code::BucketNotificationsAbsent, message));
    }
    api.read(move |snapshot| {
        let queues = kept.queues.iter().map(|queue| show(snapshot, account.id, queue));
        let queues = queues.collect::<Result<Vec<_>, _>>()?;
        let shown = json!({ "bucketName": bucket.name.as_str(), "queues": queues });
        Ok(Answer::new(shown).at(snapshot.seq()))
    })
    .await
}

/// `GET …/configuration/queues/:queue_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name, queue)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    let (queue, kept) = (queue_id(&queue)?, Notifications::kept(bucket.notifications.as_ref()));
    api.read(move |snapshot| {
        let found = kept.of(queue).ok_or_else(|| absent(queue))?;
        Ok(Answer::new(show(snapshot, account.id, found)?).at(snapshot.seq()))
    })
    .await
}

/// `PUT …/configuration/queues/:queue_id`: adds rules to those that it has, all or none. What is sent to a queue is for who may send
/// to it to say, and not for everybody who has a bucket.
pub(crate) async fn add(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((_, name, queue)): Path<(String, String, String)>,
    author: Author,
    request: Request,
) -> Result<Answer, ApiError> {
    caller.check(Permission::QueuesEdit, On::Account(account.id))?;
    let bucket = find(&api, &account, &name, request.headers()).await?;
    let (queue, adding) = (queue_id(&queue)?, given::<Adding>(request).await?.unwrap_or_default());
    change(&api, &author, bucket, move |draft, bucket| {
        queues::hold(draft, account.id, queue)?;
        let mut kept = Notifications::kept(bucket.notifications.as_ref());
        let now = draft.now;
        kept.add(queue, adding.rules.clone(), now, || hex::encode(draft.id()))?;
        bucket.notifications = kept.to_value();
        Ok(())
    })
    .await
}

/// `DELETE …/configuration/queues/:queue_id`: rules of these ids, or all of the queue's.
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name, queue)): Path<(String, String, String)>,
    author: Author,
    request: Request,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, request.headers()).await?;
    let (queue, removing) = (queue_id(&queue)?, given::<Removing>(request).await?.unwrap_or_default());
    if removing.rule_ids.as_ref().is_some_and(Vec::is_empty) {
        let message = "ruleIds: give ids of rules, or no body to remove all of the queue's";
        return Err(ApiError::new(Code::BucketNotificationInvalid, message).at("/ruleIds"));
    }
    change(&api, &author, bucket, move |_, bucket| {
        let mut kept = Notifications::kept(bucket.notifications.as_ref());
        if !kept.remove(queue, removing.rule_ids.as_deref()) {
            return Err(absent(queue));
        }
        bucket.notifications = kept.to_value();
        Ok(())
    })
    .await
}

/// A bucket whose rules name a queue, if there is one.
pub(crate) fn bucket_of(
    snapshot: &Snapshot,
    account: AccountId,
    queue: QueueId,
) -> Result<Option<BucketName>, ApiError> {
    for bucket in snapshot.scan::<Bucket>(&[&account]) {
        let bucket = bucket?;
        if Notifications::kept(bucket.notifications.as_ref()).of(queue).is_some() {
            return Ok(Some(bucket.name));
        }
    }
    Ok(None)
}

/// A body of any content type, if there is one.
async fn given<T: serde::de::DeserializeOwned>(request: Request) -> Result<Option<T>, ApiError> {
    let octets = body::read(request, limits::JSON_BODY_OCTETS_MAX).await?;
    (!octets.is_empty()).then(|| body::parse(&octets)).transpose()
}

/// A queue's id in a path, also with hyphens as a UUID: so R2 shows it.
fn queue_id(text: &str) -> Result<QueueId, ApiError> {
    queues::queue_id(&text.replace('-', ""))
}

fn absent(queue: QueueId) -> ApiError {
    let message = format!("this bucket has no such rules of event notifications for the queue {queue}");
    ApiError::new(Code::BucketNotificationNotFound, message)
}

fn show(snapshot: &Snapshot, account: AccountId, notified: &QueueNotified) -> Result<Value, ApiError> {
    let queue = snapshot.get::<Queue>(&(account, notified.queue_id))?;
    let rule = |rule: &NotificationRule| {
        let mut shown = json!({
            "ruleId": rule.rule_id,
            "createdAt": time(rule.created_at),
            "prefix": rule.prefix,
            "suffix": rule.suffix,
            "actions": rule.actions,
        });
        if let Some(description) = &rule.description {
            shown["description"] = description.as_str().into();
        }
        shown
    };
    Ok(json!({
        "queueId": notified.queue_id.to_string(),
        "queueName": queue.as_ref().map(|queue| queue.name.as_str()),
        "rules": notified.rules.iter().map(rule).collect::<Vec<_>>(),
    }))
}
