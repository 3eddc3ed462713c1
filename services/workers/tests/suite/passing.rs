//! Workers that throw, and have their requests go on to what lies behind them (`passThroughOnException`).

use futures_util::StreamExt as _;
use http::Method;
use proxima_model::{BindingValue, ModuleKind, Timestamp, WorkerName, WorkerSyntax};
use proxima_pipeline::{Body, Exchange, Tail, TailSeen, WorkerSeen};
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Code, OWN, Running, with_engine},
    own::{ask_until, with_own},
};

/// What the tests' Workers do; `PASS` is replaced by how they ask for it.
const BODY: &str = "const { pathname } = new URL(request.url);
    if (pathname === '/hello') return new Response('hello');
    if (pathname !== '/fail') PASS.passThroughOnException();
    if (pathname === '/fine') return new Response('fine');
    if (pathname === '/read') await request.text();
    if (pathname === '/clone') await request.clone().text();
    if (pathname === '/none') return 'no response';
    if (pathname === '/hang') await new Promise(() => {});
    if (pathname === '/spent') for (;;) await (await fetch('http://a.example/')).text();
    throw new TypeError('boom');";

fn object() -> Code {
    Code::fetch(&BODY.replace("PASS", "ctx"))
}

fn class() -> Code {
    Code::module(&format!(
        "import {{ WorkerEntrypoint }} from 'cloudflare:workers';
         export default class extends WorkerEntrypoint {{ async fetch(request) {{ {} }} }}",
        BODY.replace("PASS", "this.ctx")
    ))
}

fn script() -> Code {
    let text = format!(
        "addEventListener('fetch', (event) => event.respondWith(answer(event, event.request)));
         async function answer(event, request) {{ {} }}",
        BODY.replace("PASS", "event")
    );
    Code {
        modules: vec![("worker.js", ModuleKind::CommonJs, text.into())],
        syntax: WorkerSyntax::ServiceWorker,
        ..Code::module("")
    }
}

async fn post(running: &Running, name: &str, target: &str, body: Body) -> Answer {
    let mut exchange = running.exchange(OWN, name, target);
    exchange.request.method = Method::POST;
    exchange.request_body = body;
    Answer::read(running.run(&mut exchange).await).await
}

/// What was asked behind for a request to `www.example.com`.
fn behind(method: &str, target: &str, body: &str) -> String {
    format!(
        "{OWN} {method} https://www.example.com{target} [\"cf-connecting-ip=\\\"192.0.2.7\\\"\"] {body:?}"
    )
}

/// How a Worker was seen to end.
fn outcome(exchange: &Exchange) -> &'static str {
    exchange.extensions.get::<WorkerSeen>().unwrap().outcome
}

/// That a Worker of such code has its requests pass where it says so, and else answers for itself.
async fn passes(running: &Running, name: &str) {
    for target in ["/boom?a=b", "/none", "/hang"] {
        let answer = running.get(OWN, name, target).await;
        assert!(answer.is(200, &behind("GET", target, "")), "{name} {target}: {answer:?}");
        assert!(!answer.headers.keys().any(|field| field.as_str().starts_with("proxima")), "{answer:?}");
    }
    assert!(running.get(OWN, name, "/fine").await.is(200, "fine"));
    assert!(running.get(OWN, name, "/fail").await.is_error(500, 1101), "{name} did not say so");
    for target in ["/boom", "/clone"] {
        let answer = post(running, name, target, Body::full("sent")).await;
        assert!(answer.is(200, &behind("POST", target, "sent")), "{name} {target}: {answer:?}");
    }
    let (mut upload, body) = Body::channel(1, None);
    let sending = async {
        for piece in ["in ", "pieces"] {
            upload.send(piece.into()).await.unwrap();
        }
        upload.finish().await;
    };
    let (answer, ()) = tokio::join!(post(running, name, "/boom", body), sending);
    assert!(answer.is(200, &behind("POST", "/boom", "in pieces")), "{name}: {answer:?}");
    let answer = post(running, name, "/read", Body::full("sent")).await;
    assert!(answer.is_error(500, 1101), "{name}: what was read cannot be sent on: {answer:?}");
}

#[test]
fn a_worker_that_throws_has_its_request_go_on_if_it_said_so() {
    with_engine("", async |running| {
        for (name, code) in [("object", object()), ("class", class()), ("script", script())] {
            running.upload(OWN, name, code).await;
            passes(&running, name).await;
        }
        let metrics = running.node.metrics.encode();
        // Of each: two of GET and three of POST; of one that never answers the engine says nothing.
        assert!(metrics.contains("proxima_workers_requests_total{outcome=\"Passed\"} 15"), "{metrics}");
        assert!(metrics.contains("proxima_workers_requests_total{outcome=\"Threw\"} 6"), "{metrics}");
        let mut exchange = running.exchange(OWN, "object", "/boom");
        running.run(&mut exchange).await;
        let noted = |entry: &proxima_pipeline::TraceEntry| entry.decision.contains("the request passed it");
        assert!(exchange.trace.entries().iter().any(noted), "{:?}", exchange.trace.entries());
        assert_eq!(outcome(&exchange), "exception", "as live logs have it");
    });
}

#[test]
fn a_worker_that_runs_alone_has_its_requests_go_on_alike() {
    with_own("own_processes_max = 2", async |running| {
        for (name, code, own) in [("object", object(), 1), ("class", class(), 2)] {
            running.upload(OWN, name, code).await;
            ask_until(&running, name, "/hello", own, "hello").await;
            passes(&running, name).await;
        }
    });
}

#[test]
fn a_worker_that_may_ask_for_nothing_more_has_its_request_go_on_all_the_same() {
    with_own("own_processes_max = 1\nsubrequests_max = 3", async |running| {
        running.upload(OWN, "app", object()).await;
        for place in ["shared", "alone"] {
            let answer = running.get(OWN, "app", "/spent").await;
            assert!(answer.is(200, &behind("GET", "/spent", "")), "{place}: {answer:?}");
            if place == "shared" {
                ask_until(&running, "app", "/hello", 1, "hello").await;
            }
        }
    });
}

#[test]
fn a_handler_that_cannot_be_changed_and_one_that_is_bound_to_pass_requests_too() {
    with_engine("", async |running| {
        let handler = format!("async fetch(request, env, ctx) {{ {} }}", BODY.replace("PASS", "ctx"));
        let frozen = Code::module(&format!("export default Object.freeze({{ {handler} }})"));
        running.upload(OWN, "frozen", frozen).await;
        let answer = running.get(OWN, "frozen", "/boom").await;
        assert!(answer.is(200, &behind("GET", "/boom", "")), "{answer:?}");
        running.upload(OWN, "back", object()).await;
        let mut front = Code::fetch("return env.BACK.fetch(request)");
        let worker = WorkerName::parse("back").unwrap();
        front.bindings = vec![("BACK", BindingValue::Service { worker, entrypoint: None, props: None })];
        running.upload(OWN, "front", front).await;
        let mut exchange = running.exchange(OWN, "front", "/boom");
        let answer = Answer::read(running.run(&mut exchange).await).await;
        assert!(answer.is(200, &behind("GET", "/boom", "")), "{answer:?}");
        assert_eq!(outcome(&exchange), "ok", "another Worker threw");
    });
}

#[test]
fn who_looks_sees_what_was_thrown() {
    with_engine("", async |running| {
        running.upload(OWN, "app", object()).await;
        let tail = Tail {
            id: "t".to_owned(),
            account: OWN,
            worker: WorkerName::parse("app").unwrap(),
            expires: Timestamp::from_millis(i64::MAX),
            filters: Vec::new(),
        };
        let mut seen = running.service.tails().open(tail).unwrap();
        assert!(running.get(OWN, "app", "/boom").await.is(200, &behind("GET", "/boom", "")));
        let Some(TailSeen::Event(event)) = seen.next().await else { panic!("no event") };
        let event: Value = serde_json::from_slice(&event).unwrap();
        assert_eq!(event["outcome"], "exception", "{event}");
        let exceptions: Vec<_> =
            event["exceptions"].as_array().unwrap().iter().map(|told| &told["message"]).collect();
        assert_eq!(exceptions, [&json!("boom")], "{event}");
    });
}
