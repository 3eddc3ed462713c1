//! Static assets: what the node answers by itself, and what code has of them.

use http::{HeaderName, HeaderValue, Method, header};
use proxima_model::{
    AssetConfig, BindingValue, FirstPaths, NotFoundHandling, WorkerFirst, WorkerName, limits,
};

use crate::harness::{Answer, Assets, Code, OWN, Running, with_engine, with_node};

const HTML: Option<&str> = Some("text/html; charset=utf-8");

fn site() -> Assets {
    Assets {
        files: vec![
            ("/index.html", HTML, b"home".to_vec()),
            ("/about.html", HTML, b"about".to_vec()),
            ("/404.html", HTML, b"nothing here".to_vec()),
            ("/a b/\u{fc}.css", Some("text/css; charset=utf-8"), b"a {}".to_vec()),
            ("/untyped", None, b"0123456789".to_vec()),
        ],
        config: AssetConfig { not_found_handling: NotFoundHandling::Page404, ..AssetConfig::default() },
        headers: "/*\n  x-site: ours\n/about\n  ! cache-control\n",
        redirects: "/old/* /:splat 301\n/alias /about 200\n",
    }
}

async fn ask(running: &Running, method: Method, target: &str, fields: &[(HeaderName, &str)]) -> Answer {
    let mut exchange = running.exchange(OWN, "app", target);
    exchange.request.method = method;
    for (name, value) in fields {
        exchange.request.headers.insert(name.clone(), HeaderValue::from_str(value).unwrap());
    }
    Answer::read(running.run(&mut exchange).await).await
}

fn field<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

/// No engine: what needs none is answered without.
#[test]
fn a_site_without_code_is_answered_by_the_node_itself() {
    with_node("", async |running| {
        running.upload(OWN, "app", Code::none(site())).await;
        let get = async |target: &str| ask(&running, Method::GET, target, &[]).await;
        let home = get("/").await;
        assert!(home.is(200, "home"), "{home:?}");
        assert_eq!(field(&home, "content-type"), HTML);
        assert_eq!(field(&home, "cache-control"), Some("public, max-age=0, must-revalidate"));
        assert_eq!(field(&home, "x-site"), Some("ours"));
        let about = get("/about").await;
        assert!(about.is(200, "about") && field(&about, "cache-control").is_none(), "{about:?}");
        assert!(get("/a%20b/%C3%BC.css").await.is(200, "a {}"));
        let untyped = get("/untyped").await;
        assert!(untyped.is(200, "0123456789") && field(&untyped, "content-type").is_none());
        for (target, status, location) in [
            ("/about.html?a=b", 307, "/about?a=b"),
            ("/index.html", 307, "/"),
            ("/old/x/y?q", 301, "/x/y?q"),
            ("//untyped", 307, "/untyped"),
        ] {
            let answer = get(target).await;
            assert_eq!(
                (answer.status.as_u16(), field(&answer, "location")),
                (status, Some(location)),
                "{target}"
            );
        }
        let alias = get("/alias").await;
        assert!(alias.is(200, "about"), "{alias:?}");
        let missing = get("/no/such/page").await;
        assert!(missing.is(404, "nothing here"), "{missing:?}");
        assert_eq!(field(&missing, "x-site"), Some("ours"));
    });
}

#[test]
fn conditions_ranges_and_methods_are_answered_as_http_has_them() {
    with_node("", async |running| {
        running.upload(OWN, "app", Code::none(site())).await;
        let whole = ask(&running, Method::GET, "/untyped", &[]).await;
        let tag = field(&whole, "etag").unwrap().to_owned();
        let known = ask(&running, Method::GET, "/untyped", &[(header::IF_NONE_MATCH, &tag)]).await;
        assert!(known.is(304, "") && field(&known, "etag") == Some(&tag), "{known:?}");
        let part = ask(&running, Method::GET, "/untyped", &[(header::RANGE, "bytes=2-4")]).await;
        assert!(part.is(206, "234"), "{part:?}");
        assert_eq!(field(&part, "content-range"), Some("bytes 2-4/10"));
        assert_eq!(field(&part, "cache-control"), None);
        let beyond = ask(&running, Method::GET, "/untyped", &[(header::RANGE, "bytes=10-")]).await;
        assert_eq!((beyond.status.as_u16(), field(&beyond, "content-range")), (416, Some("bytes */10")));
        let head = ask(&running, Method::HEAD, "/untyped", &[(header::RANGE, "bytes=2-4")]).await;
        assert!(head.is(200, "") && field(&head, "content-length") == Some("10"), "{head:?}");
        let post = ask(&running, Method::POST, "/untyped", &[]).await;
        assert_eq!((post.status.as_u16(), field(&post, "allow")), (405, Some("GET, HEAD")));
    });
}

#[test]
fn a_large_file_comes_in_pieces_and_any_part_of_it_too() {
    with_node("", async |running| {
        let piece = limits::WORKER_PIECE_OCTETS;
        let large: Vec<u8> = (b'a'..=b'w').cycle().take(2 * piece + 7).collect();
        let files = vec![("/large.txt", Some("text/plain"), large.clone())];
        running.upload(OWN, "app", Code::none(Assets { files, ..Assets::default() })).await;
        let mut exchange = running.exchange(OWN, "app", "/large.txt");
        let response = running.run(&mut exchange).await;
        assert_eq!(response.body.length(), Some(large.len() as u64));
        let octets = response.body.collect(large.len()).await.unwrap();
        assert!(octets == large, "{} octets", octets.len());
        for (from, to) in [(piece - 2, piece + 1), (0, 0), (2 * piece, 2 * piece + 6), (1, 2 * piece)] {
            let mut exchange = running.exchange(OWN, "app", "/large.txt");
            let range = format!("bytes={from}-{to}");
            exchange.request.headers.insert(header::RANGE, HeaderValue::from_str(&range).unwrap());
            let response = running.run(&mut exchange).await;
            assert_eq!(response.status, 206);
            let octets = response.body.collect(large.len()).await.unwrap();
            assert!(octets == large[from..=to], "{range}: {} octets", octets.len());
        }
    });
}

#[test]
fn code_answers_where_no_file_is_or_where_it_is_asked_first() {
    with_engine("", async |running| {
        let code = |worker_first: WorkerFirst, not_found_handling| {
            let config = AssetConfig { worker_first, not_found_handling, ..AssetConfig::default() };
            let mut code = Code::fetch(
                "const answer = await env.ASSETS.fetch(request);
                 const type = answer.headers.get('content-type');
                 return new Response(`code saw ${answer.status} ${type} ${await answer.text()}`)",
            );
            code.bindings = vec![("ASSETS", BindingValue::Assets)];
            code.assets = Some(Assets { config, ..site() });
            code
        };
        let get = async |target: &str, fields: &[(HeaderName, &str)]| {
            ask(&running, Method::GET, target, fields).await
        };
        running.upload(OWN, "app", code(WorkerFirst::Never, NotFoundHandling::Page404)).await;
        assert!(get("/", &[]).await.is(200, "home"));
        let asked = get("/api", &[]).await;
        assert!(asked.is(200, "code saw 404 text/html; charset=utf-8 nothing here"), "{asked:?}");
        let navigates = [(HeaderName::from_static("sec-fetch-mode"), "navigate")];
        let page = get("/api", &navigates).await;
        assert!(page.is(404, "nothing here"), "a browser wants a page: {page:?}");
        let posted = ask(&running, Method::POST, "/api", &[]).await;
        assert_eq!(posted.status, 200, "{posted:?}");

        running.upload(OWN, "app", code(WorkerFirst::Always, NotFoundHandling::None)).await;
        let first = get("/about", &[]).await;
        assert!(first.is(200, "code saw 200 text/html; charset=utf-8 about"), "{first:?}");
        let sent = get("/about.html", &[]).await;
        assert!(sent.text.starts_with("code saw 307"), "{sent:?}");

        let rules = ["/ab*", "!/about"].map(str::to_owned).to_vec();
        let rules = WorkerFirst::Paths(FirstPaths::try_from(rules).unwrap());
        running.upload(OWN, "app", code(rules, NotFoundHandling::None)).await;
        assert!(get("/about", &[]).await.is(200, "about"));
        assert!(get("/about.html", &[]).await.text.starts_with("code saw 307"));
        assert!(get("/untyped", &[]).await.is(200, "0123456789"));
    });
}

#[test]
fn a_worker_that_is_bound_to_one_of_assets_alone_is_answered_by_them() {
    with_engine("", async |running| {
        running.upload(OWN, "site", Code::none(site())).await;
        let mut code = Code::fetch("return env.SITE.fetch(new URL('/about', request.url))");
        let worker = WorkerName::parse("site").unwrap();
        code.bindings = vec![("SITE", BindingValue::Service { worker, entrypoint: None, props: None })];
        running.upload(OWN, "app", code).await;
        let answer = ask(&running, Method::GET, "/", &[]).await;
        assert!(answer.is(200, "about"), "{answer:?}");
    });
}

#[test]
fn who_is_bound_to_a_worker_with_assets_asks_these_first_as_a_visitor_does() {
    with_engine("", async |running| {
        let back = |worker_first| {
            let mut back =
                Code::fetch("return new Response(`code ${request.method} ${await request.text()}`)");
            let config = AssetConfig { worker_first, ..AssetConfig::default() };
            back.assets = Some(Assets { config, ..site() });
            back
        };
        let mut app = Code::fetch(
            "const { pathname, searchParams } = new URL(request.url);
             const method = searchParams.get('as') ?? 'GET';
             const init = { method, body: method === 'POST' ? 'body' : undefined, redirect: 'manual' };
             const answer = await env.BACK.fetch('http://back.example' + pathname, init);
             const said = [answer.status, answer.headers.get('location'), answer.headers.get('x-site')];
             return new Response(`${said.join(' ')}: ${await answer.text()}`)",
        );
        let worker = WorkerName::parse("back").unwrap();
        app.bindings = vec![("BACK", BindingValue::Service { worker, entrypoint: None, props: None })];
        running.upload(OWN, "app", app).await;
        running.upload(OWN, "back", back(WorkerFirst::Never)).await;
        for (target, said) in [
            ("/", "200  ours: home"),
            ("/untyped", "200  ours: 0123456789"),
            ("/about.html", "307 /about ours: "),
            ("/untyped?as=POST", "405  ours: "),
            ("/api", "200  : code GET "),
            ("/api?as=POST", "200  : code POST body"),
        ] {
            let answer = ask(&running, Method::GET, target, &[]).await;
            assert!(answer.is(200, said), "{target}: {answer:?}");
        }
        running.upload(OWN, "back", back(WorkerFirst::Always)).await;
        let answer = ask(&running, Method::GET, "/untyped", &[]).await;
        assert!(answer.is(200, "200  : code GET "), "{answer:?}");
    });
}

#[test]
fn each_version_of_a_deployment_answers_with_its_own_files() {
    with_node("", async |running| {
        let of = |text: &'static str| Assets {
            files: vec![("/index.html", HTML, text.into()), ("/only.txt", None, text.into())],
            ..Assets::default()
        };
        let one = running.version(OWN, "app", Code::none(of("one"))).await;
        let two = running.version(OWN, "app", Code::none(of("two"))).await;
        running.deploy(OWN, "app", &[(one, 5_000), (two, 5_000)]).await;
        let key = HeaderName::from_static("cloudflare-workers-version-key");
        let mut seen = std::collections::BTreeSet::new();
        for user in 0..64 {
            let user = user.to_string();
            let fields = [(key.clone(), user.as_str())];
            let page = ask(&running, Method::GET, "/", &fields).await.text;
            assert_eq!(ask(&running, Method::GET, "/only.txt", &fields).await.text, page, "of one version");
            seen.insert(page);
        }
        assert_eq!(seen, ["one".to_owned(), "two".to_owned()].into());
        running.deploy(OWN, "app", &[(one, 10_000)]).await;
        assert!(ask(&running, Method::GET, "/", &[]).await.is(200, "one"), "as it was");
    });
}
