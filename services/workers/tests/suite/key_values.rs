//! Keys and values, as a Worker has them.

use std::{sync::atomic::Ordering, time::Duration};

use proxima_model::{
    AccountId, BindingValue, KvNamespace, KvNamespaceId, ModuleKind, Timestamp, WorkerSyntax,
};
use proxima_pipeline::KvRead;
use serde_json::{Value, json};

use crate::harness::{Code, OTHER, OWN, Running, with_engine};

const NAMESPACE: KvNamespaceId = KvNamespaceId::from_bytes([6; 16]);

/// A namespace of an account.
async fn namespace(running: &Running, account: AccountId, id: KvNamespaceId) {
    let created_at = Timestamp::from_millis(0);
    let namespace = KvNamespace { account, id, title: id.to_string(), created_at };
    running.change(vec![running.node.replica.put(&namespace)]).await;
}

/// A Worker that is bound to the namespace as `KV`, and answers what this expression comes to.
fn bound(expression: &str) -> Code {
    let mut code = Code::fetch(&format!(
        "const thrown = async (does) => {{ try {{ return await does(); }} catch (error) {{ return `${{error.name}}: ${{error.message}}`; }} }};
         const {{ KV }} = env;
         return Response.json({expression} ?? null)"
    ));
    code.bindings = vec![("KV", BindingValue::KvNamespace(NAMESPACE))];
    code
}

/// What a Worker of this expression answers.
async fn answer(running: &Running, name: &str, expression: &str) -> Value {
    running.upload(OWN, name, bound(expression)).await;
    let answer = running.get(OWN, name, "/").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.text).unwrap()
}

#[test]
fn what_is_put_is_got_as_every_type_with_what_is_said_of_it() {
    with_engine("", async |running| {
        namespace(&running, OWN, NAMESPACE).await;
        let puts = "await (async () => {
            await KV.put('text', 'größe', { metadata: { a: 'ü', b: [1] } });
            await KV.put('json', JSON.stringify({ k: [1, null] }));
            await KV.put('buffer', new Uint8Array([0, 255, 1]).buffer, { expirationTtl: 100 });
            await KV.put('view', new Uint8Array([0, 255, 1]).subarray(1), { expiration: 4_000_000_000 });
            await KV.put('stream', new Response('streamed').body);
            await KV.put('many', new ReadableStream({ start(c) { c.enqueue(new Uint8Array(3)); c.enqueue(new Uint8Array(2)); c.close(); } }));
            await KV.put('a/b %2F ü:?#&', 'odd');
            await KV.put('empty', '');
            await KV.put('number', 5);
            return await KV.delete('text-that-never-was') === undefined;
        })()";
        assert_eq!(answer(&running, "puts", puts).await, json!(true));
        let gets = "[
            await KV.get('text'), await KV.get('text', 'text'), await KV.get('text', { type: 'text', cacheTtl: 30 }),
            await KV.get('json', 'json'), await KV.get('json', { type: 'json' }),
            [...new Uint8Array(await KV.get('buffer', 'arrayBuffer'))],
            [...new Uint8Array(await KV.get('view', 'arrayBuffer'))],
            await new Response(await KV.get('stream', 'stream')).text(),
            (await KV.get('many', 'arrayBuffer')).byteLength,
            await KV.get('a/b %2F ü:?#&'), await KV.get('empty'), await KV.get('number'),
            await new Response(await KV.get('empty', 'stream')).text(),
            await KV.get('none'), await KV.get('none', 'stream')]";
        let expected = json!([
            "größe", "größe", "größe", { "k": [1, null] }, { "k": [1, null] }, [0, 255, 1], [255, 1],
            "streamed", 5, "odd", "", "5", "", null, null
        ]);
        assert_eq!(answer(&running, "gets", gets).await, expected);
        let said = "[await KV.getWithMetadata('text'), await KV.getWithMetadata('json', 'json'),
                     await KV.getWithMetadata('none', { type: 'json' })]";
        let expected = json!([
            { "value": "größe", "metadata": { "a": "ü", "b": [1] }, "cacheStatus": null },
            { "value": { "k": [1, null] }, "metadata": null, "cacheStatus": null },
            { "value": null, "metadata": null, "cacheStatus": null },
        ]);
        assert_eq!(answer(&running, "said", said).await, expected);
        let many = "await (async () => {
            const plain = await KV.get(['text', 'none', '1', 'number']);
            const said = await KV.getWithMetadata(['json', 'none'], { type: 'json', cacheTtl: 90 });
            return [plain instanceof Map, [...plain], [...said]];
        })()";
        let expected = json!([
            true, [["text", "größe"], ["none", null], ["1", null], ["number", "5"]],
            [["json", { "value": { "k": [1, null] }, "metadata": null }], ["none", null]]
        ]);
        assert_eq!(answer(&running, "many", many).await, expected);
        let reads = running.key_values.reads.lock().unwrap().clone();
        let within = |seconds| KvRead::Cached(Duration::from_secs(seconds));
        assert_eq!(reads[..3], [within(60), within(60), within(30)]);
        assert_eq!(reads.last(), Some(&within(90)));
    });
}

#[test]
fn keys_are_listed_by_prefix_and_page() {
    with_engine("", async |running| {
        namespace(&running, OWN, NAMESPACE).await;
        let listed = "await (async () => {
            for (const name of ['b1', 'a2', 'a1', 'a3/ü']) await KV.put(name, 'v');
            await KV.put('a1', 'v', { metadata: { m: 1 }, expiration: 4_000_000_000 });
            const all = await KV.list();
            const first = await KV.list({ prefix: 'a', limit: 2 });
            const second = await KV.list({ prefix: 'a', limit: 2, cursor: first.cursor });
            const none = await KV.list({ prefix: 'zz', cursor: null });
            return [all, { ...first, cursor: typeof first.cursor }, second, none,
                    await thrown(() => KV.list({ cursor: 'x!' })), await thrown(() => KV.list({ limit: 1001 }))];
        })()";
        let page = |keys: &[&str], complete: bool| {
            let keys: Vec<_> = keys.iter().map(|name| json!({ "name": name })).collect();
            json!({ "keys": keys, "list_complete": complete, "cacheStatus": null })
        };
        let with_first = |mut page: Value| {
            page["keys"][0] =
                json!({ "name": "a1", "expiration": 4_000_000_000_u64, "metadata": { "m": 1 } });
            page
        };
        let mut first = with_first(page(&["a1", "a2"], false));
        first["cursor"] = "string".into();
        let expected = json!([
            with_first(page(&["a1", "a2", "a3/ü", "b1"], true)),
            first,
            page(&["a3/ü"], true),
            page(&[], true),
            "Error: KV GET failed: 400 Invalid cursor. Give one of a page of keys that begin the same.",
            "Error: KV GET failed: 400 Invalid key_count_limit of 1001. Please specify an integer from 1 to 1000.",
        ]);
        assert_eq!(answer(&running, "list", listed).await, expected);
    });
}

#[test]
fn what_cannot_be_is_thrown_in_the_words_that_workers_know() {
    with_engine("", async |running| {
        namespace(&running, OWN, NAMESPACE).await;
        for (number, (does, thrown)) in [
            ("KV.get('')", "TypeError: Key name cannot be empty."),
            ("KV.put('..', 'v')", "TypeError: \"..\" is not allowed as a key name."),
            (
                "KV.get('é'.repeat(257))",
                "Error: KV GET failed: 414 UTF-8 encoded length of 514 exceeds key length limit of 512.",
            ),
            (
                "KV.delete('k'.repeat(513))",
                "Error: KV DELETE failed: 414 UTF-8 encoded length of 513 exceeds key length limit of 512.",
            ),
            (
                "KV.put('k', 'v', { expirationTtl: 59 })",
                "Error: KV PUT failed: 400 Invalid expiration_ttl of 59. Expiration TTL must be at least 60.",
            ),
            (
                "KV.put('k', 'v', { expiration: 1 })",
                "Error: KV PUT failed: 400 Invalid expiration of 1. Expiration times must be at least 60 seconds in the future.",
            ),
            (
                "KV.get('k', { cacheTtl: 29 })",
                "Error: KV GET failed: 400 Invalid cache_ttl of 29. Cache TTL must be at least 30.",
            ),
            (
                "KV.put('k', {})",
                "TypeError: KV put() accepts only strings, ArrayBuffers, ArrayBufferViews, and ReadableStreams as values.",
            ),
            (
                "KV.put('k', 'v', { metadata: 'x'.repeat(1023) })",
                "Error: KV PUT failed: 413 Metadata length of 1025 exceeds limit of 1024.",
            ),
            (
                "KV.put('k', new Uint8Array(25 * 2 ** 20 + 1))",
                "Error: KV PUT failed: 413 Value length of 26214401 exceeds limit of 26214400.",
            ),
            (
                "KV.put('k', new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(2 ** 20)); } }))",
                "Error: KV PUT failed: 413 Value length of more than 26214400 exceeds limit of 26214400.",
            ),
            (
                "KV.get('k', 'blob')",
                "TypeError: Unknown response type. Possible types are \"text\", \"arrayBuffer\", \"json\", and \"stream\".",
            ),
            (
                "KV.get(['k'], 'stream')",
                "Error: KV GET_BULK failed: 400 \"stream\" is not a valid type. Use \"json\" or \"text\"",
            ),
            ("KV.get([])", "Error: KV GET_BULK failed: 400 You must request a minimum of 1 key"),
            (
                "KV.get(Array.from({ length: 101 }, (_, n) => `k${n}`))",
                "Error: KV GET_BULK failed: 400 You can request a maximum of 100 keys",
            ),
            (
                "(await KV.put('text', 'no json'), KV.get(['text'], 'json'))",
                "Error: KV GET_BULK failed: 400 At least one of the requested keys corresponds to a non-json value",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let expression = format!("await thrown(async () => {does})");
            assert_eq!(answer(&running, &format!("app{number}"), &expression).await, json!(thrown), "{does}");
        }
        let listed = answer(&running, "listed", "(await KV.list()).keys").await;
        assert_eq!(listed, json!([{ "name": "text" }]), "nothing of it was written");
        let large = "await (async () => {
            await KV.put('large', new Uint8Array(25 * 2 ** 20).fill(7));
            const value = new Uint8Array(await KV.get('large', 'arrayBuffer'));
            return [value.length, value.every((octet) => octet === 7)];
        })()";
        assert_eq!(answer(&running, "large", large).await, json!([25 << 20, true]));
    });
}

#[test]
fn a_namespace_is_the_same_on_every_compatibility_date_and_in_service_worker_syntax() {
    with_engine("", async |running| {
        namespace(&running, OWN, NAMESPACE).await;
        let what = "[KV.constructor.name, typeof KV.get, KV.fetch, KV.anything, await KV.put('k', 'v'), await KV.get('k')]";
        let expected = json!(["KvNamespace", "function", null, null, null, "v"]);
        for (number, (date, flags)) in [
            ("2021-11-02", &[][..]),
            ("2024-03-25", &[]),
            ("2026-11-01", &["nodejs_compat"]),
            ("2026-11-01", &["disallow_importable_env"]),
        ]
        .into_iter()
        .enumerate()
        {
            let (name, mut code) = (format!("app{number}"), bound(what));
            (code.compatibility_date, code.compatibility_flags) = (date, flags.to_vec());
            running.upload(OWN, &name, code).await;
            let answer = running.get(OWN, &name, "/").await;
            assert!(answer.is(200, &expected.to_string()), "{date} {flags:?}: {answer:?}");
        }
        let script = "const early = typeof KV.get;
             addEventListener('fetch', event => event.respondWith(answer()));
             async function answer() { await KV.put('k', 'w'); return Response.json([early, await KV.get('k')]); }";
        let code = Code {
            modules: vec![("worker.js", ModuleKind::CommonJs, script.into())],
            syntax: WorkerSyntax::ServiceWorker,
            bindings: vec![("KV", BindingValue::KvNamespace(NAMESPACE))],
            ..Code::module("")
        };
        running.upload(OWN, "old", code).await;
        let answer = running.get(OWN, "old", "/").await;
        assert!(answer.is(200, r#"["function","w"]"#), "{answer:?}");
        let mut class = Code::module(
            "import { WorkerEntrypoint, env } from 'cloudflare:workers';
             const early = env.KV.constructor.name;
             export default class extends WorkerEntrypoint {
               async fetch() { return Response.json([early, await this.env.KV.get('k')]); }
             }",
        );
        class.bindings = vec![("KV", BindingValue::KvNamespace(NAMESPACE))];
        running.upload(OWN, "class", class).await;
        let answer = running.get(OWN, "class", "/").await;
        assert!(answer.is(200, r#"["KvNamespace","w"]"#), "{answer:?}");
        let mut named = Code::module("export class Named {}");
        named.bindings = vec![("KV", BindingValue::KvNamespace(NAMESPACE))];
        running.upload(OWN, "named", named).await;
        assert!(running.get(OWN, "named", "/").await.is_error(500, 1101), "nothing of it answers");
    });
}

#[test]
fn a_worker_reaches_the_namespaces_that_it_is_bound_to_and_no_other() {
    with_engine("", async |running| {
        namespace(&running, OWN, NAMESPACE).await;
        let other = KvNamespaceId::from_bytes([7; 16]);
        namespace(&running, OTHER, other).await;
        assert_eq!(answer(&running, "own", "await KV.put('k', 'ours')").await, Value::Null);
        let mut two = bound("[await env.KV.get('k'), await thrown(() => env.THEIRS.get('k'))]");
        two.bindings.push(("THEIRS", BindingValue::KvNamespace(other)));
        running.upload(OWN, "two", two).await;
        let answered = running.get(OWN, "two", "/").await;
        assert!(
            answered.is(200, r#"["ours","Error: KV GET failed: 400 namespace not found"]"#),
            "of another account: {answered:?}"
        );
        let mut theirs = bound("await KV.get('k')");
        theirs.bindings = vec![("KV", BindingValue::KvNamespace(other))];
        running.upload(OTHER, "theirs", theirs).await;
        assert!(running.get(OTHER, "theirs", "/").await.is(200, "null"));
        // By what of the node it knows: the field in which the node is told, and the address that a namespace asks.
        let forged = "await (async () => {
            const facts = JSON.stringify({ proxima: { account: 'x', namespace: 'y' } });
            const asked = await fetch('http://kv/k', { headers: { 'cf-proxima-facts': facts }, cf: { proxima: {} } });
            return (await asked.text()).includes('http://kv/k');
        })()";
        assert_eq!(answer(&running, "forged", forged).await, json!(true), "it is a fetch like any other");
        running.key_values.is_away.store(true, Ordering::Relaxed);
        let away = answer(&running, "away", "await thrown(() => KV.get('k'))").await;
        assert!(away.as_str().unwrap().starts_with("Error: KV GET failed: 503 "), "{away}");
    });
}
