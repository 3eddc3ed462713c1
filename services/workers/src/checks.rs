//! Versions are tried before they are kept: the port by which whoever takes uploads has this server's engine start one.
//!
//! ```text
//!  control ─▶ Checks: a place? ─▶ program ─▶ Engine::check (engine/check/mod.rs) ─▶ Fine, Unfit or Unknown
//! ```
//!
//! It is for who uploads, and no wall: where nothing can be found out, nothing is held against the version.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use proxima_chassis::{Place, Places};
use proxima_model::{AccountId, DurableClass, ModuleName};
use proxima_pipeline::{CheckWorkers, NewWorkerVersion, WorkerCheck, WorkerUnfit};
use serde_json::Value;
use tokio::time::{interval, timeout};

use crate::{
    WorkersService,
    engine::{Checked, Engine, Started},
    metrics::Check,
    program::{ProgramError, program},
    version::VersionKey,
};

/// Versions that are tried at a time: each takes up to a second of a processor, and the memory of a process.
const CHECKS_MAX: usize = 2;
/// Those of one account: whoever uploads what is slow to start keeps nobody else's from being tried.
const CHECKS_PER_ACCOUNT_MAX: usize = 1;
/// How long one waits for its turn, and for an engine that is about to be there.
const WAITS_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether there is an engine, and a place.
const LOOKED_FOR_EVERY: Duration = Duration::from_millis(20);

/// Tries them.
pub(crate) struct Checks {
    service: Arc<WorkersService>,
    places: Arc<Places<AccountId>>,
}

impl Checks {
    /// By the engine of this service.
    pub(crate) fn new(service: Arc<WorkersService>) -> Self {
        Self { service, places: Places::new(CHECKS_MAX, CHECKS_PER_ACCOUNT_MAX) }
    }

    /// The engine, and a place for a version of this account; or why there is none.
    async fn turn(&self, account: AccountId) -> Result<(Arc<Engine>, Place<AccountId>), &'static str> {
        let turn = async {
            let mut due = interval(LOOKED_FOR_EVERY);
            while self.service.is_starting() {
                due.tick().await;
            }
            let engine = self.service.shared().engine.get().cloned().ok_or("no Workers run here")?;
            loop {
                if let Some(place) = self.places.take_for(account) {
                    return Ok((engine, place));
                }
                due.tick().await;
            }
        };
        timeout(WAITS_WITHIN, turn).await.unwrap_or(Err("too many are tried already"))
    }

    async fn find_out(&self, new: NewWorkerVersion) -> WorkerCheck {
        let (engine, place) = match self.turn(new.version.account).await {
            Ok(turn) => turn,
            Err(why) => return WorkerCheck::Unknown(why.to_owned()),
        };
        // To its end, also if nobody waits for it any more.
        let tried = tokio::spawn(async move {
            let checked = check(&engine, new).await;
            drop(place);
            checked
        });
        tried.await.unwrap_or_else(|_| WorkerCheck::Unknown("a defect of the node".to_owned()))
    }
}

impl CheckWorkers for Checks {
    fn check(&self, new: NewWorkerVersion) -> BoxFuture<'_, WorkerCheck> {
        Box::pin(async move {
            let version = &new.version;
            let (account, worker) = (version.account, version.worker.clone());
            let key = VersionKey { account, worker, version: version.id };
            let checked = self.find_out(new).await;
            let outcome = match &checked {
                WorkerCheck::Fine { took } => {
                    tracing::debug!(worker = %key, ?took, "a version of a Worker was tried, and starts");
                    Check::Fine
                }
                WorkerCheck::Unfit(why) => {
                    // What its code says is for who uploads it: it may be a secret of theirs.
                    tracing::info!(worker = %key, kind = kind(why), "a version of a Worker was tried, and is refused");
                    tracing::debug!(worker = %key, ?why, "why it is refused");
                    Check::Refused
                }
                WorkerCheck::Unknown(why) => {
                    tracing::info!(worker = %key, why, "a version of a Worker could not be tried, and is taken");
                    Check::Unavailable
                }
            };
            self.service.shared().metrics.checked(outcome);
            checked
        })
    }

    fn cpu_ms_most(&self) -> u64 {
        self.service.cpu_ms_most()
    }
}

async fn check(engine: &Engine, new: NewWorkerVersion) -> WorkerCheck {
    let made = tokio::task::spawn_blocking(move || (written(&new), new.classes));
    let (program, classes) = match made.await {
        Ok((Ok(program), classes)) => (program, classes),
        Ok((Err(error @ (ProgramError::NotText(_) | ProgramError::NotJson(_))), _)) => {
            return WorkerCheck::Unfit(WorkerUnfit::Fails(error.to_string()));
        }
        Ok((Err(error), _)) => return WorkerCheck::Unknown(error.to_string()),
        Err(_) => return WorkerCheck::Unknown("a defect of the node".to_owned()),
    };
    match engine.check(program).await {
        Checked::Starts(started) => judge(&started, classes),
        Checked::Fails(why) => WorkerCheck::Unfit(WorkerUnfit::Fails(why)),
        Checked::Unknown(why) => WorkerCheck::Unknown(why),
    }
}

/// What the engine is given of it.
fn written(new: &NewWorkerVersion) -> Result<Value, ProgramError> {
    let content = |name: &ModuleName| {
        let module = new.version.modules.iter().find(|module| module.name == *name)?;
        new.contents.get(&module.hash).map(|octets| octets.to_vec())
    };
    program(&new.version, &new.secrets, &new.classes, content)
}

/// In a word.
fn kind(why: &WorkerUnfit) -> &'static str {
    match why {
        WorkerUnfit::Fails(_) => "it does not start",
        WorkerUnfit::HandlesNothing => "it handles nothing",
        WorkerUnfit::Lacks(_) => "it lacks a class",
    }
}

/// What is to be thought of one that starts.
fn judge(started: &Started, classes: Vec<DurableClass>) -> WorkerCheck {
    if !started.is.handles {
        return WorkerCheck::Unfit(WorkerUnfit::HandlesNothing);
    }
    let absent =
        classes.into_iter().find(|class| started.is.absent.iter().any(|name| name == class.as_str()));
    absent.map_or(WorkerCheck::Fine { took: started.took }, |class| {
        WorkerCheck::Unfit(WorkerUnfit::Lacks(class))
    })
}
