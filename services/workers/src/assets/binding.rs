//! A Worker's assets, as code asks for them: its own, by `env.ASSETS.fetch`; and those of a Worker that it is bound to, which answer in
//! the place of that one's code as they do where a visitor asks. Whose they are stands in a field of the engine's.

use std::{convert::Infallible, sync::Arc};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use proxima_pipeline::Body;

use super::{Route, answer::Asked};
use crate::{facts::Said, refuse::refuse, stage::Shared, version::VersionKey};

/// The field by which the dispatcher knows that the code is who answers.
const IS_FOR_CODE: HeaderName = HeaderName::from_static("proxima-for-code");

/// Answers what code asks of assets.
pub(crate) struct Binding(pub(crate) Arc<Shared>);

impl Binding {
    pub(crate) async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let said = Said::take(&mut request);
        let is_routed = said.as_ref().is_some_and(|said| said.assets.is_some());
        let key = said.and_then(|said| said.assets.or(said.code).filter(|key| key.account == said.account));
        let Some(key) = key else { return Ok(refuse(StatusCode::BAD_REQUEST, "nobody says whose assets")) };
        let site = match self.0.assets.of(&key).await {
            Ok(loaded) => loaded.site,
            Err(error) => return Ok(failed(&key, &error)),
        };
        let Some(site) = site else {
            return Ok(match is_routed {
                true => for_code(),
                false => refuse(StatusCode::NOT_FOUND, "the version has no assets"),
            });
        };
        let host = request.uri().host().unwrap_or_default();
        let (path, query) = (request.uri().path(), request.uri().query());
        let asked = Asked { method: request.method(), host, path, query, headers: request.headers() };
        let plan = match is_routed.then(|| site.route(&asked)) {
            Some(Route::Code) => return Ok(for_code()),
            Some(Route::Assets(plan)) => plan,
            None => site.fetch(&asked),
        };
        Ok(match self.0.assets.answer(&site, plan, &asked).await {
            Ok(answer) => {
                self.0.metrics.assets.inc();
                answer.into()
            }
            Err(error) => failed(&key, &error),
        })
    }
}

fn for_code() -> Response<Body> {
    let mut response = refuse(StatusCode::NOT_FOUND, "");
    response.headers_mut().insert(IS_FOR_CODE, HeaderValue::from_static("1"));
    response
}

fn failed(key: &VersionKey, error: &super::contents::ContentError) -> Response<Body> {
    tracing::error!(%key, %error, "an asset of a Worker cannot be read");
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "the asset cannot be read")
}
