use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use proxima_chassis::SimulatedClock;
use proxima_ledger::{Answers, Append, AppendError, Appended, FollowError, Seq, Update};
use proxima_model::ZoneId;
use proxima_pipeline::QueryDimension;

use super::{row::Row, *};
use crate::{
    asker::{Asker, Transport},
    respond::Answered,
    wire::Rcode,
};

const NOW: Timestamp = Timestamp::from_millis(1_795_996_800_000);
const ZONE: ZoneId = ZoneId::from_bytes([1; 16]);

/// A log's node to which the way can be cut, before a question arrives or before its answer does.
#[derive(Default)]
struct Away {
    desk: Mutex<Option<Arc<dyn Answers>>>,
    cut_before: AtomicBool,
    cut_behind: AtomicBool,
}

#[async_trait]
impl Log for Away {
    async fn append(&self, _: Append) -> Result<Appended, AppendError> {
        Err(AppendError::Closed)
    }

    async fn subscribe(
        &self,
        _: Seq,
    ) -> Result<BoxStream<'static, Result<Update, FollowError>>, FollowError> {
        Err(FollowError::Upstream("nothing to follow".to_owned()))
    }

    fn last(&self) -> Seq {
        Seq::ZERO
    }

    async fn ask(&self, topic: &'static str, question: Vec<u8>) -> Result<Vec<u8>, AskError> {
        let cut = || Err(AskError::Unreachable("the way is cut".to_owned()));
        if self.cut_before.load(Ordering::Relaxed) {
            return cut();
        }
        let desk = self.desk.lock().unwrap().clone().ok_or(AskError::Nobody(topic.to_owned()))?;
        let answer = desk.answer(question).await.map_err(AskError::Refused);
        if self.cut_behind.load(Ordering::Relaxed) { cut() } else { answer }
    }

    fn seat(&self, _: &'static str, answers: Arc<dyn Answers>) -> bool {
        *self.desk.lock().unwrap() = Some(answers);
        true
    }
}

struct Counted {
    _folder: tempfile::TempDir,
    log: Arc<Away>,
    analytics: Arc<Analytics>,
}

fn counted() -> Counted {
    let folder = tempfile::tempdir().unwrap();
    let (log, clock) = (Arc::new(Away::default()), Arc::new(SimulatedClock::new(NOW)));
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = AnalyticsMetrics::register(&mut registry);
    let desk = Desk::open(folder.path(), 64 << 20, clock.clone(), metrics.store_bytes.clone()).unwrap();
    log.seat(TOPIC, Arc::new(desk));
    let analytics = Analytics {
        log: log.clone(),
        clock,
        node: NodeName::parse("fra-1").unwrap(),
        pop: PopCode::parse("FRA").unwrap(),
        process: 7,
        sampler: Some(Arc::new(Sampler::new(metrics.uncounted.clone()))),
        metrics,
        asking: Semaphore::new(1),
    };
    Counted { _folder: folder, log, analytics: Arc::new(analytics) }
}

impl Counted {
    fn report(&self, number: u64, name: &str, since: Instant) -> Waiting {
        let row = Row { name: name.into(), qtype: 1, rcode: 0, streamed: false, v6: false };
        let id = ReportId { node: self.analytics.node.clone(), process: 7, number };
        let report = Report { id, pop: self.analytics.pop.clone(), at: NOW, rows: vec![(ZONE, row, 5)] };
        Waiting { report, since }
    }

    async fn told(&self) -> Result<Vec<(String, u64)>, NoQueryReport> {
        let asked = QueryReportAsked {
            zone: ZONE,
            by_minute: true,
            boundaries: vec![NOW, NOW.plus_seconds(60)],
            dimensions: vec![QueryDimension::Name, QueryDimension::Colo],
            any_of: Vec::new(),
            sort: Vec::new(),
            limit: 10,
        };
        let rows = self.analytics.report(asked).await?.rows.into_iter();
        Ok(rows.map(|row| (row.dimensions.join(" "), row.counts[0])).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_told_once_the_server_has_ended_at_the_latest() {
    let counted = counted();
    let sampler = counted.analytics.sampler().unwrap();
    let answered = Answered {
        rcode: Rcode::NoError,
        qtype: Some(1),
        zone: Some(ZONE),
        truncated: false,
        signatures: 0,
        ttl: None,
        limited: None,
    };
    let message = [&[0; 12][..], &crate::name::encode("www.example.com"), &[0, 1, 0, 1]].concat();
    let asker = Asker::new([192, 0, 2, 1].into(), Transport::Udp);
    let (over, ends) = oneshot::channel();
    let running = tokio::spawn(counted.analytics.clone().run(ends));
    sampler.answered(&message, asker, &answered);
    sampler.answered(&message, asker, &answered);
    drop(over);
    running.await.unwrap();
    assert_eq!(counted.told().await, Ok(vec![("www.example.com FRA".to_owned(), 2)]));
    assert_eq!(counted.analytics.metrics.kept.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_report_whose_answer_was_lost_counts_once() {
    let counted = counted();
    counted.log.cut_behind.store(true, Ordering::Relaxed);
    let (reports, waiting) = mpsc::channel(2);
    reports.send(counted.report(1, "a", Instant::now())).await.ok().unwrap();
    drop(reports);
    let mended = async {
        while counted.analytics.metrics.retried.get() < 2 {
            sleep(Duration::from_millis(100)).await;
        }
        counted.log.cut_behind.store(false, Ordering::Relaxed);
    };
    tokio::join!(counted.analytics.deliver(waiting), mended);
    assert_eq!(counted.told().await, Ok(vec![("a FRA".to_owned(), 5)]));
    assert_eq!(counted.analytics.metrics.lost.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_cannot_be_delivered_for_long_is_let_go_of_and_the_next_goes_its_way() {
    let counted = counted();
    counted.log.cut_before.store(true, Ordering::Relaxed);
    let (reports, waiting) = mpsc::channel(2);
    let begun = Instant::now();
    reports.send(counted.report(1, "a", begun)).await.ok().unwrap();
    let late = async {
        while counted.analytics.metrics.lost.get() == 0 {
            sleep(Duration::from_secs(1)).await;
        }
        assert!(begun.elapsed() >= REPORT_KEPT && begun.elapsed() < REPORT_KEPT + 2 * RETRY.1);
        counted.log.cut_before.store(false, Ordering::Relaxed);
        reports.send(counted.report(2, "b", Instant::now())).await.ok().unwrap();
        drop(reports);
    };
    tokio::join!(counted.analytics.deliver(waiting), late);
    assert_eq!(counted.analytics.metrics.lost.get(), 5);
    assert_eq!((counted.analytics.metrics.given_up.get(), counted.analytics.metrics.kept.get()), (1, 1));
}

#[tokio::test]
async fn reports_for_which_there_is_no_place_are_lost_and_counted() {
    let counted = counted();
    let (reports, mut waiting) = mpsc::channel(1);
    let mut counting = Counting::new(&counted.analytics, reports);
    let row = |number: usize| Row {
        name: format!("n{number}").into(),
        qtype: 1,
        rcode: 0,
        streamed: false,
        v6: false,
    };
    for zone in 0..3_u8 {
        for number in 0..report::ROWS_MAX {
            assert!(counting.tally.add(ZoneId::from_bytes([zone; 16]), row(number), 2));
        }
    }
    counting.report();
    drop(counting);
    let mut kept = 0;
    while let Some(Waiting { report, .. }) = waiting.recv().await {
        kept += report.queries();
    }
    assert_eq!(kept, 2 * report::ROWS_MAX as u64);
    assert_eq!(counted.analytics.metrics.lost.get(), 4 * report::ROWS_MAX as u64);
}

#[tokio::test]
async fn why_there_is_no_report_is_told() {
    let counted = counted();
    counted.log.cut_before.store(true, Ordering::Relaxed);
    let told = counted.told().await;
    assert!(matches!(&told, Err(NoQueryReport::Unavailable(why)) if why.contains("cut")), "{told:?}");
    counted.log.cut_before.store(false, Ordering::Relaxed);
    *counted.log.desk.lock().unwrap() = None;
    let told = counted.told().await;
    assert!(
        matches!(&told, Err(NoQueryReport::Unavailable(why)) if why.contains("keeps no counts")),
        "{told:?}"
    );
}
