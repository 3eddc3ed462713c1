//! A request's way to a process and back, and what becomes of it where there is no answer.

use std::{
    io,
    sync::{Arc, PoisonError},
};

use http::{HeaderMap, HeaderName, StatusCode, header::UPGRADE};
use proxima_http1::{Framing, Upload};
use proxima_pipeline::{Body, Fault, Response, strip_hop_by_hop};

use super::{
    Engine, Head,
    answer::{self, UpgradedWorker},
    connection::Broken,
    invocation::Invocation,
    place::{Place, Unavailable},
    process::{AtWork, Process, Verdict},
    shard::Shard,
};
use crate::version::VersionKey;

/// The field by which the dispatcher tells that there is no answer: the engine's secret, and what failed.
const FAULT: HeaderName = HeaderName::from_static("proxima-fault");
/// Octets of what it says of that.
const FAULT_OCTETS_MAX: usize = 64 << 10;
/// Letters of that in the log.
pub(crate) const FAULT_LETTERS_LOGGED: usize = 1_000;
/// How many processes are looked at for one that is not held: where more are, all have too much to do.
const HELD_AT_ONCE_MAX: usize = 8;

/// Why a request has no answer.
pub(super) enum Lost {
    Fault(Fault),
    /// The process ended, and it was not this Worker's fault as far as is known.
    Cut,
}

impl Engine {
    /// The answer of a version. A request whose process ends, or is kept busy by another one, is sent once more, where that cannot
    /// do anything twice (RFC 9110, 9.2.2) and none of its body is gone.
    pub(crate) async fn run(&self, key: &VersionKey, head: Head, body: Body) -> Result<Response, Fault> {
        let again = (head.method.is_idempotent() && body.is_empty()).then(|| head.clone());
        match (self.try_once(key, head, body, again.is_some()).await, again) {
            (Err(Lost::Cut), Some(head)) => {
                self.common.metrics.retried.inc();
                Box::pin(self.try_once(key, head, Body::empty(), false)).await
            }
            (asked, _) => asked,
        }
        .map_err(Fault::from)
    }

    async fn try_once(
        &self,
        key: &VersionKey,
        head: Head,
        body: Body,
        may_be_sent_again: bool,
    ) -> Result<Response, Lost> {
        let shard = self.shard(key, head.facts.may_run_alone()).map_err(Lost::Fault)?;
        self.ask_once(&shard, key, head, body, may_be_sent_again).await
    }

    pub(super) async fn ask_once(
        &self,
        shard: &Arc<Shard>,
        key: &VersionKey,
        mut head: Head,
        body: Body,
        may_be_sent_again: bool,
    ) -> Result<Response, Lost> {
        let entered = match shard.enter(key, false).await {
            // Boxed, as is all that few requests come to.
            Err(Unavailable::Gone | Unavailable::Held) => Box::pin(self.enter_shared(key)).await,
            entered => entered,
        };
        let mut at_work = entered.map_err(|unavailable| {
            Lost::Fault(match unavailable {
                Unavailable::Full | Unavailable::Gone | Unavailable::Held => Fault::Overloaded,
                Unavailable::BacksOff => Fault::WorkersUnavailable("their engine ends again and again"),
                Unavailable::Failed(error) => {
                    tracing::error!(%error, "the engine does not start");
                    Fault::WorkersUnavailable("their engine does not start")
                }
            })
        })?;
        let (process, within, number) = (Arc::clone(at_work.process()), head.within, at_work.number());
        if let Some(apart) = process.place.counted_by_node() {
            at_work.counts(self.common.shares.begin(apart, key));
        }
        if let Some(invoked) = head.invoked.take() {
            at_work.invokes(Invocation::begin(invoked, self.common.metrics.clone()));
        }
        tokio::select! {
            biased;
            answered = tokio::time::timeout(within, self.ask(key, at_work, head, body)) => {
                answered.unwrap_or(Err(Lost::Fault(Fault::OriginTimeout)))
            }
            () = process.avoided.cancelled(), if may_be_sent_again => Err(Lost::Cut),
            never = process.look_who_holds(number), if process.place == Place::Shared => match never {},
        }
    }

    /// A request of a version begins in the process of its account; in the next one that is not held, if that one is; and in its own
    /// all the same, if there is none.
    async fn enter_shared(&self, key: &VersionKey) -> Result<AtWork, Unavailable> {
        let first = self.shared(key);
        for step in 0..self.shards.len().min(HELD_AT_ONCE_MAX) {
            let shard = &self.shards[(first + step) % self.shards.len()];
            match shard.enter(key, false).await {
                Err(Unavailable::Held) => {}
                // Whatever is the matter there, it can wait here.
                Err(_) if step > 0 => {}
                entered => {
                    if step > 0 {
                        self.common.metrics.relieved.inc();
                    }
                    return entered;
                }
            }
        }
        self.shards[first].enter(key, true).await
    }

    async fn ask(&self, key: &VersionKey, at_work: AtWork, head: Head, body: Body) -> Result<Response, Lost> {
        let process = Arc::clone(at_work.process());
        let is_alone = process.place == Place::Own;
        let facts =
            if is_alone { head.facts.alone() } else { head.facts.dispatched(key).map_err(Lost::Fault)? };
        let framing = Framing::of_request_body(&head.method, &body);
        let mut upload = Upload::new(head.octets(&facts, framing), body, framing).without_trailers();
        let answered = async {
            let mut connection = process.connection().await?;
            at_work.sent(&connection);
            let answer = connection.ask(&head.method, &mut upload).await?;
            Ok::<_, Broken>((connection, answer))
        };
        let (connection, mut answer) = match answered.await {
            Ok(answered) => answered,
            Err(Broken::Closed(error)) => return Err(Box::pin(lost(&process, key, &error)).await),
            Err(Broken::Unreadable(why)) => {
                tracing::debug!(%key, why, "the answer of a Worker cannot be read");
                at_work.spoilt();
                return Err(Lost::Fault(Fault::WorkerBroken(why)));
            }
            Err(Broken::Unasked(error)) => return Err(Lost::Fault(Fault::of_request_body(error))),
        };
        at_work.progressed();
        strip_hop_by_hop(&mut answer.headers);
        let (status, mut headers) = (answer.status, std::mem::take(&mut answer.headers));
        if status == StatusCode::SWITCHING_PROTOCOLS {
            headers.extend(answer.upgrade.map(|protocol| (UPGRADE, protocol)));
            at_work.switched();
            let upgraded = Some(Box::new(UpgradedWorker::new(connection, at_work)) as _);
            return Ok(Response { status, headers, upgraded, ..Response::default() });
        }
        let body = answer::body(&answer, at_work, connection, upload);
        if let Some(kind) = fault_kind(&headers, &process.secret) {
            return Err(Lost::Fault(Box::pin(self.tell(key, &kind, body)).await));
        }
        Ok(Response { status, headers, body, ..Response::default() })
    }

    /// What failed in a Worker; its owner's to know, so it is logged.
    async fn tell(&self, key: &VersionKey, kind: &str, said: Body) -> Fault {
        let said = said.collect(FAULT_OCTETS_MAX).await.unwrap_or_default();
        if self.common.failures.lock().unwrap_or_else(PoisonError::into_inner).may_tell() {
            let said: String = String::from_utf8_lossy(&said).chars().take(FAULT_LETTERS_LOGGED).collect();
            tracing::info!(worker = %key, kind, said, "a Worker failed");
        }
        match kind {
            "start" => Fault::WorkerBroken("it does not start"),
            "loop" => Fault::WorkerLoop,
            "load" => Fault::WorkerBroken("its code cannot be loaded"),
            _ => Fault::WorkerThrew,
        }
    }
}

/// What it means that the connection ended before an answer.
async fn lost(process: &Process, key: &VersionKey, error: &io::Error) -> Lost {
    let verdict = process.verdict().await;
    tracing::debug!(%error, %key, ?verdict, "a process was lost before it answered");
    match verdict {
        Verdict::Guilty(guilty, exceeded) if guilty == *key => Lost::Fault(Fault::WorkerExceeded(exceeded)),
        Verdict::Guilty(..) | Verdict::Unknown => Lost::Cut,
    }
}

impl From<Lost> for Fault {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Fault(fault) => fault,
            Lost::Cut => Self::WorkerLost,
        }
    }
}

/// What failed, if our own code in a process of this secret says so.
fn fault_kind(headers: &HeaderMap, secret: &str) -> Option<String> {
    let said = headers.get(FAULT)?.to_str().ok()?;
    Some(said.strip_prefix(secret)?.trim().to_owned())
}
