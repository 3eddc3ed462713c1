//! The log's node: keeps what servers report, and tells what is asked.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use prometheus_client::metrics::gauge::Gauge;
use proxima_chassis::Clock;
use proxima_ledger::{ASK_DEADLINE, ASK_OCTETS_MAX, Answers};
use proxima_pipeline::{NoQueryReport, QueryReport, QueryReportAsked};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    report::{Question, Report},
    store::{Store, StoreError},
};

/// Reports that are made at a time, each on a thread of its own.
const TOLD_AT_A_TIME: usize = 4;
/// How long one may wait for that, and be made: with its way less than a question may take.
const TELL_WITHIN: Duration = Duration::from_secs(ASK_DEADLINE.as_secs() - 1);

/// Answers for the store.
pub(super) struct Desk {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    octets: Gauge,
    /// One report is written at a time; the others wait here and not on threads.
    keeping: Arc<Semaphore>,
    telling: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn open(
        path: &Path,
        octets_max: u64,
        clock: Arc<dyn Clock>,
        octets: Gauge,
    ) -> Result<Self, StoreError> {
        let store = Arc::new(Store::open(path, usize::try_from(octets_max).unwrap_or(usize::MAX))?);
        let (keeping, telling) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(TOLD_AT_A_TIME)));
        Ok(Self { store, clock, octets, keeping, telling })
    }

    async fn keep(&self, report: Report) -> Result<Vec<u8>, String> {
        let place = self.keeping.clone().acquire_owned().await.map_err(|error| error.to_string())?;
        let (store, now, octets) = (self.store.clone(), self.clock.now(), self.octets.clone());
        blocking(move || {
            let kept = store.keep(&report, now).and_then(|_| store.octets());
            drop(place);
            octets.set(i64::try_from(kept?).unwrap_or(i64::MAX));
            Ok(Vec::new())
        })
        .await
    }

    async fn tell(&self, asked: QueryReportAsked) -> Result<Vec<u8>, String> {
        let deadline = Instant::now() + TELL_WITHIN;
        let place = timeout(TELL_WITHIN, self.telling.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return encode(&Err(NoQueryReport::Unavailable(
                "too many reports are asked for at a time".to_owned(),
            )));
        };
        let store = self.store.clone();
        let told = blocking(move || {
            let told = store.tell(&asked, deadline);
            drop(place);
            told
        });
        let answer = encode(&told.await?)?;
        if answer.len() > ASK_OCTETS_MAX {
            let why =
                "the report is too long to be sent; ask for fewer rows by `limit`, or for fewer dimensions";
            return encode(&Err(NoQueryReport::TooMuch(why.to_owned())));
        }
        Ok(answer)
    }
}

#[async_trait]
impl Answers for Desk {
    async fn answer(&self, question: Vec<u8>) -> Result<Vec<u8>, String> {
        match serde_json::from_slice(&question).map_err(|error| error.to_string())? {
            Question::Keep(report) => self.keep(report).await,
            Question::Tell(asked) => self.tell(asked).await,
        }
    }
}

fn encode(told: &Result<QueryReport, NoQueryReport>) -> Result<Vec<u8>, String> {
    serde_json::to_vec(told).map_err(|error| error.to_string())
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(panic) => Err(panic.to_string()),
    }
}
