//! What Workers are given, and what becomes of their answers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use proxima_model::{BindingName, BindingValue, ModuleKind, ModuleName, WorkerName, WorkerSyntax};
use proxima_pipeline::Body;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Answer, Code, DEADLINE, OTHER, OWN, with_engine};

/// `WebAssembly.Module` of a function `add`.
const ADD_WASM: &[u8] =
    b"\0asm\x01\0\0\0\x01\x07\x01\x60\x02\x7f\x7f\x01\x7f\x03\x02\x01\0\x07\x07\x01\x03add\0\0\
                          \x0a\x09\x01\x07\0\x20\0\x20\x01\x6a\x0b";

#[test]
fn a_worker_answers_with_the_request_the_facts_and_its_bindings_before_it() {
    with_engine("", async |running| {
        let mut code = Code::fetch(
            "return Response.json({ url: request.url, method: request.method, cf: request.cf,
                                    ip: request.headers.get('cf-connecting-ip'),
                                    facts: request.headers.get('cf-proxima-facts'), env },
                                  { status: 418, headers: { 'x-mine': 'yes' } })",
        );
        let secret = BindingName::parse("SECRET").unwrap();
        code.bindings = vec![
            ("TEXT", BindingValue::PlainText("plain".to_owned())),
            ("JSON", BindingValue::Json(json!({ "a": [1, null] }))),
            ("SECRET", BindingValue::SecretText),
        ];
        code.secrets.insert(secret, "hidden".to_owned());
        running.upload(OWN, "app", code).await;
        let answer = running.get(OWN, "app", "/path?query=1").await;
        assert_eq!(
            (answer.status.as_u16(), answer.headers.get("x-mine").is_some()),
            (418, true),
            "{answer:?}"
        );
        let said: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(
            said,
            json!({
                "url": "https://www.example.com/path?query=1", "method": "GET", "ip": "192.0.2.7", "facts": null,
                "cf": { "colo": "FRA", "httpProtocol": "HTTP/2" },
                "env": { "TEXT": "plain", "JSON": { "a": [1, null] }, "SECRET": "hidden" },
            })
        );
        // The same name in another account is another Worker.
        running.upload(OTHER, "app", Code::fetch("return new Response('other')")).await;
        assert!(running.get(OTHER, "app", "/").await.is(200, "other"));
        assert!(
            running.get(OWN, "none", "/").await.is_error(500, 1101),
            "a route to a Worker that is not there"
        );
    });
}

#[test]
fn modules_of_every_kind_are_imported() {
    with_engine("", async |running| {
        let mut code = Code::module(
            "import text from './text.txt'; import data from './data.bin'; import json from './data.json';
             import wasm from './add.wasm'; import common from './common.cjs'; import { other } from './other.js';
             export default { async fetch() {
               const { exports } = await WebAssembly.instantiate(wasm);
               return Response.json([text, [...new Uint8Array(data)], json, exports.add(2, 3), common.common, other])
             } }",
        );
        code.modules.extend([
            ("text.txt", ModuleKind::Text, "größe".into()),
            ("data.bin", ModuleKind::Data, vec![0, 255]),
            ("data.json", ModuleKind::Json, b"{\"k\": 1}".to_vec()),
            ("add.wasm", ModuleKind::Wasm, ADD_WASM.to_vec()),
            ("common.cjs", ModuleKind::CommonJs, b"module.exports = { common: 'cjs' }".to_vec()),
            ("other.js", ModuleKind::EsModule, b"export const other = 'esm'".to_vec()),
            ("main.js.map", ModuleKind::SourceMap, b"{}".to_vec()),
        ]);
        running.upload(OWN, "app", code).await;
        let answer = running.get(OWN, "app", "/").await;
        assert!(answer.is(200, r#"["größe",[0,255],{"k":1},5,"cjs","esm"]"#), "{answer:?}");
    });
}

#[test]
fn a_script_of_service_worker_syntax_runs_with_its_bindings_as_globals() {
    with_engine("", async |running| {
        let script = "addEventListener('fetch', event => event.respondWith(answer(event.request)))
                      async function answer(request) {
                        const { exports } = await WebAssembly.instantiate(ADD)
                        return Response.json([new URL(request.url).pathname, GREETING, BLOB, exports.add(1, 1)])
                      }";
        let module = |name: &str| ModuleName::parse(name).unwrap();
        let code = Code {
            modules: vec![
                ("worker.js", ModuleKind::CommonJs, script.into()),
                ("add.wasm", ModuleKind::Wasm, ADD_WASM.to_vec()),
                ("blob.txt", ModuleKind::Text, "text".into()),
            ],
            syntax: WorkerSyntax::ServiceWorker,
            bindings: vec![
                ("GREETING", BindingValue::PlainText("hi".to_owned())),
                ("ADD", BindingValue::WasmModule(module("add.wasm"))),
                ("BLOB", BindingValue::TextBlob(module("blob.txt"))),
            ],
            ..Code::module("")
        };
        running.upload(OWN, "old", code).await;
        let answer = running.get(OWN, "old", "/x").await;
        assert!(answer.is(200, r#"["/x","hi","text",2]"#), "{answer:?}");
        let silent = Code {
            modules: vec![("worker.js", ModuleKind::CommonJs, "addEventListener('fetch', () => {})".into())],
            syntax: WorkerSyntax::ServiceWorker,
            ..Code::module("")
        };
        running.upload(OWN, "silent", silent).await;
        assert!(running.get(OWN, "silent", "/").await.is_error(500, 1101));
    });
}

#[test]
fn trailers_of_a_request_are_nobodys_next_request() {
    with_engine("", async |running| {
        let said = "return new Response(`${request.method} ${await request.text()}`)";
        running.upload(OWN, "app", Code::fetch(said)).await;
        for _ in 0..20 {
            let (mut sender, body) = Body::channel(2, None);
            let mut exchange = running.exchange(OWN, "app", "/");
            exchange.request.method = Method::POST;
            exchange.request_body = body;
            sender.send("sent".into()).await.unwrap();
            let trailers = [(header::ETAG, HeaderValue::from_static("x"))].into_iter().collect();
            sender.send_trailers(trailers).await.unwrap();
            drop(sender);
            let answer = Answer::read(running.run(&mut exchange).await).await;
            assert!(answer.is(200, "POST sent"), "{answer:?}");
            let answer = running.get(OWN, "app", "/").await;
            assert!(answer.is(200, "GET "), "{answer:?}");
        }
    });
}

#[test]
fn a_deployment_answers_new_requests_while_those_before_it_end_as_they_began() {
    with_engine("", async |running| {
        let streaming = Code::fetch(
            "const { readable, writable } = new TransformStream();
             ctx.waitUntil(request.body.pipeTo(writable));
             return new Response(readable)",
        );
        running.upload(OWN, "app", streaming).await;
        let (mut upload, body) = Body::channel(1, None);
        let mut exchange = running.exchange(OWN, "app", "/");
        exchange.request.method = Method::POST;
        exchange.request_body = body;
        upload.send(Bytes::from_static(b"old")).await.unwrap();
        let mut response = running.run(&mut exchange).await;
        let first = response.body.next_frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "old");

        running.upload(OWN, "app", Code::fetch("return new Response('new')")).await;
        assert!(running.get(OWN, "app", "/").await.is(200, "new"), "the next request");
        let sending = async {
            upload.send(Bytes::from_static(b" goes on")).await.unwrap();
            upload.finish().await;
        };
        // It goes on while its answer is read.
        let (answer, ()) = tokio::join!(Answer::read(response), sending);
        assert!(answer.is(200, " goes on"), "{answer:?}");
    });
}

#[test]
fn versions_answer_by_their_share_and_whoever_asks_for_it_gets_the_same_one() {
    with_engine("", async |running| {
        let one = running.version(OWN, "app", Code::fetch("return new Response('one')")).await;
        let two = running.version(OWN, "app", Code::fetch("return new Response('two')")).await;
        running.deploy(OWN, "app", &[(one, 8_000), (two, 2_000)]).await;
        let (mut ones, mut of_users) = (0, [0, 0]);
        for number in 0..300 {
            ones += usize::from(running.get(OWN, "app", "/").await.text == "one");
            let user = format!("user-{number}");
            let sticky = running.get_with("app", ("cloudflare-workers-version-key", &user)).await;
            let again = running.get_with("app", ("cloudflare-workers-version-key", &user)).await;
            assert_eq!(sticky.text, again.text);
            of_users[usize::from(sticky.text == "two")] += 1;
        }
        // Six standard deviations: one run in a billion has more.
        assert!((198..=282).contains(&ones), "{ones} of 300 at random");
        assert!((198..=282).contains(&of_users[0]), "{of_users:?}");
        // Before it is given to anybody else, who makes a version tries it.
        running.deploy(OWN, "app", &[(one, 10_000), (two, 0)]).await;
        let named = |id| format!("other=\"x\", app=\"{id}\"");
        for (asked, answer) in [(named(two), "two"), (named(one), "one"), (named(two) + ",", "one")] {
            let field = ("cloudflare-workers-version-overrides", &*asked);
            assert!(running.get_with("app", field).await.is(200, answer), "{asked}");
        }
        running.deploy(OWN, "app", &[(two, 10_000)]).await;
        assert!(running.get(OWN, "app", "/").await.is(200, "two"));
        let field = ("cloudflare-workers-version-overrides", &*named(one));
        assert!(running.get_with("app", field).await.is(200, "two"), "it is not deployed");
    });
}

#[test]
fn a_websocket_to_a_worker_carries_messages() {
    with_engine("", async |running| {
        let code = Code::fetch(
            "const [client, server] = Object.values(new WebSocketPair());
             server.accept();
             server.addEventListener('message', ({ data }) => server.send(`echo ${data}`));
             return new Response(null, { status: 101, webSocket: client })",
        );
        running.upload(OWN, "app", code).await;
        let mut exchange = running.exchange(OWN, "app", "/");
        exchange.request.upgrade = Some("websocket".into());
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        exchange.request.headers.insert(header::SEC_WEBSOCKET_KEY, key);
        exchange.request.headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        let response = running.run(&mut exchange).await;
        assert_eq!(response.status, StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut socket = response.upgraded.unwrap();
        // `hi`, masked with zeros (RFC 6455, 5.2).
        socket.write_all(b"\x81\x82\0\0\0\0hi").await.unwrap();
        let mut echoed = [0; 9];
        tokio::time::timeout(DEADLINE, socket.read_exact(&mut echoed)).await.unwrap().unwrap();
        assert_eq!(&echoed, b"\x81\x07echo hi");
    });
}

#[test]
fn bodies_stream_both_ways_and_a_client_that_goes_away_leaves_the_process_to_others() {
    with_engine("", async |running| {
        let endless = Code::fetch(
            "return new Response(new ReadableStream({
               pull(controller) { controller.enqueue(new Uint8Array(65536)) },
             }))",
        );
        running.upload(OWN, "app", endless).await;
        let mut exchange = running.exchange(OWN, "app", "/");
        let mut response = running.run(&mut exchange).await;
        let mut octets = 0;
        while octets < 4 << 20 {
            octets += response.body.next_frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        drop(response);
        running.upload(OWN, "next", Code::fetch("return new Response(await request.text())")).await;
        let mut exchange = running.exchange(OWN, "next", "/");
        exchange.request.method = Method::PUT;
        exchange.request_body = Body::full(vec![b'x'; 1 << 20]);
        let answer = Answer::read(running.run(&mut exchange).await).await;
        assert_eq!((answer.status.as_u16(), answer.text.len()), (200, 1 << 20));
    });
}

#[test]
fn a_worker_asks_another_one_that_it_is_bound_to_and_gets_its_newest_deployment() {
    with_engine("", async |running| {
        let bound = |worker: &str, entrypoint: Option<&str>, props: Option<Value>| BindingValue::Service {
            worker: WorkerName::parse(worker).unwrap(),
            entrypoint: entrypoint.map(str::to_owned),
            props,
        };
        let mut front = Code::fetch(
            "const name = new URL(request.url).pathname.slice(1);
             const answer = await env[name].fetch('https://back/path', { method: 'POST', body: 'sent' });
             return new Response(`${name}: ${await answer.text()}`, answer);",
        );
        front.bindings = vec![
            ("BACK", bound("back", None, None)),
            ("NAMED", bound("back", Some("Named"), Some(json!({ "who": "front" })))),
            ("NONE", bound("none", None, None)),
        ];
        running.upload(OWN, "front", front).await;
        let back = |version: u8| {
            Code::module(&format!(
                "import {{ WorkerEntrypoint }} from 'cloudflare:workers';
                 export default {{ async fetch(request) {{
                     return new Response(`{version} ${{request.method}} ${{request.url}} ${{await request.text()}}`, {{ status: 201 }});
                 }} }};
                 export class Named extends WorkerEntrypoint {{
                     fetch() {{ return new Response(`named, for ${{this.ctx.props.who}}`); }}
                 }}"
            ))
        };
        for version in 1..3 {
            running.upload(OWN, "back", back(version)).await;
            let expected = format!("BACK: {version} POST https://back/path sent");
            let answer = running.get(OWN, "front", "/BACK").await;
            assert!(answer.is(201, &expected), "{answer:?}");
        }
        let answer = running.get(OWN, "front", "/NAMED").await;
        assert!(answer.is(200, "NAMED: named, for front"), "{answer:?}");
        // Of another account, or nobody's, is no Worker of this one.
        running.upload(OTHER, "none", Code::fetch("return new Response('other')")).await;
        assert!(running.get(OWN, "front", "/NONE").await.is_error(500, 1101));
    });
}

#[test]
fn a_client_that_leaves_while_code_is_loaded_breaks_the_worker_for_nobody() {
    with_engine("", async |running| {
        // As large as takes a while to be read.
        let filling = format!("/*{}*/", " ".repeat(4 << 20));
        for patience_ms in (0..40).step_by(4) {
            let (name, body) = (format!("app{patience_ms}"), "return new Response('here')");
            let text = format!("{filling}\nexport default {{ async fetch() {{ {body} }} }}");
            running.upload(OWN, &name, Code::module(&text)).await;
            let mut exchange = running.exchange(OWN, &name, "/");
            let left = tokio::time::timeout(Duration::from_millis(patience_ms), running.run(&mut exchange));
            drop(left.await);
            let answer = running.get(OWN, &name, "/").await;
            assert!(answer.is(200, "here"), "after {patience_ms} ms: {answer:?}");
        }
    });
}

#[test]
fn code_that_could_send_mail_runs_though_there_is_nobody_who_does() {
    with_engine("", async |running| {
        let code = "import { EmailMessage } from 'cloudflare:email';
                    export default { fetch() { return new Response(new EmailMessage('a@a.example', 'b@b.example', '').to) } }";
        running.upload(OWN, "app", Code::module(code)).await;
        assert!(running.get(OWN, "app", "/").await.is(200, "b@b.example"));
    });
}
