//! A Worker's own assets, as its code asks for them: `env.ASSETS.fetch`. Whose they are stands in a field of the engine's.

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use proxima_pipeline::Body;

use super::answer::Asked;
use crate::{facts::Said, refuse::refuse, stage::Shared, version::VersionKey};

/// Answers what code asks of assets.
pub(crate) struct Binding(pub(crate) Arc<Shared>);

impl Binding {
    pub(crate) async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let key = Said::take(&mut request).and_then(|said| said.code);
        let Some(key) = key else { return Ok(refuse(StatusCode::BAD_REQUEST, "nobody says whose assets")) };
        let site = match self.0.assets.of(&key).await {
            Ok(loaded) => loaded.site,
            Err(error) => return Ok(failed(&key, &error)),
        };
        let Some(site) = site else { return Ok(refuse(StatusCode::NOT_FOUND, "the version has no assets")) };
        let host = request.uri().host().unwrap_or_default();
        let (path, query) = (request.uri().path(), request.uri().query());
        let asked = Asked { method: request.method(), host, path, query, headers: request.headers() };
        let plan = site.fetch(&asked);
        Ok(match self.0.assets.answer(&site, plan, &asked).await {
            Ok(answer) => {
                self.0.metrics.assets.inc();
                answer.into()
            }
            Err(error) => failed(&key, &error),
        })
    }
}

fn failed(key: &VersionKey, error: &super::contents::ContentError) -> Response<Body> {
    tracing::error!(%key, %error, "an asset of a Worker cannot be read");
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "the asset cannot be read")
}
