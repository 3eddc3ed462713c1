//! Code, as processes of the engine ask the node for it: `GET /ACCOUNT/WORKER/VERSION`, from the replica; with `?tail`
//! it says what is told of who runs, and with `?row=NUMBER` in which place of a row of Workers that is. And `GET /deployed/ACCOUNT/WORKER`: which version of a Worker answers another one, that is bound to it.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use proxima_ledger::{ReadError, Replica};
use proxima_model::{
    AccountId, DurableNamespace, ModuleName, WorkerContent, WorkerName, WorkerSecrets, WorkerVersion,
};
use proxima_pipeline::Body;
use serde_json::{Value, json};

use crate::{
    engine::Programs,
    facts::Said,
    program::{ProgramError, program},
    refuse::refuse,
    stage::Shared,
    version::{Variant, VersionKey, Wish},
};

/// The field by which the dispatcher knows that a version has assets, which are asked before its code.
const HAS_ASSETS: HeaderName = HeaderName::from_static("proxima-assets");

/// Answers what processes ask for.
pub(crate) struct Code {
    pub(crate) replica: Replica,
    pub(crate) shared: Arc<Shared>,
    /// What an invocation may ask for, of a version that does not say.
    pub(crate) subrequests_max: u32,
}

#[derive(Debug, thiserror::Error)]
enum CodeError {
    #[error("there is no such version")]
    Unknown,
    #[error("there is none, or none of its versions is deployed")]
    NotDeployed,
    #[error("the replica cannot be read: {0}")]
    Unreadable(#[from] ReadError),
    #[error(transparent)]
    Program(#[from] ProgramError),
}

impl Programs for Code {
    fn program(&self, key: &VersionKey) -> Result<Value, String> {
        self.program_of(key).map_err(|error| error.to_string())
    }
}

impl Code {
    pub(crate) async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        // As it was checked: one slash, and then the account.
        let path = request.uri().path();
        let path = path.strip_prefix('/').unwrap_or(path).to_owned();
        let variant = Variant::of_query(request.uri().query());
        // Who is bound to another one has it in its own place of the row: how many are asked so is counted by itself.
        let row = Said::take(&mut request).map_or(0, |said| said.row);
        // Large code takes a while to be read and written.
        let code = Arc::clone(&self);
        let read = tokio::task::spawn_blocking(move || match path.strip_prefix("deployed/") {
            Some(worker) => code.deployed(worker, row).map(|(key, name)| (Some(key), name)),
            None => {
                let key = VersionKey::parse(&path).ok_or(CodeError::Unknown)?;
                Ok((None, code.read(&key, variant)?))
            }
        });
        Ok(match read.await {
            Ok(Ok((deployed, code))) => {
                let mut response = Response::new(Body::full(code));
                if let Some(key) = deployed
                    && self.has_assets(&key).await
                {
                    response.headers_mut().insert(HAS_ASSETS, HeaderValue::from_static("1"));
                }
                response
            }
            Ok(Err(error)) => {
                tracing::warn!(path = request.uri().path(), %error, "a Worker's code cannot be given");
                let unknown = matches!(error, CodeError::Unknown | CodeError::NotDeployed);
                let status = if unknown { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
                refuse(status, error.to_string())
            }
            Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "a defect of the node"),
        })
    }

    /// Whether a version has assets that are asked before its code. Where they cannot be read, who asks them is told.
    async fn has_assets(&self, key: &VersionKey) -> bool {
        self.shared.assets.of(key).await.map_or(true, |it| it.site.is_some_and(|site| site.is_asked_first()))
    }

    /// Which version answers for a Worker, `ACCOUNT/WORKER`, and the name of its code.
    fn deployed(&self, worker: &str, row: u8) -> Result<(VersionKey, Bytes), CodeError> {
        let (account, worker) = worker.split_once('/').ok_or(CodeError::NotDeployed)?;
        let (Ok(account), Ok(worker)) = (account.parse::<AccountId>(), worker.parse::<WorkerName>()) else {
            return Err(CodeError::NotDeployed);
        };
        let chosen = self.shared.deployments.choose(account, &worker, Wish::default())?;
        let is_looked_at = self.shared.looks.is_looked_at(account, &worker);
        let key = chosen.ok_or(CodeError::NotDeployed)?;
        let name = key.variant(Variant { is_looked_at, row }).into();
        Ok((key, name))
    }

    fn program_of(&self, key: &VersionKey) -> Result<Value, CodeError> {
        let VersionKey { account, worker, version } = key;
        let snapshot = self.replica.snapshot()?;
        let id = (*account, worker.clone(), *version);
        let version = snapshot.get::<WorkerVersion>(&id)?.ok_or(CodeError::Unknown)?;
        let secrets = snapshot.get::<WorkerSecrets>(&id)?.map(|secrets| secrets.texts).unwrap_or_default();
        let mut contents = std::collections::BTreeMap::<ModuleName, Vec<u8>>::new();
        for module in &version.modules {
            let pieces = snapshot.scan::<WorkerContent>(&[account, &module.hash]);
            if let Some(octets) = WorkerContent::join(module.into(), pieces)? {
                contents.insert(module.name.clone(), octets);
            }
        }
        let namespaces = snapshot.scan::<DurableNamespace>(&[account]);
        let classes = namespaces
            .filter_map(|found| found.map(|it| (it.worker == *worker).then_some(it.class)).transpose())
            .collect::<Result<Vec<_>, ReadError>>()?;
        drop(snapshot);
        self.shared.metrics.loads.inc();
        let mut program = program(&version, &secrets, &classes, |name| contents.remove(name))?;
        program["asking"]["subrequests"] = json!(version.subrequests_max.unwrap_or(self.subrequests_max));
        Ok(program)
    }

    fn read(&self, key: &VersionKey, Variant { is_looked_at, row }: Variant) -> Result<Bytes, CodeError> {
        let mut program = self.program_of(key)?;
        if row > 0 {
            program["asking"]["row"] = row.into();
        }
        if is_looked_at {
            program["tail"] = json!({ "account": key.account, "worker": key.worker, "version": key.version });
        }
        Ok(program.to_string().into())
    }
}
