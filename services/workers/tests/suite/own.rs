//! Versions that are asked so often that they have processes of their own.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use proxima_model::{
    BindingName, BindingValue, KvNamespace, KvNamespaceId, ModuleKind, Timestamp, WorkerName,
};
use proxima_pipeline::{Tail, TailSeen};
use serde_json::json;

use crate::harness::{Code, OTHER, OWN, Running, with_node, workerd};

pub(crate) fn with_own<F: Future<Output = ()>>(
    workers: &str,
    test: impl FnOnce(std::sync::Arc<Running>) -> F,
) {
    with_node(&format!("workerd = {:?}\nshards = 1\n{workers}", workerd()), test);
}

fn metric(running: &Running, name: &str) -> u64 {
    let text = running.node.metrics.encode();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("proxima_workers_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Asks a Worker for this until so many versions have processes of their own; every answer is to be this.
pub(crate) async fn ask_until(running: &Running, name: &str, target: &str, own: u64, text: &str) {
    loop {
        // As many at once as make it often on any machine.
        let asked = (0..64).map(|_| running.get(OWN, name, target));
        for answer in futures_util::future::join_all(asked).await {
            assert!(answer.is(200, text), "{answer:?}");
        }
        if metric(running, "own_processes") == own {
            return;
        }
    }
}

#[test]
fn a_worker_that_is_asked_often_runs_alone_and_is_what_it_was() {
    with_own("own_processes_max = 1", async |running| {
        let namespace = KvNamespaceId::from_bytes([6; 16]);
        let created_at = Timestamp::from_millis(0);
        let row = KvNamespace { account: OWN, id: namespace, title: "t".to_owned(), created_at };
        running.change(vec![running.node.replica.put(&row)]).await;
        let mut code = Code::module(
            "import text from './t.txt';
             export default { async fetch(request, env) {
               switch (new URL(request.url).pathname) {
                 case '/env': return Response.json([env.PLAIN, env.JSON, env.SECRET, text, request.cf.colo, request.cf.proxima ?? null]);
                 case '/kv': await env.KV.put('k', 'v'); return new Response(await env.KV.get('k'));
                 case '/out': return fetch('http://elsewhere.example/x');
                 case '/back': return env.BACK.fetch('http://back/y');
                 case '/throw': throw new Error('boom');
                 case '/none': return 'no response';
                 case '/used': { const made = new Response('x'); await made.text(); return made; }
                 case '/forge': return new Response('x', { status: 500, headers: { 'proxima-fault': '0 exception' } });
                 default: console.log('said often'); return new Response('hello');
               }
             } }",
        );
        code.modules.push(("t.txt", ModuleKind::Text, "größe".into()));
        let back = BindingValue::Service {
            worker: WorkerName::parse("back").unwrap(),
            entrypoint: None,
            props: None,
        };
        code.bindings = vec![
            ("PLAIN", BindingValue::PlainText("p\"\\\n".to_owned())),
            ("JSON", BindingValue::Json(json!({ "a": [1, null, "ü"] }))),
            ("SECRET", BindingValue::SecretText),
            ("KV", BindingValue::KvNamespace(namespace)),
            ("BACK", back),
        ];
        code.secrets = BTreeMap::from([(BindingName::parse("SECRET").unwrap(), "hidden".to_owned())]);
        running.upload(OWN, "app", code).await;
        running.upload(OWN, "back", Code::fetch("return new Response('back')")).await;
        let shown = |path: &'static str| {
            let running = &running;
            async move {
                let answer = running.get(OWN, "app", path).await;
                // Each request has a ray of its own.
                let (text, _) = answer.text.split_once("\nray ").unwrap_or((&answer.text, ""));
                (answer.status.as_u16(), text.to_owned())
            }
        };
        let paths = ["/env", "/kv", "/out", "/back", "/throw", "/forge", "/none", "/used"];
        let mut before = Vec::new();
        for path in paths {
            before.push(shown(path).await);
        }
        assert!(before[0].1.contains("\"hidden\",\"größe\",\"FRA\",null"), "{before:?}");
        assert_eq!(before[1], (200, "v".to_owned()));
        assert!(before[4].1.starts_with("error 1101: "), "{before:?}");
        assert_eq!(before[5], (500, "x".to_owned()));
        ask_until(&running, "app", "/", 1, "hello").await;
        // It goes on though nobody reads what it logs.
        for _ in 0..100 {
            assert!(running.get(OWN, "app", "/").await.is(200, "hello"));
        }
        for (path, before) in paths.into_iter().zip(before) {
            assert_eq!(shown(path).await, before, "{path}");
        }
        assert_eq!(metric(&running, "own_failed_total"), 0);
    });
}

#[test]
fn handlers_of_every_form_run_alone() {
    with_own("own_processes_max = 3", async |running| {
        let class = "import { WorkerEntrypoint } from 'cloudflare:workers';
                     export default class extends WorkerEntrypoint {
                       greet() { return this.env.WHO; }
                       fetch() { return new Response(this.greet()); }
                     }";
        let mut class = Code::module(class);
        class.bindings = vec![("WHO", BindingValue::PlainText("class".to_owned()))];
        running.upload(OWN, "class", class).await;
        let mut script =
            Code::module("addEventListener('fetch', (event) => event.respondWith(new Response(WHO)))");
        script.modules[0].1 = ModuleKind::CommonJs;
        script.syntax = proxima_model::WorkerSyntax::ServiceWorker;
        script.bindings = vec![("WHO", BindingValue::PlainText("script".to_owned()))];
        running.upload(OWN, "script", script).await;
        ask_until(&running, "class", "/", 1, "class").await;
        ask_until(&running, "script", "/", 2, "script").await;
        assert!(running.get(OWN, "class", "/").await.is(200, "class"));
        assert_eq!(metric(&running, "own_failed_total"), 0);
    });
}

#[test]
fn a_new_version_answers_at_once_though_the_former_runs_alone() {
    with_own("own_processes_max = 2", async |running| {
        running.upload(OWN, "app", Code::fetch("return new Response('one')")).await;
        ask_until(&running, "app", "/", 1, "one").await;
        running.upload(OWN, "app", Code::fetch("return new Response('two')")).await;
        assert!(running.get(OWN, "app", "/").await.is(200, "two"));
        ask_until(&running, "app", "/", 2, "two").await;
        assert!(running.get(OWN, "app", "/").await.is(200, "two"));
    });
}

#[test]
fn who_spins_alone_answers_1102_and_is_asked_apart_from_then_on() {
    with_own("own_processes_max = 1\ncpu_ms_max = 200", async |running| {
        let code = "if (request.url.endsWith('spin')) for (;;) {} return new Response('fine')";
        running.upload(OWN, "app", Code::fetch(code)).await;
        running.upload(OTHER, "neighbour", Code::fetch("return new Response('fine')")).await;
        ask_until(&running, "app", "/", 1, "fine").await;
        let spun = running.get(OWN, "app", "/spin").await;
        assert!(spun.is_error(503, 1102), "{spun:?}");
        assert!(running.get(OTHER, "neighbour", "/").await.is(200, "fine"));
        assert!(running.get(OWN, "app", "/").await.is(200, "fine"), "once costs the answer only");
        let mut due = tokio::time::interval(std::time::Duration::from_millis(5));
        while metric(&running, "own_processes") != 0 {
            due.tick().await;
        }
    });
}

#[test]
fn what_a_worker_that_runs_alone_asks_for_is_counted_as_in_a_shared_process() {
    with_own("own_processes_max = 1\nsubrequests_max = 7", async |running| {
        let mut code = Code::fetch(
            "if (!request.url.endsWith('/count')) return new Response('hello');
             await caches.default.match('http://www.example.com/');
             await (await env.BACK.fetch('http://back/')).text();
             let count = 2;
             try { for (;; count += 1) await (await fetch('http://a.example/')).text(); }
             catch (error) {
               const told = [count, error.message];
               for (const asks of [() => caches.default.match('http://www.example.com/'), () => env.BACK.fetch('http://back/')]) {
                 try { await asks(); told.push('nothing'); } catch (error) { told.push(error.message === told[1]); }
               }
               return Response.json(told);
             }",
        );
        let worker = WorkerName::parse("back").unwrap();
        code.bindings = vec![("BACK", BindingValue::Service { worker, entrypoint: None, props: None })];
        running.upload(OWN, "app", code).await;
        running.upload(OWN, "back", Code::fetch("return new Response('back')")).await;
        let too_many = "Too many subrequests by single Worker invocation: 7 may be made. To configure this limit, see limits.subrequests.";
        let expected = json!([7, too_many, true, true]).to_string();
        assert!(running.get(OWN, "app", "/count").await.is(200, &expected), "in a shared process");
        ask_until(&running, "app", "/", 1, "hello").await;
        for _ in 0..3 {
            let answer = running.get(OWN, "app", "/count").await;
            assert!(answer.is(200, &expected), "{answer:?}");
        }
        let fetched = running.fetched.lines.lock().unwrap().len();
        assert_eq!(fetched, 4 * 5, "what is refused asks nobody");
    });
}

#[test]
fn a_worker_alone_with_as_many_requests_as_a_process_has_is_asked_elsewhere_too() {
    with_own("own_processes_max = 1", async |running| {
        let code = "if (request.url.endsWith('/wait')) {
                      await (await fetch('http://begun.example/')).text();
                      await scheduler.wait(60000);
                    }
                    return new Response('fine')";
        running.upload(OWN, "app", Code::fetch(code)).await;
        ask_until(&running, "app", "/", 1, "fine").await;
        let mut due = tokio::time::interval(std::time::Duration::from_millis(5));
        let mut waiting = tokio::task::JoinSet::new();
        // An account fetches 256 things at a time.
        for begun in [256, 512, 768, 1_024] {
            while waiting.len() < begun {
                let running = std::sync::Arc::clone(&running);
                waiting.spawn(async move { running.get(OWN, "app", "/wait").await });
            }
            while running.fetched.lines.lock().unwrap().len() < begun {
                due.tick().await;
            }
        }
        for _ in 0..10 {
            assert!(running.get(OWN, "app", "/").await.is(200, "fine"));
        }
        assert!(waiting.try_join_next().is_none(), "they wait still");
    });
}

#[test]
fn what_cannot_run_alone_goes_on_as_it_did() {
    with_own("own_processes_max = 1", async |running| {
        // The engine starts no process with a flag that it does not know; the loader refuses it, too, so that nobody is answered.
        let mut code = Code::fetch("return new Response('fine')");
        code.compatibility_flags = vec!["there_is_no_such_flag"];
        running.upload(OWN, "app", code).await;
        loop {
            let asked = (0..64).map(|_| running.get(OWN, "app", "/"));
            for answer in futures_util::future::join_all(asked).await {
                assert!(answer.is_error(500, 1101), "{answer:?}");
            }
            if metric(&running, "own_failed_total") == 1 {
                break;
            }
        }
        assert_eq!(metric(&running, "own_processes"), 0);
    });
}

#[test]
fn who_is_looked_at_is_seen_though_it_runs_alone() {
    with_own("own_processes_max = 1", async |running| {
        running.upload(OWN, "app", Code::fetch("console.log('seen'); return new Response('fine')")).await;
        ask_until(&running, "app", "/", 1, "fine").await;
        let tail = Tail {
            id: "t".to_owned(),
            account: OWN,
            worker: WorkerName::parse("app").unwrap(),
            expires: Timestamp::from_millis(i64::MAX),
            filters: Vec::new(),
        };
        let mut seen = running.service.tails().open(tail).unwrap();
        assert!(running.get(OWN, "app", "/").await.is(200, "fine"));
        let Some(TailSeen::Event(event)) = seen.next().await else { panic!("no event") };
        assert!(String::from_utf8_lossy(&event).contains("seen"), "{event:?}");
    });
}
