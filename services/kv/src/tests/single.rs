//! A server that is alone: it has everything, and asks nobody.

use proxima_model::limits;

use super::*;

async fn alone() -> (World, KvNamespaceId) {
    (World::new(&[("fra1", "FRA")]).await, KvNamespaceId::from_bytes([1; 16]))
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_read_listed_and_deleted() {
    let (world, id) = alone().await;
    let port = world.port("fra1");
    let pair = |text: &str| KvPair {
        key: key(text),
        value: KvValue { metadata: Some("{\"n\":1}".into()), ..value(text) },
    };
    port.put(id, vec![pair("b"), pair("a"), pair("c")]).await.expect("written");
    for how in [KvRead::Latest, MINUTE] {
        assert_eq!(port.get(id, &key("a"), how).await, Ok(Some(pair("a").value)));
        assert_eq!(port.get(id, &key("none"), how).await, Ok(None));
    }
    let page = port.list(id, listing("", 2)).await.expect("listed");
    assert_eq!(page.keys.iter().map(|listed| listed.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(page.has_more && page.keys[0].metadata.as_deref() == Some("{\"n\":1}"));
    port.delete(id, vec![key("a"), key("none")]).await.expect("deleted");
    assert_eq!(port.get(id, &key("a"), MINUTE).await, Ok(None));
    assert_eq!(port.list(id, listing("", 10)).await.expect("listed").keys.len(), 2);
    assert!(world.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_two_writes_of_one_key_the_later_one_stays_also_in_one_request() {
    let (world, id) = alone().await;
    let pair = |octets| KvPair { key: key("k"), value: value(octets) };
    world.port("fra1").put(id, vec![pair("1"), pair("2")]).await.expect("written");
    assert_eq!(world.get("fra1", id, "k", KvRead::Latest).await, found("2"));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_not_known_takes_nothing_and_one_that_is_made_meanwhile_does() {
    let (world, _) = alone().await;
    let id = KvNamespaceId::from_bytes(*b"made just now...");
    assert!(matches!(world.put("fra1", id, "k", "v").await, Err(KvError::Unreachable(_))));
    assert_eq!(world.get("fra1", id, "k", KvRead::Latest).await, Ok(None));
    let named = world.kv("fra1").named.clone();
    let (written, ()) = tokio::join!(world.put("fra1", id, "k", "v"), async {
        pass(Duration::from_secs(1)).await;
        named.apply(Renamed::Some(vec![(id, true)]));
    });
    assert_eq!(written, Ok(()));
    assert_eq!(world.get("fra1", id, "k", KvRead::Latest).await, found("v"));
}

#[tokio::test(start_paused = true)]
async fn the_largest_value_is_kept_a_larger_one_is_refused_and_many_of_them_find_their_bound() {
    let (world, id) = alone().await;
    let port = world.port("fra1");
    let large = |text: &str, octets: usize| KvPair {
        key: key(text),
        value: KvValue { value: vec![1; octets].into(), metadata: None, expires: None },
    };
    let octets = limits::KV_VALUE_OCTETS_MAX;
    assert!(matches!(port.put(id, vec![large("x", octets + 1)]).await, Err(KvError::Full(_))));
    port.put(id, vec![large("x", octets), large("y", octets)]).await.expect("written");
    let read = port.get(id, &key("x"), KvRead::Latest).await.expect("read").expect("there");
    assert_eq!(read.value.len(), octets);
    // Eleven at once are more than what may be under way.
    let names: Vec<_> = (0..11).map(|_| key("x")).collect();
    let held =
        futures_util::future::join_all(names.iter().map(|key| world.kv("fra1").own.get(id, key.clone())))
            .await;
    assert!(held.iter().any(|read| read.is_err()) && held.iter().filter(|read| read.is_ok()).count() >= 9);
    assert_eq!(port.get(id, &key("x"), KvRead::Latest).await, Err(KvError::Busy));
    drop(held);
    assert!(port.get(id, &key("x"), KvRead::Latest).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_runs_out_is_gone_at_its_time_and_swept() {
    let (world, id) = alone().await;
    let expires = Some(Timestamp::from_millis(NOW.as_millis() + 60_000));
    let pair = KvPair { key: key("k"), value: KvValue { expires, ..value("v") } };
    world.port("fra1").put(id, vec![pair]).await.expect("written");
    world.clock.set(Timestamp::from_millis(NOW.as_millis() + 59_999));
    assert_eq!(world.get("fra1", id, "k", MINUTE).await, found("v"));
    world.clock.set(Timestamp::from_millis(NOW.as_millis() + 60_000));
    assert_eq!(world.get("fra1", id, "k", MINUTE).await, Ok(None));
    assert!(world.port("fra1").list(id, listing("", 10)).await.expect("listed").keys.is_empty());
    pass(Duration::from_secs(11)).await;
    assert_eq!(world.kv("fra1").metrics.swept.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let (mut world, id) = alone().await;
    let writes = (0..50).map(|number| (number.to_string(), format!("value {number}")));
    let writes: Vec<_> = writes.collect();
    let written = writes.iter().map(|(text, octets)| world.put("fra1", id, text, octets));
    for written in futures_util::future::join_all(written).await {
        written.expect("written");
    }
    world.kill("fra1").await;
    world.start("fra1");
    for (text, octets) in &writes {
        assert_eq!(world.get("fra1", id, text, KvRead::Latest).await, found(octets));
    }
}
