//! Services that ask their like on other servers, over the connections between servers: both sides.
//!
//! ```text
//!   Servers::ask ── POST, `proxima-service: NAME`, path, fields and body of the service ──▶ answer ── AnswersServers ─┐
//!        ▲                                                                                                            │
//!        ├── 503 `proxima-tier-declined`: no such service there                                                       │
//!        └── the service's answer, its body as it comes ◀─────────────────────────────────────────────────────────────┘
//! ```
//!
//! Servers that this one's caches ask anyway have a connection; to the others one is made when something is asked, and closed
//! when nothing has been for a while ([`peers`](crate::peers)).

use std::{collections::HashMap, sync::Arc};

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, uri::PathAndQuery};
use hyper::body::Incoming;
use proxima_model::NodeName;
use proxima_pipeline::{AnswersServers, Body, NoAnswer, ServerAbout, Servers};

use crate::{peers::Peers, serve::declined, wire::DECLINED};

/// Which service is asked.
const SERVICE: HeaderName = HeaderName::from_static("proxima-service");
/// Whose the path of a request is: nobody's.
const AUTHORITY: &str = "services.internal";
/// Why a request is declined: the service is not here.
const ABSENT: &str = "absent";

/// Who answers, by the service's name. Filled before the service runs.
pub(crate) type Answering = HashMap<&'static str, Arc<dyn AnswersServers>>;

/// All servers, as a service on this one sees them.
pub(crate) struct Others {
    about: Vec<ServerAbout>,
    me: NodeName,
    /// None, where this server is alone.
    peers: Option<Arc<Peers>>,
}

impl Others {
    /// Those that these connections lead to.
    pub(crate) fn of(peers: &Arc<Peers>) -> Self {
        let servers = peers.map.servers();
        let about = |server: &crate::config::Server| ServerAbout {
            name: server.name.clone(),
            pop: server.pop.clone(),
            region: server.region.clone(),
        };
        let me = servers[peers.map.me()].name.clone();
        Self { about: servers.iter().map(about).collect(), me, peers: Some(peers.clone()) }
    }

    /// None but this one.
    pub(crate) fn alone(me: ServerAbout) -> Self {
        Self { me: me.name.clone(), about: vec![me], peers: None }
    }
}

impl Servers for Others {
    fn all(&self) -> &[ServerAbout] {
        &self.about
    }

    fn me(&self) -> &NodeName {
        &self.me
    }

    fn ask<'a>(
        &'a self,
        server: &'a NodeName,
        service: &'static str,
        mut request: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, NoAnswer>> {
        Box::pin(async move {
            // This one need not ask itself by a connection.
            let is_asked = |about: &ServerAbout| about.name == *server && about.name != self.me;
            let number = self.about.iter().position(is_asked);
            let (Some(peers), Some(number)) = (&self.peers, number) else { return Err(NoAnswer::Declined) };
            let place = peers.request_place(number).ok_or(NoAnswer::Busy)?;
            *request.method_mut() = Method::POST;
            let path =
                request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
            let uri = Uri::builder().scheme("https").authority(AUTHORITY).path_and_query(path).build();
            *request.uri_mut() = uri.map_err(|_| NoAnswer::Declined)?;
            request.headers_mut().insert(SERVICE, HeaderValue::from_static(service));
            peers.reach(number).await.map_err(|_| NoAnswer::Lost)?;
            let response = peers.ask(number, request).await.map_err(|_| NoAnswer::Lost)?;
            if response.headers().contains_key(DECLINED) {
                return Err(NoAnswer::Declined);
            }
            Ok(response.map(|body| Body::received(body).holding(place)))
        })
    }
}

/// Whether a request of another server is for a service.
pub(crate) fn is_for_service<B>(request: &Request<B>) -> bool {
    request.method() == Method::POST && request.headers().contains_key(SERVICE)
}

/// Answers it.
pub(crate) async fn answer(
    answering: &Answering,
    asker: &NodeName,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let service = request.headers_mut().remove(SERVICE);
    let answers = service.as_ref().and_then(|name| answering.get(name.to_str().ok()?));
    let Some(answers) = answers else { return declined(ABSENT) };
    let mut response = answers.answer(asker, request.map(Body::received)).await;
    // Nobody says it but this server.
    response.headers_mut().remove(DECLINED);
    response
}
