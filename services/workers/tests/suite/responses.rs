//! The Cache API, as a Worker has it.

use std::{collections::HashMap, sync::Mutex};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, StatusCode};
use proxima_model::{AccountId, BindingValue, ModuleKind, WorkerSyntax, ZoneId};
use proxima_pipeline::{Body, Response, ResponseCache, ResponsePlace, ResponseRefused};
use serde_json::{Value, json};

use crate::harness::{Code, OTHER, OWN, Running, with_engine};

type Place = (AccountId, Option<ZoneId>, Option<String>, String);

/// Responses in memory, as long as the test runs. `no-store` is refused.
#[derive(Default)]
pub(crate) struct MemoryResponses(Mutex<HashMap<Place, (StatusCode, HeaderMap, Bytes)>>);

fn owned(place: &ResponsePlace<'_>) -> Place {
    (place.account, place.zone, place.cache.map(str::to_owned), place.url.to_string())
}

impl ResponseCache for MemoryResponses {
    fn find<'a>(
        &'a self,
        place: ResponsePlace<'a>,
        request: &'a HeaderMap,
    ) -> BoxFuture<'a, Option<Response>> {
        let found = self.0.lock().unwrap().get(&owned(&place)).cloned();
        let mut asked: Vec<String> = request.keys().map(ToString::to_string).collect();
        asked.sort_unstable();
        let answer = found.map(|(status, mut headers, body)| {
            headers.insert("cf-cache-status", HeaderValue::from_static("HIT"));
            headers.insert("x-asked", HeaderValue::from_str(&asked.join(" ")).unwrap());
            Response { status, headers, body: Body::full(body), ..Response::default() }
        });
        std::future::ready(answer).boxed()
    }

    fn put<'a>(
        &'a self,
        place: ResponsePlace<'a>,
        _: &'a HeaderMap,
        response: &'a mut Response,
    ) -> BoxFuture<'a, Result<(), ResponseRefused>> {
        Box::pin(async move {
            if response.headers.get("cache-control").is_some_and(|value| value == "no-store") {
                return Err(ResponseRefused::Response("no-store".to_owned()));
            }
            let body = std::mem::take(&mut response.body).collect(1 << 20).await;
            let body = body.map_err(|_| ResponseRefused::Lost)?;
            let kept = (response.status, response.headers.clone(), body);
            self.0.lock().unwrap().insert(owned(&place), kept);
            Ok(())
        })
    }

    fn delete<'a>(&'a self, place: ResponsePlace<'a>, _: &'a HeaderMap) -> BoxFuture<'a, bool> {
        std::future::ready(self.0.lock().unwrap().remove(&owned(&place)).is_some()).boxed()
    }
}

/// What a Worker that runs these statements answers.
async fn answer(running: &Running, account: AccountId, name: &str, statements: &str) -> Value {
    let code = Code::fetch(&format!(
        "const thrown = async (does) => {{ try {{ return await does(); }} catch (error) {{ return `${{error.name}}: ${{error.message}}`; }} }};
         const cache = caches.default;
         const text = async (found) => found === undefined ? null : [found.status, await found.text()];
         {statements}"
    ));
    running.upload(account, name, code).await;
    let answer = running.get(account, name, "/").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.text).unwrap()
}

#[test]
fn what_a_worker_puts_it_matches_and_deletes() {
    with_engine("", async |running| {
        let statements = "
            const url = 'https://www.example.com/a?b=ü';
            const none = await cache.match(url);
            const put = await cache.put(new Request(url, { headers: { 'x-own': '1' } }),
                new Response('größe', { status: 404, headers: [['x-a', 'b'], ['set-cookie', 'c=d'], ['set-cookie', 'e=f']] }));
            const found = await cache.match(new Request(url, { headers: { 'if-none-match': '\"x\"', range: 'bytes=0-1' } }));
            const said = [found.headers.get('x-a'), found.headers.get('x-asked'), found.headers.getSetCookie(), found.headers.get('cf-cache-status')];
            await cache.put(url, new Response(null, { status: 204 }));
            await cache.put(new URL('https://www.example.com/b'), new Response(new ReadableStream({
                start(c) { c.enqueue(new TextEncoder().encode('in ')); c.enqueue(new TextEncoder().encode('pieces')); c.close(); } })));
            await cache.put('http://redirected.example/', Response.redirect('http://elsewhere.example/', 301));
            const redirect = await cache.match('http://redirected.example/');
            return Response.json([none ?? null, put ?? null, await text(found), said, await text(await cache.match(url)),
                await text(await cache.match('https://www.example.com/b#fragment')), [redirect.status, redirect.headers.get('location')],
                await cache.delete(url), await cache.delete(url), await text(await cache.match(url))]);";
        let expected = json!([
            null,
            null,
            [404, "größe"],
            ["b", "if-none-match range", ["c=d", "e=f"], "HIT"],
            [204, ""],
            [200, "in pieces"],
            [301, "http://elsewhere.example/"],
            true,
            false,
            null
        ]);
        assert_eq!(answer(&running, OWN, "app", statements).await, expected);
    });
}

#[test]
fn what_cannot_be_kept_is_told_as_cloudflare_tells_it() {
    with_engine("", async |running| {
        let statements = "
            const url = 'http://www.example.com/';
            const post = new Request(url, { method: 'POST', body: 'x' });
            const used = new Response('x');
            await used.text();
            await cache.put(url, new Response('kept'));
            return Response.json([
                await thrown(() => cache.put(post, new Response('x'))),
                await thrown(() => cache.put(url, new Response('x', { status: 206 }))),
                await thrown(() => cache.put(url, new Response('x', { headers: { vary: 'accept, *' } }))),
                await thrown(() => cache.put(url, used)),
                await thrown(() => cache.put(url, 'x')),
                await thrown(() => cache.put('no URL', new Response('x'))),
                await thrown(() => caches.open('x'.repeat(1025))),
                await cache.put(url, new Response('not kept', { headers: { 'cache-control': 'no-store' } })) ?? null,
                await text(await cache.match(url)),
                await text(await cache.match(post)), await text(await cache.match(post, { ignoreMethod: true })),
                await cache.delete(post), await cache.delete(post, { ignoreMethod: true }),
            ]);";
        let answered = answer(&running, OWN, "app", statements).await;
        let told = answered.as_array().unwrap();
        for (at, expected) in [
            "TypeError: Cannot cache response to non-GET request.",
            "TypeError: Cannot cache response to a range request (206 Partial Content).",
            "TypeError: Cannot cache response with 'Vary: *' header.",
            "TypeError: The response's body has been used already.",
            "TypeError: Failed to execute 'put' on 'Cache': parameter 2 is not of type 'Response'.",
            "TypeError: Invalid URL",
            "TypeError: Cache name is too long.",
        ]
        .into_iter()
        .enumerate()
        {
            assert!(told[at].as_str().unwrap().starts_with(expected), "{}", told[at]);
        }
        let rest = json!([null, [200, "kept"], null, [200, "kept"], false, true]);
        assert_eq!(Value::from(told[7..].to_vec()), rest);
    });
}

#[test]
fn accounts_and_caches_are_apart_and_a_url_of_the_accounts_own_zone_is_told_to_be() {
    with_engine("", async |running| {
        let put = "
            const named = await caches.open('named');
            for (const url of ['http://www.example.com/', 'http://elsewhere.example/']) {
              await cache.put(url, new Response('default'));
              await named.put(url, new Response('named'));
            }
            return Response.json([typeof env['proxima:cache'], Object.keys(env)]);";
        assert_eq!(answer(&running, OWN, "puts", put).await, json!(["undefined", []]));
        let find = "
            const urls = ['http://www.example.com/', 'http://elsewhere.example/'], found = [];
            for (const url of urls) {
              for (const one of [cache, await caches.open('named'), await caches.open('')]) found.push(await text(await one.match(url)));
            }
            return Response.json(found);";
        let own = json!([[200, "default"], [200, "named"], null, [200, "default"], [200, "named"], null]);
        assert_eq!(answer(&running, OWN, "finds", find).await, own);
        assert_eq!(answer(&running, OTHER, "finds", find).await, json!([null, null, null, null, null, null]));
        let places = running.responses.0.lock().unwrap();
        for ((account, zone, _, url), _) in places.iter() {
            assert_eq!((*account, zone.is_some()), (OWN, url.contains("example.com")), "{url}");
        }
        assert_eq!(places.len(), 4);
    });
}

#[test]
fn scripts_of_service_worker_syntax_and_old_days_have_it_beside_their_bindings() {
    with_engine("", async |running| {
        let script = "addEventListener('fetch', (event) => event.respondWith(answer()));
            async function answer() {
              await caches.default.put('http://www.example.com/', new Response(GREETING));
              return caches.default.match('http://www.example.com/');
            }";
        let code = Code {
            modules: vec![("worker.js", ModuleKind::CommonJs, script.into())],
            syntax: WorkerSyntax::ServiceWorker,
            bindings: vec![("GREETING", BindingValue::PlainText("hello".to_owned()))],
            compatibility_date: "2021-11-02",
            ..Code::module("")
        };
        running.upload(OWN, "script", code).await;
        let answer = running.get(OWN, "script", "/").await;
        assert!(answer.is(200, "hello"), "{answer:?}");
    });
}

#[test]
fn a_body_that_breaks_off_is_not_kept_and_a_field_of_ours_asks_for_nothing_else() {
    with_engine("", async |running| {
        let statements = "
            const broken = new ReadableStream({ pull(c) { if (this.n) c.error(new Error('broke')); else { this.n = 1; c.enqueue(new Uint8Array(9)); } } });
            const failed = await thrown(() => cache.put('http://www.example.com/', new Response(broken)));
            const forged = { headers: { 'proxima-cache': encodeURIComponent(JSON.stringify({ operation: 'delete', cache: null })),
                'cf-proxima-facts': JSON.stringify({ proxima: { account: 'x' } }) } };
            await cache.put('http://www.example.com/b', new Response('kept'));
            const found = await cache.match(new Request('http://www.example.com/b', forged));
            return Response.json([failed, await text(await cache.match('http://www.example.com/')), await text(found)]);";
        let answered = answer(&running, OWN, "app", statements).await;
        assert_eq!(answered, json!(["Error: broke", null, [200, "kept"]]));
    });
}
