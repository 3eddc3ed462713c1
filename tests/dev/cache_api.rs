//! The Cache API of a Worker that stock `wrangler` deploys, over the real cache.

use crate::{
    HOST,
    observed::until_metric,
    origin::Origin,
    with_site,
    workers::{Project, get},
};

/// Keeps what it is sent to, by the name of the cache in the query, and says what it found.
const CODE: &str = "
export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url), name = url.searchParams.get('cache');
    const cache = name === null ? caches.default : await caches.open(name);
    const key = new Request(url, { headers: request.headers });
    if (request.method === 'DELETE') return new Response(`deleted ${await cache.delete(key)}`);
    const found = await cache.match(key);
    if (found !== undefined) return found;
    const made = new Response(`made ${crypto.randomUUID()}`, {
      headers: { 'cache-control': 'max-age=3600', 'cache-tag': 'made', etag: '\"1\"' },
    });
    ctx.waitUntil(cache.put(key, made.clone()));
    return made;
  },
};";

#[test]
fn what_a_worker_keeps_is_found_until_it_is_deleted_or_its_zone_is_purged() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    project.write(CODE);
    project.wrangler(&dev, &["deploy"]);
    let stored = |count: f64| {
        let series = "proxima_workers_cache_total{operation=\"Put\",outcome=\"Stored\"}";
        until_metric(&dev, series, |stored| stored >= count);
    };
    let first = get(&dev, "/app/x");
    assert!(first.starts_with("made "), "{first}");
    stored(1.0);
    assert_eq!(get(&dev, "/app/x"), first);
    assert_ne!(get(&dev, "/app/x?cache=named"), first, "caches are apart");
    stored(2.0);

    let url = dev.http_url(HOST, "/app/x");
    let part = dev.curl(&["-sSi", "-H", "Range: bytes=0-3", &url]);
    assert!(part.contains("206") && part.ends_with("made"), "{part}");
    assert!(part.to_lowercase().contains("cf-cache-status: hit"), "{part}");
    let confirmed = dev.curl(&["-sSi", "-H", "If-None-Match: \"1\"", &url]);
    assert!(confirmed.starts_with("HTTP/1.1 304"), "{confirmed}");

    assert_eq!(dev.curl(&["-sS", "-X", "DELETE", &url]), "deleted true");
    assert_eq!(dev.curl(&["-sS", "-X", "DELETE", &url]), "deleted false");
    let second = get(&dev, "/app/x");
    assert_ne!(second, first);
    stored(3.0);
    assert_eq!(get(&dev, "/app/x"), second);

    let purges: [&[&str]; 4] = [&[], &[&url], &["--tag", "made"], &["--host", HOST]];
    let mut former = second;
    for (count, purge) in (4_u32..).zip(purges) {
        dev.proxima(&[&["purge", "example.com"], purge].concat());
        let next = get(&dev, "/app/x");
        assert_ne!(next, former, "{purge:?}");
        stored(f64::from(count));
        assert_eq!(get(&dev, "/app/x"), next, "{purge:?}");
        former = next;
    }
}
