//! Objects by way of the real binary: stock clients of S3, and stock `wrangler`.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    dev::{DEADLINE, Dev},
    http3::python,
    origin::Origin,
    process::{node_packages, output},
    with_site,
    workers::{Project, get},
};

/// Objects of one account that the API sends or receives at a time.
const UNDER_WAY_PER_ACCOUNT: usize = 16;

/// The keys of S3 that a token is: its id, and SHA-256 of it.
pub(crate) fn keys(token: &str) -> (String, String) {
    let (_, digest) = output(Command::new("sh").arg("-c").arg("printf %s \"$0\" | sha256sum").arg(token));
    (token[..32].to_owned(), digest[..64].to_owned())
}

pub(crate) fn account(dev: &Dev) -> String {
    let (_, accounts) = dev.api("GET", "/accounts", None, None);
    accounts["result"][0]["id"].as_str().unwrap().to_owned()
}

pub(crate) fn buckets(dev: &Dev) -> String {
    format!("/accounts/{}/r2/buckets", account(dev))
}

pub(crate) fn make_bucket(dev: &Dev, name: &str) {
    let (code, answer) = dev.api("POST", &buckets(dev), Some(&json!({ "name": name })), None);
    assert_eq!(code, "200", "{answer}");
}

/// `curl` with an object of the API; its status and its answer.
pub(crate) fn object(dev: &Dev, path: &str, args: &[&str]) -> (String, String) {
    let mut curl = dev.api_command("GET", &format!("{}/{path}", buckets(dev)), None, None);
    let (_, text) = output(curl.args(args));
    let (answer, code) = text.rsplit_once('\n').unwrap();
    (code.to_owned(), answer.to_owned())
}

#[test]
fn stock_clients_of_s3_run_unmodified() {
    let dev = Dev::start();
    let read = json!([{ "effect": "allow", "permission_groups": [{ "name": "Workers R2 Storage Read" }],
                        "resources": { format!("com.cloudflare.api.account.{}", account(&dev)): "*" } }]);
    let reader = json!({ "name": "reader", "policies": read });
    let (code, made) = dev.api("POST", "/user/tokens", Some(&reader), None);
    assert_eq!(code, "200", "{made}");
    let (key, secret) = keys(&dev.token());
    let (reader_key, reader_secret) = keys(made["result"]["value"].as_str().unwrap());
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients");
    let mut pytest = Command::new(python());
    pytest.args([
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "test_s3.py",
        "test_s3_chunks.py",
        "test_s3_fields.py",
        "test_s3_front.py",
        "test_s3_hoisted.py",
    ]);
    pytest.current_dir(scripts);
    pytest.env("PYTHONDONTWRITEBYTECODE", "1").env("PROXIMA_S3", format!("http://{}", dev.s3));
    pytest.env("PROXIMA_S3_KEY", key).env("PROXIMA_S3_SECRET", secret);
    pytest.env("PROXIMA_S3_READER_KEY", reader_key).env("PROXIMA_S3_READER_SECRET", reader_secret);
    let (succeeded, text) = output(&mut pytest);
    assert!(succeeded, "{text}\n{}", dev.log());
}

#[test]
fn what_was_acknowledged_outlives_a_kill_and_a_graceful_restart() {
    let mut dev = Dev::start();
    make_bucket(&dev, "kept");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, vec![b'x'; 1 << 20]).unwrap();
    let file = format!("@{}", file.to_str().unwrap());
    let put = |dev: &Dev, key: &str, body: &str| {
        let (code, answer) =
            object(dev, &format!("kept/objects/{key}"), &["-X", "PUT", "--data-binary", body]);
        assert_eq!(code, "200", "{answer}");
    };
    put(&dev, "small", "some octets");
    put(&dev, "large", &file);
    dev.kill();
    dev.start_again();
    let all_there = |dev: &Dev| {
        let (code, small) = object(dev, "kept/objects/small", &[]);
        assert_eq!((code.as_str(), small.as_str()), ("200", "some octets"));
        let (code, large) = object(dev, "kept/objects/large", &[]);
        assert_eq!((code.as_str(), large.len()), ("200", 1 << 20));
    };
    all_there(&dev);
    dev.restart_gracefully();
    all_there(&dev);
    put(&dev, "after", "x");
    let (_, usage) = object(&dev, "kept/usage", &[]);
    let usage: Value = serde_json::from_str(&usage).unwrap();
    assert_eq!(usage["result"]["objectCount"], "3", "{usage}");
}

#[test]
fn buckets_and_objects_by_the_api_say_what_is_wrong() {
    let dev = Dev::start();
    let all = buckets(&dev);
    for (body, code, number) in [
        (json!({ "name": "A" }), "400", 10005),
        (json!({ "name": "abc", "locationHint": "moon" }), "400", 10029),
        (json!({ "name": "abc", "storageClass": "Glacier" }), "400", 10029),
        (json!({ "name": "abc", "locationHint": "weur", "storageClass": "InfrequentAccess" }), "200", 0),
        (json!({ "name": "abc" }), "409", 10004),
    ] {
        let (status, answer) = dev.api("POST", &all, Some(&body), None);
        let told = answer["errors"][0]["code"].as_u64().unwrap_or_default();
        assert_eq!((status.as_str(), told), (code, number), "{body} {answer}");
    }
    let (_, shown) = dev.api("GET", &format!("{all}/abc"), None, None);
    let shown = &shown["result"];
    assert_eq!((&shown["location"], &shown["storage_class"]), (&json!("weur"), &json!("InfrequentAccess")));
    for field in ["x-other: Standard", "cf-r2-storage-class: Glacier"] {
        let (code, answer) = object(&dev, "abc", &["-X", "PATCH", "-H", field]);
        assert!(code == "400" && answer.contains("10029"), "{field}: {answer}");
    }
    for name in ["abd", "bcd"] {
        make_bucket(&dev, name);
    }
    let names = |query: &str| {
        let (_, listed) = dev.api("GET", &format!("{all}?{query}"), None, None);
        let named = listed["result"]["buckets"].as_array().unwrap().iter();
        let named = named.map(|bucket| bucket["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        (named, listed["result_info"]["cursor"].as_str().unwrap().to_owned())
    };
    let named = |names: &[&str], cursor: &str| {
        (names.iter().map(|name| (*name).to_owned()).collect(), cursor.to_owned())
    };
    assert_eq!(names(""), named(&["abc", "abd", "bcd"], ""));
    assert_eq!(names("per_page=2"), named(&["abc", "abd"], "abd"));
    assert_eq!(names("per_page=2&cursor=abd"), named(&["bcd"], ""));
    assert_eq!(names("name_contains=b&direction=desc&per_page=1"), named(&["bcd"], "bcd"));
    assert_eq!(names("name_contains=ab"), named(&["abc", "abd"], ""));
    let (code, answer) = object(&dev, "abc/objects/none", &[]);
    assert!(code == "404" && answer.contains("10007"), "{answer}");
    let (code, answer) = object(&dev, "none/objects/none", &[]);
    assert!(code == "404" && answer.contains("10006"), "{answer}");
    let (code, _) = object(&dev, "abc/objects/a/b", &["-X", "PUT", "--data-binary", "x"]);
    assert_eq!(code, "200");
    let put = |key: &str, field: &str| {
        let args = ["-X", "PUT", "--data-binary", "y", "-H", field];
        let (code, answer) = object(&dev, &format!("abc/objects/{key}"), &args);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        (code, answer["errors"][0]["code"].as_u64().unwrap_or_default())
    };
    let told = |code: &str, number: u64| (code.to_owned(), number);
    assert_eq!(put("a/b", "If-None-Match: *"), told("412", 10031));
    assert_eq!(put("a/b", "If-Match: \"other\""), told("412", 10031));
    assert_eq!(put("none", "If-Match: \"other\""), told("404", 10007));
    assert_eq!(put("a/b", "If-Match: \"other"), told("400", 10029), "it is not passed over");
    assert_eq!(object(&dev, "abc/objects/a/b", &[]), (told("200", 0).0, "x".to_owned()));
    assert_eq!(put("a/b", "If-Match: \"9dd4e461268c8034f5c8564e155c67a6\""), told("200", 0));
    assert_eq!(put("new", "If-None-Match: *"), told("200", 0));
    assert_eq!(put("%01", "X-Other: x"), told("400", 10029), "S3 could not list it");
    for path in ["abc/objects/%ff", "%ff", "%ff/cors"] {
        let (code, answer) = object(&dev, path, &[]);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((code.as_str(), &answer["errors"][0]["code"]), ("400", &json!(1009)), "{path}: {answer}");
    }
    let (code, answer) = dev.api("DELETE", &format!("{all}/abc"), None, None);
    assert_eq!((code.as_str(), &answer["errors"][0]["code"]), ("409", &json!(10008)), "{answer}");
}

/// Stock `wrangler` in a folder of its own, which must succeed.
pub(crate) fn wrangler(dev: &Dev, folder: &Path, args: &[&str]) -> String {
    let program = node_packages().join("wrangler/bin/wrangler.js");
    assert!(program.exists(), "{} is not there: run `cargo xtask setup`", program.display());
    let mut node = Command::new("node");
    node.arg(&program).args(args).current_dir(folder).env("CLOUDFLARE_ACCOUNT_ID", account(dev));
    node.env("CLOUDFLARE_API_BASE_URL", format!("http://{}/client/v4", dev.api))
        .env("CLOUDFLARE_API_TOKEN", dev.token());
    // It asks nobody else, and writes nothing beside its folder.
    node.env("HOME", folder).env("WRANGLER_SEND_METRICS", "false").env("CI", "1");
    let (succeeded, text) = output(&mut node);
    assert!(succeeded, "wrangler {args:?}: {text}\n{}", dev.log());
    text
}

#[test]
fn stock_wrangler_says_who_may_ask_from_other_sites_and_what_goes_by_itself() {
    let dev = Dev::start();
    let folder = tempfile::tempdir().unwrap();
    let wrangler = |args: &[&str]| wrangler(&dev, folder.path(), &[&["r2", "bucket"], args].concat());
    wrangler(&["create", "photos"]);
    let path = |what: &str| format!("{}/photos/{what}", buckets(&dev));
    let (code, answer) = dev.api("GET", &path("cors"), None, None);
    assert_eq!((code.as_str(), &answer["errors"][0]["code"]), ("404", &json!(10059)), "{answer}");
    let rule = json!({ "allowed": { "origins": ["https://a.example"], "methods": ["GET"], "headers": ["range"] },
                       "exposeHeaders": ["ETag"], "maxAgeSeconds": 60 });
    fs::write(folder.path().join("cors.json"), json!({ "rules": [rule] }).to_string()).unwrap();
    wrangler(&["cors", "set", "photos", "--file", "cors.json", "--force"]);
    let (_, answer) = dev.api("GET", &path("cors"), None, None);
    assert_eq!(answer["result"], json!({ "rules": [rule] }));
    assert!(wrangler(&["cors", "list", "photos"]).contains("https://a.example"));
    let wrong = json!({ "rules": [{ "allowed": { "origins": ["a"], "methods": ["GET"] } }] });
    let (code, answer) = dev.api("PUT", &path("cors"), Some(&wrong), None);
    assert_eq!((code.as_str(), &answer["errors"][0]["code"]), ("400", &json!(10029)), "{answer}");
    wrangler(&["cors", "delete", "photos", "--force"]);
    assert_eq!(dev.api("GET", &path("cors"), None, None).0, "404");

    assert!(wrangler(&["lifecycle", "list", "photos"]).contains("Default Multipart Abort Rule"));
    let add = ["lifecycle", "add", "photos", "old", "logs/", "--expire-days", "30", "--force"];
    wrangler(&add);
    let (_, answer) = dev.api("GET", &path("lifecycle"), None, None);
    let rules = answer["result"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 2, "{answer}");
    let condition = json!({ "type": "Age", "maxAge": 30 * 86_400 });
    assert_eq!(rules[1]["deleteObjectsTransition"]["condition"], condition, "{answer}");
    wrangler(&["lifecycle", "remove", "photos", "--name", "old"]);
    assert!(!wrangler(&["lifecycle", "list", "photos"]).contains("logs/"));
    let wrong = json!({ "rules": [{ "id": "a", "enabled": true }] });
    let (code, answer) = dev.api("PUT", &path("lifecycle"), Some(&wrong), None);
    assert_eq!((code.as_str(), &answer["errors"][0]["code"]), ("400", &json!(10029)), "{answer}");
}

#[test]
fn objects_that_come_slowly_take_no_places_of_other_requests() {
    let dev = Dev::start();
    make_bucket(&dev, "slow");
    let head = |at: usize| {
        format!(
            "PUT /client/v4{}/slow/objects/k{at} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\
             content-length: 9\r\n\r\nx",
            buckets(&dev),
            dev.token()
        )
    };
    let begin = |at: usize| {
        let mut stream = TcpStream::connect(dev.api).unwrap();
        stream.write_all(head(at).as_bytes()).unwrap();
        stream
    };
    // As many as an account may have under way; who comes then is told so at once.
    let mut slow: Vec<_> = (0..UNDER_WAY_PER_ACCOUNT).map(begin).collect();
    let busy = || object(&dev, "slow/objects/k", &["-X", "PUT", "--data-binary", "x"]);
    let begun = Instant::now();
    let told = loop {
        let (code, answer) = busy();
        if code == "503" || begun.elapsed() > DEADLINE {
            break (code, answer);
        }
    };
    assert!(told.0 == "503" && told.1.contains("objects at a time"), "{told:?}");
    assert_eq!(dev.api("GET", "/zones", None, None).0, "200");
    for stream in &mut slow {
        stream.write_all(b"12345678").unwrap();
    }
    for stream in &mut slow {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    assert_eq!(busy().0, "200");
}

#[test]
fn stock_wrangler_makes_and_empties_buckets() {
    let dev = Dev::start();
    let folder = tempfile::tempdir().unwrap();
    let wrangler = |args: &[&str]| wrangler(&dev, folder.path(), args);
    wrangler(&["r2", "bucket", "create", "photos", "--location", "weur"]);
    assert!(wrangler(&["r2", "bucket", "list"]).contains("photos"));
    fs::write(folder.path().join("file"), "octets of a file").unwrap();
    wrangler(&[
        "r2",
        "object",
        "put",
        "photos/a/b c",
        "--remote",
        "--file",
        "file",
        "--content-type",
        "text/x",
    ]);
    wrangler(&["r2", "bucket", "update", "storage-class", "photos", "--storage-class", "InfrequentAccess"]);
    let info = wrangler(&["r2", "bucket", "info", "photos"]);
    assert!(info.contains("InfrequentAccess"), "{info}");
    assert!(info.contains("object_count:") && info.contains("16 B"), "{info}");
    wrangler(&["r2", "object", "get", "photos/a/b c", "--remote", "--file", "back"]);
    assert_eq!(fs::read_to_string(folder.path().join("back")).unwrap(), "octets of a file");
    wrangler(&["r2", "object", "delete", "photos/a/b c", "--remote"]);
    wrangler(&["r2", "bucket", "delete", "photos"]);
    assert!(!wrangler(&["r2", "bucket", "list"]).contains("photos"));
}

/// What a Worker does with its bucket, told as JSON.
const EVERYTHING: &str = r#"export default { async fetch(request, { BUCKET }) {
  const told = {};
  const put = await BUCKET.put("a/key", "0123456789", {
    httpMetadata: { contentType: "text/x", cacheExpiry: new Date(5000) },
    customMetadata: { Said: "so" },
    sha256: "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
  });
  told.put = [put.key, put.size, put.etag, put.checksums.toJSON().sha256?.length];
  const whole = await BUCKET.get("a/key");
  const headers = new Headers();
  whole.writeHttpMetadata(headers);
  told.get = [await whole.text(), whole.customMetadata.Said, headers.get("content-type"), headers.get("expires"), whole.range];
  const part = await BUCKET.get("a/key", { range: { offset: 2, length: 3 } });
  told.range = [await part.text(), part.range];
  const failed = await BUCKET.get("a/key", { onlyIf: { etagDoesNotMatch: put.etag } });
  told.unmet = ["body" in failed, failed.etag === put.etag];
  told.refused = await BUCKET.put("a/key", "x", { onlyIf: { etagMatches: "other" } });
  told.taken = (await BUCKET.put("b", new Response("few").body, { onlyIf: { etagDoesNotMatch: "*" } })).size;
  told.head = [(await BUCKET.head("b")).storageClass, await BUCKET.head("nothing"), await BUCKET.get("nothing")];
  const first = await BUCKET.list({ limit: 1, include: ["customMetadata"] });
  const second = await BUCKET.list({ cursor: first.cursor });
  told.list = [first.objects[0].key, first.objects[0].customMetadata, first.truncated, second.objects.map((o) => o.key)];
  told.prefixes = (await BUCKET.list({ delimiter: "/" })).delimitedPrefixes;
  const upload = await BUCKET.createMultipartUpload("large", { httpMetadata: { contentType: "x/y" } });
  const parts = [await upload.uploadPart(1, new Uint8Array(5 << 20))];
  parts.push(await BUCKET.resumeMultipartUpload("large", upload.uploadId).uploadPart(2, "end"));
  told.multipart = (await upload.complete(parts)).size;
  told.end = await (await BUCKET.get("large", { range: { suffix: 3 } })).text();
  const other = await BUCKET.createMultipartUpload("never");
  await other.abort();
  const message = async (promise) => promise.then(() => "done", (error) => error.message);
  told.errors = [
    await message(other.abort()),
    await message(BUCKET.put("k", "x", { md5: "00".repeat(16) })),
    await message(BUCKET.put("", "x")),
  ].map((text) => text.slice(text.lastIndexOf("(")));
  // Streams of a length that is not known: one that is whole, and some that fail when something has come of them.
  const stream = (pieces, failure) => {
    let left = pieces;
    return new ReadableStream({
      pull(controller) {
        if (left-- > 0) controller.enqueue(new Uint8Array(50_000));
        else if (failure) controller.error(failure);
        else controller.close();
      },
    });
  };
  const failing = (pieces) => stream(pieces, new Error("it broke"));
  const third = await BUCKET.createMultipartUpload("parts");
  told.streams = [
    (await BUCKET.put("stream", stream(9))).size,
    await message(BUCKET.put("a/key", failing(1))),
    await message(BUCKET.put("never", failing(0))),
    await message(BUCKET.put("never", failing(9))),
    await message(third.uploadPart(1, failing(3))),
    (await third.uploadPart(2, stream(2))).partNumber,
    (await BUCKET.head("a/key")).size,
    await BUCKET.head("never"),
  ];
  await third.abort();
  await BUCKET.delete("b");
  await BUCKET.delete(["large", "nothing", "stream"]);
  told.left = (await BUCKET.list()).objects.map((o) => o.key);
  return Response.json(told);
} }"#;

#[test]
fn a_worker_that_wrangler_binds_to_a_bucket_does_all_that_buckets_do() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::with("[[r2_buckets]]\nbinding = \"BUCKET\"\nbucket_name = \"things\"\n");
    project.write(EVERYTHING);
    // A bucket that is not there, it makes.
    let deployed = project.wrangler(&dev, &["deploy"]);
    assert!(deployed.contains("BUCKET"), "{deployed}");
    let answer = get(&dev, "/app/x");
    let told: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
    let md5 = "781e5e245d69b566979b86e28d23f2c7";
    assert_eq!(
        told,
        json!({
            "put": ["a/key", 10, md5, 64],
            "get": ["0123456789", "so", "text/x", "Thu, 01 Jan 1970 00:00:05 GMT", { "offset": 0, "length": 10 }],
            "range": ["234", { "offset": 2, "length": 3 }],
            "unmet": [false, true],
            "refused": null,
            "taken": 3,
            "head": ["Standard", null, null],
            "list": ["a/key", { "Said": "so" }, true, ["b"]],
            "prefixes": ["a/"],
            "multipart": (5 << 20) + 3,
            "end": "end",
            "errors": ["(10024)", "(10037)", "(10020)"],
            "streams": [450_000, "it broke", "it broke", "it broke", "it broke", 2, 10, null],
            "left": ["a/key"],
        })
    );
    // It is the same object by the API.
    let (code, octets) = object(&dev, "things/objects/a/key", &[]);
    assert_eq!((code.as_str(), octets.as_str()), ("200", "0123456789"));
}
