//! The stages, by table.

mod compression;
pub(crate) mod fixtures;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use proxima_chassis::{NetworkConfig, SimulatedClock};
use proxima_model::{
    MinTlsVersion, NodeName, OriginOverride, OriginRoute, RegionName, Rule, RuleAction, RuleExpression,
    RuleId, SslMode, Zone, ZoneStatus,
};
use proxima_pipeline::{
    AskedByPeer, Body, Decision, Exchange, Fault, Flow, Pipeline, Response, Stage, TlsFacts,
};

use self::fixtures::{BrokenSites, FixedSites, NOW, exchange, site_of, with_field, zone};
use super::{ClientFacts, LoopGuard, OriginRules, PublicPorts, SecurityHeader, TraceEndpoint, ZoneStage};

fn decide(stage: &dyn Stage, exchange: &mut Exchange) -> Flow {
    match stage.on_request(exchange) {
        Decision::Now(flow) => flow,
        Decision::Later(_) => panic!("{} decides at once", stage.name()),
    }
}

fn fault(flow: Flow) -> Option<Fault> {
    match flow {
        Flow::Fail(fault) => Some(fault),
        Flow::Continue | Flow::Respond(_) => None,
    }
}

fn answered(flow: Flow) -> Response {
    match flow {
        Flow::Respond(response) => response,
        other => panic!("an answer was expected, not {other:?}"),
    }
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

// --- client facts

fn client_facts() -> ClientFacts {
    ClientFacts::new(Arc::new(SimulatedClock::new(NOW)))
}

#[test]
fn the_origin_is_told_who_asks_and_never_what_the_client_made_up() {
    let mut exchange = exchange("https://www.example.com/");
    for (name, value) in [
        ("cf-connecting-ip", "10.0.0.1"),
        ("cf-ray", "fake"),
        ("cf-ipcountry", "XX"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-for", "203.0.113.1"),
        ("x-forwarded-for", "203.0.113.2"),
    ] {
        exchange = with_field(exchange, name, value);
    }
    assert!(matches!(decide(&client_facts(), &mut exchange), Flow::Continue));
    let headers = &exchange.request.headers;
    assert_eq!(field(headers, "cf-connecting-ip"), ["192.0.2.7"]);
    assert_eq!(field(headers, "x-forwarded-for"), ["203.0.113.1, 203.0.113.2, 192.0.2.7"]);
    assert_eq!(field(headers, "x-forwarded-proto"), ["https"]);
    assert_eq!(field(headers, "cf-visitor"), [r#"{"scheme":"https"}"#]);
    assert_eq!(field(headers, "cf-ray"), [exchange.ray.to_string()]);
    assert!(field(headers, "cf-ipcountry").is_empty());
}

#[test]
fn an_ipv4_client_of_an_ipv6_socket_is_told_as_ipv4() {
    let mut exchange = exchange("http://www.example.com/");
    exchange.client.address = "[::ffff:192.0.2.9]:1".parse().unwrap();
    decide(&client_facts(), &mut exchange);
    assert_eq!(field(&exchange.request.headers, "cf-connecting-ip"), ["192.0.2.9"]);
}

#[tokio::test]
async fn error_answers_too_name_the_ray_the_server_and_the_date() {
    let zone = ZoneStage::new(Arc::new(FixedSites::default()), PublicPorts::default());
    let pipeline = Pipeline::new(vec![Box::new(client_facts()), Box::new(zone)]);
    let mut exchange = exchange("http://nowhere.example/");
    pipeline.run(&mut exchange).await;
    let response = exchange.response.unwrap();
    assert_eq!(response.status.as_u16(), 530);
    assert_eq!(field(&response.headers, "cf-ray"), [exchange.ray.to_string()]);
    assert_eq!(field(&response.headers, "server"), ["proxima"]);
    assert_eq!(field(&response.headers, "date"), ["Mon, 24 Nov 2025 16:00:00 GMT"]);
}

#[test]
fn the_origins_date_is_kept_and_its_server_is_not() {
    let stage = client_facts();
    let mut exchange = exchange("http://www.example.com/");
    decide(&stage, &mut exchange);
    let mut response = Response { body: Body::empty(), ..Response::default() };
    response.headers.insert(header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
    response.headers.insert(header::SERVER, "nginx/1.2".parse().unwrap());
    exchange.response = Some(response);
    stage.on_response(&mut exchange);
    let headers = &exchange.response.as_ref().unwrap().headers;
    assert_eq!(field(headers, "date"), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
    assert_eq!(field(headers, "server"), ["proxima"]);
}

// --- the security header

#[test]
fn browsers_are_told_to_come_by_tls_where_the_zone_says_so_and_only_by_tls() {
    let told = |uri: &str, enabled: bool, nosniff: bool| {
        let mut exchange = exchange(uri);
        let mut zone = zone("example.com");
        let hsts = &mut zone.settings.strict_transport_security;
        (hsts.enabled, hsts.max_age, hsts.nosniff) = (enabled, 300, nosniff);
        exchange.site = Some(site_of(zone, &[], Vec::new()));
        let mut response = Response { body: Body::empty(), ..Response::default() };
        response.headers.insert(header::STRICT_TRANSPORT_SECURITY, "max-age=1".parse().unwrap());
        exchange.response = Some(response);
        SecurityHeader.on_response(&mut exchange);
        let headers = exchange.response.unwrap().headers;
        let fields = ["strict-transport-security", "x-content-type-options"];
        fields.map(|name| field(&headers, name).join("|"))
    };
    let (tls, clear) = ("https://www.example.com/", "http://www.example.com/");
    assert_eq!(told(tls, true, true), ["max-age=300", "nosniff"]);
    assert_eq!(told(tls, true, false), ["max-age=300", ""]);
    assert_eq!(told(tls, false, true), ["max-age=1", ""], "what the origin says is its own business");
    assert_eq!(told(clear, true, true), ["max-age=1", ""]);
}

// --- the trace endpoint

fn trace_endpoint() -> TraceEndpoint {
    TraceEndpoint::new(NodeName::parse("fra-1").unwrap(), RegionName::parse("europe").unwrap())
}

#[tokio::test]
async fn the_trace_endpoint_tells_any_host_what_this_server_sees() {
    let exchange = exchange("https://198.51.100.1/cdn-cgi/trace");
    let mut exchange = with_field(exchange, "user-agent", "curl/8");
    let response = answered(decide(&trace_endpoint(), &mut exchange));
    assert_eq!(response.status, StatusCode::OK);
    let text = response.body.collect(4096).await.unwrap();
    let text = std::str::from_utf8(&text).unwrap();
    for line in [
        "fl=fra-1",
        "h=198.51.100.1",
        "ip=192.0.2.7",
        "ts=1764000000.123",
        "visit_scheme=https",
        "uag=curl/8",
        "colo=FRA",
        "http=http/1.1",
        "loc=europe",
        "tls=TLSv1.3",
        "sni=plaintext",
        "warp=off",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn nothing_else_below_cdn_cgi_belongs_to_anyone() {
    let stage = trace_endpoint();
    for (method, path, status) in [
        (Method::GET, "/cdn-cgi/", 404),
        (Method::GET, "/cdn-cgi/trace/x", 404),
        (Method::POST, "/cdn-cgi/trace", 405),
        (Method::HEAD, "/cdn-cgi/trace", 200),
    ] {
        let mut exchange = exchange(&format!("http://www.example.com{path}"));
        exchange.request.method = method;
        let got = match decide(&stage, &mut exchange) {
            Flow::Respond(response) => response.status,
            Flow::Fail(fault) => fault.status(),
            Flow::Continue => panic!("{path} went on"),
        };
        assert_eq!(got.as_u16(), status, "{path}");
    }
    let mut elsewhere = exchange("http://www.example.com/cdn-cgi-not/trace");
    assert!(matches!(decide(&stage, &mut elsewhere), Flow::Continue));
}

// --- the loop guard

fn loop_guard(address: &str) -> LoopGuard {
    let anycast_addresses = vec![address.parse().unwrap()];
    LoopGuard::new(&NetworkConfig { anycast_addresses, ..NetworkConfig::default() })
}

#[test]
fn a_request_that_has_passed_through_this_network_is_refused() {
    let (ours, other) = (loop_guard("198.51.100.1"), loop_guard("203.0.113.1"));
    let mut once = exchange("http://www.example.com/");
    assert!(matches!(decide(&ours, &mut once), Flow::Continue));
    let named = field(&once.request.headers, "cdn-loop").join("");
    assert!(named.starts_with("proxima; network="), "{named}");
    for (value, refused) in [
        (named.clone(), true),
        (format!("cloudflare, {named}"), true),
        (format!("{named}; x=1, fastly"), true),
        (named.replace("proxima", "PROXIMA"), true),
        ("proxima".to_owned(), false),
        ("cloudflare; network=1, fastly".to_owned(), false),
    ] {
        let mut again = with_field(exchange("http://www.example.com/"), "cdn-loop", &value);
        let expected = refused.then_some(Fault::Loop);
        assert_eq!(fault(decide(&ours, &mut again)), expected, "{value}");
    }
    assert!(matches!(decide(&other, &mut once), Flow::Continue), "another Proxima network is not this one");
    let list = field(&once.request.headers, "cdn-loop").join("");
    assert!(list.starts_with(&format!("{named}, proxima; network=")), "{list}");
}

#[test]
fn nothing_that_a_client_writes_before_our_name_hides_it() {
    let ours = loop_guard("198.51.100.1");
    for line in [&b"\xff"[..], b"other\t\xc3\xa9; network=1", b"\"a, b\"", b","] {
        let mut exchange = exchange("http://www.example.com/");
        exchange.request.headers.append("cdn-loop", HeaderValue::from_bytes(line).unwrap());
        assert!(matches!(decide(&ours, &mut exchange), Flow::Continue), "{}", line.escape_ascii());
        assert_eq!(fault(decide(&ours, &mut exchange)), Some(Fault::Loop), "{}", line.escape_ascii());
    }
}

// --- zones

type Change = fn(&mut Zone, &mut Exchange);

#[test]
fn requests_are_served_only_for_hosts_that_are_proxied_here() {
    let unchanged: Change = |_, _| {};
    let cases: [(&str, Change, Option<Fault>); 12] = [
        ("http://www.example.com/", unchanged, None),
        ("https://www.example.com/", unchanged, None),
        ("http://a.wild.example.com/", unchanged, None),
        ("http://other.example.com/", unchanged, Some(Fault::HostUnknown)),
        ("http://www.example.net/", unchanged, Some(Fault::HostUnknown)),
        ("http://198.51.100.1/", unchanged, Some(Fault::HostUnknown)),
        ("http://www.example.com/", |zone, _| zone.paused = true, Some(Fault::HostUnknown)),
        ("http://www.example.com/", |zone, _| zone.status = ZoneStatus::Pending, Some(Fault::HostUnknown)),
        (
            "https://www.example.com/",
            |_, exchange| session(exchange, Some("a.wild.example.com"), "TLSv1.3"),
            None,
        ),
        (
            "https://www.example.com/",
            |_, exchange| session(exchange, Some("www.example.org"), "TLSv1.3"),
            Some(Fault::Misdirected),
        ),
        ("https://www.example.com/", |_, exchange| session(exchange, None, "TLSv1.3"), None),
        (
            "https://www.example.com/",
            |zone, exchange| {
                zone.settings.min_tls_version = MinTlsVersion::V1_3;
                session(exchange, Some("www.example.com"), "TLSv1.2");
            },
            Some(Fault::Forbidden("it asks for TLS 1.3 or later")),
        ),
    ];
    for (index, (url, change, expected)) in cases.into_iter().enumerate() {
        let (mut zone, mut exchange) = (zone("example.com"), exchange(url));
        change(&mut zone, &mut exchange);
        let records = [("www.example.com", "192.0.2.80"), ("*.wild.example.com", "192.0.2.81")];
        let others = site_of(fixtures::zone("example.org"), &[("www.example.org", "192.0.2.82")], Vec::new());
        let sites = FixedSites(vec![site_of(zone, &records, Vec::new()), others]);
        let stage = ZoneStage::new(Arc::new(sites), PublicPorts::default());
        let served = expected.is_none();
        assert_eq!(fault(decide(&stage, &mut exchange)), expected, "case {index}: {url}");
        assert_eq!(exchange.site.is_some(), served, "case {index}: {url}");
    }
}

fn session(exchange: &mut Exchange, server_name: Option<&str>, version: &'static str) {
    let server_name = server_name.map(Into::into);
    exchange.client.tls =
        Some(Arc::new(TlsFacts { version, server_name, resumed: false, client_certificate: None }));
}

#[test]
fn a_replica_that_cannot_be_read_is_our_fault() {
    let stage = ZoneStage::new(Arc::new(BrokenSites), PublicPorts::default());
    let fault = fault(decide(&stage, &mut exchange("http://www.example.com/"))).unwrap();
    assert_eq!(fault.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[test]
fn visitors_are_sent_to_the_scheme_that_the_zone_wants() {
    let dev = PublicPorts { http: 8080, https: 8443 };
    for (url, ssl, always, ports, location) in [
        ("http://www.example.com/a?b=c", SslMode::Full, true, None, Some("https://www.example.com/a?b=c")),
        (
            "http://www.example.com:8080/",
            SslMode::Full,
            true,
            Some(dev),
            Some("https://www.example.com:8443/"),
        ),
        ("https://www.example.com/", SslMode::Full, true, None, None),
        ("http://www.example.com/", SslMode::Full, false, None, None),
        ("https://www.example.com/x", SslMode::Off, false, None, Some("http://www.example.com/x")),
        ("http://www.example.com/", SslMode::Off, true, None, None),
    ] {
        let mut zone = zone("example.com");
        zone.settings.ssl = ssl;
        zone.settings.always_use_https = always;
        let sites = FixedSites(vec![site_of(zone, &[("www.example.com", "192.0.2.80")], Vec::new())]);
        let stage = ZoneStage::new(Arc::new(sites), ports.unwrap_or_default());
        let got = match decide(&stage, &mut exchange(url)) {
            Flow::Respond(response) => {
                assert_eq!(response.status, StatusCode::MOVED_PERMANENTLY);
                Some(response.headers[header::LOCATION].to_str().unwrap().to_owned())
            }
            Flow::Continue => None,
            Flow::Fail(fault) => panic!("{url}: {fault}"),
        };
        assert_eq!(got.as_deref(), location, "{url} {ssl:?}");
    }
}

#[test]
fn another_servers_cache_is_not_redirected() {
    let mut zone = zone("example.com");
    zone.settings.always_use_https = true;
    let sites = FixedSites(vec![site_of(zone, &[("www.example.com", "192.0.2.80")], Vec::new())]);
    let stage = ZoneStage::new(Arc::new(sites), PublicPorts::default());
    let mut asked = exchange("http://www.example.com/");
    asked.extensions.insert(AskedByPeer { level: 1, purged_up_to: 0 });
    assert!(matches!(decide(&stage, &mut asked), Flow::Continue));
    assert!(asked.site.is_some());
}

// --- origin rules

fn rule(expression: &str, host: Option<&str>, port: Option<u16>, host_header: Option<&str>) -> Rule {
    Rule {
        id: RuleId::from_bytes([4; 16]),
        description: String::new(),
        expression: RuleExpression::parse(expression).unwrap(),
        action: RuleAction::Route(OriginRoute {
            host_header: host_header.map(ToOwned::to_owned),
            origin: OriginOverride { host: host.map(ToOwned::to_owned), port },
        }),
        enabled: true,
        last_updated: NOW,
    }
}

#[test]
fn later_origin_rules_override_earlier_ones_field_by_field() {
    let disabled = Rule { enabled: false, ..rule("true", Some("disabled.example"), None, None) };
    let rules = vec![
        rule("true", Some("first.example"), Some(8080), None),
        rule("http.host eq \"www.example.com\"", Some("second.example"), None, Some("inner.example")),
        rule("http.host eq \"other.example.com\"", Some("third.example"), Some(1), None),
        disabled,
    ];
    let site = site_of(zone("example.com"), &[("www.example.com", "192.0.2.80")], rules);
    let mut exchange = exchange("http://www.example.com/");
    exchange.site = Some(site);
    assert!(matches!(decide(&OriginRules::new(), &mut exchange), Flow::Continue));
    assert_eq!(exchange.origin.host.as_deref(), Some("second.example"));
    assert_eq!(exchange.origin.port, Some(8080));
    assert_eq!(exchange.origin.host_header.as_deref(), Some("inner.example"));
    assert_eq!(exchange.trace.entries().len(), 2, "each rule that applies is noted");
}
