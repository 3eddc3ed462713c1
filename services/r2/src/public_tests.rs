//! Public hosts, by what their visitors see.

use bytes::Bytes;
use http::{HeaderName, uri::PathAndQuery};
use prometheus_client::registry::Registry;
use proxima_chassis::SimulatedClock;
use proxima_ledger::{Append, Change, EmbeddedLog, IdempotencyKey, ReplicaOptions, Sealer};
use proxima_model::{
    Account, AccountId, BucketName, BucketTag, DnsName, NodeName, RecordId, StorageClass, Timestamp, ZoneId,
};
use proxima_pipeline::{NewBucket, ObjectFields, ObjectPut, Scheme, http_date};
use serde_json::json;

use super::*;
use crate::{
    local::Local,
    store::{Bounds, Store},
};

struct Fixture {
    _folder: tempfile::TempDir,
    stage: PublicStage,
    bucket: Bucket,
    domain: BucketDomain,
}

const AT: Timestamp = Timestamp::from_millis(1_000_000);

/// Makes a change; each has a letter of its own.
async fn append(buckets: &Buckets, change: Change, letter: &str) {
    let append = Append {
        changes: vec![change],
        preconditions: Vec::new(),
        idempotency_key: IdempotencyKey(letter.repeat(64)),
        fingerprint: None,
        author: "test".to_owned(),
    };
    buckets.log.append(append).await.unwrap();
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = ReplicaOptions { map_octets: 64 << 20, ..ReplicaOptions::default() };
        let log = EmbeddedLog::open(&folder.path().join("ledger"), Sealer::generate().0, options).unwrap();
        let clock = Arc::new(SimulatedClock::new(AT));
        let buckets = Buckets {
            replica: log.replica().clone(),
            log: Arc::new(log),
            clock: clock.clone(),
            me: NodeName::parse("a").unwrap(),
            has_caught_up: Arc::new(|| true),
            lacks_nothing: Arc::new(|| true),
        };
        let id = AccountId::from_bytes([1; 16]);
        let account = Account { id, name: "one".to_owned(), created_at: AT };
        append(&buckets, buckets.replica.put(&account), "1").await;
        let new = NewBucket {
            account: id,
            name: BucketName::parse("bucket").unwrap(),
            location: None,
            jurisdiction: None,
            storage_class: StorageClass::Standard,
        };
        let bucket = buckets.create(new, buckets.me.clone(), "test".to_owned()).await.unwrap();
        let (presence, metrics) = (buckets.presence(), Metrics::register(&mut Registry::default()));
        let bounds = Bounds { index_octets_max: 16 << 20, free_octets_min: 0 };
        let store = Store::open(&folder.path().join("r2"), bounds, clock, presence, metrics.clone(), None);
        let store = store.unwrap();
        let domain = BucketDomain {
            zone: ZoneId::from_bytes([2; 16]),
            hostname: DnsName::parse("files.example.com").unwrap(),
            account: id,
            bucket: bucket.name.clone(),
            tag: bucket.tag,
            is_enabled: true,
            record: RecordId::from_bytes([3; 16]),
            created_at: AT,
        };
        append(&buckets, buckets.replica.put(&domain), "2").await;
        let objects = Arc::new(Local { store, buckets: buckets.clone() });
        Self { _folder: folder, stage: PublicStage { objects, buckets, metrics }, bucket, domain }
    }

    async fn put(&self, key: &str, body: &'static str, fields: ObjectFields) -> String {
        let put = ObjectPut { fields, ..ObjectPut::default() };
        let key = ObjectKey::new(key).unwrap();
        self.stage.objects.put(&self.bucket, &key, put, Body::full(body)).await.unwrap().etag
    }

    async fn cors(&self, rules: serde_json::Value) {
        let set = move |bucket: &mut Bucket| bucket.cors = Some(json!({ "rules": rules }));
        self.stage.buckets.set(&self.bucket, "test".to_owned(), set).await.unwrap();
    }

    async fn ask(&self, method: Method, path: &str, fields: &[(&'static str, &str)]) -> Answered {
        let fields = fields.iter();
        let request = Request {
            method,
            scheme: Scheme::Https,
            host: "files.example.com".into(),
            port: None,
            target: PathAndQuery::try_from(path.to_owned()).unwrap(),
            headers: fields
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap()))
                .collect(),
            upgrade: None,
        };
        let response = self.stage.respond(&request, &self.domain).await.unwrap();
        let (status, headers) = (response.status.as_u16(), response.headers);
        Answered { status, headers, body: response.body.collect(1 << 20).await.unwrap() }
    }

    async fn get(&self, path: &str, fields: &[(&'static str, &str)]) -> Answered {
        self.ask(Method::GET, path, fields).await
    }
}

struct Answered {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answered {
    fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

#[tokio::test]
async fn everybody_reads_an_object_with_what_its_owner_says_of_it_and_nothing_else_is_offered() {
    let fixture = Fixture::new().await;
    let fields = ObjectFields {
        content_type: Some("text/x".to_owned()),
        cache_control: Some("max-age=9".to_owned()),
        expires: Some(AT),
        metadata: vec![("secret".to_owned(), "y".to_owned())],
        ..ObjectFields::default()
    };
    let etag = fixture.put("a b/ü", "0123456789", fields).await;
    for method in [Method::GET, Method::HEAD] {
        let read = fixture.ask(method.clone(), "/a%20b/%C3%BC?x=y", &[]).await;
        let tag = format!("\"{etag}\"");
        for (name, value) in [
            ("content-type", "text/x"),
            ("cache-control", "max-age=9"),
            ("expires", "Thu, 01 Jan 1970 00:16:40 GMT"),
            ("last-modified", "Thu, 01 Jan 1970 00:16:40 GMT"),
            ("etag", &tag),
            ("content-length", "10"),
            ("accept-ranges", "bytes"),
        ] {
            assert_eq!(read.field(name), Some(value), "{name}");
        }
        assert_eq!((read.status, read.headers.len()), (200, 7), "{:?}", read.headers);
        assert_eq!(read.body, if method == Method::GET { "0123456789" } else { "" });
    }
    fixture.put("plain", "x", ObjectFields::default()).await;
    assert_eq!(fixture.get("/plain", &[]).await.field("content-type"), Some("application/octet-stream"));
    let long = format!("/{}", "k".repeat(1_025));
    for path in ["/", "/none", "/%ff", "/?list-type=2", "/a b", &long] {
        let Ok(_) = PathAndQuery::try_from(path.to_owned()) else { continue };
        let absent = fixture.get(path, &[]).await;
        assert_eq!((absent.status, absent.field("cache-control")), (404, Some("no-store")), "{path}");
        assert_eq!(absent.body, "404: there is no such object\n", "and no XML");
    }
    for method in [Method::PUT, Method::DELETE, Method::POST] {
        let refused = fixture.ask(method, "/plain", &[]).await;
        assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
    }
}

#[tokio::test]
async fn a_host_that_is_switched_off_or_whose_bucket_is_another_one_offers_nothing() {
    let fixture = Fixture::new().await;
    fixture.put("k", "x", ObjectFields::default()).await;
    let buckets = &fixture.stage.buckets;
    // The zone, as the stage is given it, still has it as it was.
    let off = BucketDomain { is_enabled: false, ..fixture.domain.clone() };
    let other = BucketDomain { tag: BucketTag::from_bytes([9; 16]), ..fixture.domain.clone() };
    let none = Change::delete::<BucketDomain>(&(off.zone, off.hostname.clone()));
    for (change, letter, status) in [
        (buckets.replica.put(&off), "3", 404),
        (buckets.replica.put(&fixture.domain), "4", 200),
        (buckets.replica.put(&other), "5", 404),
        (buckets.replica.put(&fixture.domain), "6", 200),
        (none, "7", 404),
    ] {
        append(buckets, change, letter).await;
        assert_eq!(fixture.get("/k", &[]).await.status, status, "{letter}");
    }
}

#[tokio::test]
async fn ranges_and_conditions_are_those_of_http() {
    let fixture = Fixture::new().await;
    let etag = fixture.put("k", "0123456789", ObjectFields::default()).await;
    let (tag, weak) = (format!("\"{etag}\""), format!("\"a\", W/\"{etag}\""));
    let (now, before) = (http_date(AT), http_date(Timestamp::from_millis(0)));
    let (tag, weak, now, before) = (tag.as_str(), weak.as_str(), now.as_str(), before.as_str());
    for (fields, status, body) in [
        (vec![("range", "bytes=2-3")], 206, "23"),
        (vec![("range", "bytes=-2")], 206, "89"),
        (vec![("range", "bytes=0-1,3-4")], 200, "0123456789"),
        (vec![("range", "bytes=10-")], 416, "416: there are no such octets\n"),
        (vec![("range", "bytes=2-3"), ("if-range", tag)], 206, "23"),
        (vec![("range", "bytes=2-3"), ("if-range", now)], 206, "23"),
        (vec![("range", "bytes=2-3"), ("if-range", "\"other\"")], 200, "0123456789"),
        (vec![("range", "bytes=10-"), ("if-range", "\"other\"")], 200, "0123456789"),
        (vec![("range", "bytes=10-"), ("if-range", tag)], 416, "416: there are no such octets\n"),
        (vec![("if-none-match", tag)], 304, ""),
        (vec![("if-none-match", weak)], 304, ""),
        (vec![("if-none-match", "*")], 304, ""),
        (vec![("if-none-match", "\"other\""), ("if-modified-since", now)], 200, "0123456789"),
        (vec![("if-modified-since", now)], 304, ""),
        (vec![("if-modified-since", before)], 200, "0123456789"),
        (vec![("if-modified-since", "yesterday")], 200, "0123456789"),
        (vec![("if-match", "\"other\"")], 412, "412: a condition of the request does not hold\n"),
        (vec![("if-match", tag)], 200, "0123456789"),
        (vec![("if-match", weak)], 412, "412: a condition of the request does not hold\n"),
        (vec![("if-unmodified-since", before)], 412, "412: a condition of the request does not hold\n"),
    ] {
        let read = fixture.get("/k", &fields).await;
        assert_eq!((read.status, &*read.body), (status, body.as_bytes()), "{fields:?}");
        if status == 304 {
            assert_eq!(read.field("etag"), Some(tag));
        }
    }
    let part = fixture.get("/k", &[("range", "bytes=2-3")]).await;
    assert_eq!(
        (part.field("content-range"), part.field("content-length")),
        (Some("bytes 2-3/10"), Some("2"))
    );
    assert_eq!(fixture.get("/k", &[("range", "bytes=10-")]).await.field("content-range"), Some("bytes */10"));
    assert_eq!(fixture.ask(Method::HEAD, "/k", &[("range", "bytes=2-3")]).await.status, 200);
}

#[tokio::test]
async fn pages_of_other_sites_are_told_what_the_bucket_says_and_caches_for_whom() {
    let fixture = Fixture::new().await;
    fixture.put("k", "x", ObjectFields::default()).await;
    let origin = "access-control-allow-origin";
    let told = async |fields: &[(&'static str, &str)]| {
        let read = fixture.get("/k", fields).await;
        (read.field(origin).map(str::to_owned), read.field("vary").map(str::to_owned))
    };
    let some = |text: &str| Some(text.to_owned());
    let (one, other) = ([("origin", "https://a.example")], [("origin", "https://b.test")]);
    assert_eq!(told(&one).await, (None, None), "without rules there is nothing to tell");
    fixture.cors(json!([{ "allowed": { "origins": ["https://a.example"], "methods": ["GET"] } }])).await;
    assert_eq!(told(&one).await, (some("https://a.example"), some("Origin")));
    // A cache may give no other page what was told to nobody.
    assert_eq!(told(&other).await, (None, some("Origin")));
    assert_eq!(told(&[]).await, (None, some("Origin")));
    let wish = |method| [one[0], ("access-control-request-method", method)];
    let granted = fixture.ask(Method::OPTIONS, "/k", &wish("GET")).await;
    assert_eq!((granted.status, granted.field(origin)), (204, Some("https://a.example")));
    for fields in [&wish("PUT")[..], &one, &[]] {
        let refused = fixture.ask(Method::OPTIONS, "/k", fields).await;
        assert_eq!((refused.status, refused.field(origin)), (403, None), "{fields:?}");
    }
    fixture.cors(json!([{ "allowed": { "origins": ["*"], "methods": ["GET"] } }])).await;
    for fields in [&one[..], &[]] {
        assert_eq!(told(fields).await, (some("*"), None), "one answer is for everybody");
    }
    let absent = fixture.get("/none", &one).await;
    assert_eq!((absent.status, absent.field(origin)), (404, Some("*")), "a script sees why");
}
