//! Runs a request that somebody wants explained through the same stages, traced in full.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::PathAndQuery};
use proxima_chassis::Clock;
use proxima_model::{Invalid, NodeName, PopCode, excerpt};
use proxima_pipeline::{
    Body, Client, Exchange, ExplainRequest, Explainer, Explanation, Pipeline, Protocol, RayId, Request,
    Scheme, TlsFacts, Trace, WorkerSeen, strip_hop_by_hop,
};

use proxima_http1::Host;

/// Octets of an answer's body that are read (so that its connection can be kept) before it is dropped.
const BODY_OCTETS_MAX: usize = 1 << 20;
/// For how long an answer's body is read.
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// Octets of a URL.
const URL_OCTETS_MAX: usize = 8192;
/// Fields of a request to explain.
const FIELDS_MAX: usize = 64;

/// Explains requests by running them, as if a client at the loopback address had sent them to this node.
pub struct EdgeExplainer {
    pipeline: Pipeline,
    pop: PopCode,
    node: NodeName,
    clock: Arc<dyn Clock>,
}

impl EdgeExplainer {
    /// Runs requests through `pipeline` on this node.
    pub fn new(pipeline: Pipeline, pop: PopCode, node: NodeName, clock: Arc<dyn Clock>) -> Self {
        Self { pipeline, pop, node, clock }
    }

    async fn run(&self, asked: ExplainRequest) -> Result<Explanation, Invalid> {
        let (client, request) = parse(&asked)?;
        let ray = RayId::new(self.pop.clone());
        let mut exchange = Exchange::new(ray, client, request, Body::empty(), self.clock.now());
        exchange.trace = Trace::kept();
        self.pipeline.run(&mut exchange).await;
        let response = exchange.response.take().unwrap_or_default();
        let reading = discard(response.body);
        let read =
            tokio::time::timeout(BODY_WITHIN, reading).await.unwrap_or("the body was not read to its end");
        exchange.trace.note("explain", || read);
        if let Some(words) = exchange.extensions.get::<WorkerSeen>().and_then(worker_took) {
            exchange.trace.note("explain", || words);
        }
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(Explanation {
            ray: exchange.ray.to_string(),
            node: self.node.to_string(),
            status_code: response.status.as_u16(),
            headers: response.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            trace: exchange.trace.entries().to_vec(),
        })
    }
}

impl Explainer for EdgeExplainer {
    fn explain(&self, request: ExplainRequest) -> BoxFuture<'_, Result<Explanation, Invalid>> {
        Box::pin(self.run(request))
    }
}

/// What a Worker took whose answer has ended, to the microsecond.
fn worker_took(seen: &WorkerSeen) -> Option<String> {
    let [cpu, wall] = [seen.took.cpu(), seen.took.wall()]
        .map(|time| Duration::from_micros(time.as_micros().try_into().unwrap_or(u64::MAX)));
    (!wall.is_zero()).then(|| format!("the Worker had {cpu:?} of a processor, within {wall:?}"))
}

/// Reads a body to its end, or to the bound; says which.
async fn discard(mut body: Body) -> &'static str {
    let mut octets = 0;
    while let Some(frame) = body.next_frame().await {
        match frame {
            Err(_) => return "the body broke off",
            Ok(frame) => octets += frame.data_ref().map_or(0, Bytes::len),
        }
        if octets > BODY_OCTETS_MAX {
            return "the body was not read to its end";
        }
    }
    "the body was read and dropped"
}

/// The request as a listener would have read it.
pub(crate) fn parse(asked: &ExplainRequest) -> Result<(Client, Request), Invalid> {
    let wrong =
        |problem: &str| Invalid::new("url", problem, "give a URL such as https://www.example.com/path");
    if asked.url.len() > URL_OCTETS_MAX {
        return Err(wrong("it is longer than 8192 octets"));
    }
    let uri: Uri = asked.url.parse().map_err(|_| wrong("it is not a URL"))?;
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err(wrong("its scheme is neither http nor https")),
    };
    let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
    let authority = Bytes::copy_from_slice(authority.as_str().as_bytes());
    let host = Host::parse(&authority).map_err(|_| wrong("its host is not one"))?;
    let method = Method::from_bytes(asked.method.as_bytes());
    let method = method.ok().filter(|method| *method != Method::CONNECT).ok_or_else(|| {
        Invalid::new("method", "it is not a method that is served", "give a method such as GET")
    })?;
    let mut headers = fields(asked)?;
    let host_value =
        HeaderValue::from_maybe_shared(authority.clone()).map_err(|_| wrong("its host is not one"))?;
    headers.insert(header::HOST, host_value);

    let name: Arc<str> = host.name().into();
    let tls = (scheme == Scheme::Https).then(|| {
        Arc::new(TlsFacts {
            version: "TLSv1.3",
            server_name: Some(name.clone()),
            resumed: false,
            client_certificate: None,
        })
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, scheme.default_port()));
    let client = Client { address, local, protocol: Protocol::Http11, tls };
    let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let request = Request { method, scheme, host: name, port: host.port(), target, headers, upgrade: None };
    Ok((client, request))
}

/// The fields that were asked for, without those that are a listener's.
fn fields(asked: &ExplainRequest) -> Result<HeaderMap, Invalid> {
    let wrong = |problem: String| Invalid::new("headers", problem, "give at most 64 valid header fields");
    if asked.headers.len() > FIELDS_MAX {
        return Err(wrong(format!("there are {} fields", asked.headers.len())));
    }
    let mut headers = HeaderMap::with_capacity(asked.headers.len() + 8);
    for (name, value) in &asked.headers {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
        let (parsed, value) =
            parsed.ok_or_else(|| wrong(format!("{} or its value is malformed", excerpt(name))))?;
        headers.insert(parsed, value);
    }
    strip_hop_by_hop(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::EXPECT);
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proxima_chassis::SimulatedClock;
    use proxima_model::RegionName;

    use super::*;
    use crate::stages::{
        ClientFacts, PublicPorts, TraceEndpoint, ZoneStage,
        tests::fixtures::{FixedSites, NOW},
    };

    fn explainer() -> EdgeExplainer {
        let clock = Arc::new(SimulatedClock::new(NOW));
        let node = NodeName::parse("fra-1").unwrap();
        let pipeline = Pipeline::new(vec![
            Box::new(ClientFacts::new(clock.clone())),
            Box::new(TraceEndpoint::new(node.clone(), RegionName::parse("europe").unwrap())),
            Box::new(ZoneStage::new(Arc::new(FixedSites::default()), PublicPorts::default())),
        ]);
        EdgeExplainer::new(pipeline, PopCode::parse("FRA").unwrap(), node, clock)
    }

    fn asked(url: &str) -> ExplainRequest {
        ExplainRequest { url: url.to_owned(), method: "GET".to_owned(), headers: BTreeMap::new() }
    }

    #[tokio::test]
    async fn a_request_is_run_and_its_decisions_are_told() {
        let explanation =
            explainer().explain(asked("https://Any.Example:8443/cdn-cgi/trace?x")).await.unwrap();
        assert_eq!((explanation.status_code, explanation.node.as_str()), (200, "fra-1"));
        assert!(explanation.ray.ends_with("-FRA"));
        assert!(
            explanation.headers.iter().any(|(name, value)| name == "cf-ray" && *value == explanation.ray)
        );
        let stages: Vec<&str> = explanation.trace.iter().map(|entry| entry.stage).collect();
        assert_eq!(stages, ["trace_endpoint", "explain"]);
    }

    #[test]
    fn what_a_worker_took_is_told_when_it_has_ended() {
        let seen = WorkerSeen { outcome: "ok", took: Arc::default() };
        assert_eq!(worker_took(&seen), None);
        seen.took.add(Duration::from_nanos(1_234_567), Duration::from_millis(20));
        let told = worker_took(&seen);
        assert_eq!(told.as_deref(), Some("the Worker had 1.234ms of a processor, within 20ms"));
    }

    #[tokio::test]
    async fn what_failed_is_told_by_the_stage_that_failed() {
        let explanation = explainer().explain(asked("http://unknown.example/")).await.unwrap();
        assert_eq!(explanation.status_code, 530);
        assert!(
            explanation.trace.iter().any(|entry| entry.stage == "zone" && entry.decision.contains("failed"))
        );
    }

    #[tokio::test]
    async fn what_is_not_a_request_is_refused() {
        let mut cases: Vec<(ExplainRequest, &str)> =
            ["", "/path", "ftp://a.example/", "http://", "http://a b/", "http://u@h/"]
                .into_iter()
                .map(|url| (asked(url), "url"))
                .collect();
        cases.push((asked(&format!("http://a.example/{}", "x".repeat(9000))), "url"));
        for method in ["", "CONNECT", "G T"] {
            cases
                .push((ExplainRequest { method: method.to_owned(), ..asked("http://a.example/") }, "method"));
        }
        for (name, value) in [("bad name", "x"), ("x", "a\r\nb")] {
            let headers = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            cases.push((ExplainRequest { headers, ..asked("http://a.example/") }, "headers"));
        }
        for (request, field) in cases {
            let refused = explainer().explain(request.clone()).await.unwrap_err();
            assert_eq!(refused.field, field, "{request:?}");
        }
    }
}
