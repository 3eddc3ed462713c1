//! Answers that are encoded on their way.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use prometheus_client::registry::Registry;
use proxima_compression::{Coding, Compressor, Metrics, encoder::decode};
use proxima_pipeline::{Body, Exchange, Response, Stage};

use super::fixtures::{exchange, site_of, with_field, zone};
use crate::stages::Compression;

type Fields<'a> = &'a [(&'static str, &'static str)];

const TEXT: &str = include_str!("compression.rs");
const PLAIN: Fields<'_> = &[("content-type", "text/plain"), ("etag", "\"1\"")];

/// The answer with these fields as it leaves the stage.
fn leave(streams: usize, mut exchange: Exchange, response: Response) -> (Response, Exchange) {
    let metrics = Metrics::register(&mut Registry::default());
    let stage = Compression::new(Compressor::with(metrics, streams, 1));
    exchange.site.get_or_insert_with(|| site_of(zone("example.com"), &[], Vec::new()));
    exchange.response = Some(response);
    stage.on_response(&mut exchange);
    (exchange.response.take().unwrap(), exchange)
}

fn asking(fields: Fields<'_>) -> Exchange {
    let all = fields.iter();
    all.fold(exchange("https://www.example.com/"), |exchange, (name, value)| {
        with_field(exchange, name, value)
    })
}

fn response(fields: Fields<'_>) -> Response {
    let mut response = Response { body: Body::full(TEXT), ..Response::default() };
    for (name, value) in fields {
        response.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

#[tokio::test]
async fn a_client_gets_the_coding_that_it_likes_best() {
    for (accepted, coding) in [
        ("gzip, deflate, br, zstd", Coding::Zstd),
        ("gzip, deflate, br", Coding::Br),
        ("gzip, br;q=0.9", Coding::Gzip),
    ] {
        let (answer, exchange) = leave(1, asking(&[("accept-encoding", accepted)]), response(PLAIN));
        assert_eq!(answer.headers["content-encoding"], coding.name());
        assert_eq!(
            (&answer.headers["etag"], &answer.headers["vary"]),
            (&HeaderValue::from_static("W/\"1\""), &HeaderValue::from_static("Accept-Encoding"))
        );
        assert_eq!(answer.body.length(), None);
        let octets = answer.body.collect(1 << 20).await.unwrap();
        assert_eq!(decode(coding, &octets).unwrap(), TEXT.as_bytes());
        let noted = &exchange.trace.entries()[0];
        assert_eq!(
            (noted.stage, &*noted.decision),
            ("compression", &*format!("{}: on its way", coding.name()))
        );
    }
}

#[tokio::test]
async fn all_else_goes_as_it_is() {
    let gzip: Fields<'_> = &[("accept-encoding", "gzip")];
    let rows: [(Fields<'_>, Fields<'_>); 6] = [
        (&[], PLAIN),
        (&[("accept-encoding", "gzip"), ("cache-control", "no-transform")], PLAIN),
        (gzip, &[("content-type", "image/png")]),
        (gzip, &[("content-type", "text/plain"), ("content-encoding", "br")]),
        (gzip, &[("content-type", "text/plain"), ("content-range", "bytes 0-1/2")]),
        (gzip, &[("content-type", "text/event-stream")]),
    ];
    let same = async |exchange, given: Response| {
        let (status, etag) = (given.status, given.headers.get("etag").cloned());
        let coding = given.headers.get("content-encoding").cloned();
        let (answer, _) = leave(1, exchange, given);
        assert_eq!((answer.status, answer.headers.get("etag").cloned()), (status, etag));
        assert_eq!(answer.headers.get("content-encoding").cloned(), coding);
        assert_eq!(answer.body.collect(1 << 20).await.unwrap(), TEXT);
    };
    for (request, fields) in rows {
        same(asking(request), response(fields)).await;
    }
    for status in [StatusCode::PARTIAL_CONTENT, StatusCode::NOT_FOUND] {
        same(asking(gzip), Response { status, ..response(PLAIN) }).await;
    }
    same(asking(gzip), Response { coding_settled: true, ..response(PLAIN) }).await;
    let mut post = asking(gzip);
    post.request.method = Method::POST;
    same(post, response(PLAIN)).await;
    let (busy, exchange) = leave(0, asking(gzip), response(PLAIN));
    assert!(!busy.headers.contains_key("content-encoding"));
    assert_eq!(busy.body.collect(1 << 20).await.unwrap(), TEXT);
    assert!(exchange.trace.entries()[0].decision.contains("too much"));
}

#[test]
fn head_has_the_fields_of_get_and_a_304_the_tag_that_its_client_has() {
    let head = |length: &'static str| {
        let mut exchange = asking(&[("accept-encoding", "gzip")]);
        exchange.request.method = Method::HEAD;
        let fields = [("content-type", "text/plain"), ("content-length", length)];
        leave(1, exchange, Response { body: Body::empty(), ..response(&fields) }).0
    };
    let long = head("5000");
    assert_eq!(long.headers["content-encoding"], "gzip");
    assert!(!long.headers.contains_key("content-length") && long.body.is_empty());
    assert_eq!(head("9").headers["content-length"], "9");

    let asked = asking(&[("accept-encoding", "gzip"), ("if-none-match", "W/\"1\"")]);
    let given = Response { status: StatusCode::NOT_MODIFIED, ..response(&[("etag", "\"1\"")]) };
    assert_eq!(leave(1, asked, given).0.headers["etag"], "W/\"1\"");
}

#[test]
fn a_zone_may_do_without_brotli() {
    let mut zone = zone("example.com");
    zone.settings.brotli = false;
    let mut asked = asking(&[("accept-encoding", "gzip;q=0.5, br")]);
    asked.site = Some(Arc::clone(&site_of(zone, &[], Vec::new())));
    assert_eq!(leave(1, asked, response(PLAIN)).0.headers["content-encoding"], "gzip");
}
