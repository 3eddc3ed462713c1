//! Code, as processes of the engine ask the node for it: `GET /ACCOUNT/WORKER/VERSION`, from the replica.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use proxima_ledger::{ReadError, Replica};
use proxima_model::{ModuleName, WorkerContent, WorkerSecrets, WorkerVersion};
use proxima_pipeline::Body;

use crate::{
    metrics::Metrics,
    program::{ProgramError, program},
    version::VersionKey,
};

/// Answers what processes ask for.
pub(crate) struct Code {
    pub(crate) replica: Replica,
    pub(crate) metrics: Metrics,
}

#[derive(Debug, thiserror::Error)]
enum CodeError {
    #[error("there is no such version")]
    Unknown,
    #[error("the replica cannot be read: {0}")]
    Unreadable(#[from] ReadError),
    #[error(transparent)]
    Program(#[from] ProgramError),
}

impl Code {
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let key = VersionKey::parse(request.uri().path().trim_start_matches('/'));
        // Large code takes a while to be read and written.
        let read = tokio::task::spawn_blocking(move || match key {
            Some(key) => self.read(&key),
            None => Err(CodeError::Unknown),
        });
        let (status, text) = match read.await {
            Ok(Ok(code)) => (StatusCode::OK, code),
            Ok(Err(error)) => {
                tracing::warn!(path = request.uri().path(), %error, "a Worker's code cannot be given");
                let unknown = matches!(error, CodeError::Unknown);
                let status = if unknown { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
                (status, error.to_string().into())
            }
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Bytes::from_static(b"a defect of the node")),
        };
        let mut response = Response::new(Body::full(text));
        *response.status_mut() = status;
        Ok(response)
    }

    fn read(&self, VersionKey { account, worker, version }: &VersionKey) -> Result<Bytes, CodeError> {
        let snapshot = self.replica.snapshot()?;
        let id = (*account, worker.clone(), *version);
        let version = snapshot.get::<WorkerVersion>(&id)?.ok_or(CodeError::Unknown)?;
        let secrets = snapshot.get::<WorkerSecrets>(&id)?.map(|secrets| secrets.texts).unwrap_or_default();
        let mut contents = std::collections::BTreeMap::<ModuleName, Vec<u8>>::new();
        for module in &version.modules {
            let mut octets = Vec::with_capacity(usize::try_from(module.octets).unwrap_or_default());
            for piece in snapshot.scan::<WorkerContent>(&[account, &module.hash]) {
                octets.extend_from_slice(&piece?.octets);
            }
            if octets.len() == usize::try_from(module.octets).unwrap_or_default() {
                contents.insert(module.name.clone(), octets);
            }
        }
        drop(snapshot);
        let program = program(&version, &secrets, |name| contents.get(name).cloned())?;
        self.metrics.loads.inc();
        Ok(program.to_string().into())
    }
}
