//! An exchange, as expressions of rules ask it.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proxima_model::{PopCode, RuleExpression, Timestamp};
use proxima_pipeline::{Asked, Body, Client, Exchange, Protocol, RayId, Request, Scheme};

fn exchange() -> Exchange {
    let client = Client {
        address: "192.0.2.7:40000".parse().unwrap(),
        local: "198.51.100.1:443".parse().unwrap(),
        protocol: Protocol::Http2,
        tls: None,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("cookie", "a=1; session=x=y"),
        ("cookie", "a=2;; flag"),
        ("user-agent", "curl/8"),
        ("x-forwarded-for", "203.0.113.1, 203.0.113.2, 192.0.2.7"),
        ("accept", "text/html"),
        ("accept", "image/webp"),
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let request = Request {
        method: Method::GET,
        scheme: Scheme::Https,
        host: "www.example.com".into(),
        port: Some(8443),
        target: "/a.b/File.JPG?q=1&&q=2&empty".parse().unwrap(),
        headers,
        upgrade: None,
    };
    let at = Timestamp::from_millis(1_700_000_000_999);
    Exchange::new(RayId::new(PopCode::parse("FRA").unwrap()), client, request, Body::empty(), at)
}

#[test]
fn every_field_is_what_the_request_has() {
    let exchange = exchange();
    for text in [
        "http.host eq \"www.example.com\"",
        "http.request.method eq \"GET\" and ssl",
        "http.request.uri eq \"/a.b/File.JPG?q=1&&q=2&empty\"",
        "http.request.uri.path eq \"/a.b/File.JPG\"",
        "http.request.uri.path.extension eq \"jpg\"",
        "http.request.uri.query eq \"q=1&&q=2&empty\"",
        "http.request.full_uri eq \"https://www.example.com:8443/a.b/File.JPG?q=1&&q=2&empty\"",
        "http.request.version eq \"HTTP/2\"",
        "http.cookie eq \"a=1; session=x=y; a=2;; flag\"",
        "http.user_agent eq \"curl/8\" and http.referer eq \"\"",
        "http.x_forwarded_for eq \"203.0.113.1, 203.0.113.2\"",
        "http.request.timestamp.sec eq 1700000000",
        "ip.src in {192.0.2.0/24}",
        "http.request.headers[\"accept\"][1] eq \"image/webp\"",
        "len(http.request.headers[\"none\"]) eq 0 and len(http.request.headers[\"not a name\"]) eq 0",
        "len(http.request.headers.names) eq 4 and len(http.request.headers.values) eq 6",
        "http.request.cookies[\"session\"][0] eq \"x=y\"",
        "http.request.cookies[\"a\"][1] eq \"2\" and http.request.cookies[\"flag\"][0] eq \"\"",
        "len(http.request.uri.args[\"q\"]) eq 2 and http.request.uri.args[\"empty\"][0] eq \"\"",
        "all(http.request.uri.args.names[*] in {\"q\" \"empty\"}) and any(http.request.uri.args.values[*] eq \"2\")",
    ] {
        let expression = RuleExpression::parse(text).unwrap();
        assert!(expression.parsed().holds(&Asked(&exchange)), "{text}");
    }
}
