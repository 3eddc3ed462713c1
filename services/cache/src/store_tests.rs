use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use prometheus_client::registry::Registry;
use proxima_model::{Timestamp, UrlPrefix};
use proxima_pipeline::{Http1Form, PreparedHead};

use super::*;
use crate::marks::Mark;
use crate::policy::{
    directives::ResponseDirectives,
    freshness::{Exchanged, Freshness},
};

fn store(memory: u64) -> (Store, Metrics) {
    let config = CacheConfig { memory_bytes_max: memory, ..CacheConfig::default() };
    let metrics = Metrics::register(&mut Registry::default());
    (Store::new(&config, &metrics), metrics)
}

fn zone(n: u8) -> ZoneId {
    ZoneId::from_bytes([n; 16])
}

fn key(zone_number: u8, url: &str) -> PrimaryKey {
    PrimaryKey::of_url(zone(zone_number), url).expect("absolute")
}

fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
    all.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn object(
    store: &Store,
    birth: Birth,
    vary: &'static str,
    request: &HeaderMap,
    content: &[u8],
) -> Arc<Object> {
    let headers = fields(&[("vary", vary), ("cache-control", "max-age=60")]);
    let at = Timestamp::from_millis(0);
    let when = Exchanged { requested_at: at, received_at: at };
    let vary = Vary::read(&headers).expect("names");
    Arc::new(Object {
        speaks_to_us: false,
        status: StatusCode::OK,
        freshness: Freshness::of(StatusCode::OK, &headers, &ResponseDirectives::read(&headers), when),
        headers,
        variant: vary.variant(request),
        vary,
        received: Instant::now(),
        received_at: at,
        birth,
        tags: Tags::default(),
        content: Content::of(&Bytes::copy_from_slice(content), store.budget.clone()),
        forms: None,
        heads: Heads::default(),
        failed: 0.into(),
        on_disk: crate::store::NOT_OFFERED.into(),
    })
}

pub(crate) fn put(store: &Store, key: &PrimaryKey, vary: &'static str, request: &HeaderMap, content: &[u8]) {
    store.insert(key, request, object(store, store.begin(key.zone()), vary, request, content));
}

pub(crate) async fn get(store: &Store, key: &PrimaryKey, request: &HeaderMap) -> Option<Vec<u8>> {
    let object = store.find(key, request).object?;
    let body = object.content.body(0, None).expect("whole");
    Some(body.collect(1 << 30).await.expect("whole").to_vec())
}

#[tokio::test]
async fn what_is_stored_is_found_under_its_url_and_zone_only() {
    let (store, _) = store(1 << 20);
    let none = HeaderMap::new();
    put(&store, &key(1, "http://a.test/x"), "", &none, b"1");
    assert_eq!(get(&store, &key(1, "http://a.test/x"), &none).await, Some(b"1".to_vec()));
    for other in [
        key(2, "http://a.test/x"),
        key(1, "https://a.test/x"),
        key(1, "http://a.test/x?"),
        key(1, "http://a.test/X"),
    ] {
        assert_eq!(get(&store, &other, &none).await, None, "{other:?}");
    }
}

#[tokio::test]
async fn variants_live_side_by_side_and_are_forgotten_together() {
    let (store, _) = store(1 << 20);
    let key = key(1, "http://a.test/");
    let (en, de) = (fields(&[("accept-language", "en")]), fields(&[("accept-language", "de")]));
    put(&store, &key, "accept-language", &en, b"hello");
    put(&store, &key, "accept-language", &de, b"hallo");
    assert_eq!(get(&store, &key, &en).await, Some(b"hello".to_vec()));
    assert_eq!(get(&store, &key, &de).await, Some(b"hallo".to_vec()));
    assert_eq!(get(&store, &key, &HeaderMap::new()).await, None);
    store.forget(&key);
    assert_eq!(get(&store, &key, &en).await, None);
    // A new index does not bring back what was forgotten.
    put(&store, &key, "accept-language", &de, b"servus");
    assert_eq!(get(&store, &key, &en).await, None);
    assert_eq!(get(&store, &key, &de).await, Some(b"servus".to_vec()));
}

#[tokio::test]
async fn a_purge_of_a_prefix_forgets_all_variants_in_both_schemes_and_what_began_before_it() {
    let (store, _) = store(1 << 20);
    let (en, de) = (fields(&[("accept-language", "en")]), fields(&[("accept-language", "de")]));
    let named = [key(1, "http://a.test/foo?q"), key(1, "https://a.test/foo/bar")];
    let others = [key(1, "http://a.test/foobar"), key(2, "http://a.test/foo")];
    for key in named.iter().chain(&others) {
        put(&store, key, "accept-language", &en, b"hello");
        put(&store, key, "accept-language", &de, b"hallo");
    }
    let on_its_way = object(&store, store.begin(zone(1)), "accept-language", &en, b"old");
    store.purge_names(zone(1), &[Mark::prefix(&UrlPrefix::parse("a.test/foo").expect("a prefix"))]);
    store.insert(&named[0], &en, on_its_way);
    for (key, there) in named.iter().map(|key| (key, false)).chain(others.iter().map(|key| (key, true))) {
        for request in [&en, &de] {
            assert_eq!(get(&store, key, request).await.is_some(), there, "{key:?}");
        }
    }
    put(&store, &named[0], "accept-language", &en, b"new");
    assert_eq!(get(&store, &named[0], &en).await, Some(b"new".to_vec()));
    assert_eq!(get(&store, &named[0], &de).await, None);
}

#[tokio::test]
async fn one_variant_is_forgotten_without_the_others_and_only_while_it_is_the_one() {
    let (store, _) = store(1 << 20);
    let key = key(1, "http://a.test/");
    let (en, de) = (fields(&[("accept-language", "en")]), fields(&[("accept-language", "de")]));
    put(&store, &key, "accept-language", &en, b"hello");
    put(&store, &key, "accept-language", &de, b"hallo");
    let former = store.find(&key, &de).object.expect("stored");
    put(&store, &key, "accept-language", &de, b"servus");
    store.forget_object(&key, &former);
    assert_eq!(get(&store, &key, &de).await, Some(b"servus".to_vec()), "another one lies there now");
    let present = store.find(&key, &de).object.expect("stored");
    store.forget_object(&key, &present);
    assert_eq!(get(&store, &key, &de).await, None);
    assert_eq!(get(&store, &key, &en).await, Some(b"hello".to_vec()));

    let plain = HeaderMap::new();
    let whole = PrimaryKey::of_url(zone(2), "http://a.test/").expect("absolute");
    put(&store, &whole, "", &plain, b"whole");
    let present = store.find(&whole, &plain).object.expect("stored");
    store.forget_object(&whole, &present);
    assert_eq!(get(&store, &whole, &plain).await, None);
}

#[tokio::test]
async fn an_answer_that_varies_by_nothing_serves_those_who_have_no_variant() {
    let (store, _) = store(1 << 20);
    let key = key(1, "http://a.test/");
    let (gzip, plain) = (fields(&[("accept-encoding", "gzip")]), HeaderMap::new());
    put(&store, &key, "accept-encoding", &gzip, b"zipped");
    put(&store, &key, "", &plain, b"plain");
    assert_eq!(get(&store, &key, &gzip).await, Some(b"zipped".to_vec()));
    assert_eq!(get(&store, &key, &plain).await, Some(b"plain".to_vec()));
}

#[tokio::test]
async fn a_purge_hides_what_was_begun_before_it_and_nothing_else() {
    let (store, _) = store(1 << 20);
    let none = HeaderMap::new();
    let (mine, other) = (key(1, "http://a.test/"), key(2, "http://b.test/"));
    put(&store, &mine, "", &none, b"old");
    put(&store, &other, "", &none, b"other");
    let on_its_way = store.begin(zone(1));
    store.purge_zone(zone(1));
    assert_eq!(get(&store, &mine, &none).await, None);
    assert_eq!(get(&store, &other, &none).await, Some(b"other".to_vec()));
    let late = object(&store, on_its_way, "", &none, b"late");
    store.insert(&mine, &HeaderMap::new(), late);
    assert_eq!(get(&store, &mine, &none).await, None);
    put(&store, &mine, "", &none, b"new");
    assert_eq!(get(&store, &mine, &none).await, Some(b"new".to_vec()));
    store.purge_everything();
    assert_eq!(get(&store, &mine, &none).await, None);
    assert_eq!(get(&store, &other, &none).await, None);
    assert_eq!(store.octets(), 0);
}

#[tokio::test]
async fn memory_is_bounded_and_what_gives_way_is_counted() {
    let (store, metrics) = store(1 << 20);
    let none = HeaderMap::new();
    let content = vec![7; 64 * 1024];
    for n in 0..200 {
        put(&store, &key(1, &format!("http://a.test/{n}")), "", &none, &content);
        assert!(store.octets() <= 1 << 20);
    }
    assert!(store.objects() >= 8, "{}", store.objects());
    assert!(metrics.evictions.get() > 100);
}

#[tokio::test]
async fn heads_and_forms_that_are_made_of_what_is_stored_make_others_go() {
    const MOST: u64 = 1 << 20;
    let (store, metrics) = store(MOST);
    let (none, content) = (HeaderMap::new(), vec![7; 1024]);
    let keys: Vec<PrimaryKey> = (0..2_000).map(|n| key(1, &format!("http://a.test/{n}"))).collect();
    for key in &keys {
        put(&store, key, "", &none, &content);
    }
    let (objects, evicted) = (store.objects(), metrics.evictions.get());
    let value = HeaderValue::from_bytes(&[b'x'; 2_000]).expect("visible");
    let long = HeaderMap::from_iter([(HeaderName::from_static("x-long"), value)]);
    let mut made = 0;
    for key in &keys {
        let Some(object) = store.find(key, &none).object else { continue };
        object.heads.of(&Http1Form, None).get_or_init(|| {
            let head = PreparedHead::new(&Http1Form, StatusCode::OK, &long, 1024);
            ReadyHead { head: Arc::new(head), browser_seconds: 0 }
        });
        store.recount(key, &object);
        made += 1;
        assert!(store.octets() <= MOST, "{} octets after {made} heads", store.octets());
    }
    assert!(made > objects / 4, "{made} of {objects}");
    assert!(store.objects() < objects && metrics.evictions.get() > evicted);
}

#[test]
fn the_largest_object_fits_into_a_shard() {
    for memory in [1_u64 << 20, 3 << 20, 64 << 20, 1 << 30, 10 << 30] {
        let (store, _) = store(memory);
        let shard = store.entries.shard_capacity();
        assert!(store.object_octets_max() * 2 <= shard, "{memory}: {} of {shard}", store.object_octets_max());
    }
}

#[tokio::test(start_paused = true)]
async fn a_url_is_passed_by_for_a_minute_after_a_refusal() {
    let (store, _) = store(1 << 20);
    let key = key(1, "http://a.test/");
    assert_eq!(store.pass(&key), None);
    store.remember_pass(&key, Refusal::Private);
    assert_eq!(store.pass(&key), Some(Refusal::Private));
    tokio::time::advance(PASS_FOR).await;
    assert_eq!(store.pass(&key), None);
}

#[tokio::test]
async fn what_is_not_stored_any_more_is_not_counted_anew() {
    let (store, _) = store(1 << 20);
    let (key, none) = (key(1, "http://a.test/"), HeaderMap::new());
    put(&store, &key, "", &none, b"one");
    let gone = store.find(&key, &none).object.expect("stored");
    store.forget(&key);
    store.recount(&key, &gone);
    assert_eq!((store.objects(), store.octets()), (0, 0));
    put(&store, &key, "", &none, b"two");
    assert_eq!(get(&store, &key, &none).await.expect("stored"), b"two");
}
