//! Which names, types and codes the network is asked for and answers, and where: counted on every server, kept at the log's
//! node, told by the API (`dns_analytics/report`).
//!
//! ```text
//!  an answer ─▶ Sampler ─ queue ─▶ Tally ─ every ten seconds ─▶ Report ─ Log::ask ─▶ Desk ─▶ Store (LMDB)
//!  (any thread)  (sampler.rs)     (tally.rs)                  (report.rs)   ▲     (log's node)   minutes and hours
//!                                                                           │                          │
//!                        services/control ─ QueryReports ─▶ Analytics ──────┴────────────── Selection ◀┘
//! ```
//!
//! Invariants:
//! * **Answering never waits for it**, and what it costs an answer does not grow with a flood: one in so many is sampled, and
//!   stands for the others.
//! * **A query counts once.** A report may come twice, and is known again. One that cannot be delivered for
//!   [`REPORT_KEPT`] is let go of, which is counted and logged: better a gap than a server full of old counts.
//! * **Nothing depends on it.** A log's node whose store cannot be opened serves all the same, without.
//!
//! Counted are answers of zones that are here; not what a rate limit dropped, what lies in no zone, transfers, or what the
//! resolver resolves. Limits: `sampler.rs`, `tally.rs`, `store.rs`, [`REPORTS_WAITING_MAX`], and those of a question
//! (`core/ledger/src/asks.rs`).

mod config;
mod desk;
mod key;
mod metrics;
mod report;
mod row;
mod sampler;
mod select;
mod store;
mod tally;

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use proxima_chassis::{Clock, NodeContext, random_id};
use proxima_ledger::{ASK_DEADLINE, AskError, Log};
use proxima_model::{NodeName, PopCode, Timestamp};
use proxima_pipeline::{NoQueryReport, QueryReport, QueryReportAsked, QueryReports};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{debug, error, info, warn};

pub use self::config::AnalyticsConfig;
pub(crate) use self::sampler::Sampler;
use self::{
    desk::Desk,
    metrics::AnalyticsMetrics,
    report::{Question, Report, ReportId, TOPIC},
    tally::{Counted, Tally},
};
use crate::service::NAME;

/// How often samples are counted.
const TICK: Duration = Duration::from_millis(100);
/// How often what was counted is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// For how long a report is kept that cannot be delivered: longer than the log's node takes to restart.
const REPORT_KEPT: Duration = Duration::from_secs(600);
/// The same where nobody takes reports at all: longer than it takes until somebody does after a start.
const REPORT_KEPT_FOR_NOBODY: Duration = Duration::from_secs(60);
/// Reports that wait to be delivered, each with up to 600 KiB: ten minutes' of a usual server, and 150 MiB of one that is
/// flooded with random names while the log is away.
const REPORTS_WAITING_MAX: usize = 256;
/// Between two attempts to deliver a report, at first and at last.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Reports that are asked for at a time on one server. Others wait for as long as a question may take.
const ASKED_AT_A_TIME: usize = 4;
/// How long a server that ends tries to deliver what it has counted.
const LAST_REPORT_WITHIN: Duration = Duration::from_secs(1);
/// The folder of the store, in the node's.
const FOLDER: &str = "dns-queries";

/// Counts, reports, and asks for reports.
pub(crate) struct Analytics {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    node: NodeName,
    pop: PopCode,
    process: u64,
    metrics: AnalyticsMetrics,
    sampler: Option<Arc<Sampler>>,
    asking: Semaphore,
}

/// A report that is to be delivered.
struct Waiting {
    report: Report,
    since: Instant,
}

impl Analytics {
    /// Of this node. If the log is here, so is the store.
    pub(crate) fn new(node: &NodeContext, config: &AnalyticsConfig) -> Arc<Self> {
        let metrics = node.metrics.register(&format!("{NAME}_analytics"), AnalyticsMetrics::register);
        if config.enabled && node.config.ledger.log.is_none() {
            let path = node.config.node.data_dir.join(FOLDER);
            let octets = metrics.store_bytes.clone();
            match Desk::open(&path, config.store_bytes_max, node.clock.clone(), octets) {
                Ok(desk) => _ = node.log.seat(TOPIC, Arc::new(desk)),
                Err(error) => error!(%error, path = %path.display(), "DNS queries are counted and not kept"),
            }
        }
        Arc::new(Self {
            log: node.log.clone(),
            clock: node.clock.clone(),
            node: node.name().clone(),
            pop: node.pop().clone(),
            process: u64::from_be_bytes(*random_id().first_chunk().expect("sixteen octets have eight")),
            sampler: config.enabled.then(|| Arc::new(Sampler::new(metrics.uncounted.clone()))),
            metrics,
            asking: Semaphore::new(ASKED_AT_A_TIME),
        })
    }

    /// What takes samples, if this server counts.
    pub(crate) fn sampler(&self) -> Option<Arc<Sampler>> {
        self.sampler.clone()
    }

    /// Counts and reports until the other end of `ends` goes, and then what there still is.
    pub(crate) async fn run(self: Arc<Self>, mut ends: oneshot::Receiver<()>) {
        let Some(sampler) = &self.sampler else { return };
        let (reports, waiting) = mpsc::channel(REPORTS_WAITING_MAX);
        let count = async {
            let mut counting = Counting::new(&self, reports);
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut is_over = false;
            while !is_over {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = &mut ends => is_over = true,
                }
                counting.count(sampler, is_over);
            }
        };
        let count = count.map(|()| Instant::now() + LAST_REPORT_WITHIN);
        let deliver = self.deliver(waiting);
        tokio::pin!(deliver);
        // Delivering ends when counting has, and has sent its last.
        let until = tokio::select! {
            until = count => until,
            () = &mut deliver => return,
        };
        if tokio::time::timeout_at(until, deliver).await.is_err() {
            debug!("the last counts of DNS queries could not be delivered");
        }
    }

    async fn deliver(&self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut is_away = false;
        while let Some(Waiting { report, since }) = waiting.recv().await {
            let queries = report.queries();
            let delivered = self.deliver_one(report, since).await;
            match delivered {
                Ok(()) => {
                    self.metrics.kept.inc();
                    if std::mem::take(&mut is_away) {
                        info!("counts of DNS queries are kept again");
                    }
                }
                Err(error) => {
                    self.metrics.given_up.inc();
                    self.metrics.lost.inc_by(queries);
                    // Once, for as long as it lasts; the metric goes on.
                    if !std::mem::replace(&mut is_away, true) {
                        warn!(%error, queries, "counts of DNS queries are lost: the log's node does not take them");
                    }
                }
            }
        }
    }

    /// Delivers a report, however often it takes.
    async fn deliver_one(&self, report: Report, since: Instant) -> Result<(), AskError> {
        let Ok(question) = serde_json::to_vec(&Question::Keep(report)) else {
            return Err(AskError::TooLarge);
        };
        let (mut pause, longest) = RETRY;
        loop {
            let Err(error) = self.log.ask(TOPIC, question.clone()).await else { return Ok(()) };
            let kept = match &error {
                AskError::TooLarge => Duration::ZERO,
                AskError::Nobody(_) => REPORT_KEPT_FOR_NOBODY,
                _ => REPORT_KEPT,
            };
            if since.elapsed() >= kept {
                return Err(error);
            }
            self.metrics.retried.inc();
            sleep(pause).await;
            pause = (2 * pause).min(longest);
        }
    }

    async fn ask(&self, asked: &QueryReportAsked) -> Result<QueryReport, NoQueryReport> {
        let unavailable = |why: String| NoQueryReport::Unavailable(why);
        let place = timeout(ASK_DEADLINE, self.asking.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(unavailable("too many reports are asked for at a time".to_owned()));
        };
        let question = serde_json::to_vec(&Question::Tell(asked.clone()));
        let question = question.map_err(|error| unavailable(error.to_string()))?;
        let answer = self.log.ask(TOPIC, question).await.map_err(|error| match error {
            AskError::Nobody(_) => unavailable("the log's node keeps no counts of DNS queries".to_owned()),
            error => unavailable(error.to_string()),
        })?;
        serde_json::from_slice(&answer).unwrap_or_else(|error| Err(unavailable(error.to_string())))
    }
}

impl QueryReports for Analytics {
    fn report(&self, asked: QueryReportAsked) -> BoxFuture<'_, Result<QueryReport, NoQueryReport>> {
        async move { self.ask(&asked).await }.boxed()
    }
}

/// Adds samples up, and makes reports of them.
struct Counting<'a> {
    analytics: &'a Analytics,
    reports: mpsc::Sender<Waiting>,
    tally: Tally,
    /// The time of what is in the tally: all within one minute.
    at: Timestamp,
    reported: Instant,
    number: u64,
}

impl<'a> Counting<'a> {
    fn new(analytics: &'a Analytics, reports: mpsc::Sender<Waiting>) -> Self {
        let (at, reported) = (analytics.clock.now(), Instant::now());
        Self { analytics, reports, tally: Tally::default(), at, reported, number: 0 }
    }

    /// Counts what has been sampled, and reports it if it is time to.
    fn count(&mut self, sampler: &Sampler, is_last: bool) {
        let now = self.analytics.clock.now();
        if minute(now) != minute(self.at) {
            self.report();
        }
        self.at = now;
        let (tally, lost) = (&mut self.tally, &self.analytics.metrics.lost);
        let interval = sampler.empty(|sample| {
            if !tally.add(sample.zone, sample.row(), sample.weight.into()) {
                lost.inc_by(sample.weight.into());
            }
        });
        self.analytics.metrics.interval.set(interval.into());
        if is_last || self.reported.elapsed() >= REPORT_INTERVAL {
            self.report();
        }
    }

    fn report(&mut self) {
        self.reported = Instant::now();
        let mut rows: Vec<Counted> = self.tally.take();
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(report::ROWS_MAX));
            self.send(std::mem::replace(&mut rows, rest));
        }
    }

    fn send(&mut self, rows: Vec<Counted>) {
        let Analytics { node, pop, process, metrics, .. } = self.analytics;
        self.number += 1;
        let id = ReportId { node: node.clone(), process: *process, number: self.number };
        let report = Report { id, pop: pop.clone(), at: self.at, rows };
        if let Err(refused) = self.reports.try_send(Waiting { report, since: Instant::now() }) {
            metrics.given_up.inc();
            metrics.lost.inc_by(refused.into_inner().report.queries());
        }
    }
}

fn minute(at: Timestamp) -> i64 {
    at.as_seconds().div_euclid(60)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
