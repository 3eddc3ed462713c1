//! Requests that are answered where they lie, by a stage that has some answers ready: `/ready` at once, `/ready-big` with
//! many octets. By the long way, the script answers both with its usual echo.

use proxima_pipeline::{PreparedHead, Ready};

use super::counted::counted;
use super::*;

const HEADER: (&str, &str) = ("x-ready", "1");

/// What the script says at a glance.
pub(super) fn sight(glance: &Glance<'_>) -> Sight {
    let body = match glance.path() {
        "/ready" => Bytes::from(format!("ready for {} at {:?}", glance.host, glance.port)),
        "/ready-big" => Bytes::from(vec![b'x'; BIG_BYTES]),
        _ => return Sight::Unsure,
    };
    let headers: HeaderMap = [HEADER]
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
        .into_iter()
        .collect();
    let head = Arc::new(PreparedHead::new(glance.form, StatusCode::OK, &headers, body.len() as u64));
    Sight::Ready(Ready { head, age_seconds: 7, body, cache: 0 })
}

fn is_ready(answer: &Answer) -> bool {
    answer.head.headers.contains_key(HEADER.0)
}

#[tokio::test]
async fn plain_requests_are_answered_with_what_is_ready_in_order_also_when_pipelined() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for path in ["/ready", "/ready?query"] {
        let answer = client.get(path).await;
        assert_eq!((answer.text(), answer.field("age")), ("ready for a.example at None", "7"));
    }
    let mut pipelined = String::new();
    for index in 0..50 {
        let path = ["/ready", "/now", "/other"][index % 3];
        pipelined += &format!("GET {path} HTTP/1.1\r\nHost: a.example:81\r\nConnection: keep-alive\r\n\r\n");
    }
    client.send(pipelined).await;
    for index in 0..50 {
        let expected = ["ready for a.example at Some(81)", "now", "GET /other"][index % 3];
        let answer = client.answer().await;
        assert_eq!(answer.text(), expected);
        assert!(!answer.says_close());
    }
}

#[tokio::test]
async fn a_request_that_comes_octet_by_octet_is_answered_all_the_same() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for octet in b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n" {
        client.send([*octet]).await;
        tokio::task::yield_now().await;
    }
    assert!(is_ready(&client.answer().await));
}

#[tokio::test]
async fn whoever_asks_for_more_gets_it_by_the_long_way() {
    let server = Server::start().await;
    for (request, says_close) in [
        ("GET /ready HTTP/1.1\r\nHost: a.example\r\nheeded: 1\r\n\r\n", false),
        ("GET /ready HTTP/1.1\r\nHost: a.example\r\nHeeded: 1\r\n\r\n", false),
        ("GET /ready HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nab", false),
        ("GET /ready HTTP/1.1\r\nHost: A.example\r\n\r\n", false),
        ("GET /ready HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n", true),
        ("GET /ready HTTP/1.0\r\nHost: a.example\r\n\r\n", true),
    ] {
        let mut client = server.connect().await;
        client.send(request).await;
        let answer = client.answer().await;
        assert_eq!((answer.text(), is_ready(&answer)), ("GET /ready", false), "{request}");
        assert_eq!(answer.says_close(), says_close, "{request}");
        if !says_close {
            assert!(is_ready(&client.get("/ready").await), "after {request}");
        }
    }
}

#[tokio::test]
async fn the_last_answer_of_a_connection_says_so_by_the_long_way() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    assert!(is_ready(&client.get("/ready").await));
    let mut late = server.connect().await;
    late.send("GET /re").await;
    while server.ending.connections.len() < 2 {
        tokio::task::yield_now().await;
    }
    server.ending.drain.cancel();
    late.send("ady HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    let last = late.answer().await;
    assert!(!is_ready(&last) && last.says_close());
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn what_is_answered_at_a_glance_counts_as_it_does_by_the_long_way() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let asked = "GET /ready HTTP/1.1\r\nHost: a.example\r\nAccept: x\r\n";
    client.send(format!("{asked}Connection: keep-alive\r\n\r\n")).await;
    within(async {
        while !client.buffer.ends_with(b"None") {
            client.io.read_buf(&mut client.buffer).await.unwrap();
        }
    })
    .await;
    let short = counted(&server.context, 1).await;
    assert_eq!(short.response_bytes(), client.buffer.split().len() as u64);
    client.send(format!("{asked}Keep-Alive: 1\r\n\r\n")).await;
    assert_eq!(client.answer().await.text(), "GET /ready");
    let long = counted(&server.context, 2).await.since(&short);
    assert_eq!((short.ends(), short.request_bytes()), (long.ends(), long.request_bytes()));
    assert_eq!((short.caches()[0], long.caches()[0]), (1, 0));
}

#[tokio::test]
async fn a_slow_reader_of_a_ready_answer_is_in_flight_and_counts_when_it_leaves() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("GET /ready-big HTTP/1.1\r\nHost: a\r\n\r\n").await;
    within(async {
        while server.context.metrics.in_flight() != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(client);
    let cut = counted(&server.context, 1).await;
    assert!(cut.response_bytes() < BIG_BYTES as u64 && cut.ends()[1] == 1, "{cut:?}");
    assert_eq!(server.context.metrics.in_flight(), 0);
    let mut client = server.connect().await;
    let answer = client.get("/ready-big").await;
    assert!(answer.whole && answer.body.len() == BIG_BYTES);
    let whole = counted(&server.context, 2).await.since(&cut);
    assert!(whole.response_bytes() > BIG_BYTES as u64);
}
