//! The stage: asks another server instead of the origin.

use std::sync::Arc;

use http::HeaderName;
use hyper::body::Incoming;
use proxima_pipeline::{
    AskedByPeer, Body, CacheFill, Decision, Exchange, Fault, Flow, FromPeer, Response, Stage,
};

use crate::{
    SERVICE,
    map::{CLIENT, Hop},
    metrics::{Metrics, Outcome, Tier},
    peers::Peers,
    wire,
};

/// Servers that are asked for one request before the origin is: the one whose turn it is, and if that is lost, another.
const SERVERS_ASKED_MAX: usize = 2;

/// The stage. Without servers to ask it lets everything pass.
#[derive(Clone)]
pub struct TiersStage {
    pub(crate) peers: Option<Arc<Peers>>,
    pub(crate) metrics: Metrics,
}

impl Stage for TiersStage {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let (Some(peers), Some(fill)) = (&self.peers, exchange.extensions.get::<CacheFill>().cloned()) else {
            return Decision::Now(Flow::Continue);
        };
        let tls = exchange.client.tls.as_deref();
        if tls.is_some_and(|tls| tls.client_certificate.is_some()) {
            // Another server would apply rules that ask for the certificate, and does not know it.
            exchange
                .trace
                .note(SERVICE, || "the client presented a certificate, of which others are not told");
            return Decision::Now(Flow::Continue);
        }
        let Some(hop) = next(peers, exchange, &fill, None) else {
            exchange.trace.note(SERVICE, || "nobody stands between this server and the origin");
            return Decision::Now(Flow::Continue);
        };
        Decision::Later(Box::pin(self.ask(peers, exchange, hop, fill)))
    }
}

/// Who is to be asked; not the one that was just lost.
fn next(peers: &Peers, exchange: &Exchange, fill: &CacheFill, lost: Option<usize>) -> Option<Hop> {
    let zone = exchange.site.as_ref()?.zone.id;
    let level = exchange.extensions.get::<AskedByPeer>().map_or(CLIENT, |asked| asked.level);
    peers.map.next(level, zone, &fill.url, |server| Some(server) != lost && peers.is_up(server))
}

impl TiersStage {
    async fn ask(&self, peers: &Arc<Peers>, exchange: &mut Exchange, first: Hop, fill: CacheFill) -> Flow {
        let mut hop = Some(first);
        for _ in 0..SERVERS_ASKED_MAX {
            let Some(Hop { server, level }) = hop else { break };
            let Some(request) = wire::ask(exchange, level, fill.purged_up_to) else { break };
            let (tier, name) = (Tier::of(level), peers.map.servers()[server].name.as_str().to_owned());
            let lost = match peers.ask(server, request).await {
                Ok(response) if response.headers().contains_key(wire::DECLINED) => {
                    let why = text(&response, &wire::DECLINED);
                    self.metrics.count(tier, Outcome::Declined);
                    exchange.trace.note(SERVICE, || format!("{name} ({}) declined: {why}", tier.name()));
                    // It lags for all zones. What else it declines says nothing of other requests.
                    if why == Fault::Behind.name() {
                        peers.leave_out(server);
                    }
                    server
                }
                Ok(response) if response.headers().contains_key(wire::FAULT) => {
                    self.metrics.count(tier, Outcome::Answered);
                    let fault = Fault::met_by_another(text(&response, &wire::FAULT));
                    let fault = fault.unwrap_or(Fault::OriginMalformed("as another server of ours found"));
                    exchange.trace.note(SERVICE, || format!("{name} ({}): {fault}", tier.name()));
                    return Flow::Fail(fault);
                }
                Ok(response) => {
                    self.metrics.count(tier, Outcome::Answered);
                    let status = response.status();
                    exchange.trace.note(SERVICE, || format!("{name} ({}) answered {status}", tier.name()));
                    exchange.extensions.insert(FromPeer { same_pop: peers.map.is_near(server) });
                    return Flow::Respond(respond(response));
                }
                Err(error) => {
                    self.metrics.count(tier, Outcome::Failed);
                    exchange.trace.note(SERVICE, || format!("{name} ({}) was lost: {error}", tier.name()));
                    server
                }
            };
            hop = next(peers, exchange, &fill, Some(lost));
        }
        Flow::Continue
    }
}

fn text<'a>(response: &'a http::Response<Incoming>, name: &HeaderName) -> &'a str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn respond(response: http::Response<Incoming>) -> Response {
    let (parts, body) = response.into_parts();
    // That it ends early is an error here, as everywhere.
    let body = Body::received(body);
    Response { status: parts.status, headers: parts.headers, body, ..Response::default() }
}
