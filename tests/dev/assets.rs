//! Static assets by way of the real binary, deployed by stock `wrangler`.

use std::fs;

use crate::{HOST, dev::Dev, observed::until_metric, origin::Origin, with_site, workers::Project};

/// What `curl` shows of an answer: its head and its text.
fn ask(dev: &Dev, path: &str, more: &[&str]) -> String {
    let url = dev.http_url(HOST, path);
    let mut all = vec!["-sS", "-i", &url];
    all.extend(more);
    dev.curl(&all)
}

fn settings(more: &str) -> String {
    format!(
        "name = \"site\"\ncompatibility_date = \"2026-11-01\"\nworkers_dev = false\npreview_urls = false\n\
         routes = [{{ pattern = \"{HOST}/*\", zone_name = \"example.com\" }}]\n{more}",
    )
}

/// A page, a stylesheet, an image, rules, and what is said where nothing is.
fn site(project: &Project) {
    let style = "a { color: teal }\n".repeat(200);
    for (name, octets) in [
        ("index.html", &b"<h1>first</h1>"[..]),
        ("about/index.html", b"<h1>about</h1>"),
        ("404.html", b"<h1>not here</h1>"),
        ("style.css", style.as_bytes()),
        ("pixel.png", b"\x89PNG\r\n\x1a\n\0\xff\xfe"),
        ("_headers", b"/*\n  X-Site: ours\n/style.css\n  Cache-Control: public, max-age=600\n"),
        ("_redirects", b"/home / 301\n/blog/* /about/?from=:splat\n"),
    ] {
        project.file(&format!("public/{name}"), octets);
    }
}

#[test]
fn a_static_site_is_deployed_changed_and_taken_back_by_stock_wrangler() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let more = "[assets]\ndirectory = \"./public\"\nnot_found_handling = \"404-page\"\n";
    let project = Project::of(&settings(more));
    site(&project);
    let told = project.wrangler(&dev, &["deploy"]);
    assert!(told.contains("Found 5 new or modified static assets"), "{told}");

    let home = ask(&dev, "/", &[]);
    assert!(home.starts_with("HTTP/1.1 200") && home.ends_with("<h1>first</h1>"), "{home}");
    let lower = home.to_ascii_lowercase();
    for field in [
        "content-type: text/html",
        "cache-control: public, max-age=0, must-revalidate",
        "x-site: ours",
        "etag: \"",
    ] {
        assert!(lower.contains(field), "{field}: {home}");
    }
    let style = ask(&dev, "/style.css", &["-H", "accept-encoding: gzip", "-o", "/dev/null", "-D", "-"]);
    let lower = style.to_ascii_lowercase();
    assert!(lower.contains("content-encoding: gzip") && lower.contains("max-age=600"), "{style}");
    let tag = style.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim().to_owned();
    let known = ask(&dev, "/style.css", &["-H", &format!("if-none-match: {tag}")]);
    assert!(known.starts_with("HTTP/1.1 304"), "{known}");
    let image = dev.data().join("pixel");
    dev.curl(&["-sS", "-o", image.to_str().unwrap(), &dev.http_url(HOST, "/pixel.png")]);
    assert_eq!(fs::read(&image).unwrap(), b"\x89PNG\r\n\x1a\n\0\xff\xfe");
    for (path, status, location) in [
        ("/index.html", "307", "/"),
        ("/about", "307", "/about/"),
        ("/home", "301", "/"),
        ("/blog/x", "302", "/about/?from=x"),
    ] {
        let answer = ask(&dev, path, &[]).to_ascii_lowercase();
        let expected = format!("\r\nlocation: {location}\r\n");
        assert!(answer.starts_with(&format!("http/1.1 {status}")) && answer.contains(&expected), "{answer}");
    }
    let missing = ask(&dev, "/nothing", &[]);
    assert!(missing.starts_with("HTTP/1.1 404") && missing.ends_with("<h1>not here</h1>"), "{missing}");
    assert!(ask(&dev, "/", &["-X", "POST"]).starts_with("HTTP/1.1 405"));
    let explained = dev.proxima(&["explain", &format!("http://{HOST}/")]);
    assert!(explained.contains("its assets answer"), "{explained}");
    until_metric(&dev, "proxima_workers_assets_total", |count| count >= 8.0);

    project.file("public/index.html", b"<h1>second</h1>");
    let told = project.wrangler(&dev, &["deploy"]);
    assert!(told.contains("Found 1 new or modified static asset to upload"), "{told}");
    assert!(ask(&dev, "/", &[]).ends_with("<h1>second</h1>"));
    let told = project.wrangler(&dev, &["deploy"]);
    assert!(told.contains("No updated asset files to upload"), "{told}");
    project.wrangler(&dev, &["rollback", "--yes", "--message", "back"]);
    assert!(ask(&dev, "/", &[]).ends_with("<h1>second</h1>"), "to the one before, which was the same");
    assert!(ask(&dev, "/about/", &[]).ends_with("<h1>about</h1>"));
    let first = versions(&project, &dev)[0].clone();
    project.wrangler(&dev, &["rollback", &first, "--yes", "--message", "to the first"]);
    assert!(ask(&dev, "/", &[]).ends_with("<h1>first</h1>"));
}

/// The versions' ids, the oldest first.
pub(crate) fn versions(project: &Project, dev: &Dev) -> Vec<String> {
    let told = project.wrangler(dev, &["versions", "list", "--json"]);
    let json = &told[told.find('[').unwrap()..=told.rfind(']').unwrap()];
    let listed: serde_json::Value = serde_json::from_str(json).unwrap();
    let mut all: Vec<_> = listed.as_array().unwrap().iter().collect();
    all.sort_by_key(|version| version["number"].as_u64());
    all.iter().map(|version| version["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_worker_has_its_assets_and_is_asked_first_where_it_says_so() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let more = "main = \"main.js\"\n[assets]\ndirectory = \"./public\"\nbinding = \"ASSETS\"\n\
                run_worker_first = [\"/api/*\", \"/members/*\", \"!/members/open.txt\"]\n";
    let project = Project::of(&settings(more));
    site(&project);
    project.file("public/members/list.txt", b"members");
    project.file("public/members/open.txt", b"open");
    project.write(
        "export default { async fetch(request, env) {
           const { pathname } = new URL(request.url);
           if (!pathname.startsWith('/members/')) return Response.json({ pathname, method: request.method });
           if (request.headers.get('x-key') !== 'k') return new Response('no', { status: 403 });
           const answer = await env.ASSETS.fetch(request);
           return new Response(`${await answer.text()} by code`, answer);
         } }",
    );
    let told = project.wrangler(&dev, &["deploy"]);
    assert!(told.contains("ASSETS"), "{told}");
    assert!(ask(&dev, "/", &[]).ends_with("<h1>first</h1>"));
    assert!(ask(&dev, "/api/x", &[]).ends_with(r#"{"pathname":"/api/x","method":"GET"}"#));
    assert!(ask(&dev, "/nothing", &["-X", "POST"]).ends_with(r#"{"pathname":"/nothing","method":"POST"}"#));
    assert!(ask(&dev, "/members/list.txt", &[]).starts_with("HTTP/1.1 403"));
    let listed = ask(&dev, "/members/list.txt", &["-H", "x-key: k"]);
    assert!(listed.ends_with("members by code") && listed.contains("text/plain"), "{listed}");
    assert!(ask(&dev, "/members/open.txt", &[]).ends_with("\r\n\r\nopen"));
}

#[test]
fn the_example_of_a_site_is_deployed_as_it_is() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::of_example("site", |settings| {
        format!(
            "routes = [{{ pattern = \"{HOST}/*\", zone_name = \"example.com\" }}]\nworkers_dev = false\npreview_urls = false\n{settings}"
        )
    });
    project.wrangler(&dev, &["deploy"]);
    assert!(ask(&dev, "/", &[]).contains("<h1>A site</h1>"));
    assert!(ask(&dev, "/about", &[]).to_ascii_lowercase().contains("x-content-type-options: nosniff"));
    assert!(ask(&dev, "/no/such/page", &[]).contains("<h1>Nothing here</h1>"));
    assert!(ask(&dev, "/blog/a", &[]).to_ascii_lowercase().contains("location: /about?from=a"));
}
