//! `/cdn-cgi/`: what the network itself answers, at every host and address of it.

use std::fmt::Write;

use http::{HeaderValue, Method, StatusCode, header};
use proxima_model::{NodeName, RegionName};
use proxima_pipeline::{
    Body, Client, Decision, Exchange, Fault, Flow, Glance, Response, Sight, Stage, TlsFacts,
};

/// The path below which nothing belongs to a site.
const RESERVED: &str = "/cdn-cgi/";
const TRACE: &str = "/cdn-cgi/trace";
/// Octets of a user agent that are told back.
const USER_AGENT_OCTETS_MAX: usize = 1024;

/// Answers `/cdn-cgi/trace` with what this server sees of the client, a `key=value` line each, and 404 for the rest
/// below `/cdn-cgi/`. It stands before the zone stage, so that any host, or none that is known here, will do: it is
/// how one asks an anycast address which PoP answers.
pub struct TraceEndpoint {
    node: NodeName,
    region: RegionName,
}

impl TraceEndpoint {
    /// For this node in this region.
    pub const fn new(node: NodeName, region: RegionName) -> Self {
        Self { node, region }
    }

    fn lines(&self, exchange: &Exchange) -> String {
        let Exchange { client, request, .. } = exchange;
        let agent = request.headers.get(header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        let agent = String::from_utf8_lossy(&agent[..agent.len().min(USER_AGENT_OCTETS_MAX)]);
        let at = exchange.received_at.as_millis();
        let (seconds, millis) = (at.div_euclid(1_000), at.rem_euclid(1_000));
        let mut text = String::with_capacity(512);
        // Writing to a string does not fail.
        let mut line = |key: &str, value: &dyn std::fmt::Display| writeln!(text, "{key}={value}").ok();
        line("fl", &self.node);
        line("h", &request.host);
        line("ip", &client.address.ip().to_canonical());
        line("ts", &format_args!("{seconds}.{millis:03}"));
        line("visit_scheme", &request.scheme.name());
        line("uag", &agent);
        line("colo", exchange.ray.pop());
        line("sliver", &"none");
        line("http", &client.protocol.name());
        line("loc", &self.region);
        line("tls", &client.tls.as_ref().map_or("off", |tls| tls.version));
        line("sni", &sni(client));
        line("warp", &"off");
        line("gateway", &"off");
        line("ray", &exchange.ray);
        text
    }
}

/// How the client named the host in its TLS handshake.
fn sni(client: &Client) -> &'static str {
    match client.tls.as_deref() {
        Some(TlsFacts { server_name: Some(_), .. }) => "plaintext",
        Some(TlsFacts { server_name: None, .. }) => "none",
        None => "off",
    }
}

impl Stage for TraceEndpoint {
    fn name(&self) -> &'static str {
        "trace_endpoint"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let path = exchange.request.target.path();
        if !path.starts_with(RESERVED) {
            return Decision::Now(Flow::Continue);
        }
        let (status, text) = match path {
            TRACE if matches!(exchange.request.method, Method::GET | Method::HEAD) => {
                (StatusCode::OK, self.lines(exchange))
            }
            TRACE => return Decision::Now(Flow::Fail(Fault::MethodNotAllowed)),
            _ => (StatusCode::NOT_FOUND, "nothing is here; there is /cdn-cgi/trace\n".to_owned()),
        };
        exchange.trace.note(self.name(), || format!("answered {} here with {status}", RESERVED));
        let mut response = Response { status, body: Body::full(text), ..Response::default() };
        let headers = &mut response.headers;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        Decision::Now(Flow::Respond(response))
    }

    fn glance(&self, glance: &mut Glance<'_>) -> Sight {
        if glance.target.starts_with(RESERVED) { Sight::Unsure } else { Sight::Pass }
    }
}
