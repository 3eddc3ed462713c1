//! What Workers ask of Durable Objects, at the socket of the engine: whose and of which namespace stands in a field of the engine's,
//! which no Worker writes; which object, and what of it, in one that the Worker's stub writes.

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use proxima_pipeline::{Body, Response as Answered};

use super::{
    Durable,
    asked::{Asked, Refusal},
};
use crate::{
    facts::{FIELD, Said},
    metrics::Fetched,
    switched::Switching,
};

/// See the module.
pub(crate) struct Binding(pub(crate) Arc<Durable>);

impl Binding {
    pub(crate) async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let switching = Switching::asked_by(&mut request);
        let mut answered = match self.ask(request.map(Body::received)).await {
            Ok(answered) => {
                self.0.shared.metrics.asked_of_durable(Fetched::Answered);
                answered
            }
            Err(refusal) => {
                let outcome = if refusal.is_ours() { Fetched::Failed } else { Fetched::Refused };
                self.0.shared.metrics.asked_of_durable(outcome);
                refusal.answer()
            }
        };
        // Objects whose sockets hibernate may be silent for long.
        switching.join(&mut answered, (), None);
        Ok(answered.into())
    }

    async fn ask(&self, mut request: Request<Body>) -> Result<Answered, Refusal> {
        let Said { account, namespace, .. } = Said::take(&mut request).ok_or_else(Refusal::unreadable)?;
        request.headers_mut().remove(FIELD);
        // A Worker asks of a namespace; the host of objects tells that an alarm was set.
        let Some(namespace) = namespace else {
            self.0.alarm_was_set(account).await?;
            return Ok(Answered { status: StatusCode::NO_CONTENT, ..Answered::default() });
        };
        let namespace = namespace.parse().map_err(|_| Refusal::unreadable())?;
        let asked = Asked::take(request.headers_mut()).ok_or_else(Refusal::unreadable)?;
        asked.check_length(request.body())?;
        self.0.ask(account, namespace, asked, request).await
    }
}
