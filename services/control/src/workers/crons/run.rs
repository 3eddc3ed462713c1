//! Runs cron triggers.
//!
//! ```text
//!  a minute begins ─▶ claimed: this process's, nobody's before ─▶ triggers whose expression says it ─▶ Invoke, some at a time
//! ```
//!
//! Each minute of a trigger comes at most once: what fails is not run again, and minutes in which the log's node was not there are
//! not made up for. Runs of one trigger may overlap.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proxima_chassis::Shutdown;
use proxima_ledger::{ReadError, Seq};
use proxima_model::{AccountId, Kind, Timestamp, WorkerCron, WorkerName, WorkerTriggers};
use proxima_pipeline::{CronTrigger, Invoke};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use super::claim::claim;
use crate::api::Api;

/// Milliseconds of a minute.
const MINUTE: i64 = 60_000;
/// Runs at a time, of all accounts.
const RUNS_MAX: usize = 64;
/// Runs at a time of one account.
const RUNS_PER_ACCOUNT_MAX: usize = 16;
/// How long a run may wait for others; then it is passed over.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Runs them until the node drains; what runs then is ended by whoever stops the node.
pub(crate) async fn run(api: Arc<Api>, invoke: Arc<dyn Invoke>, claims: PathBuf, shutdown: Shutdown) {
    let mut schedule = Schedule::default();
    let runs = Arc::new(Runs { invoke, all: Semaphore::new(RUNS_MAX), accounts: Mutex::default() });
    let mut running = JoinSet::new();
    loop {
        let now = api.clock.now();
        let minute = now.as_millis().div_euclid(MINUTE);
        if let Err(error) = schedule.update(&api) {
            tracing::warn!(%error, "cron triggers cannot be read; those known before are run");
        }
        if !schedule.triggers.is_empty() && is_ours(&claims, minute).await {
            for (account, worker, cron) in schedule.due(minute) {
                running.spawn(runs.clone().run(api.clone(), account, worker, cron, minute));
            }
        }
        let next = (minute + 1) * MINUTE - now.as_millis();
        let wait = Duration::from_millis(u64::try_from(next).unwrap_or(0));
        let until = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = shutdown.draining() => {
                    while running.join_next().await.is_some() {}
                    return;
                }
                Some(_) = running.join_next() => {}
                () = tokio::time::sleep_until(until) => break,
            }
        }
    }
}

/// Whether the minute is this process's. If that cannot be known it is taken to be: another process at the same time is rare.
async fn is_ours(claims: &std::path::Path, minute: i64) -> bool {
    let path = claims.to_owned();
    let claimed = tokio::task::spawn_blocking(move || claim(&path, minute)).await;
    match claimed {
        Ok(Ok(claimed)) => claimed,
        Ok(Err(error)) => {
            tracing::warn!(%error, path = %claims.display(), "it cannot be kept which cron triggers have run: after a restart some may run twice");
            true
        }
        Err(_) => true,
    }
}

/// All cron triggers.
#[derive(Default)]
struct Schedule {
    triggers: Vec<(AccountId, WorkerName, Vec<WorkerCron>)>,
    read_at: Option<Seq>,
}

impl Schedule {
    /// Reads them anew, if some may have changed.
    fn update(&mut self, api: &Api) -> Result<(), ReadError> {
        let is_new =
            self.read_at.is_none_or(|at| api.replica.changes_since(at).touches(Kind::WorkerTriggers));
        if !is_new {
            return Ok(());
        }
        let snapshot = api.replica.snapshot()?;
        let mut triggers = Vec::new();
        for found in snapshot.scan::<WorkerTriggers>(&[]) {
            let WorkerTriggers { account, worker, crons, .. } = found?;
            if !crons.is_empty() {
                triggers.push((account, worker, crons));
            }
        }
        (self.triggers, self.read_at) = (triggers, Some(snapshot.seq()));
        Ok(())
    }

    /// Those of a minute.
    fn due(&self, minute: i64) -> impl Iterator<Item = (AccountId, WorkerName, String)> {
        let at = Timestamp::from_millis(minute * MINUTE);
        self.triggers.iter().flat_map(move |(account, worker, crons)| {
            let due = crons.iter().filter(move |cron| cron.expression.is_at(at));
            due.map(|cron| (*account, worker.clone(), cron.expression.as_str().to_owned()))
        })
    }
}

/// What runs.
struct Runs {
    invoke: Arc<dyn Invoke>,
    all: Semaphore,
    accounts: Mutex<HashMap<AccountId, Arc<Semaphore>>>,
}

impl Runs {
    async fn run(
        self: Arc<Self>,
        api: Arc<Api>,
        account: AccountId,
        worker: WorkerName,
        cron: String,
        minute: i64,
    ) {
        let of_account = self.of(account);
        let places = async {
            let own = of_account.acquire().await.ok()?;
            Some((own, self.all.acquire().await.ok()?))
        };
        let Ok(Some(_places)) = timeout(WAIT_MAX, places).await else {
            api.metrics.cron("passed_over");
            tracing::warn!(%account, %worker, cron, "a cron trigger is passed over: too many run");
            return;
        };
        let trigger = CronTrigger { cron: &cron, at: Timestamp::from_millis(minute * MINUTE) };
        match self.invoke.scheduled(account, &worker, trigger).await {
            Ok(()) => api.metrics.cron("ran"),
            Err(fault) => {
                api.metrics.cron("failed");
                tracing::info!(%account, %worker, cron, fault = fault.name(), "a cron trigger failed");
            }
        }
    }

    /// The places of an account; those of accounts that have nothing to run are forgotten.
    fn of(&self, account: AccountId) -> Arc<Semaphore> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|_, places| Arc::strong_count(places) > 1);
        let places =
            accounts.entry(account).or_insert_with(|| Arc::new(Semaphore::new(RUNS_PER_ACCOUNT_MAX)));
        Arc::clone(places)
    }
}
