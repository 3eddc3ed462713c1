//! A version is tried before it is written: this server's engine starts it ([`CheckWorkers`](proxima_pipeline::CheckWorkers)), and what
//! does not start is refused as v4 refuses it. A server without an engine writes it untried.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use proxima_ledger::Snapshot;
use proxima_model::{BindingName, ContentHash, DurableClass, ModuleKind, Worker, WorkerVersion};
use proxima_pipeline::{NewWorkerVersion, WorkerCheck, WorkerUnfit};
use serde_json::Value;

use super::{change, durable::Owed};
use crate::{
    api::{
        Api,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
};

/// What a write makes of an upload.
pub(super) struct Made {
    pub(super) worker: Worker,
    pub(super) version: WorkerVersion,
    pub(super) secrets: BTreeMap<BindingName, String>,
    /// The classes that it is to export.
    pub(super) owed: Vec<Owed>,
}

impl Made {
    /// What was made before.
    pub(super) const fn before(worker: Worker, version: WorkerVersion) -> Self {
        Self { worker, version, secrets: BTreeMap::new(), owed: Vec::new() }
    }

    /// With the octets of its modules, of which these came with it.
    fn whole(
        self,
        snapshot: &Snapshot,
        came: &BTreeMap<ContentHash, Bytes>,
    ) -> Result<(NewWorkerVersion, Vec<Owed>), ApiError> {
        let mut contents = BTreeMap::new();
        for module in self.version.modules.iter().filter(|module| module.kind != ModuleKind::SourceMap) {
            let octets = match came.get(&module.hash) {
                Some(octets) => octets.clone(),
                None => change::octets(snapshot, &self.worker, module)?.into(),
            };
            contents.insert(module.hash, octets);
        }
        let classes = self.owed.iter().map(|owed| owed.class.clone()).collect();
        Ok((NewWorkerVersion { version: self.version, secrets: self.secrets, contents, classes }, self.owed))
    }
}

/// Has what `decide` would make tried, of which these octets have come; what its start took, if that is known.
pub(super) async fn start(
    api: &Arc<Api>,
    author: &Author,
    came: BTreeMap<ContentHash, Bytes>,
    decide: &Arc<impl Fn(&mut Draft<'_>) -> Result<Made, ApiError> + Send + Sync + 'static>,
) -> Result<Option<Duration>, ApiError> {
    let Some(port) = api.checks.get() else { return Ok(None) };
    let decide = Arc::clone(decide);
    let drafted = api.draft(author, move |draft| {
        let made = decide(draft)?;
        if made.version.has_code() { made.whole(draft.snapshot, &came).map(Some) } else { Ok(None) }
    });
    // What is wrong with the rest of it the write says, which knows whether it was made before.
    let Ok(Some((new, owed))) = drafted.await else { return Ok(None) };
    match port.check(new).await {
        WorkerCheck::Fine { took } => Ok(Some(took)),
        WorkerCheck::Unknown(_) => Ok(None),
        WorkerCheck::Unfit(_) if api.was_made(author).await? => Ok(None),
        WorkerCheck::Unfit(why) => Err(refusal(why, &owed)),
    }
}

/// The most time of a processor that this server gives any invocation, in milliseconds, if Workers run here.
pub(super) fn cpu_ms_most(api: &Api) -> Option<u64> {
    api.checks.get().map(|port| port.cpu_ms_most())
}

/// Tells what the start of a version took, if that is known.
pub(super) fn tell(shown: &mut Value, took: Option<Duration>) {
    if let Some(took) = took {
        let milliseconds = took.as_micros().div_ceil(1_000);
        shown["startup_time_ms"] = u64::try_from(milliseconds).unwrap_or(u64::MAX).into();
    }
}

fn refusal(why: WorkerUnfit, owed: &[Owed]) -> ApiError {
    match why {
        WorkerUnfit::Fails(why) => ApiError::new(Code::WorkerFails, why),
        WorkerUnfit::HandlesNothing => {
            ApiError::new(Code::WorkerHandlesNothing, "The uploaded script has no registered event handlers.")
        }
        WorkerUnfit::Lacks(class) => lacks(&class, owed),
    }
}

fn lacks(class: &DurableClass, owed: &[Owed]) -> ApiError {
    let migration = owed.iter().find(|owed| owed.class == *class).and_then(|owed| owed.migration);
    match migration {
        Some(migration) => ApiError::new(
            Code::DurableClassAbsent,
            format!("Cannot apply {migration} migration to class '{class}' that is not exported by script."),
        ),
        None => ApiError::new(
            Code::WorkerInUse,
            format!(
                "New version of script does not export class '{class}' which is depended on by existing Durable Objects. If you \
                 want to delete the class's Durable Objects, or to have another class take them over, say so by migrations."
            ),
        ),
    }
}
