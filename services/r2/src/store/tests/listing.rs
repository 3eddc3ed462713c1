//! Listings.

use super::{objects::of_pieces, *};

#[tokio::test]
async fn keys_are_listed_in_the_order_of_their_octets_and_by_pages() {
    let fixture = Fixture::new();
    let long = "x".repeat(1_024);
    let names = [
        "a",
        "a/",
        "a/b",
        "a/b/c",
        "a/c",
        "ab",
        "b/1",
        "b/2",
        "é",
        "日本",
        "..",
        "../../etc/passwd",
        "/",
        "//",
        &long,
    ];
    for name in names {
        fixture.put(name, "x").await.unwrap();
    }
    let mut sorted = names.map(str::to_owned).to_vec();
    sorted.sort();
    let all = ObjectListing { limit: 1_000, ..ObjectListing::default() };
    assert_eq!(fixture.list(all.clone()).await, (sorted.clone(), Vec::new(), None));
    for limit in 1..=names.len() {
        for delimiter in [None, Some("/".to_owned())] {
            let whole = fixture.list(ObjectListing { delimiter: delimiter.clone(), ..all.clone() }).await;
            let (mut keys, mut prefixes, mut after) = (Vec::new(), Vec::new(), None);
            loop {
                let asked =
                    ObjectListing { prefix: String::new(), delimiter: delimiter.clone(), after, limit };
                let (some, several, next) = fixture.list(asked).await;
                assert!(some.len() + several.len() <= limit);
                keys.extend(some);
                prefixes.extend(several);
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!((&keys, &prefixes), (&whole.0, &whole.1), "{limit} {delimiter:?}");
        }
    }
    let below = ObjectListing { prefix: "a/".to_owned(), delimiter: Some("/".to_owned()), ..all.clone() };
    let expected = (["a/", "a/b", "a/c"].map(str::to_owned).to_vec(), vec!["a/b/".to_owned()], None);
    assert_eq!(fixture.list(below).await, expected);
    let behind = ObjectListing { after: Some("b/".repeat(2_000)), ..all.clone() };
    assert!(fixture.list(behind).await.0.iter().all(|key| key.as_str() > "b/b"));
    let nothing = ObjectListing { prefix: "y".repeat(5_000), ..all };
    assert_eq!(fixture.list(nothing).await, (Vec::new(), Vec::new(), None));
    assert_eq!(ObjectKey::new("x".repeat(1_025)), Err(ObjectError::KeyTooLong));
}

#[tokio::test]
async fn a_listing_reads_what_is_known_of_an_object_and_not_its_octets_nor_its_parts() {
    let fixture = Fixture::new();
    fixture.put("k", octets(1_000, 1)).await.unwrap();
    // The half of the row that has the octets is damaged: whoever reads them is told.
    let tag = fixture.bucket.tag;
    let damage = fixture.store.index.change(move |db, txn| {
        let lies = rows::object_key(tag, &key("k"));
        let mut row = db.objects.get(txn, &lies).unwrap().unwrap().to_vec();
        *row.last_mut().unwrap() ^= 1;
        db.objects.put(txn, &lies, &row).map_err(index::failed)
    });
    damage.await.unwrap();
    let all = ObjectListing { limit: 10, ..ObjectListing::default() };
    assert_eq!(fixture.list(all).await, (vec!["k".to_owned()], Vec::new(), None));
    assert!(matches!(fixture.read("k", None).await, Err(ObjectError::Broken(_))));
}

#[tokio::test]
async fn uploads_are_listed_below_a_prefix_however_it_ends_and_many_are_passed_over_at_once() {
    let fixture = Fixture::new();
    let (store, bucket) = (&fixture.store, &fixture.bucket);
    for name in ["a", "a", "a\tb", "a/b", "b"] {
        store.begin_upload(bucket, &key(name), UploadBegin::default()).await.unwrap();
    }
    let below = |prefix: &str| {
        let asked =
            proxima_pipeline::UploadListing { prefix: prefix.to_owned(), limit: 10, ..Default::default() };
        async move {
            let page = store.uploads(bucket, asked).await.unwrap();
            page.uploads.into_iter().map(|upload| upload.key.as_str().to_owned()).collect::<Vec<_>>()
        }
    };
    assert_eq!(below("a\t").await, ["a\tb"]);
    assert_eq!(below("a/").await, ["a/b"]);
    assert_eq!(below("a").await.len(), 4);
    assert_eq!(below("").await.len(), 5);
}

#[tokio::test]
async fn a_page_has_a_bound_whatever_is_asked_for() {
    let fixture = Fixture::new();
    let put = fixture.store.index.change(|db, txn| {
        for at in 0..1_001 {
            let row = of_pieces(0);
            change::put_object(db, txn, (bucket().tag, &key(&format!("{at:04}"))), (&row, None))?;
        }
        Ok(())
    });
    put.await.unwrap();
    let all = ObjectListing { limit: usize::MAX, ..ObjectListing::default() };
    let (keys, _, next) = fixture.list(all).await;
    assert_eq!((keys.len(), next.as_deref()), (1_000, Some("0999")));
}
