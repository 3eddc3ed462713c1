//! Asking an object whose home is another server: one request, whose method and URL stand in a field, and whose octets pass as they
//! come, in both directions. What the object switched to another protocol, a WebSocket, passes as two bodies.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use proxima_model::{AccountId, DurableNamespace, DurableNamespaceId, NodeName};
use proxima_pipeline::{
    Body, BodySender, NoAnswer, NoPlace, Response, ServerPlaces, Servers, UpgradedIo, strip_hop_by_hop,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::{
    ANSWERS_WITHIN, DURABLE_SERVICE,
    asked::{Asked, MOVING, OUTCOME, Refusal},
    hand_over::wire::HAND_OVER,
};
use crate::{engine::ANSWER_WITHIN, facts::encoded};

/// The path of what asks an object.
pub(super) const OBJECT: &str = "/object";
/// The path of what asks which objects there are.
pub(super) const LIST: &str = "/list";
/// What the request is for.
pub(super) const FOR: HeaderName = HeaderName::from_static("proxima-durable-for");
/// In an answer: the object has switched to another protocol, and the body is what it says.
pub(super) const SWITCHED: HeaderName = HeaderName::from_static("proxima-durable-switched");
/// How much longer than an object a server may take to answer: a connection must be made.
const ON_THE_WAY: Duration = Duration::from_secs(10);
/// Octets of what an object switched to that are under way in one direction.
const PIPE_OCTETS: usize = 16 << 10;
/// Octets of why an object is not where it was asked for.
const MOVING_OCTETS_MAX: usize = 4 << 10;
/// Pieces of it that wait to be sent.
const FRAMES_MAX: usize = 1;

/// What the request of another server is for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct For {
    pub(super) account: AccountId,
    pub(super) namespace: DurableNamespaceId,
    pub(super) asked: Asked,
    pub(super) method: String,
    pub(super) url: String,
    /// The protocol that it wants to switch to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upgrade: Option<String>,
}

/// See the module.
pub(super) struct Elsewhere {
    servers: Arc<dyn Servers>,
    /// Of what Workers and the API ask for; the few steps of hand-overs always find a way.
    places: ServerPlaces,
}

impl Elsewhere {
    pub(super) fn new(servers: Arc<dyn Servers>) -> Self {
        let places = ServerPlaces::new(&*servers);
        Self { servers, places }
    }

    pub(super) fn servers(&self) -> &dyn Servers {
        &*self.servers
    }

    /// What an object answers whose home that server is.
    pub(super) async fn ask(
        &self,
        home: &NodeName,
        namespace: &DurableNamespace,
        asked: Asked,
        request: Request<Body>,
    ) -> Result<Response, Refusal> {
        let (parts, mut body) = request.into_parts();
        let mut headers = parts.headers;
        let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        strip_hop_by_hop(&mut headers);
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::EXPECT);
        headers.remove(header::HOST);
        let (method, url) = (parts.method.as_str().to_owned(), parts.uri.to_string());
        let what = For { account: namespace.account, namespace: namespace.id, asked, method, url, upgrade };
        let field = encoded(&what).ok_or_else(|| Refusal::refused("what is asked for cannot be written"))?;
        headers.insert(FOR, field);
        let mut sender = None;
        if what.upgrade.is_some() {
            let (to_object, switched) = Body::channel(FRAMES_MAX, None);
            (sender, body) = (Some(to_object), switched);
        }
        let response = self.send(home, OBJECT, headers, body, ANSWER_WITHIN + ON_THE_WAY).await?;
        let (parts, body) = response.into_parts();
        let mut headers = parts.headers;
        if headers.get(OUTCOME).is_some_and(|outcome| outcome == MOVING) {
            let said = body.collect(MOVING_OCTETS_MAX).await.unwrap_or_default();
            return Err(Refusal::moving(&format!("{home} says: {}", String::from_utf8_lossy(&said))));
        }
        if headers.remove(SWITCHED).is_some()
            && let Some(sender) = sender
        {
            let protocol = what.upgrade.as_deref().and_then(|protocol| HeaderValue::from_str(protocol).ok());
            headers.extend(protocol.map(|protocol| (header::UPGRADE, protocol)));
            let (ours, theirs) = duplex(PIPE_OCTETS);
            tokio::spawn(join(Box::new(ours), body, sender));
            let status = StatusCode::SWITCHING_PROTOCOLS;
            return Ok(Response { status, headers, upgraded: Some(Box::new(theirs)), ..Response::default() });
        }
        Ok(Response { status: parts.status, headers, body, ..Response::default() })
    }

    /// What a server says of what the node itself asks, `what`, in so many octets of JSON at the most.
    pub(super) async fn told<T: DeserializeOwned>(
        &self,
        server: &NodeName,
        path: &'static str,
        what: &impl Serialize,
        body: Body,
        octets_max: usize,
    ) -> Result<T, Refusal> {
        let field = encoded(what).ok_or_else(|| Refusal::broken("what is asked for cannot be written"))?;
        let told = async {
            let headers = http::HeaderMap::from_iter([(FOR, field)]);
            let (parts, body) = self.send(server, path, headers, body, ANSWERS_WITHIN).await?.into_parts();
            let octets = body.collect(octets_max).await.map_err(|_| Refusal::lost())?;
            if let Some(outcome) = parts.headers.get(OUTCOME) {
                let said = format!("{server} says: {}", String::from_utf8_lossy(&octets));
                return Err(if outcome == MOVING { Refusal::moving(&said) } else { Refusal::away(said) });
            }
            serde_json::from_slice(&octets).map_err(|_| Refusal::broken("what it says cannot be read"))
        };
        tokio::time::timeout(ANSWERS_WITHIN, told).await.unwrap_or_else(|_| Err(Refusal::lost()))
    }

    /// Asks a server; its answer's body keeps the place.
    async fn send(
        &self,
        server: &NodeName,
        path: &'static str,
        headers: http::HeaderMap,
        body: Body,
        within: Duration,
    ) -> Result<http::Response<Body>, Refusal> {
        let away = |what: &str| Refusal::away(format!("its home, {server}, {what}"));
        let place = (path != HAND_OVER).then(|| self.places.take(server)).transpose();
        let place = place.map_err(|why| match why {
            NoPlace::Unknown => away("is none of this network's servers"),
            NoPlace::Busy => Refusal::busy(),
        })?;
        let mut request = Request::new(body);
        *request.uri_mut() = Uri::from_static(path);
        *request.method_mut() = Method::POST;
        *request.headers_mut() = headers;
        match tokio::time::timeout(within, self.servers.ask(server, DURABLE_SERVICE, request)).await {
            Ok(Ok(response)) => Ok(response.map(|body| body.holding(place))),
            Ok(Err(NoAnswer::Busy)) => Err(Refusal::busy()),
            Ok(Err(NoAnswer::Declined)) => Err(away("does not run Durable Objects")),
            Ok(Err(NoAnswer::Lost)) => Err(away("does not answer")),
            Err(_) => Err(Refusal::lost()),
        }
    }
}

/// Carries what one side says as it comes and what the other one says as a body, until both have ended.
pub(super) async fn join(io: Box<dyn UpgradedIo>, mut incoming: Body, mut outgoing: BodySender) {
    let (mut read, mut write) = tokio::io::split(io);
    let inward = async {
        while let Some(Ok(frame)) = incoming.next_frame().await {
            let Ok(octets) = frame.into_data() else { continue };
            if write.write_all(&octets).await.is_err() {
                break;
            }
        }
        write.shutdown().await.ok();
    };
    let outward = async {
        let mut buffer = bytes::BytesMut::with_capacity(PIPE_OCTETS);
        while read.read_buf(&mut buffer).await.is_ok_and(|octets| octets > 0) {
            if outgoing.send(buffer.split().freeze()).await.is_err() {
                break;
            }
            buffer.reserve(PIPE_OCTETS);
        }
        outgoing.finish().await;
    };
    tokio::join!(inward, outward);
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use proxima_model::{PopCode, RegionName};
    use proxima_pipeline::ServerAbout;

    use super::*;

    /// A network of one other server, which says yes to all.
    struct Agreeing([ServerAbout; 1]);

    impl Servers for Agreeing {
        fn all(&self) -> &[ServerAbout] {
            &self.0
        }

        fn me(&self) -> &NodeName {
            &self.0[0].name
        }

        fn ask<'a>(
            &'a self,
            _: &'a NodeName,
            _: &'static str,
            _: Request<Body>,
        ) -> BoxFuture<'a, Result<http::Response<Body>, NoAnswer>> {
            Box::pin(async { Ok(http::Response::new(Body::full("true"))) })
        }
    }

    #[tokio::test]
    async fn what_workers_have_under_way_to_a_server_keeps_no_hand_over_from_it() {
        let name = NodeName::parse("fra1").expect("a name");
        let pop = PopCode::parse("FRA").expect("a PoP");
        let region = RegionName::parse("europe").expect("a region");
        let about = ServerAbout { name: name.clone(), pop, region };
        let elsewhere = Elsewhere::new(Arc::new(Agreeing([about])));
        let mut under_way = Vec::new();
        while let Ok(place) = elsewhere.places.take(&name) {
            under_way.push(place);
        }
        let asked = async |path| elsewhere.told::<bool>(&name, path, &"", Body::empty(), 10).await;
        assert_eq!(asked(HAND_OVER).await, Ok(true));
        assert_eq!(asked(LIST).await, Err(Refusal::busy()));
        under_way.clear();
        assert_eq!(asked(LIST).await, Ok(true));
    }
}
