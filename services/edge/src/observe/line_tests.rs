use std::{sync::Arc, time::Duration};

use http::StatusCode;
use proxima_pipeline::{WorkerTook, cache_status};
use serde_json::Value;

use super::*;
use crate::stages::tests::fixtures::{exchange, site_of, with_field, zone};

fn ended() -> Ended {
    Ended {
        answered: Some((StatusCode::OK, Duration::from_millis(12))),
        cache: cache_status(Some(b"MISS")),
        request_bytes: 321,
        response_bytes: 4_321,
        origin: None,
    }
}

fn told(exchange: &Exchange, ended: &Ended, query: bool) -> Value {
    let content_type = HeaderValue::from_static("text/html");
    let about = About { exchange, ended, content_type: Some(&content_type), sample_interval: 7, query };
    let line = line(about).unwrap();
    assert_eq!(line.iter().filter(|octet| **octet == b'\n').count(), 1, "one line, whatever is in it");
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn a_line_tells_what_was_asked_and_answered_under_the_names_of_http_requests() {
    let mut asked =
        with_field(exchange("https://www.example.com/a?token=x"), "user-agent", "a \"quoted\" one");
    asked = with_field(asked, "referer", "https://other.example/page?secret=1#there");
    asked = with_field(asked, "cookie", "session=s3cret");
    asked = with_field(asked, "authorization", "Bearer s3cret");
    asked.site = Some(site_of(zone("example.com"), &[], Vec::new()));
    asked.extensions.insert(OriginSeen {
        address: Some("192.0.2.80".parse().unwrap()),
        status: Some(StatusCode::NOT_MODIFIED),
        took: Duration::from_millis(34),
    });
    let mut line = told(&asked, &ended(), false);
    let fields = line.as_object_mut().unwrap();
    assert_eq!(fields.remove("RayID").unwrap(), *asked.ray.to_string().strip_suffix("-FRA").unwrap());
    assert_eq!(fields.remove("EdgeStartTimestamp").unwrap(), "2025-11-24T16:00:00.123000Z");
    assert!(fields.remove("EdgeEndTimestamp").unwrap().as_str().unwrap().starts_with("2025-11-24T16:00:0"));
    assert_eq!(
        line,
        serde_json::json!({
            "EdgeColoCode": "FRA",
            "ZoneName": "example.com",
            "ClientIP": "192.0.2.7",
            "ClientSrcPort": 40_000,
            "ClientSSLProtocol": "TLSv1.3",
            "ClientRequestProtocol": "HTTP/1.1",
            "ClientRequestScheme": "https",
            "ClientRequestMethod": "GET",
            "ClientRequestHost": "www.example.com",
            "ClientRequestURI": "/a",
            "ClientRequestReferer": "https://other.example/page",
            "ClientRequestUserAgent": "a \"quoted\" one",
            "ClientRequestBytes": 321,
            "EdgeResponseStatus": 200,
            "EdgeResponseBytes": 4_321,
            "EdgeResponseContentType": "text/html",
            "EdgeTimeToFirstByteMs": 12,
            "CacheCacheStatus": "miss",
            "CacheResponseStatus": 200,
            "OriginIP": "192.0.2.80",
            "OriginResponseStatus": 304,
            "OriginResponseDurationMs": 34,
            "WorkerCPUTime": 0,
            "WorkerStatus": "unknown",
            "WorkerWallTimeUs": 0,
            "SampleInterval": 7,
        })
    );
    let line = told(&asked, &ended(), true);
    assert_eq!(line["ClientRequestURI"], "/a?token=x");
    assert_eq!(line["ClientRequestReferer"], "https://other.example/page?secret=1#there");
    assert!(!line.to_string().contains("s3cret"), "credentials never: {line}");
}

#[test]
fn who_left_before_the_answer_has_a_line_too() {
    let line = told(&exchange("http://nowhere.example/"), &Ended { answered: None, ..ended() }, false);
    assert_eq!(line["EdgeResponseStatus"], 499);
    assert_eq!((&line["ZoneName"], &line["ClientSSLProtocol"]), (&"".into(), &"none".into()));
    assert_eq!((&line["OriginIP"], &line["OriginResponseStatus"]), (&Value::Null, &0.into()));
}

#[test]
fn a_line_tells_what_a_worker_took_and_how_it_ended() {
    let mut asked = exchange("https://www.example.com/");
    let took = Arc::<WorkerTook>::default();
    asked.extensions.insert(WorkerSeen { outcome: "exceededCpu", took: Arc::clone(&took) });
    let of = |line: &Value| {
        let time = |field: &str| line[field].as_u64().unwrap();
        (line["WorkerStatus"].as_str().unwrap().to_owned(), time("WorkerCPUTime"), time("WorkerWallTimeUs"))
    };
    assert_eq!(of(&told(&asked, &ended(), false)), ("exceededCpu".to_owned(), 0, 0), "it has not ended");
    took.add(Duration::from_nanos(1_234_567), Duration::from_millis(20));
    took.add(Duration::from_nanos(1_000_433), Duration::from_millis(5));
    assert_eq!(of(&told(&asked, &ended(), false)), ("exceededCpu".to_owned(), 2_235, 25_000));
}

#[test]
fn long_values_are_cut_between_characters_and_what_is_no_text_is_replaced() {
    let mut asked = exchange("http://www.example.com/");
    let long = "ä".repeat(VALUE_BYTES_MAX);
    let mut put = |octets: &[u8]| {
        asked.request.headers.insert("user-agent", HeaderValue::from_bytes(octets).unwrap());
        told(&asked, &ended(), false)["ClientRequestUserAgent"].as_str().unwrap().to_owned()
    };
    assert_eq!(put(long.as_bytes()), "ä".repeat(VALUE_BYTES_MAX / 2));
    assert_eq!(put(format!("x{long}").as_bytes()), format!("x{}", "ä".repeat(VALUE_BYTES_MAX / 2 - 1)));
    assert_eq!(put(&"x".repeat(VALUE_BYTES_MAX).into_bytes()), "x".repeat(VALUE_BYTES_MAX));
    assert_eq!(put(b"\xff\x80 ok"), "\u{fffd}\u{fffd} ok");
}

#[test]
fn the_sample_is_the_same_for_the_same_ray() {
    let rays: Vec<_> = (0..4_000).map(|_| exchange("http://www.example.com/").ray).collect();
    assert!(rays.iter().all(|ray| ray.is_sampled(1)));
    let sampled = rays.iter().filter(|ray| ray.is_sampled(4)).count();
    assert!((700..1_300).contains(&sampled), "{sampled} of 4,000");
    assert!(
        rays.iter().all(|ray| !ray.is_sampled(8) || ray.is_sampled(4)),
        "a smaller sample lies in a larger one"
    );
}
