//! Workers that are given messages of queues.
//!
//! The dispatcher gets a batch as JSON, bodies in Base64, and answers what the Worker said of it: what of the messages is done with,
//! and what is to be delivered again.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proxima_model::{AccountId, WorkerName, limits};
use proxima_pipeline::{Body, Fault, NotConsumed, QueueBatch, QueueDelivered, QueueOutcome, QueueSettling};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    engine::{Head, Invoked},
    metrics::Handler,
    scheduled::WITHIN,
    stage::Shared,
    tails::lost::Times,
};

/// Octets of what the dispatcher says of a batch: of each of its messages an id and a delay, several times.
const SAID_OCTETS_MAX: usize = (*limits::QUEUE_BATCH.end() as usize) * 1_024;

/// What the dispatcher says, as the engine tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    outcome: String,
    ack_all: bool,
    retry_batch: RetryBatch,
    explicit_acks: Vec<String>,
    retry_messages: Vec<RetryMessage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RetryBatch {
    retry: bool,
    #[serde(default)]
    delay_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RetryMessage {
    msg_id: String,
    #[serde(default)]
    delay_seconds: Option<u32>,
}

/// Gives a Worker a batch; ready when its handler has ended, and all that it waits for.
pub(crate) async fn run(
    shared: &Shared,
    account: AccountId,
    worker: &WorkerName,
    batch: QueueBatch<'_>,
) -> Result<QueueOutcome, NotConsumed> {
    let begun = Instant::now();
    let ran = ask(shared, account, worker, batch).await;
    let fault = match &ran {
        Ok(outcome) if outcome.threw => Some(&Fault::WorkerThrew),
        Ok(_) => None,
        Err(NotConsumed::Failed(fault) | NotConsumed::NotNow(fault)) => Some(fault),
        Err(NotConsumed::Absent) => return ran,
    };
    shared.metrics.queued(fault, begun.elapsed());
    ran
}

async fn ask(
    shared: &Shared,
    account: AccountId,
    worker: &WorkerName,
    batch: QueueBatch<'_>,
) -> Result<QueueOutcome, NotConsumed> {
    let chosen = shared.chosen(account, worker, None).map_err(NotConsumed::NotNow)?;
    let key = chosen.ok_or(NotConsumed::Absent)?;
    let engine = shared.engine().map_err(NotConsumed::NotNow)?;
    let run = json!({
        "code": key.code(shared.looks.is_looked_at(account, worker)),
        "queue": batch.queue,
    });
    let invoked = Invoked::new(Handler::Queue);
    let invocation = Arc::clone(&invoked.took);
    let head = Head::of_node("http://queue.internal/", &run, WITHIN, Some(invoked)).map_err(failed)?;
    let begun = Instant::now();
    let body =
        Body::full(json!({ "messages": batch.messages.iter().map(written).collect::<Value>() }).to_string());
    let answered = engine.run(&key, head, body).await.map_err(|fault| {
        let event = || json!({ "queue": batch.queue, "batchSize": batch.messages.len() });
        let times = Times { began: batch.at, took: begun.elapsed(), cpu: invocation.cpu() };
        shared.looks.tell_lost(&key, &fault, times, event);
        failed(fault)
    })?;
    let lost = NotConsumed::Failed(Fault::WorkerLost);
    let left = WITHIN.saturating_sub(begun.elapsed()).max(Duration::from_secs(1));
    let said = tokio::time::timeout(left, answered.body.collect(SAID_OCTETS_MAX)).await;
    let said = said.map_err(|_| lost.clone())?.map_err(|_| lost.clone())?;
    serde_json::from_slice::<Said>(&said).map(Said::outcome).map_err(|_| lost)
}

/// Whose fault it was: what no Worker has done does not count as a delivery.
fn failed(fault: Fault) -> NotConsumed {
    match fault {
        Fault::WorkersUnavailable(_)
        | Fault::WorkerLockedOut { .. }
        | Fault::Overloaded
        | Fault::Internal(_) => NotConsumed::NotNow(fault),
        fault => NotConsumed::Failed(fault),
    }
}

fn written(message: &QueueDelivered) -> Value {
    json!({
        "id": message.id,
        "timestamp": message.sent_at.as_millis(),
        "attempts": message.attempts,
        "type": message.content_type.as_str(),
        "body": BASE64_STANDARD.encode(&message.body),
    })
}

impl Said {
    fn outcome(self) -> QueueOutcome {
        let threw = self.outcome != "ok";
        let acks = self.explicit_acks.into_iter().map(|id| (id, QueueSettling::Ack));
        let retries = self
            .retry_messages
            .into_iter()
            .map(|retry| (retry.msg_id, QueueSettling::Retry(retry.delay_seconds)));
        let others = match (self.retry_batch, self.ack_all) {
            (RetryBatch { retry: true, delay_seconds }, _) => QueueSettling::Retry(delay_seconds),
            (_, true) => QueueSettling::Ack,
            (_, false) if threw => QueueSettling::Retry(None),
            (_, false) => QueueSettling::Ack,
        };
        QueueOutcome { threw, messages: acks.chain(retries).collect(), others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(said: Value) -> QueueOutcome {
        serde_json::from_value::<Said>(said).expect("what the engine tells").outcome()
    }

    #[test]
    fn what_is_said_of_one_message_counts_before_what_is_said_of_all() {
        let said = outcome(json!({
            "outcome": "ok", "ackAll": false, "retryBatch": { "retry": true, "delaySeconds": 7 },
            "explicitAcks": ["a"], "retryMessages": [{ "msgId": "b", "delaySeconds": 5 }, { "msgId": "c" }],
        }));
        let messages = [
            ("a", QueueSettling::Ack),
            ("b", QueueSettling::Retry(Some(5))),
            ("c", QueueSettling::Retry(None)),
        ];
        let messages = messages.map(|(id, settling)| (id.to_owned(), settling)).to_vec();
        assert_eq!(said, QueueOutcome { threw: false, messages, others: QueueSettling::Retry(Some(7)) });
    }

    #[test]
    fn a_handler_that_throws_has_all_delivered_again_of_which_it_said_nothing() {
        let of = |outcome_is: &str, ack_all: bool| {
            let said = json!({
                "outcome": outcome_is, "ackAll": ack_all, "retryBatch": { "retry": false },
                "explicitAcks": [], "retryMessages": [],
            });
            let said = outcome(said);
            (said.threw, said.others)
        };
        assert_eq!(of("ok", false), (false, QueueSettling::Ack));
        assert_eq!(of("exception", false), (true, QueueSettling::Retry(None)));
        assert_eq!(of("exception", true), (true, QueueSettling::Ack));
        assert_eq!(of("exceededCpu", false), (true, QueueSettling::Retry(None)));
    }
}
