//! What one invocation may ask for, and answers that have no end.

use std::time::Duration;

use proxima_model::{BindingValue, WorkerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    durable::{NAMESPACE, namespaces},
    harness::{Code, OWN, Running, with_engine},
};

/// A Worker that is bound to others by these names.
fn bound(text: &str, others: &[(&'static str, &str)]) -> Code {
    let binding = |&(name, worker): &(&'static str, &str)| {
        let worker = WorkerName::parse(worker).unwrap();
        (name, BindingValue::Service { worker, entrypoint: None, props: None })
    };
    Code { bindings: others.iter().map(binding).collect(), ..Code::module(text) }
}

/// Fetches until that fails, and tells how often it did not.
const COUNTING: &str = "let count = 0;
    try { for (;; count += 1) await (await fetch('http://a.example/')).text(); }
    catch (error) { return Response.json([count, error.message]); }";

async fn counted(running: &Running, name: &str) -> (u64, String) {
    let answer = running.get(OWN, name, "/").await;
    let told: Value = serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("{answer:?}"));
    (told[0].as_u64().unwrap(), told[1].as_str().unwrap().to_owned())
}

/// How often something was fetched.
fn fetched(running: &Running, url: &str) -> usize {
    running.fetched.lines.lock().unwrap().iter().filter(|line| line.contains(url)).count()
}

#[test]
fn an_invocation_has_so_many_subrequests_and_the_next_one_has_as_many() {
    with_engine("subrequests_max = 7", async |running| {
        running.upload(OWN, "app", Code::fetch(COUNTING)).await;
        for _ in 0..2 {
            let (count, told) = counted(&running, "app").await;
            assert_eq!(count, 7);
            assert!(told.starts_with("Too many subrequests by single Worker invocation"), "{told}");
        }
        assert_eq!(fetched(&running, "http://a.example/"), 14, "what is refused asks nobody");
        let own = Code { subrequests_max: Some(3), ..Code::fetch(COUNTING) };
        running.upload(OWN, "less", own).await;
        assert_eq!(counted(&running, "less").await.0, 3, "a version may say so itself");
    });
}

#[test]
fn whatever_code_asks_the_node_for_counts_and_who_is_asked_has_its_own() {
    with_engine("subrequests_max = 5", async |running| {
        running.upload(OWN, "back", Code::fetch(COUNTING)).await;
        let text = "export default { async fetch(request, env) {
            const told = [(await (await env.BACK.fetch(request)).json())[0]];
            await caches.default.match('http://www.example.com/');
            await caches.default.match('http://www.example.com/');
            await (await fetch('http://b.example/')).text();
            await (await fetch('http://b.example/')).text();
            for (const asks of [() => fetch('http://b.example/'), () => caches.default.match('http://www.example.com/'), () => env.BACK.fetch(request)]) {
              try { await asks(); told.push('nothing'); } catch (error) { told.push(error.message.slice(0, 20)); }
            }
            return Response.json(told);
          } }";
        running.upload(OWN, "front", bound(text, &[("BACK", "back")])).await;
        let answer = running.get(OWN, "front", "/").await;
        let too_many = "Too many subrequests";
        let told: Value = serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("{answer:?}"));
        assert_eq!(told, json!([5, too_many, too_many, too_many]));
    });
}

#[test]
fn what_an_object_asks_for_counts_for_each_request_and_each_message() {
    with_engine("subrequests_max = 3", async |running| {
        namespaces(&running, &["test"]).await;
        let text = "import { DurableObject } from 'cloudflare:workers';
            const counted = async () => {
              let count = 0;
              try { for (;; count += 1) await (await fetch('http://a.example/')).text(); }
              catch (error) { return `${count} ${error.message.slice(0, 20)}`; }
            };
            export class Counter extends DurableObject {
              count() { return counted(); }
              fetch() {
                const [client, server] = Object.values(new WebSocketPair());
                this.ctx.acceptWebSocket(server);
                return new Response(null, { status: 101, webSocket: client });
              }
              async webSocketMessage(socket) { socket.send((await counted())[0]); }
            }
            export class Plain extends DurableObject {}
            export default { async fetch(request, env) {
              const object = env.COUNTER.getByName('a');
              if (request.headers.has('upgrade')) return object.fetch(request);
              return Response.json([await object.count(), await object.count()]);
            } }";
        let bindings = vec![("COUNTER", BindingValue::DurableObjects(NAMESPACE))];
        running.upload(OWN, "app", Code { bindings, ..Code::module(text) }).await;
        let answer = running.get(OWN, "app", "/").await;
        assert!(answer.is(200, "[\"3 Too many subrequests\",\"3 Too many subrequests\"]"), "{answer:?}");
        let mut socket = running.run(&mut running.switching(OWN, "app")).await.upgraded.unwrap();
        for _ in 0..3 {
            // A frame of text, masked with zeros.
            socket.write_all(&[0x81, 0x81, 0, 0, 0, 0, b'x']).await.unwrap();
            let mut frame = [0; 3];
            socket.read_exact(&mut frame).await.unwrap();
            assert_eq!(frame, [0x81, 1, b'3']);
        }
        assert_eq!(fetched(&running, "http://a.example/"), 5 * 3);
    });
}

#[test]
fn workers_that_ask_each_other_without_end_are_told_so_and_hold_up_nobody() {
    with_engine("", async |running| {
        let text = "export default { async fetch(request, env) {
            await (await fetch('http://depth.example/')).text();
            return env.NEXT.fetch(request);
          } }";
        running.upload(OWN, "ping", bound(text, &[("NEXT", "pong")])).await;
        running.upload(OWN, "pong", bound(text, &[("NEXT", "ping")])).await;
        running.upload(OWN, "self", bound(text, &[("NEXT", "self")])).await;
        running.upload(OWN, "other", Code::fetch("return new Response('here')")).await;
        for name in ["ping", "self"] {
            let before = fetched(&running, "http://depth.example/");
            let answer = running.get(OWN, name, "/").await;
            assert!(answer.is_error(508, 1019), "{answer:?}");
            assert_eq!(fetched(&running, "http://depth.example/") - before, 33, "32 are asked by the first");
            assert!(running.get(OWN, "other", "/").await.is(200, "here"));
        }
    });
}

#[test]
fn a_chain_of_workers_that_outlive_their_answers_has_an_end() {
    with_engine("", async |running| {
        let text = "export default { async fetch(request, env, ctx) {
            await (await fetch('http://link.example/')).text();
            ctx.waitUntil(env.NEXT.fetch('http://next/').catch(() => fetch('http://end.example/')));
            return new Response('answered');
          } }";
        running.upload(OWN, "app", bound(text, &[("NEXT", "app")])).await;
        assert!(running.get(OWN, "app", "/").await.is(200, "answered"));
        let mut due = tokio::time::interval(Duration::from_millis(5));
        while fetched(&running, "http://end.example/") == 0 {
            due.tick().await;
        }
        assert_eq!(fetched(&running, "http://link.example/"), 33);
    });
}

#[test]
fn an_answer_without_end_ends_when_its_client_goes() {
    with_engine("", async |running| {
        let endless = "return new Response(new ReadableStream({ async start(controller) {
            for (;;) {
              await (await fetch('http://tick.example/')).text();
              controller.enqueue(new Uint8Array(1));
              await scheduler.wait(1);
            }
          } }));";
        running.upload(OWN, "endless", Code::fetch(endless)).await;
        running
            .upload(OWN, "other", Code::fetch("await scheduler.wait(1); return new Response('here')"))
            .await;
        let mut exchange = running.exchange(OWN, "endless", "/");
        let mut response = running.run(&mut exchange).await;
        assert!(response.body.next_frame().await.unwrap().is_ok(), "it goes on while somebody reads");
        drop(response);
        // Each round gives it the time for several ticks.
        let mut quiet = 0;
        while quiet < 20 {
            let before = fetched(&running, "http://tick.example/");
            assert!(running.get(OWN, "other", "/").await.is(200, "here"));
            quiet = if fetched(&running, "http://tick.example/") == before { quiet + 1 } else { 0 };
        }
    });
}

#[test]
fn a_version_whose_values_are_too_large_for_the_engine_does_not_start() {
    with_engine("", async |running| {
        let text = "x".repeat(5 << 10);
        let names: Vec<&'static str> = (0..220).map(|number| &*format!("V{number}").leak()).collect();
        let values = names.into_iter().map(|name| (name, BindingValue::PlainText(text.clone()))).collect();
        let code = Code { bindings: values, ..Code::fetch("return new Response('here')") };
        running.upload(OWN, "large", code).await;
        let answer = running.get(OWN, "large", "/").await;
        assert!(answer.is_error(500, 1101), "{answer:?}");
        running.upload(OWN, "other", Code::fetch("return new Response('here')")).await;
        assert!(running.get(OWN, "other", "/").await.is(200, "here"));
    });
}
