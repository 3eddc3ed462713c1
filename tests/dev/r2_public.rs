//! Public buckets by way of the real binary: stock `wrangler` attaches a host, and visitors read through the cache.

use serde_json::json;

use crate::{
    dev::Dev,
    r2::{buckets, make_bucket, object, wrangler},
};

/// What a visitor gets: the head in lower case, and the body.
fn visit(dev: &Dev, path: &str, fields: &[&str]) -> (String, String) {
    let url = dev.http_url("files.example.com", path);
    let fields = fields.iter().flat_map(|field| ["-H", *field]);
    let text = dev.curl(&["-sSi"].into_iter().chain(fields).chain([url.as_str()]).collect::<Vec<_>>());
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (head.to_lowercase(), body.to_owned())
}

#[test]
fn visitors_read_a_bucket_at_its_host_through_the_cache_until_it_is_purged_or_removed() {
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    let zone = dev.zone("example.com");
    make_bucket(&dev, "photos");
    let put = |text: &str| {
        let args = ["-X", "PUT", "-H", "content-type: image/png", "-H", "cache-control: max-age=600"];
        let (code, answer) =
            object(&dev, "photos/objects/a/b.png", &[&args[..], &["--data-binary", text]].concat());
        assert_eq!(code, "200", "{answer}");
    };
    put("first");
    let folder = tempfile::tempdir().unwrap();
    let wrangler =
        |args: &[&str]| wrangler(&dev, folder.path(), &[&["r2", "bucket", "domain"], args].concat());
    wrangler(&["add", "photos", "--domain", "files.example.com", "--zone-id", &zone, "--force"]);
    let listed = wrangler(&["list", "photos"]);
    assert!(listed.contains("files.example.com"), "{listed}");
    assert!(wrangler(&["get", "photos", "--domain", "files.example.com"]).contains("Yes"));

    let read = || visit(&dev, "/a/b.png", &[]);
    let (head, body) = read();
    assert!(
        head.starts_with("http/1.1 200") && head.contains("cf-cache-status: miss"),
        "{head}\n{}",
        dev.log()
    );
    assert!(head.contains("content-type: image/png") && body == "first", "{head} {body}");
    put("second");
    let (head, body) = read();
    assert!(head.contains("cf-cache-status: hit") && body == "first", "{head} {body}");
    let (head, part) = visit(&dev, "/a/b.png", &["range: bytes=1-2"]);
    assert!(head.starts_with("http/1.1 206") && part == "ir", "{head} {part}");
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let (head, _) = visit(&dev, "/a/b.png", &[&format!("if-none-match: {etag}")]);
    assert!(head.starts_with("http/1.1 304"), "{head}");
    let purge = json!({ "files": [dev.http_url("files.example.com", "/a/b.png")] });
    let (code, answer) = dev.api("POST", &format!("/zones/{zone}/purge_cache"), Some(&purge), None);
    assert_eq!(code, "200", "{answer}");
    assert_eq!(read().1, "second");
    let (head, body) = visit(&dev, "/none", &[]);
    assert!(head.starts_with("http/1.1 404") && !body.contains('<'), "{head} {body}");

    let (code, answer) = dev.api("DELETE", &format!("{}/photos", buckets(&dev)), None, None);
    assert_eq!((code.as_str(), &answer["errors"][0]["code"]), ("409", &json!(10008)), "{answer}");
    // It is fresh for ten minutes; who has switched the host off wants it gone now.
    let switch = |is_on: bool| {
        let at = format!("{}/photos/domains/custom/files.example.com", buckets(&dev));
        let (code, answer) = dev.api("PUT", &at, Some(&json!({ "enabled": is_on })), None);
        assert_eq!(code, "200", "{answer}");
    };
    assert!(read().0.contains("cf-cache-status: hit"));
    switch(false);
    crate::cluster::until("http/1.1 404", || (true, read().0));
    switch(true);
    crate::cluster::until("http/1.1 200", || (true, read().0));
    wrangler(&["remove", "photos", "--domain", "files.example.com", "--force"]);
    let gone = || (true, visit(&dev, "/a/b.png", &[]).0);
    crate::cluster::until("http/1.1 530", gone);
}
