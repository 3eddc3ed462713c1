//! Workers that run without being asked: cron triggers; and messages of queues (`queued.rs`).

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use proxima_model::{AccountId, WorkerName};
use proxima_pipeline::{Body, CronTrigger, Fault, Invoke, NotConsumed, QueueBatch, QueueOutcome};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    engine::{Head, Invoked},
    metrics::Handler,
    queued,
    stage::Shared,
    tails::{
        event,
        lost::{self, Times},
    },
};

/// How long one may take: what v4 allows.
pub(crate) const WITHIN: Duration = Duration::from_secs(15 * 60);
/// Octets of what the dispatcher says when it has ended: nothing.
const SAID_OCTETS_MAX: usize = 1_024;

/// Runs them.
pub(crate) struct Scheduled(pub(crate) Arc<Shared>);

impl Invoke for Scheduled {
    fn scheduled<'a>(
        &'a self,
        account: AccountId,
        worker: &'a WorkerName,
        trigger: CronTrigger<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let begun = Instant::now();
            let ran = self.run(account, worker, trigger).await;
            self.0.metrics.scheduled(ran.as_ref().err(), begun.elapsed());
            ran
        })
    }

    fn queue<'a>(
        &'a self,
        account: AccountId,
        worker: &'a WorkerName,
        batch: QueueBatch<'a>,
    ) -> BoxFuture<'a, Result<QueueOutcome, NotConsumed>> {
        Box::pin(queued::run(&self.0, account, worker, batch))
    }
}

impl Scheduled {
    async fn run(
        &self,
        account: AccountId,
        worker: &WorkerName,
        trigger: CronTrigger<'_>,
    ) -> Result<(), Fault> {
        let chosen = self.0.chosen(account, worker, None)?;
        let key = chosen.ok_or(Fault::WorkerBroken("no version of it is deployed"))?;
        let engine = self.0.engine()?;
        let is_looked_at = self.0.looks.is_looked_at(account, worker);
        let run = json!({
            "code": key.code(is_looked_at),
            "scheduled": { "cron": trigger.cron, "at": trigger.at.as_millis() },
        });
        let name = if is_looked_at { event::name(&lost::trigger(trigger)) } else { None };
        let invoked = Invoked::new(Handler::Scheduled).named(name);
        let invocation = Arc::clone(&invoked.took);
        let head = Head::of_node("http://scheduled.internal/", &run, WITHIN, Some(invoked))?;
        let begun = Instant::now();
        let answered = engine.run(&key, head, Body::empty()).await.inspect_err(|fault| {
            let times = Times { began: trigger.at, took: begun.elapsed(), cpu: invocation.cpu() };
            self.0.looks.tell_lost(&key, fault, times, || lost::trigger(trigger));
        })?;
        answered.body.collect(SAID_OCTETS_MAX).await.map_err(|_| Fault::WorkerLost)?;
        Ok(())
    }
}
