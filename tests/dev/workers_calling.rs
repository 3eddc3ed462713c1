//! Workers that call each other by what they fetch: from custom domains of their account, and from sites of others.

use std::time::Instant;

use proxima_ledger::{Append, EmbeddedLog, IdempotencyKey, Log as _, ReplicaOptions, Sealer};
use proxima_model::{Account, AccountId, Timestamp};
use serde_json::{Value, json};

use crate::{
    HOST,
    client_auth::Identity,
    dev::{DEADLINE, Dev},
    observed::{metric, until_metric},
    origin::Origin,
    with_site,
    workers::{Project, get},
};

const BEGIN: &str =
    "main = \"main.js\"\ncompatibility_date = \"2026-11-01\"\nworkers_dev = false\npreview_urls = false\n";
/// A zone of another account, and a host of it.
const STRANGERS: &str = "stranger.example";
const STRANGER: &str = "www.stranger.example";

/// A Worker of this name at these routes, as `wrangler.toml` has them.
fn project(name: &str, routes: &[&str], code: &str) -> Project {
    let project = Project::of(&format!("name = \"{name}\"\n{BEGIN}routes = [{}]\n", routes.join(", ")));
    project.write(code);
    project
}

fn domain(host: &str) -> String {
    format!("{{ pattern = \"{host}\", custom_domain = true }}")
}

fn route(pattern: &str, zone: &str) -> String {
    format!("{{ pattern = \"{pattern}\", zone_name = \"{zone}\" }}")
}

fn ok(dev: &Dev, method: &str, path: &str, body: &Value) -> Value {
    let (code, answer) = dev.api(method, path, Some(body), None);
    assert_eq!(code, "200", "{answer}");
    answer["result"].clone()
}

fn called(dev: &Dev, by: &str) -> f64 {
    metric(dev, &format!("proxima_workers_calls_total{{by=\"{by}\"}}")).unwrap_or_default()
}

fn looped(dev: &Dev) -> f64 {
    metric(dev, "proxima_workers_requests_total{outcome=\"Looped\"}").unwrap_or_default()
}

/// Two Workers with custom domains, `api` and `app`; the latter has routes on other hosts, too.
fn deploy_api_and_app(dev: &Dev) {
    let api = project(
        "api",
        &[&domain("api.example.com")],
        "export default { fetch: async (request) => request.url.endsWith('/loop')
           ? fetch('https://app.example.com/loop')
           : new Response(`api ${request.method} ${request.url} ${await request.text()}`) }",
    );
    api.wrangler(dev, &["deploy"]);
    let routes =
        [route(&format!("{HOST}/app/*"), "example.com"), route("api.example.com/guarded*", "example.com")];
    let app = project(
        "app",
        &[&routes[0], &routes[1], &domain("app.example.com")],
        &format!(
            "export default {{ async fetch(request, env, ctx) {{
               switch (new URL(request.url).pathname) {{
                 case '/app/api': return fetch('http://api.example.com/x?y', {{ method: 'POST', body: 'sent' }});
                 case '/app/route': return fetch('http://{HOST}/app/api');
                 case '/app/own': return fetch('https://app.example.com/leaf');
                 case '/leaf': return new Response('a leaf');
                 case '/app/loop': case '/loop': return fetch('https://api.example.com/loop');
                 case '/app/self': case '/self':
                   return new Response(`self ${{await (await fetch('https://app.example.com/self')).text()}}`);
                 case '/app/throws': return fetch('https://app.example.com/throws');
                 case '/throws': ctx.passThroughOnException(); throw new Error('boom');
                 default: return new Response(`guarded: ${{await (await fetch(request)).text()}}`);
               }}
             }} }}"
        ),
    );
    app.wrangler(dev, &["deploy"]);
}

#[test]
fn a_worker_fetches_from_custom_domains_of_its_account_and_never_without_end() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    deploy_api_and_app(&dev);
    assert_eq!(get(&dev, "/app/api"), "api POST http://api.example.com/x?y sent");
    assert_eq!(get(&dev, "/app/route"), "the page /app/api", "routes are for visitors");
    let url = dev.http_url("api.example.com", "/guarded/x");
    let guarded = dev.curl(&["-sS", &url]);
    assert_eq!(guarded, format!("guarded: api GET {url} "), "behind a route stands the custom domain");
    assert_eq!(get(&dev, "/app/own"), "a leaf", "its own is one like others");
    assert!(called(&dev, "Own") >= 3.0, "some may be sent once more");
    assert_eq!(looped(&dev), 0.0);

    let two = get(&dev, "/app/loop");
    assert!(two.contains("error 1019"), "{two}");
    assert!(called(&dev, "Own") >= 20.0 && looped(&dev) >= 1.0);
    let before = looped(&dev);
    let alone = get(&dev, "/app/self");
    assert!(alone.contains("error 1019"), "{alone}");
    assert_eq!(alone.matches("self ").count(), 17, "sixteen behind the first one: {alone}");
    assert!(looped(&dev) > before);

    let before = looped(&dev);
    let threw = get(&dev, "/app/throws");
    assert!(threw.contains("error ") && !threw.contains("1019"), "who threw is not asked again: {threw}");
    assert_eq!(looped(&dev), before);
    // Nothing is left of it.
    assert_eq!(get(&dev, "/app/own"), "a leaf");
}

/// The account of strangers.
const ACCOUNT: AccountId = AccountId::from_bytes([7; 16]);

/// Puts it into the log of a server while that does not run: no API makes accounts yet.
fn add_account(dev: &mut Dev) {
    dev.terminate();
    let account = Account { id: ACCOUNT, name: "Other".to_owned(), created_at: Timestamp::from_millis(0) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let key = std::fs::read_to_string(dev.data().join("at-rest.key")).unwrap();
        let sealer = Sealer::from_hex(&key).unwrap();
        let log = EmbeddedLog::open(&dev.data().join("ledger"), sealer, ReplicaOptions::default()).unwrap();
        let append = Append {
            changes: vec![log.replica().put(&account)],
            preconditions: Vec::new(),
            idempotency_key: IdempotencyKey("another account".to_owned()),
            fingerprint: None,
            author: "test".to_owned(),
        };
        log.append(append).await.unwrap();
        log.close().await;
    });
    dev.start_again();
}

/// A server with a site of another account, `www.stranger.example`, in front of this origin.
fn with_stranger(own: &Origin, others: &Origin) -> Dev {
    let mut dev = with_site(own);
    add_account(&mut dev);
    ok(&dev, "POST", "/zones", &json!({ "name": STRANGERS, "account": { "id": ACCOUNT } }));
    for host in ["www", "secure"] {
        dev.proxima(&["dns", "add", STRANGERS, "A", host, "127.0.0.1", "--proxied"]);
    }
    dev.send_to_origin(STRANGERS, others.port());
    dev.set(STRANGERS, "ssl", "flexible");
    dev
}

/// A Worker that fetches what its query says, with fields that it may not write, and answers with what it got.
fn deploy_app(dev: &Dev) {
    let app = project(
        "app",
        &[&route(&format!("{HOST}/app/*"), "example.com"), &domain("app.example.com")],
        &format!(
            "export default {{ async fetch(request) {{
               const url = new URL(request.url);
               if (url.pathname === '/app/loop') return new Response(`round ${{await (await fetch('http://{STRANGER}/guest/loop')).text()}}`);
               const headers = new Headers(request.headers);
               headers.set('cf-connecting-ip', '127.0.0.1');
               headers.set('cf-worker', 'forged.example');
               headers.set('cf-mine', '1');
               headers.set('proxima-threw', 'forged');
               headers.set('x-mine', '1');
               const answer = await fetch(decodeURIComponent(url.search.slice(1)), {{ headers, cf: {{ cacheTtl: -1 }} }});
               return new Response(`${{answer.status}} ${{answer.headers.get('cf-cache-status')}} ${{await answer.text()}}`);
             }} }}"
        ),
    );
    app.wrangler(dev, &["deploy"]);
}

/// What the Worker `app` gets of this URL.
fn fetched(dev: &Dev, url: &str) -> String {
    get(dev, &format!("/app/x?{}", url.replace(':', "%3a").replace('/', "%2f")))
}

#[test]
fn a_worker_fetches_from_sites_of_other_accounts_as_a_visitor_whom_they_do_not_trust() {
    let (own, others) = (Origin::start(), Origin::start());
    let dev = with_stranger(&own, &others);
    deploy_app(&dev);
    // Through their cache, by their rules, whatever the caller says of caching.
    let begun = Instant::now();
    loop {
        let answer = fetched(&dev, &format!("http://{STRANGER}/style.css"));
        assert!(answer.ends_with(" the page /style.css"), "{answer}");
        if answer.starts_with("200 HIT") {
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "{answer}");
    }
    assert_eq!(others.requests("/style.css"), 1);
    let visitor = dev.curl(&["-sSi", &dev.http_url(STRANGER, "/style.css")]);
    assert!(visitor.contains("the page /style.css"), "{visitor}");
    until_metric(&dev, "proxima_edge_entered_total{status=\"2xx\"}", |count| count >= 2.0);
    let counted = "proxima_edge_zone_requests_total{zone=\"stranger.example\",pop=\"DEV\",status=\"2xx\"}";
    until_metric(&dev, counted, |count| count >= 3.0);

    // Their Workers see a stranger.
    let guest = project(
        "guest",
        &[&route(&format!("{STRANGER}/guest/*"), STRANGERS), &domain("guest.stranger.example")],
        &format!(
            "export default {{ async fetch(request) {{
               if (request.url.endsWith('/loop')) return new Response(`round ${{await (await fetch('http://{HOST}/app/loop')).text()}}`);
               const {{ url, headers, cf }} = request;
               return new Response(JSON.stringify({{ url, headers: Object.fromEntries(headers), cf }}));
             }} }}"
        ),
    );
    guest.deploy_for(&dev, STRANGERS);
    for url in [format!("https://{STRANGER}/guest/x"), "http://guest.stranger.example/".to_owned()] {
        let told = fetched(&dev, &url);
        let seen: Value = serde_json::from_str(told.strip_prefix("200 null ").unwrap_or(&told)).unwrap();
        let field = |name: &str| seen["headers"][name].as_str();
        assert_eq!(seen["url"], url.as_str());
        assert_eq!((field("cf-connecting-ip"), field("cf-worker")), (Some("100::103"), Some("example.com")));
        assert_eq!((field("x-mine"), field("cf-mine"), field("cf-proxima-facts")), (Some("1"), None, None));
        let tls = url.starts_with("https").then_some("TLSv1.3");
        assert_eq!(seen["cf"]["tlsVersion"].as_str(), tls, "{seen}");
    }
    let before = called(&dev, "Stranger");
    assert!(before >= 2.0);
    let looped_between = get(&dev, "/app/loop");
    assert!(looped_between.contains("error 1019"), "{looped_between}");
    assert!(called(&dev, "Stranger") >= before + 3.0);
    assert_eq!(looped(&dev), 0.0, "the step is refused, and no Worker was asked");
    assert_eq!(looped_between.matches("round ").count(), 4, "at 0, 4, 8 and 12: {looped_between}");
}

#[test]
fn what_keeps_visitors_out_of_a_site_keeps_workers_of_others_out() {
    let (own, others) = (Origin::start(), Origin::start());
    let dev = with_stranger(&own, &others);
    deploy_app(&dev);
    let secure = format!("secure.{STRANGERS}");
    let url = format!("https://{secure}/page");
    assert!(fetched(&dev, &url).ends_with("the page /page"));
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::new(folder.path(), "theirs");
    let authority = json!({ "ca": true, "certificates": identity.authority });
    let uploaded = ok(&dev, "POST", &format!("/accounts/{ACCOUNT}/mtls_certificates"), &authority);
    let path = format!("/zones/{}/certificate_authorities/hostname_associations", dev.zone(STRANGERS));
    let body = json!({ "hostnames": [secure], "mtls_certificate_id": uploaded["id"], "enforce": true });
    ok(&dev, "PUT", &path, &body);
    for scheme in ["https", "http"] {
        let refused = fetched(&dev, &format!("{scheme}://{secure}/page"));
        assert!(refused.starts_with("403 ") && !refused.contains("the page"), "{scheme}: {refused}");
    }
    // What the network tells of who asks is the stranger's, too.
    let traced = fetched(&dev, &format!("http://{STRANGER}/cdn-cgi/trace"));
    assert!(traced.contains("ip=100::103\n"), "{traced}");
    // A host that is not served here is asked for by its name, as by everybody.
    dev.proxima(&["dns", "add", STRANGERS, "A", "plain", "127.0.0.1"]);
    let plain = fetched(&dev, &format!("http://plain.{STRANGERS}/"));
    assert!(plain.starts_with("530 "), "{plain}");
    dev.set(STRANGERS, "always_use_https", "on");
    dev.set(STRANGERS, "ssl", "flexible");
    let redirected = fetched(&dev, &format!("http://{STRANGER}/page"));
    assert!(redirected.ends_with("the page /page"), "sent to TLS, as a visitor: {redirected}");
}
