//! `accounts/:account_id/queues`: queues, who takes their messages, and the messages, as stock wrangler and the SDKs ask for them.
//!
//! ```text
//!  queues, consumers ─▶ Queue, and QueueUsage of its account, in one append
//!  messages, purge, metrics ─▶ is the queue the account's? (replica) ─▶ Queues (port of the pipeline)
//! ```
//!
//! Invariants:
//! * **A queue is asked for by its account alone**: each operation looks it up in the replica.
//! * Names are one of their account: whoever makes or deletes a queue puts [`QueueUsage`] too, so that two of them are never decided
//!   at the same time.
//! * **A dead letter queue that is named is there**: it is made with the consumer that names it, as v4 makes it.
//! * **Dead letter queues lead in no circle**, in which a message that nobody can handle would go round for ever.
//!
//! Messages are no part of the log: neither `proxima log revert` nor an `Idempotency-Key` knows of them.
//!
//! [`QueueUsage`]: proxima_model::QueueUsage

pub(crate) mod consumers;
pub(crate) mod messages;
pub(crate) mod nouns;

use std::{collections::BTreeMap, sync::Arc};

use proxima_ledger::{Precondition, Snapshot};
use proxima_model::{
    Account, BindingValue, Entity, Queue, QueueId, QueueName, QueueSettings, QueueUsage,
    limits as model_limits,
};
use proxima_pipeline::{QueueError, Queues};

use crate::{
    api::{Api, write::Draft},
    error::{ApiError, Code},
    workers,
};

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        let code = match error {
            QueueError::Unknown => Code::QueueNotFound,
            QueueError::Invalid(_) => Code::QueueMessageInvalid,
            QueueError::Busy => Code::Busy,
            QueueError::Full(_) => Code::QueueFull,
            QueueError::Unreachable(_) | QueueError::Broken(_) => Code::QueueUnavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// The queue of this id, if it is the account's.
fn find(snapshot: &Snapshot, account: &Account, id: &str) -> Result<Queue, ApiError> {
    snapshot.get::<Queue>(&(account.id, queue_id(id)?))?.ok_or_else(|| unknown(id))
}

/// An id in a path.
pub(crate) fn queue_id(id: &str) -> Result<QueueId, ApiError> {
    id.parse().map_err(|_| unknown(id))
}

fn unknown(id: &str) -> ApiError {
    ApiError::new(Code::QueueNotFound, format!("Queue not found: {id:.80}"))
}

/// The queue of the account that is called so.
pub(crate) fn find_named(
    snapshot: &Snapshot,
    account: proxima_model::AccountId,
    name: &QueueName,
) -> Result<Option<Queue>, ApiError> {
    for queue in snapshot.scan::<Queue>(&[&account]) {
        let queue = queue?;
        if queue.name == *name {
            return Ok(Some(queue));
        }
    }
    Ok(None)
}

/// A queue of the account that something else comes to name: it is not deleted meanwhile, and who deletes it next sees what does.
pub(crate) fn hold(
    draft: &mut Draft<'_>,
    account: proxima_model::AccountId,
    id: QueueId,
) -> Result<Queue, ApiError> {
    let usage = draft.read::<QueueUsage>(&account)?;
    let queue = draft.snapshot.get::<Queue>(&(account, id))?.ok_or_else(|| unknown(&id.to_string()))?;
    // Whoever deletes a queue has read this one.
    usage.iter().for_each(|usage| draft.put(usage));
    Ok(queue)
}

/// The queues of an account, by their names.
fn of_account(snapshot: &Snapshot, account: &Account) -> Result<Vec<Queue>, ApiError> {
    let mut all = snapshot.scan::<Queue>(&[&account.id]).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The same, while nobody else makes or deletes one.
fn alone(draft: &mut Draft<'_>, account: &Account) -> Result<Vec<Queue>, ApiError> {
    draft.read::<QueueUsage>(&account.id)?;
    of_account(draft.snapshot, account)
}

/// Makes a queue beside these.
fn make(
    draft: &mut Draft<'_>,
    account: &Account,
    others: &[Queue],
    name: &QueueName,
    settings: QueueSettings,
) -> Result<Queue, ApiError> {
    draft.require(Precondition::Present(Account::key_of(&account.id)));
    let limit = model_limits::QUEUES_PER_ACCOUNT_MAX;
    if others.len() >= limit {
        return Err(ApiError::new(Code::QueueQuota, format!("an account has at most {limit} queues")));
    }
    if others.iter().any(|other| other.name == *name) {
        let message =
            format!("Queue name '{name}' is already taken. Please use a different name and try again.");
        return Err(ApiError::new(Code::QueueNameTaken, message));
    }
    let id = QueueId::from_bytes(draft.id());
    let (created_at, name) = (draft.now, name.clone());
    let queue = Queue {
        account: account.id,
        id,
        name,
        created_at,
        modified_at: created_at,
        settings,
        consumer: None,
    };
    draft.put(&queue);
    draft.put(&QueueUsage { account: account.id, queues: others.len() + 1 });
    Ok(queue)
}

/// The Workers that are bound to queues in a version that answers, by the queues' names.
fn producers(snapshot: &Snapshot, account: &Account) -> Result<BTreeMap<QueueName, Vec<String>>, ApiError> {
    let mut found = BTreeMap::<QueueName, Vec<String>>::new();
    workers::delete::each_binding(snapshot, account.id, |worker, binding| {
        let BindingValue::Queue { queue, .. } = binding.value else { return };
        let workers = found.entry(queue).or_default();
        if workers.last().is_none_or(|last| *last != worker.as_str()) {
            workers.push(worker.to_string());
        }
    })?;
    Ok(found)
}

/// The messages of an account's queue.
struct Messages {
    port: Arc<dyn Queues>,
    queue: Queue,
}

impl Messages {
    async fn of(api: &Arc<Api>, account: Account, id: String) -> Result<Self, ApiError> {
        let queue = api.read(move |snapshot| find(snapshot, &account, &id)).await?;
        let port = api.queues.get().cloned();
        let port = port.ok_or_else(|| ApiError::new(Code::QueueAbsent, "this server has no queues"))?;
        Ok(Self { port, queue })
    }
}
