//! The way there and back, and what a fault becomes.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use http::{HeaderMap, Method, StatusCode, header};
use proxima_model::{PopCode, Timestamp};
use proxima_pipeline::{
    Body, BodyError, Client, Decision, Exceeded, Exchange, Fault, Flow, Pipeline, Protocol, RayId, Request,
    Response, Scheme, Stage, Trace,
};

fn exchange() -> Exchange {
    let address = "192.0.2.1:1234".parse().unwrap();
    let client = Client { address, local: address, protocol: Protocol::Http11, tls: None };
    let request = Request {
        method: Method::GET,
        scheme: Scheme::Https,
        host: "www.example.com".into(),
        port: Some(8443),
        target: "/a?b".parse().unwrap(),
        headers: HeaderMap::new(),
        upgrade: None,
    };
    let ray = RayId::new(PopCode::parse("FRA").unwrap());
    Exchange::new(ray, client, request, Body::empty(), Timestamp::from_millis(0))
}

/// Writes down when it is called, and decides as it is told.
struct Recorder {
    name: &'static str,
    calls: Arc<Mutex<Vec<String>>>,
    decide: fn() -> Flow,
    wait: bool,
}

impl Stage for Recorder {
    fn name(&self) -> &'static str {
        self.name
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        self.calls.lock().unwrap().push(format!("{} there", self.name));
        exchange.trace.note(self.name, || "decided");
        if self.wait {
            let decide = self.decide;
            return Decision::Later(
                async move {
                    tokio::task::yield_now().await;
                    decide()
                }
                .boxed(),
            );
        }
        Decision::Now((self.decide)())
    }

    fn on_response(&self, exchange: &mut Exchange) {
        assert!(exchange.response.is_some());
        self.calls.lock().unwrap().push(format!("{} back", self.name));
    }
}

async fn run(decisions: &[fn() -> Flow]) -> (Exchange, Vec<String>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let stages =
        ["one", "two", "three"].into_iter().zip(decisions).enumerate().map(|(index, (name, decide))| {
            Box::new(Recorder { name, calls: calls.clone(), decide: *decide, wait: index % 2 == 1 })
                as Box<dyn Stage>
        });
    let mut exchange = exchange();
    exchange.trace = Trace::kept();
    Pipeline::new(stages.collect()).run(&mut exchange).await;
    let calls = calls.lock().unwrap().clone();
    (exchange, calls)
}

const CONTINUE: fn() -> Flow = || Flow::Continue;
const RESPOND: fn() -> Flow =
    || Flow::Respond(Response { status: StatusCode::IM_A_TEAPOT, ..Response::default() });
const FAIL: fn() -> Flow = || Flow::Fail(Fault::OriginDown);

#[tokio::test]
async fn stages_run_in_order_there_and_in_reverse_back_and_the_one_that_answers_does_not_run_back() {
    let (exchange, calls) = run(&[CONTINUE, CONTINUE, RESPOND]).await;
    assert_eq!(calls, ["one there", "two there", "three there", "two back", "one back"]);
    assert_eq!(exchange.response.unwrap().status, StatusCode::IM_A_TEAPOT);
    let noted: Vec<_> = exchange.trace.entries().iter().map(|entry| entry.stage).collect();
    assert_eq!(noted, ["one", "two", "three"]);
}

#[tokio::test]
async fn an_early_answer_skips_the_rest() {
    let (_, calls) = run(&[CONTINUE, RESPOND, FAIL]).await;
    assert_eq!(calls, ["one there", "two there", "one back"]);
}

#[tokio::test]
async fn a_fault_becomes_an_answer_that_the_way_back_sees_with_its_reason() {
    let (exchange, calls) = run(&[CONTINUE, FAIL]).await;
    assert_eq!(calls, ["one there", "two there", "one back"]);
    assert_eq!(exchange.extensions.get::<Fault>(), Some(&Fault::OriginDown));
    let response = exchange.response.unwrap();
    assert_eq!(response.status.as_u16(), 521);
    assert_eq!(response.headers[header::CACHE_CONTROL], "private, no-store");
}

#[tokio::test]
async fn a_pipeline_in_which_nobody_answers_says_that_it_is_our_fault() {
    let (exchange, _) = run(&[CONTINUE]).await;
    assert_eq!(exchange.response.unwrap().status, StatusCode::INTERNAL_SERVER_ERROR);
}

async fn answered(fault: Fault, accept: &'static str) -> (Response, String) {
    let mut exchange = exchange();
    exchange.request.host = "<script>.example".into();
    exchange.request.headers.insert(header::ACCEPT, accept.parse().unwrap());
    let mut response = proxima_pipeline::answer(&fault, &exchange);
    let text = std::mem::take(&mut response.body).collect(1 << 20).await.unwrap();
    (response, String::from_utf8(text.to_vec()).unwrap())
}

#[tokio::test]
async fn people_get_a_page_and_nothing_of_the_request_becomes_markup() {
    let (response, page) = answered(Fault::OriginTls, "text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert_eq!(response.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    assert!(page.contains("error 525") && page.contains("-FRA") && page.contains("&lt;script&gt;"));
    assert!(!page.contains("<script>"));
}

#[tokio::test]
async fn programs_get_json_that_says_whose_fault_it_was_and_whether_to_retry() {
    let (response, text) = answered(Fault::OriginTimeout, "application/json").await;
    assert_eq!(response.status.as_u16(), 524);
    let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["blame"], "origin");
    assert_eq!(problem["retry"], true);
    assert_eq!(problem["name"], "origin_timeout");
    assert!(problem["ray"].as_str().unwrap().ends_with("-FRA"));
}

#[tokio::test]
async fn a_channel_body_that_is_shorter_or_longer_than_it_said_is_an_error() {
    for (said, sent, outcome) in
        [(3, "abc", Ok(())), (4, "abc", Err(BodyError::WrongLength)), (2, "abc", Err(BodyError::WrongLength))]
    {
        let (mut sender, body) = Body::channel(4, Some(said));
        sender.send(sent.into()).await.unwrap();
        sender.finish().await;
        assert_eq!(body.collect(100).await.map(|_| ()), outcome);
    }
}

#[tokio::test]
async fn a_body_keeps_what_it_holds_until_it_has_gone() {
    for body in [Body::empty(), Body::full("abc")] {
        let (place, length) = (Arc::new(()), body.length());
        let mut body = body.holding(Arc::clone(&place));
        assert_eq!(body.length(), length);
        while body.next_frame().await.transpose().unwrap().is_some() {}
        assert_eq!(Arc::strong_count(&place), 2, "who has it may still be sending");
        drop(body);
        assert_eq!(Arc::strong_count(&place), 1);
    }
}

#[tokio::test]
async fn a_received_body_that_ends_early_is_aborted_whatever_its_library_says() {
    assert!(Body::received(Body::empty()).is_empty());
    let whole = Body::received(Body::full("abc"));
    assert_eq!((whole.length(), whole.collect(100).await.unwrap().as_ref()), (Some(3), &b"abc"[..]));
    let (mut sender, body) = Body::channel(4, Some(4));
    sender.send("abc".into()).await.unwrap();
    sender.finish().await;
    assert_eq!(Body::received(body).collect(100).await, Err(BodyError::Aborted));
}

#[tokio::test]
async fn a_channel_body_whose_sender_vanishes_is_aborted_not_ended() {
    let (mut sender, body) = Body::channel(4, None);
    sender.send("abc".into()).await.unwrap();
    drop(sender);
    assert_eq!(body.collect(100).await, Err(BodyError::Aborted));
}

#[tokio::test]
async fn collecting_stops_at_the_limit() {
    assert_eq!(Body::full("abc").collect(2).await, Err(BodyError::TooLarge));
}

#[test]
fn a_url_names_the_port_only_if_it_is_not_the_schemes() {
    let mut request = exchange().request;
    assert_eq!(request.url(), "https://www.example.com:8443/a?b");
    request.port = Some(443);
    assert_eq!(request.url(), "https://www.example.com/a?b");
}

/// Every fault there is: its status, and the code that people look up.
#[test]
fn every_fault_has_the_status_and_the_code_that_operators_know_it_by() {
    let table = [
        (Fault::BadRequest("x"), 400, 400),
        (Fault::Forbidden("x"), 403, 403),
        (Fault::MethodNotAllowed, 405, 405),
        (Fault::RequestTimeout, 408, 408),
        (Fault::BodyTooLarge, 413, 413),
        (Fault::TargetTooLong, 414, 414),
        (Fault::ExpectationUnmet, 417, 417),
        (Fault::Misdirected, 421, 421),
        (Fault::HeadersTooLarge, 431, 431),
        (Fault::Internal("x"), 500, 500),
        (Fault::WorkerThrew, 500, 1101),
        (Fault::WorkerBroken("x"), 500, 1101),
        (Fault::NotImplemented("x"), 501, 501),
        (Fault::WorkerLost, 502, 502),
        (Fault::WorkerExceeded(Exceeded::Cpu), 503, 1102),
        (Fault::WorkerLockedOut { last: Exceeded::Memory, seconds: 1 }, 503, 1102),
        (Fault::WorkersUnavailable("x"), 503, 503),
        (Fault::BucketUnavailable, 503, 503),
        (Fault::Overloaded, 503, 503),
        (Fault::Behind, 503, 503),
        (Fault::NotCached, 504, 504),
        (Fault::VersionUnsupported, 505, 505),
        (Fault::Loop, 508, 508),
        (Fault::WorkerLoop, 508, 1019),
        (Fault::OriginMalformed("x"), 520, 520),
        (Fault::OriginClosed, 520, 520),
        (Fault::OriginDown, 521, 521),
        (Fault::OriginConnectTimeout, 522, 522),
        (Fault::OriginUnreachable, 523, 523),
        (Fault::OriginTimeout, 524, 524),
        (Fault::OriginTls, 525, 525),
        (Fault::OriginCertificate, 526, 526),
        (Fault::OriginForbidden, 530, 1000),
        (Fault::HostUnknown, 530, 1001),
        (Fault::OriginName, 530, 1016),
    ];
    for (fault, status, code) in &table {
        assert_eq!((fault.status().as_u16(), fault.code()), (*status, *code), "{fault:?}");
        // A fault that is added must come into the table: the compiler asks for it here.
        match fault {
            Fault::BadRequest(_)
            | Fault::RequestTimeout
            | Fault::BodyTooLarge
            | Fault::TargetTooLong
            | Fault::HeadersTooLarge
            | Fault::MethodNotAllowed
            | Fault::NotImplemented(_)
            | Fault::ExpectationUnmet
            | Fault::VersionUnsupported
            | Fault::Misdirected
            | Fault::HostUnknown
            | Fault::Forbidden(_)
            | Fault::Loop
            | Fault::NotCached
            | Fault::OriginMalformed(_)
            | Fault::OriginClosed
            | Fault::OriginDown
            | Fault::OriginConnectTimeout
            | Fault::OriginUnreachable
            | Fault::OriginTimeout
            | Fault::OriginTls
            | Fault::OriginCertificate
            | Fault::OriginName
            | Fault::OriginForbidden
            | Fault::WorkerThrew
            | Fault::WorkerBroken(_)
            | Fault::WorkerExceeded(_)
            | Fault::WorkerLockedOut { .. }
            | Fault::WorkerLoop
            | Fault::WorkerLost
            | Fault::WorkersUnavailable(_)
            | Fault::BucketUnavailable
            | Fault::Overloaded
            | Fault::Behind
            | Fault::Internal(_) => {}
        }
    }
    let mut names: Vec<_> = table.iter().map(|(fault, ..)| fault.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), table.len(), "each has a name of its own");
}
