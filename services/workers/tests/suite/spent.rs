//! What invocations are seen to take.

use std::{sync::Arc, time::Duration};

use proxima_model::{BindingValue, QueueName, Timestamp, WorkerName};
use proxima_pipeline::{CronTrigger, Exchange, QueueBatch, WorkerSeen, WorkerTook};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    durable::{NAMESPACE, namespaces},
    harness::{Answer, Code, OWN, Running, with_engine},
};

/// So much may be computed that no machine takes for a loop.
const PATIENT: &str = "cpu_ms_max = 60000";
/// Eighty milliseconds' work or more, wherever it is run: four hundred million cycles, since each step needs the one before.
pub(crate) const COMPUTES: &str =
    "let sum = 0; for (let i = 0; i < 1e8; i += 1) sum = (Math.imul(sum, 31) + i) | 0;";
const MS_50: Duration = Duration::from_millis(50);

fn seen(exchange: &Exchange) -> (&'static str, Arc<WorkerTook>) {
    let WorkerSeen { outcome, took } = exchange.extensions.get::<WorkerSeen>().unwrap().clone();
    (outcome, took)
}

/// What a request of a Worker is seen to take.
async fn taken(running: &Running, name: &str) -> Arc<WorkerTook> {
    let mut exchange = running.exchange(OWN, name, "/");
    let answer = Answer::read(running.run(&mut exchange).await).await;
    let (outcome, took) = seen(&exchange);
    assert_eq!((answer.status.as_u16(), outcome), (200, "ok"), "{answer:?}");
    took
}

#[test]
fn who_computes_is_seen_to_take_a_processor_and_who_waits_is_not() {
    with_engine(PATIENT, async |running| {
        let computes = format!("{COMPUTES} return new Response(String(sum))");
        running.upload(OWN, "computes", Code::fetch(&computes)).await;
        let waits = "await scheduler.wait(300); return new Response('here')";
        running.upload(OWN, "waits", Code::fetch(waits)).await;
        // With the start of the process and both versions' first statements.
        taken(&running, "computes").await;
        taken(&running, "waits").await;
        let (computes, waits) = (taken(&running, "computes").await, taken(&running, "waits").await);
        assert!(computes.cpu() >= MS_50 && computes.wall() >= MS_50, "{computes:?}");
        assert!(waits.wall() >= Duration::from_millis(299), "{waits:?}");
        assert!(waits.cpu() > Duration::ZERO && waits.cpu() < computes.cpu() / 4, "{waits:?} {computes:?}");
    });
}

#[test]
fn what_is_computed_after_the_head_of_an_answer_counts_until_it_has_ended() {
    with_engine(PATIENT, async |running| {
        let streams = format!(
            "return new Response(new ReadableStream({{ async pull(controller) {{
               {COMPUTES} controller.enqueue(new Uint8Array([sum & 127])); controller.close();
             }} }}, {{ highWaterMark: 0 }}))"
        );
        running.upload(OWN, "streams", Code::fetch(&streams)).await;
        taken(&running, "streams").await;
        let took = taken(&running, "streams").await;
        assert!(took.cpu() >= MS_50, "{took:?}");
    });
}

#[test]
fn those_that_are_in_flight_together_bear_the_same() {
    with_engine(PATIENT, async |running| {
        let computes = format!("{COMPUTES} return new Response(String(sum))");
        running.upload(OWN, "computes", Code::fetch(&computes)).await;
        running.upload(OWN, "waits", Code::fetch("return new Response(new ReadableStream())")).await;
        let mut waiting = running.exchange(OWN, "waits", "/");
        let answer = running.run(&mut waiting).await;
        let (outcome, waits) = seen(&waiting);
        assert_eq!((outcome, waits.wall()), ("ok", Duration::ZERO), "it goes on");
        let computes = taken(&running, "computes").await;
        assert!(computes.cpu() >= MS_50 / 2, "{computes:?}");
        drop(answer);
        assert!(waits.cpu() >= computes.cpu() && waits.wall() >= computes.wall(), "{waits:?} {computes:?}");
    });
}

#[test]
fn a_websocket_takes_what_its_messages_take_and_bears_nothing_of_others() {
    with_engine(PATIENT, async |running| {
        let code = format!(
            "if (!request.headers.has('upgrade')) {{ {COMPUTES} return new Response(String(sum)); }}
             const [client, server] = Object.values(new WebSocketPair());
             server.accept();
             server.addEventListener('message', () => {{ {COMPUTES} server.send(String(sum)[0]); }});
             return new Response(null, {{ status: 101, webSocket: client }});"
        );
        running.upload(OWN, "app", Code::fetch(&code)).await;
        taken(&running, "app").await;
        let open = async || {
            let mut exchange = running.switching(OWN, "app");
            let socket = running.run(&mut exchange).await.upgraded.unwrap();
            (socket, seen(&exchange).1)
        };
        let ((mut told, told_took), (silent, silent_took)) = (open().await, open().await);
        let asked = taken(&running, "app").await;
        // A frame of text, masked with zeros.
        told.write_all(&[0x81, 0x81, 0, 0, 0, 0, b'x']).await.unwrap();
        told.read_exact(&mut [0; 3]).await.unwrap();
        drop((told, silent));
        assert!(asked.cpu() >= MS_50 && told_took.cpu() >= MS_50, "{asked:?} {told_took:?}");
        assert!(silent_took.cpu() < asked.cpu() / 4, "{silent_took:?} {asked:?}");
        assert!(silent_took.wall() >= asked.wall(), "{silent_took:?} {asked:?}");
    });
}

#[test]
fn who_is_ended_or_left_is_seen_to_have_taken_what_it_took() {
    with_engine("cpu_ms_max = 300", async |running| {
        running.upload(OWN, "spins", Code::fetch("for (;;) {}")).await;
        let mut exchange = running.exchange(OWN, "spins", "/");
        assert_eq!(running.run(&mut exchange).await.status, 503);
        let (outcome, took) = seen(&exchange);
        assert_eq!(outcome, "exceededCpu");
        assert!(took.cpu() >= Duration::from_millis(250), "{took:?}");
        let hangs =
            "if (request.url.endsWith('/')) await scheduler.wait(60_000); return new Response('here')";
        running.upload(OWN, "hangs", Code::fetch(hangs)).await;
        assert!(running.get(OWN, "hangs", "/not").await.is(200, "here"));
        let mut exchange = running.exchange(OWN, "hangs", "/");
        assert!(timeout(MS_50, running.run(&mut exchange)).await.is_err());
        let (outcome, took) = seen(&exchange);
        assert!(outcome == "canceled" && took.wall() > Duration::ZERO, "{outcome}, {took:?}");
        let mut exchange = running.exchange(OWN, "none", "/");
        running.run(&mut exchange).await;
        assert!(exchange.extensions.get::<WorkerSeen>().is_none(), "nothing has run");
    });
}

#[test]
fn each_invocation_counts_by_what_of_its_worker_is_invoked() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        let text = "import { DurableObject } from 'cloudflare:workers';
            export class Counter extends DurableObject { count() { return 1; } }
            export class Plain extends DurableObject {}
            export default {
              async fetch(request, env) { return new Response(String(await env.COUNTER.getByName('a').count())); },
              scheduled() {},
              queue() {},
            }";
        let bindings = vec![("COUNTER", BindingValue::DurableObjects(NAMESPACE))];
        running.upload(OWN, "app", Code { bindings, ..Code::module(text) }).await;
        for _ in 0..3 {
            assert!(running.get(OWN, "app", "/").await.is(200, "1"));
        }
        let (worker, at) = (WorkerName::parse("app").unwrap(), Timestamp::from_millis(60_000));
        let invoker = running.service.invoker();
        invoker.scheduled(OWN, &worker, CronTrigger { cron: "* * * * *", at }).await.unwrap();
        let queue = &QueueName::parse("jobs").unwrap();
        invoker.queue(OWN, &worker, QueueBatch { queue, at, messages: &[] }).await.unwrap();
        let metrics = running.node.metrics.encode();
        for (handler, count) in [("Fetch", 3), ("Object", 3), ("Scheduled", 1), ("Queue", 1)] {
            for name in ["cpu", "wall"] {
                let line =
                    format!("proxima_workers_{name}_time_seconds_count{{handler=\"{handler}\"}} {count}\n");
                assert!(metrics.contains(&line), "{line} is not in {metrics}");
            }
        }
    });
}
