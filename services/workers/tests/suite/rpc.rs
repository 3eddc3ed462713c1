//! Workers that call methods of others, to which they are bound.

use proxima_model::{BindingValue, WorkerName};
use serde_json::{Value, json};

use crate::{
    durable::{NAMESPACE, namespaces},
    harness::{Code, OWN, Running, with_engine},
    own::{ask_until, with_own},
};

/// What is called, by its default export and by another one.
const BACK: &str = "
import { WorkerEntrypoint, RpcTarget } from 'cloudflare:workers';
class Counter extends RpcTarget {
  #count = 0;
  add(by = 1) { this.#count += by; return this.#count; }
  get count() { return this.#count; }
}
export class Named extends WorkerEntrypoint {
  greet(name) { return `${this.ctx.props.greeting}, ${name}`; }
}
export default class extends WorkerEntrypoint {
  hidden = 'hidden';
  add(a, b) { return a + b; }
  echo(value) { return value; }
  get colour() { return this.env.COLOUR; }
  counter() { return new Counter(); }
  async applied(to, value) { return `applied: ${await to(value)}`; }
  doubling() { return (value) => 2 * value; }
  stream() { return new Blob(['streamed']).stream(); }
  read(request) { return request.text(); }
  throws() { throw new RangeError('boom'); }
  fetch() { return new Response('fetched'); }
}";

/// Calls by a path's name; what they throw is told.
const CALLS: &str = "
const CALLS = {
  method: (back) => back.add(1, 2),
  property: (back) => back.colour,
  value: async (back) => {
    const value = await back.echo({ when: new Date(7), map: new Map([['k', 1n]]) });
    return [value.when.getTime(), String(value.map.get('k'))];
  },
  large: async (back) => (await back.echo('x'.repeat(3 << 20))).length,
  object: async (back) => { using counter = await back.counter(); await counter.add(); await counter.add(5); return await counter.count; },
  pipelined: (back) => back.counter().add(7),
  callback: (back) => back.applied(async (value) => `${value}!`, 'x'),
  function: async (back) => { using doubling = await back.doubling(); return doubling(21); },
  stream: async (back) => new Response(await back.stream()).text(),
  request: (back) => back.read(new Request('http://back/', { method: 'POST', body: 'sent' })),
  fetched: async (back) => (await back.fetch('http://back/')).text(),
  throws: (back) => back.throws(),
  missing: (back) => back.missing(),
  hidden: (back) => back.hidden,
  // Of what is called nothing is the node's: that has secrets.
  env: (back) => back.env,
  secret: (back) => back.env.SECRET,
  context: (back) => back.ctx.props,
};
const told = async (does) => {
  try { return await does(); } catch (error) { return `${error.name}: ${error.message}`; }
};
const all = async ({ BACK, NAMED }) => {
  const answers = { named: await told(() => NAMED.greet('front')) };
  for (const [name, call] of Object.entries(CALLS)) answers[name] = await told(() => call(BACK));
  return answers;
};
";

/// What who calls a member is told that is not there.
fn none(name: &str) -> Value {
    format!("TypeError: The RPC receiver does not implement the method \"{name}\".").into()
}

fn expected() -> Value {
    json!({
        "named": "hello, front",
        "method": 3,
        "property": "blue",
        "value": [7, "1"],
        "large": 3 << 20,
        "object": 6,
        "pipelined": 7,
        "callback": "applied: x!",
        "function": 42,
        "stream": "streamed",
        "request": "sent",
        "fetched": "fetched",
        "throws": "RangeError: boom",
        "missing": none("missing"),
        "hidden": none("hidden"),
        "env": none("env"),
        "secret": none("env"),
        "context": none("ctx"),
    })
}

fn bound(entrypoint: Option<&str>, props: Option<Value>) -> BindingValue {
    let worker = WorkerName::parse("back").unwrap();
    BindingValue::Service { worker, entrypoint: entrypoint.map(str::to_owned), props }
}

/// The Worker `app`, which calls `back`, and that.
async fn upload(running: &Running, text: &str) {
    let mut back = Code::module(BACK);
    back.bindings = vec![("COLOUR", BindingValue::PlainText("blue".to_owned()))];
    running.upload(OWN, "back", back).await;
    let mut front = Code::module(&format!("{CALLS}{text}"));
    front.bindings = vec![
        ("BACK", bound(None, None)),
        ("NAMED", bound(Some("Named"), Some(json!({ "greeting": "hello" })))),
        ("OBJECTS", BindingValue::DurableObjects(NAMESPACE)),
    ];
    running.upload(OWN, "app", front).await;
}

async fn calls(running: &Running) -> Value {
    let answer = running.get(OWN, "app", "/calls").await;
    serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("{answer:?}"))
}

#[test]
fn a_worker_calls_methods_of_another_one_that_it_is_bound_to() {
    with_engine("", async |running| {
        upload(&running, "export default { fetch: async (request, env) => Response.json(await all(env)) };")
            .await;
        for _ in 0..2 {
            assert_eq!(calls(&running).await, expected());
        }
        running.upload(OWN, "back", Code::fetch("return new Response('other')")).await;
        let now = calls(&running).await;
        assert_eq!((&now["fetched"], &now["method"]), (&json!("other"), &none("add")));
    });
}

#[test]
fn a_worker_alone_and_a_durable_object_call_as_others_do() {
    with_own("own_processes_max = 1", async |running| {
        namespaces(&running, &["test"]).await;
        let text = "
import { DurableObject } from 'cloudflare:workers';
export class Counter extends DurableObject { all() { return all(this.env); } }
export default {
  async fetch(request, env) {
    switch (new URL(request.url).pathname) {
      case '/calls': return Response.json(await all(env));
      case '/object': return Response.json(await env.OBJECTS.getByName('a').all());
      default: return new Response('hello');
    }
  }
};";
        upload(&running, text).await;
        let object = running.get(OWN, "app", "/object").await;
        assert_eq!(serde_json::from_str::<Value>(&object.text).ok(), Some(expected()), "{object:?}");
        ask_until(&running, "app", "/", 1, "hello").await;
        assert_eq!(calls(&running).await, expected());
    });
}

#[test]
fn methods_that_call_each_other_without_end_are_ended_and_each_call_counts() {
    with_engine("subrequests_max = 40", async |running| {
        let mut back = Code::module(
            "import { WorkerEntrypoint } from 'cloudflare:workers';
             export default class extends WorkerEntrypoint {
               recurse() { return this.env.BACK.recurse(); }
               fine() { return 'fine'; }
               async fetch(request) {
                 if (request.url.endsWith('/recurse')) return new Response(await this.recurse());
                 let count = 0;
                 try { for (;; count += 1) await this.env.BACK.fine(); }
                 catch (error) { return new Response(`${count} ${error.message}`); }
               }
             }",
        );
        back.bindings = vec![("BACK", bound(None, None))];
        running.upload(OWN, "back", back).await;
        assert!(running.get(OWN, "back", "/recurse").await.is_error(508, 1019));
        let counted = running.get(OWN, "back", "/").await;
        assert!(counted.text.starts_with("32 Too many Workers are asked by one request"), "{counted:?}");
    });
}
