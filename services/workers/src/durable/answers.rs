//! Answering other servers, on behalf of whose Workers objects are asked whose home this one is: they are trusted as far as servers of
//! this network are, and it is looked again whether the object's home is here.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use proxima_model::{AccountId, DurableNamespaceId, DurableObjectId, NodeName};
use proxima_pipeline::{AnswersServers, Body, Response as Answered};
use serde::{Deserialize, Serialize};

use super::{
    Durable,
    asked::Refusal,
    elsewhere::{FOR, For, LIST, OBJECT, SWITCHED, join},
    hand_over::wire::{Asking, HAND_OVER, Standing},
    sending::Sending,
};
use crate::facts::decoded;

/// What objects another server wants to know of.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listing {
    pub(super) account: AccountId,
    pub(super) namespace: DurableNamespaceId,
    pub(super) after: Option<DurableObjectId>,
    pub(super) limit: usize,
}

/// See the module.
pub(crate) struct Answers(pub(crate) Arc<Durable>);

impl AnswersServers for Answers {
    fn answer<'a>(&'a self, asker: &'a NodeName, request: Request<Body>) -> BoxFuture<'a, Response<Body>> {
        Box::pin(async move {
            let answered = match request.uri().path() {
                OBJECT => self.object(request).await,
                LIST => self.list(request.headers()).await,
                HAND_OVER => self.hand_over(asker, request).await,
                _ => Err(Refusal::refused("what is asked for is not understood")),
            };
            answered.unwrap_or_else(|refusal| refusal.answer()).into()
        })
    }
}

impl Answers {
    async fn object(&self, request: Request<Body>) -> Result<Answered, Refusal> {
        let (mut parts, body) = request.into_parts();
        let what =
            parts.headers.remove(FOR).as_ref().and_then(decoded::<For>).ok_or_else(Refusal::unreadable)?;
        let For { account, namespace, asked, method, url, upgrade } = what;
        if !asked.is_bounded() {
            return Err(Refusal::unreadable());
        }
        parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::unreadable())?;
        parts.uri = url.parse::<Uri>().map_err(|_| Refusal::unreadable())?;
        let switches = upgrade.is_some();
        let (body, from_worker) = if switches { (Body::empty(), Some(body)) } else { (body, None) };
        if let Some(upgrade) = upgrade {
            let upgrade = HeaderValue::from_str(&upgrade).map_err(|_| Refusal::unreadable())?;
            parts.headers.insert(header::UPGRADE, upgrade);
        }
        let mut answered = self
            .0
            .ask_here(account, namespace, &asked, &mut Sending::new(Request::from_parts(parts, body)))
            .await?;
        if let (Some(object), Some(from_worker)) = (answered.upgraded.take(), from_worker) {
            let (to_worker, body) = Body::channel(1, None);
            tokio::spawn(join(object, from_worker, to_worker));
            answered.headers.remove(header::UPGRADE);
            answered.headers.insert(SWITCHED, HeaderValue::from_static("1"));
            (answered.status, answered.body) = (StatusCode::OK, body);
        }
        Ok(answered)
    }

    async fn hand_over(&self, asker: &NodeName, request: Request<Body>) -> Result<Answered, Refusal> {
        let asking = request.headers().get(FOR).and_then(decoded::<Asking>);
        let asking = asking.ok_or_else(Refusal::unreadable)?;
        let standing: Standing = self.0.step_here(asker, asking, request.into_body()).await?;
        let text =
            serde_json::to_vec(&standing).map_err(|_| Refusal::broken("an answer cannot be written"))?;
        Ok(Answered { body: Body::full(text), ..Answered::default() })
    }

    async fn list(&self, fields: &HeaderMap) -> Result<Answered, Refusal> {
        let listing = fields.get(FOR).and_then(decoded::<Listing>).ok_or_else(Refusal::unreadable)?;
        let found = self.0.list_here(&listing).await?;
        let text = serde_json::to_vec(&found).map_err(|_| Refusal::broken("a list cannot be written"))?;
        Ok(Answered { body: Body::full(text), ..Answered::default() })
    }
}
