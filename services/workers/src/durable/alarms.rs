//! Alarms: objects that want to run at a time. When they are due is kept by the account's registry, in the process that hosts its
//! objects; that process ends when nobody asks anything of it, so the node remembers that there are alarms, by a file, asks for those
//! that are due, and runs them one by one as requests.
//!
//! An alarm runs at least once: one that was under way when its process or the node ended is run again. What fails is tried again
//! later (`host.js`), as often as v4 has it.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::{self, File},
    io,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Uri};
use proxima_model::{AccountId, DurableNamespaceId, DurableObjectId};
use proxima_pipeline::Body;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::{
    Durable, NOWHERE,
    asked::{Asked, OUTCOME, Refusal},
    blocking,
    sending::Sending,
};
use crate::engine::Engine;

/// The file in an account's folder that says that there are alarms.
const MARK: &str = "alarms";
/// Alarms of one account that run at a time.
const AT_A_TIME: usize = 16;
/// Alarms that are asked for at a time.
const ASKED_MAX: usize = 64;
/// How long it is waited where alarms cannot be run; twice as long each time.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
/// And at most.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// It is asked again at least so often: the clock may be set.
const ASKED_AGAIN: Duration = Duration::from_secs(3_600);
/// Accounts that are asked at a time when the node has begun: each has a process started.
const BEGUN_AT_A_TIME: usize = 4;
/// Octets of what the process says of an alarm that failed.
const SAID_OCTETS_MAX: usize = 64 << 10;
/// Letters of that in the log.
const SAID_LETTERS_MAX: usize = 1_000;

/// The accounts that have alarms.
#[derive(Default)]
pub(crate) struct Alarms {
    watched: Mutex<HashMap<AccountId, Arc<Watched>>>,
    stopped: OnceLock<CancellationToken>,
}

/// An account whose alarms are waited for.
#[derive(Default)]
struct Watched {
    wake: Notify,
    /// How often one was set since.
    set: AtomicU64,
}

/// An alarm that is due.
#[derive(Debug, Deserialize)]
struct Due {
    namespace: DurableNamespaceId,
    id: DurableObjectId,
    name: Option<String>,
}

/// What the registry says.
#[derive(Debug, Deserialize)]
struct Dues {
    due: Vec<Due>,
    next: Option<i64>,
}

impl Durable {
    /// Begins to run alarms, until `stopped`: of all accounts that have some. To be called when the engine is there.
    pub(crate) fn begin_alarms(self: &Arc<Self>, stopped: CancellationToken) {
        self.alarms.stopped.set(stopped).ok();
        let durable = Arc::clone(self);
        tokio::spawn(async move {
            let Ok(engine) = durable.engine().map(Arc::clone) else { return };
            match blocking(move || marked(&engine)).await {
                Ok(accounts) => {
                    let watch = async |account| {
                        durable.watch(account, &mut *durable.alarms.watched.lock().await);
                    };
                    stream::iter(accounts).for_each_concurrent(BEGUN_AT_A_TIME, watch).await;
                }
                Err(error) => {
                    tracing::error!(%error, "which accounts have alarms cannot be read; none is run")
                }
            }
        });
    }

    /// An account's object has set its alarm: from now on it is remembered that there are some.
    pub(super) async fn alarm_was_set(self: &Arc<Self>, account: AccountId) -> Result<(), Refusal> {
        let mut watched = self.alarms.watched.lock().await;
        if let Some(known) = watched.get(&account) {
            known.set.fetch_add(1, Ordering::Relaxed);
            known.wake.notify_one();
            return Ok(());
        }
        self.note_alarms(account).await?;
        self.watch(account, &mut watched);
        drop(watched);
        Ok(())
    }

    /// Notes that an account has alarms, for when the node begins anew.
    pub(super) async fn note_alarms(&self, account: AccountId) -> Result<(), Refusal> {
        let path = self.engine()?.hosts().path(account);
        blocking(move || mark(&path)).await.map_err(|error| {
            tracing::error!(%error, %account, "that there are alarms cannot be written");
            Refusal::broken("its alarm cannot be kept")
        })
    }

    /// Waits for the alarms of an account from now on.
    fn watch(self: &Arc<Self>, account: AccountId, watched: &mut HashMap<AccountId, Arc<Watched>>) {
        if let Entry::Vacant(unwatched) = watched.entry(account) {
            let known = Arc::clone(unwatched.insert(Arc::default()));
            tokio::spawn(Arc::clone(self).wait(account, known));
        }
    }

    async fn wait(self: Arc<Self>, account: AccountId, known: Arc<Watched>) {
        let stopped = self.alarms.stopped.get().cloned().unwrap_or_default();
        let mut back_off = BACK_OFF_FIRST;
        loop {
            let set = known.set.load(Ordering::Relaxed);
            let ran = tokio::select! {
                ran = self.run_due(account) => ran,
                () = stopped.cancelled() => return,
            };
            let pause = match ran {
                Ok(None) if self.no_more(account, &known, set).await => return,
                Ok(None) => Duration::ZERO,
                Ok(Some(pause)) => {
                    back_off = BACK_OFF_FIRST;
                    pause.min(ASKED_AGAIN)
                }
                Err(refusal) => {
                    tracing::warn!(%account, %refusal, "alarms of Durable Objects cannot be run now");
                    let pause = back_off;
                    back_off = (back_off * 2).min(BACK_OFF_MAX);
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = known.wake.notified() => {}
                () = stopped.cancelled() => return,
            }
        }
    }

    /// Forgets an account that has no alarms, unless one was set meanwhile.
    async fn no_more(&self, account: AccountId, known: &Watched, set: u64) -> bool {
        let mut watched = self.alarms.watched.lock().await;
        if known.set.load(Ordering::Relaxed) != set {
            return false;
        }
        watched.remove(&account);
        if let Ok(engine) = self.engine() {
            let path = engine.hosts().path(account).join(MARK);
            // While it is held nobody writes it. One that stays costs a question when the node begins.
            tokio::task::spawn_blocking(move || fs::remove_file(path)).await.ok();
        }
        true
    }

    /// Runs what is due; how long until the next may be, if there are any.
    async fn run_due(&self, account: AccountId) -> Result<Option<Duration>, Refusal> {
        let now = self.clock.now().as_millis();
        let asked = json!({ "now": now, "limit": ASKED_MAX });
        let Dues { due, next } = self.registry(account, "due", asked).await?;
        if due.is_empty() {
            let pause = |next: i64| Duration::from_millis(u64::try_from(next - now).unwrap_or_default());
            return Ok(next.map(pause));
        }
        let mut running =
            stream::iter(due).map(|due| self.run_or_postpone(account, due, now)).buffer_unordered(AT_A_TIME);
        let mut failed = None;
        while let Some(ran) = running.next().await {
            failed = failed.or(ran.err());
        }
        // Of what was tried, the registry knows when it is next.
        failed.map_or(Ok(Some(Duration::ZERO)), Err)
    }

    /// Runs an alarm; one whose object cannot be asked, since its class or its Worker is not there, waits.
    async fn run_or_postpone(&self, account: AccountId, due: Due, now: i64) -> Result<(), Refusal> {
        let (namespace, id) = (due.namespace, due.id);
        match self.run_alarm(account, due, now).await {
            // One whose object is being handed over is due at its new home when it was set for.
            Err(refusal) if !refusal.is_ours() || refusal.is_moving() => {
                tracing::debug!(%account, %namespace, %id, %refusal, "an alarm waits");
                let postponed = json!({ "namespace": namespace, "id": id, "now": now });
                self.registry::<IgnoredAny>(account, "postpone", postponed).await.map(drop)
            }
            ran => ran,
        }
    }

    async fn run_alarm(&self, account: AccountId, due: Due, now: i64) -> Result<(), Refusal> {
        let namespace = self.namespace(account, due.namespace)?;
        let asked = Asked { id: due.id, name: due.name, method: None, property: None, turn: None };
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(NOWHERE);
        let said = json!({ "alarm": { "now": now } });
        let answered = self.run(account, due.namespace, &asked, said, &mut Sending::new(request)).await?;
        let threw = answered.headers.contains_key(OUTCOME);
        self.shared.metrics.alarm(!threw);
        let said = answered.body.collect(SAID_OCTETS_MAX).await.map_err(|_| Refusal::lost())?;
        if threw {
            let said: String = String::from_utf8_lossy(&said).chars().take(SAID_LETTERS_MAX).collect();
            tracing::info!(worker = %namespace.worker, class = %namespace.class, said, "an alarm failed");
        }
        Ok(())
    }
}

/// Writes that an account has alarms; it is there after this, whatever happens.
fn mark(folder: &Path) -> io::Result<()> {
    File::create(folder.join(MARK))?;
    File::open(folder)?.sync_all()
}

/// The accounts that have.
fn marked(engine: &Engine) -> io::Result<Vec<AccountId>> {
    let hosts = engine.hosts();
    let marked = |account: &AccountId| hosts.path(*account).join(MARK).exists();
    Ok(hosts.accounts()?.into_iter().filter(marked).collect())
}
