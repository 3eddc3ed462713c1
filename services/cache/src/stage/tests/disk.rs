use http::Method;
use serde_json::json;

use super::harness::*;

const ANSWER: Fields<'_> =
    &[("cache-control", "max-age=600"), ("etag", "\"a\""), ("content-type", "text/plain")];

#[tokio::test]
async fn what_memory_lost_is_a_hit_from_the_disk_and_in_memory_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::on_disk(folder.path()).await;
    world.fetch("/a", &[], ANSWER, "content").await;
    assert_eq!(world.from_cache("/a", &[]).await.cache_status(), "HIT");
    world.leave_only_the_disk().await;
    let read = world.from_cache("/a", &[]).await;
    assert_eq!((read.cache_status(), read.text()), ("HIT", "content"));
    assert!(read.says("from the disk"), "{:?}", read.trace);
    let again = world.from_cache("/a", &[]).await;
    assert_eq!(again.text(), "content");
    assert!(!again.says("from the disk"), "{:?}", again.trace);
}

#[tokio::test]
async fn conditions_parts_and_head_are_answered_from_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::on_disk(folder.path()).await;
    world.fetch("/a", &[], ANSWER, "content").await;
    world.from_cache("/a", &[]).await;
    world.leave_only_the_disk().await;
    assert_eq!(world.from_cache("/a", &[("if-none-match", "\"a\"")]).await.status, 304);
    world.leave_only_the_disk().await;
    let part = world.from_cache("/a", &[("range", "bytes=1-3")]).await;
    assert_eq!((part.status, part.text()), (206, "ont"));
    world.leave_only_the_disk().await;
    let only = world.from_cache("/a", &[("cache-control", "only-if-cached")]).await;
    assert_eq!((only.status, only.text()), (200, "content"));
    world.leave_only_the_disk().await;
    let head = world.send(Method::HEAD, "/a", &[]).await.expect("no panic").read().await;
    assert_eq!((head.cache_status(), head.field("content-length")), ("HIT", Some("7")));
}

#[tokio::test]
async fn what_is_stale_on_the_disk_is_confirmed() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::on_disk(folder.path()).await;
    let stale: Fields<'_> = &[("cache-control", "max-age=0"), ("etag", "\"a\"")];
    world.fetch("/a", &[], stale, "content").await;
    // It is seen a second time, and therefore written.
    world.stage.store().evict_all();
    world.fetch("/a", &[], stale, "content").await;
    world.leave_only_the_disk().await;
    let client = world.get("/a", &[]);
    let call = world.call().await;
    assert_eq!(call.headers.get("if-none-match").map(|value| value.as_bytes()), Some(&b"\"a\""[..]));
    call.answer(304, &[("cache-control", "max-age=600"), ("etag", "\"a\"")], "");
    let read = client.await.expect("no panic").read().await;
    assert_eq!((read.cache_status(), read.text()), ("REVALIDATED", "content"));
    assert_eq!(world.from_cache("/a", &[]).await.cache_status(), "HIT");
}

#[tokio::test]
async fn what_is_purged_or_changed_is_not_read_from_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::on_disk(folder.path()).await;
    for target in ["/purged", "/changed"] {
        world.fetch(target, &[], ANSWER, "old").await;
        world.from_cache(target, &[]).await;
    }
    world.leave_only_the_disk().await;
    world.stage.store().purge_names(world.zone(), &[prefix("example.test/purged")]);
    let post = world.send(Method::POST, "/changed", &[]);
    world.call().await.answer(200, &[], "");
    post.await.expect("no panic").read().await;
    for target in ["/purged", "/changed"] {
        let read = world.fetch(target, &[], ANSWER, "new").await;
        assert_eq!((read.cache_status(), read.text()), ("MISS", "new"), "{target}");
    }
}

#[tokio::test]
async fn keys_that_rules_made_are_kept_apart_and_purged_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = || {
        World::rules(&[("true", json!({"cache_key": {"custom_key": {"cookie": {"include": ["theme"]}}}}))])
    };
    let world = World::on_disk_with(folder.path(), rules()).await;
    let themes: [Fields<'_>; 2] = [&[("cookie", "theme=dark")], &[("cookie", "theme=light")]];
    for (theme, body) in themes.into_iter().zip(["dark", "light"]) {
        world.fetch("/a", theme, ANSWER, body).await;
        world.from_cache("/a", theme).await;
        world.fetch("/b", theme, ANSWER, body).await;
        world.from_cache("/b", theme).await;
    }
    world.disk().settle().await;
    world.disk().die().await;
    let again = World::on_disk_with(folder.path(), rules()).await;
    // Before anything was asked for here under such a key.
    again.stage.forget(&again.key("/a"));
    for (theme, body) in themes.into_iter().zip(["dark", "light"]) {
        assert_eq!(again.from_cache("/b", theme).await.text(), body);
        assert_eq!(again.fetch("/a", theme, ANSWER, "new").await.cache_status(), "MISS");
    }
}
