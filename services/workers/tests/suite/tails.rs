//! Live logs, as the engine tells what Workers do.

use std::time::Duration;

use futures_util::StreamExt as _;
use proxima_model::{BindingValue, Timestamp, WorkerName};
use proxima_pipeline::{CronTrigger, Tail, TailFilter, TailSeen, TailStream};
use serde_json::{Value, json};

use crate::{
    durable::{NAMESPACE, namespaces},
    harness::{Code, DEADLINE, OWN, Running, with_engine},
    spent::COMPUTES,
};

const AT: Timestamp = Timestamp::from_millis(1_700_000_040_000);

fn look(running: &Running, worker: &str, filters: Value) -> TailStream {
    let tail = Tail {
        id: worker.to_owned(),
        account: OWN,
        worker: WorkerName::parse(worker).unwrap(),
        expires: Timestamp::from_millis(i64::MAX),
        filters: serde_json::from_value::<Vec<TailFilter>>(filters).unwrap(),
    };
    running.service.tails().open(tail).unwrap()
}

async fn next(seen: &mut TailStream) -> Value {
    match tokio::time::timeout(DEADLINE, seen.next()).await.expect("an event") {
        Some(TailSeen::Event(event)) => serde_json::from_slice(&event).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// What was logged, argument by argument.
fn said(event: &Value) -> Vec<&Value> {
    event["logs"].as_array().unwrap().iter().map(|log| &log["message"]).collect()
}

#[test]
fn who_looks_sees_what_a_worker_logs_and_throws_and_how_it_ended() {
    with_engine("", async |running| {
        let code = Code::fetch(
            "console.log('one', { two: [3, null] });
             console.error('wrong');
             if (request.url.endsWith('throw')) throw new TypeError('boom');
             ctx.waitUntil(scheduler.wait(30).then(() => console.warn('later')));
             return new Response('here', { status: 201 })",
        );
        let version = running.version(OWN, "app", code).await;
        running.deploy(OWN, "app", &[(version, 10_000)]).await;
        let mut seen = look(&running, "app", json!([]));
        let mut exchange = running.exchange(OWN, "app", "/path?token=0123456789abcdef0123456789abcdef");
        for (name, value) in [("authorization", "Bearer secret"), ("cookie", "a=secret"), ("x-plain", "seen")]
        {
            exchange.request.headers.insert(name, value.parse().unwrap());
        }
        assert_eq!(running.run(&mut exchange).await.status, 201);
        let event = next(&mut seen).await;
        assert_eq!((&event["outcome"], &event["scriptName"]), (&json!("ok"), &json!("app")));
        assert_eq!(event["scriptVersion"]["id"], version.to_string());
        assert_eq!(
            said(&event),
            [&json!(["one", { "two": [3, null] }]), &json!(["wrong"]), &json!(["later"])]
        );
        let levels: Vec<_> = event["logs"].as_array().unwrap().iter().map(|log| &log["level"]).collect();
        assert_eq!(levels, ["log", "error", "warn"]);
        assert!(event["logs"][0]["timestamp"].as_i64() >= event["eventTimestamp"].as_i64(), "{event}");
        assert!(event["wallTime"].as_i64().unwrap() >= 30, "with what it waits for: {event}");
        let request = &event["event"]["request"];
        assert_eq!((&request["method"], &event["event"]["response"]["status"]), (&json!("GET"), &json!(201)));
        assert!(
            request["url"].as_str().unwrap().starts_with("https://www.example.com/path?token="),
            "{event}"
        );
        assert_eq!(request["headers"]["x-plain"], "seen");
        assert_eq!(request["cf"]["colo"], "FRA");
        let text = event.to_string();
        for hidden in ["secret", "0123456789abcdef", "proxima"] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }

        assert!(running.get(OWN, "app", "/throw").await.is_error(500, 1101));
        let event = next(&mut seen).await;
        assert_eq!(event["outcome"], "exception");
        let thrown = &event["exceptions"][0];
        assert_eq!((&thrown["name"], &thrown["message"]), (&json!("TypeError"), &json!("boom")));
        assert_eq!(said(&event).len(), 2);
    });
}

#[test]
fn a_worker_is_loaded_with_a_tail_while_somebody_looks_and_as_before_when_nobody_does() {
    with_engine("", async |running| {
        // Each copy counts for itself.
        let code = "let count = 0;
                    export default { fetch() { console.log(count); return new Response(String(++count)) } }";
        running.upload(OWN, "app", Code::module(code)).await;
        let count = async || running.get(OWN, "app", "/").await.text;
        assert_eq!((count().await, count().await), ("1".to_owned(), "2".to_owned()));
        let mut seen = look(&running, "app", json!([]));
        assert_eq!(count().await, "1", "by a copy with a tail");
        assert_eq!(said(&next(&mut seen).await), [&json!([0])]);
        drop(seen);
        assert_eq!(count().await, "3", "by the first one");
        let another = look(&running, "other", json!([]));
        assert_eq!(count().await, "4", "somebody looks at another Worker");
        drop(another);
        let mut seen = look(&running, "app", json!([]));
        assert_eq!(count().await, "2", "by the copy that is there still");
        assert_eq!(said(&next(&mut seen).await), [&json!([1])], "and nothing of what was before");
    });
}

#[test]
fn cron_triggers_and_workers_that_others_are_bound_to_are_seen() {
    with_engine("", async |running| {
        let back = "export default {
                      fetch(request) { console.log(`asked ${request.url}`); return new Response('back') },
                      scheduled({ cron }) { console.log(`triggered by ${cron}`) },
                    };
                    import { WorkerEntrypoint } from 'cloudflare:workers';
                    export class Named extends WorkerEntrypoint { add(a, b) { console.log(`adds ${a}`); return a + b } }";
        running.upload(OWN, "back", Code::module(back)).await;
        let mut front = Code::fetch(
            "if (request.url.endsWith('/add')) return new Response(await env.NAMED.add(1, 2));
             return env.BACK.fetch('https://back/path')",
        );
        let worker = WorkerName::parse("back").unwrap();
        let bound = |entrypoint: Option<&str>| BindingValue::Service {
            worker: worker.clone(),
            entrypoint: entrypoint.map(str::to_owned),
            props: None,
        };
        front.bindings = vec![("BACK", bound(None)), ("NAMED", bound(Some("Named")))];
        running.upload(OWN, "front", front).await;
        assert!(running.get(OWN, "front", "/").await.is(200, "back"), "it is loaded, with nobody looking");
        let mut seen = look(&running, "back", json!([]));
        assert!(running.get(OWN, "front", "/").await.is(200, "back"));
        assert_eq!(said(&next(&mut seen).await), [&json!(["asked https://back/path"])]);
        assert!(running.get(OWN, "front", "/add").await.is(200, "3"));
        let event = next(&mut seen).await;
        assert_eq!((said(&event), &event["event"]["rpcMethod"]), (vec![&json!(["adds 1"])], &json!("add")));
        let trigger = CronTrigger { cron: "* * * * *", at: AT };
        running.service.invoker().scheduled(OWN, &worker, trigger).await.unwrap();
        let event = next(&mut seen).await;
        assert_eq!(said(&event), [&json!(["triggered by * * * * *"])]);
        assert_eq!(event["event"], json!({ "cron": "* * * * *", "scheduledTime": AT.as_millis() }));
    });
}

#[test]
fn it_is_seen_what_requests_and_cron_triggers_have_had_of_a_processor() {
    with_engine("cpu_ms_max = 60000", async |running| {
        let code = format!(
            "export default {{
               async fetch(request) {{
                 if (request.url.endsWith('computes')) {{ {COMPUTES} console.log(sum); }}
                 else await scheduler.wait(1);
                 return new Response('here');
               }},
               scheduled() {{ {COMPUTES} console.log(sum); }}
             }}"
        );
        running.upload(OWN, "app", Code::module(&code)).await;
        let mut seen = look(&running, "app", json!([]));
        let asked = |target: &str| {
            let mut exchange = running.exchange(OWN, "app", target);
            let ray = exchange.ray.to_string().parse().unwrap();
            exchange.request.headers.insert("cf-ray", ray);
            exchange
        };
        let cpu = |event: &Value| event["cpuTime"].as_u64().unwrap();
        // With the start of the process.
        running.run(&mut asked("/first")).await.body.collect(4).await.unwrap();
        next(&mut seen).await;
        let mut computes = asked("/computes");
        let answer = running.run(&mut computes).await;
        let event = next(&mut seen).await;
        assert!(cpu(&event) >= 50, "though nobody has read the answer yet: {event}");
        drop(answer);
        running.run(&mut asked("/waits")).await.body.collect(4).await.unwrap();
        let waits = next(&mut seen).await;
        assert!(cpu(&waits) < cpu(&event) / 4, "{waits}");
        let trigger = CronTrigger { cron: "* * * * *", at: AT };
        let worker = WorkerName::parse("app").unwrap();
        running.service.invoker().scheduled(OWN, &worker, trigger).await.unwrap();
        let event = next(&mut seen).await;
        assert!(event["event"]["cron"] == "* * * * *" && cpu(&event) >= 50, "{event}");
    });
}

#[test]
fn of_a_worker_that_was_ended_or_never_began_the_node_tells() {
    with_engine("cpu_ms_max = 300", async |running| {
        running.upload(OWN, "spins", Code::fetch("console.log('unseen'); for (;;) {}")).await;
        let mut seen = look(&running, "spins", json!([]));
        assert!(running.get(OWN, "spins", "/a?b=c").await.is_error(503, 1102));
        let event = next(&mut seen).await;
        assert_eq!((&event["outcome"], &event["scriptName"]), (&json!("exceededCpu"), &json!("spins")));
        assert_eq!(event["event"]["request"]["url"], "https://www.example.com/a?REDACTED");
        assert!(event["wallTime"].as_i64().unwrap() >= 300, "{event}");
        assert!(event["cpuTime"].as_i64().unwrap() >= 250, "{event}");
        assert_eq!(event["exceptions"][0]["message"], "Worker exceeded CPU time limit.");
        // From the second time on it is not run for a while.
        let events = async |seen: &mut TailStream| {
            assert!(running.get(OWN, "spins", "/").await.is_error(503, 1102));
            next(seen).await["exceptions"][0]["message"].as_str().unwrap().to_owned()
        };
        assert_eq!(events(&mut seen).await, "Worker exceeded CPU time limit.");
        let refused = events(&mut seen).await;
        assert!(refused.contains("again and again, and is not run for 1 s"), "{refused}");
        running.upload(OWN, "broken", Code::module("syntax error")).await;
        let mut seen = look(&running, "broken", json!([{ "outcome": ["exception"] }]));
        assert!(running.get(OWN, "broken", "/").await.is_error(500, 1101));
        assert_eq!(next(&mut seen).await["exceptions"][0]["message"], "it does not start");
    });
}

#[test]
fn of_a_worker_that_took_too_much_memory_it_is_told_that_it_did() {
    with_engine("memory_bytes_max = 268435456\ncpu_ms_max = 20000", async |running| {
        let hog = "const all = []; for (;;) { all.push(new Array(100000).fill(Math.random())); await scheduler.wait(0) }";
        running.upload(OWN, "hog", Code::fetch(hog)).await;
        let mut seen = look(&running, "hog", json!([{ "outcome": ["exceededMemory"] }]));
        assert!(running.get(OWN, "hog", "/").await.is_error(503, 1102));
        assert_eq!(next(&mut seen).await["exceptions"][0]["message"], "Worker exceeded memory limit.");
    });
}

#[test]
fn of_an_object_that_was_ended_the_node_tells() {
    with_engine("cpu_ms_max = 300", async |running| {
        namespaces(&running, &["test"]).await;
        let text = "import { DurableObject } from 'cloudflare:workers';
            export class Counter extends DurableObject { spin() { for (;;) {} } }
            export class Plain extends DurableObject {}
            export default { async fetch(request, env) {
              return new Response(await env.COUNTER.getByName('a').spin().catch((error) => error.message));
            } }";
        let bindings = vec![("COUNTER", BindingValue::DurableObjects(NAMESPACE))];
        running.upload(OWN, "app", Code { bindings, ..Code::module(text) }).await;
        let mut seen = look(&running, "app", json!([{ "outcome": ["exceededCpu"] }]));
        let answer = running.get(OWN, "app", "/").await;
        assert!(answer.text.contains("more time of a processor"), "{answer:?}");
        let event = next(&mut seen).await;
        assert_eq!(event["event"], json!({ "rpcMethod": "spin" }));
        assert_eq!(event["executionModel"], "durableObject");
    });
}

#[test]
fn who_looks_sees_objects_that_were_there_before_and_they_go_on() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        let text = "import { DurableObject } from 'cloudflare:workers';
            export class Counter extends DurableObject {
              count() { console.log('counts'); return this.counted = (this.counted ?? 0) + 1; }
            }
            export class Plain extends DurableObject {}
            export default { async fetch(request, env) { return new Response(await env.COUNTER.getByName('a').count()) } }";
        let bindings = vec![("COUNTER", BindingValue::DurableObjects(NAMESPACE))];
        running.upload(OWN, "app", Code { bindings, ..Code::module(text) }).await;
        assert!(running.get(OWN, "app", "/").await.is(200, "1"));
        let mut seen = look(&running, "app", json!([{ "query": "counts" }]));
        assert!(running.get(OWN, "app", "/").await.is(200, "2"), "it was not ended for that");
        let event = next(&mut seen).await;
        assert_eq!((said(&event), &event["event"]["rpcMethod"]), (vec![&json!(["counts"])], &json!("count")));
    });
}

#[test]
fn what_passes_no_filter_is_not_seen_and_a_log_without_end_is_cut() {
    with_engine("", async |running| {
        let code = Code::fetch(
            "const count = Number(new URL(request.url).searchParams.get('count'));
             for (let number = 0; number < count; number++) console.log(number, '\\u0001'.repeat(1000));
             return new Response('here')",
        );
        running.upload(OWN, "app", code).await;
        let mut seen = look(&running, "app", json!([{ "query": "7" }]));
        for count in [1, 7, 8, 1_000] {
            assert!(running.get(OWN, "app", &format!("/?count={count}")).await.is(200, "here"));
        }
        // The engine tells of each by itself: which comes first is its to choose.
        let mut events = [next(&mut seen).await, next(&mut seen).await];
        events.sort_by_key(|event| said(event).len());
        let [few, event] = events;
        assert_eq!(said(&few).len(), 8);
        // The engine ends a log at 256 KiB, and what JSON makes of that is cut here.
        assert_eq!(event["truncated"], true);
        let octets = event.to_string().len();
        assert!((100 << 10..=512 << 10).contains(&octets), "{octets}");
        let more = tokio::time::timeout(Duration::from_millis(50), seen.next()).await;
        assert!(more.is_err(), "{more:?}");
    });
}
